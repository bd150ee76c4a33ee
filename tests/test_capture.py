"""A captured step gives what a step that runs as it is gives. Without a card a recorder stands for the graph."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_utils import capture
from course_utils import fit as fit_module
from course_utils.fit import TrainingDiverged, fit

BATCH = 16  # 60 training images: three full batches and one of 12


class Graphs:
    """Stands for CUDA graphs: notes what is captured, and what a replay finds in the static tensors."""

    def __init__(self):
        self.recorded, self.replayed, self.warmed = 0, 0, 0

    def record(self, step, device):
        self.recorded += 1

        def replay():
            self.replayed += 1
            step()

        return replay

    def warm(self, step, device):
        self.warmed += 1
        step()


@pytest.fixture
def graphs(monkeypatch):
    """Let the CPU pass for a device with graphs."""
    stand_in = Graphs()
    monkeypatch.setattr(fit_module, "obstacle", lambda *given: "")
    monkeypatch.setattr(capture, "record", stand_in.record)
    monkeypatch.setattr(capture, "warm", stand_in.warm)
    return stand_in


def make_model():
    torch.manual_seed(3)
    return nn.ModuleDict({"one": nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), "two": nn.Linear(8, 64)})


def noisy(model, x):
    z = model["one"](x)
    error = model["two"](z + 0.1 * torch.randn_like(z)) - x.flatten(1)
    return {"loss": error.square().sum(1).mean(), "size": z.abs().mean()}


def with_labels(model, x, y):
    return {"loss": nn.functional.cross_entropy(model["one"](x), y)}


def second(model, x):
    return {"loss": (model["two"](model["one"](x).detach()) + torch.rand(1)).square().mean()}


def run(data, objective=noisy, epochs=4, **options):
    model = make_model()
    torch.manual_seed(11)
    history = fit(model, objective, data, **{"epochs": epochs, "batch_size": BATCH, "progress": False} | options)
    kept = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]
    return kept, model.state_dict()


def assert_same(first, again):
    assert first[0] == again[0]
    assert all(torch.equal(first[1][name], again[1][name]) for name in first[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cosine": True},
        {"bf16": True},
        {"channels_last": True},
        {"objective": with_labels, "with_labels": True},
        {"objective": {"one": noisy, "two": second}, "lr": {"one": 1e-2, "two": 1e-3}, "cosine": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_a_captured_training_is_the_one_that_runs_as_it_is(digits, monkeypatch, options):
    expected = run(digits.train, **options)
    stand_in = Graphs()
    monkeypatch.setattr(fit_module, "obstacle", lambda *given: "")
    monkeypatch.setattr(capture, "record", stand_in.record)
    monkeypatch.setattr(capture, "warm", stand_in.warm)
    assert_same(expected, run(digits.train, **options))
    full = 4 * (60 // BATCH)
    assert (stand_in.warmed, stand_in.recorded, stand_in.replayed) == (3, 1, full - 3)


def test_every_replay_reads_the_same_index_tensor_and_writes_its_row(digits, graphs):
    steps = []
    monkeypatched = capture.Steps.__init__
    try:
        capture.Steps.__init__ = lambda self, *given: steps.append(self) or monkeypatched(self, *given)
        run(digits.train, epochs=3)
    finally:
        capture.Steps.__init__ = monkeypatched
    (one,) = steps
    order = one.batches.order(2)  # of the last epoch
    assert torch.equal(one.index, order[2 * BATCH : 3 * BATCH])  # the last full batch
    assert int(one.place) == 4 and one.table.shape == (4, 2) and one.names == ["loss", "size"]


def test_a_resumed_run_is_the_uninterrupted_one(digits, graphs, tmp_path):
    whole = run(digits.train, epochs=5)
    run(digits.train, epochs=3, checkpoint=tmp_path)
    assert_same(whole, run(digits.train, epochs=5, checkpoint=tmp_path, resume=True))


def test_divergence_names_epoch_and_batch_and_keeps_the_last_good_weights(digits, graphs):
    calls, good = [], []

    def objective(model, x):
        calls.append(1)
        terms = noisy(model, x)
        return terms if len(calls) != 7 else {"loss": terms["loss"] * float("nan"), "size": terms["size"]}

    model = make_model()
    with pytest.raises(TrainingDiverged, match="'loss' became nan in epoch 2, batch 3 of 4"):
        fit(
            model, objective, digits.train, epochs=3, batch_size=BATCH, progress=False,
            on_epoch_end=lambda model, history: good.append(copy.deepcopy(model.state_dict())),
        )  # fmt: skip
    assert all(torch.equal(model.state_dict()[name], value) for name, value in good[-1].items())


def test_ctrl_c_keeps_the_last_finished_epoch(digits, graphs, capsys):
    calls = []

    def objective(model, x):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return noisy(model, x)

    history, weights = run(digits.train, objective, epochs=4)
    assert len(history) == 2 and "kept the weights after epoch 2 of 4" in capsys.readouterr().out
    assert_same((history, weights), run(digits.train, epochs=2))


def test_a_step_that_cannot_be_captured_runs_as_it_is_and_says_so_once(digits, graphs, monkeypatch, capsys):
    expected = run(digits.train)

    def refuse(step, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(capture, "record", refuse)
    assert_same(expected, run(digits.train))
    printed = capsys.readouterr().out
    assert printed.count("cannot be captured") == 1 and "not permitted when stream is capturing" in printed


def test_an_error_of_the_objective_is_not_taken_for_a_refusal(digits, graphs):
    def wrong(model, x):
        raise TypeError("a slip of the learner")

    with pytest.raises(TypeError, match="a slip of the learner"):
        run(digits.train, wrong)


@pytest.mark.parametrize(
    ("device", "resident", "words"),
    [
        ("cpu", True, "cpu has no graphs"),
        ("cuda", False, "the data do not lie on the device"),
        ("cuda", True, ""),
    ],
)
def test_what_stands_in_the_way_is_said(device, resident, words):
    assert capture.obstacle(resident, torch.device(device)) == words


def test_a_dataset_is_not_captured_and_trains_as_before(digits):
    pairs = TensorDataset(digits.train.images, digits.train.labels)
    assert_same(run(digits.train), run(pairs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("options", [{}, {"cosine": True}, {"bf16": True}], ids=str)
def test_on_a_card_the_captured_training_is_the_one_that_runs_as_it_is(digits, monkeypatch, options):
    captured = run(digits.train, device="cuda", **options)
    monkeypatch.setattr(fit_module, "obstacle", lambda *given: "switched off")
    plain = run(digits.train, device="cuda", **options)
    for row, other in zip(captured[0], plain[0], strict=True):
        assert row == pytest.approx(other, rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_card_within_an_epoch_the_host_does_not_wait(digits, monkeypatch):
    steps = capture.Steps.train
    waits = []

    def train(self, batch):
        torch.cuda.set_sync_debug_mode("error" if self.seen > capture.WARM_UP else "default")
        try:
            steps(self, batch)
        except RuntimeError as error:
            waits.append(str(error))
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(capture.Steps, "train", train)
    run(digits.train, device="cuda", epochs=5)
    assert not waits
