"""The judge of drawn digits is the small classifier that chapters 02, 04 and 05 once trained in a cell of their own."""

import torch
import torch.nn.functional as F
from torch import nn

from course_utils.batches import Batches
from course_utils.judge import train_judge


def by_hand(train, *, seed, epochs):
    """The same network, trained by a loop that is written out."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = Batches(train, 128, seed=seed, with_labels=True)
    for epoch in range(epochs):
        for x, y in batches.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


def weights(model):
    return torch.cat([values.flatten() for values in model.state_dict().values()])


def test_the_judge_is_that_of_a_loop_by_hand_with_every_option_and_by_default(digits):
    for options, written_out in (
        ({}, {"seed": 0, "epochs": 5}),
        ({"seed": 3}, {"seed": 3, "epochs": 5}),
        ({"epochs": 2}, {"seed": 0, "epochs": 2}),
    ):
        judge = train_judge(digits.train, **options)
        torch.testing.assert_close(weights(judge), weights(by_hand(digits.train, **written_out)), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_batches_hangs_on_the_seed(digits, monkeypatch):
    seeds = []
    order = Batches.order
    monkeypatch.setattr(Batches, "order", lambda self, epoch: (seeds.append(self.seed), order(self, epoch))[1])
    train_judge(digits.train, seed=7, epochs=1)
    assert seeds == [7]


def test_the_judge_knows_what_it_was_shown_and_says_nothing(digits, capsys):
    judge = train_judge(digits.train, epochs=30)
    with torch.no_grad():
        scores = judge(digits.test.images.float() / 255)
    assert scores.shape == (len(digits.test), 4)
    assert (scores.argmax(1) == digits.test.labels).float().mean() > 0.9
    assert capsys.readouterr().out == ""
