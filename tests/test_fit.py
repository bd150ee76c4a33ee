import copy
import gc
import math
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from course_utils import checkpoint as files
from course_utils import fit as fit_module
from course_utils.batches import Batches, as_float
from course_utils.densities import bernoulli_log_prob, gaussian_kl, reparameterize
from course_utils.fit import TrainingDiverged, evaluate, fit, trained
from course_utils.runtime import set_seed

# 60 training images in batches of 16: three full batches and one of 12.
BATCH, STEPS = 16, 4


def make_vae(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    return nn.ModuleDict({"encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), "decoder": decoder})


def negative_elbo(vae, x):
    """An objective that draws noise from the global generator."""
    mu, logvar = vae["encoder"](x).chunk(2, dim=-1)
    reconstruction = -bernoulli_log_prob(x, vae["decoder"](reparameterize(mu, logvar)))
    kl = gaussian_kl(mu, logvar)
    return {"loss": (reconstruction + kl).mean(), "reconstruction": reconstruction.mean(), "kl": kl.mean()}


def make_gan(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(3, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    return nn.ModuleDict({"generator": generator, "discriminator": nn.Sequential(nn.Flatten(), nn.Linear(64, 1))})


def d_loss(gan, x):
    """Not detached on purpose: its gradients reach the generator, too, and must not be used there."""
    fake = gan["generator"](torch.randn(len(x), 3))
    softplus = nn.functional.softplus
    return {"loss": softplus(-gan["discriminator"](x)).mean() + softplus(gan["discriminator"](fake)).mean()}


def g_loss(gan, x):
    fake = gan["generator"](torch.randn(len(x), 3))
    return {"loss": nn.functional.softplus(-gan["discriminator"](fake)).mean()}


GAN = {"discriminator": d_loss, "generator": g_loss}


def weights(model) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first, second):
    """The same to the last bit."""
    first, second = (m if isinstance(m, dict) else m.state_dict() for m in (first, second))
    for name in first:
        assert torch.equal(first[name], second[name]), f"{name} differs"


def terms(history) -> list[dict]:
    """A history without what a clock says."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def run(model, objective, data, seed=7, **options):
    torch.manual_seed(seed)
    return fit(model, objective, data, **{"batch_size": BATCH, "lr": 1e-2, "seed": 5, "progress": False} | options)


class StopAt:
    """An objective that raises at one of its calls."""

    def __init__(self, objective, call, error=KeyboardInterrupt):
        self.objective, self.call, self.error, self.calls = objective, call, error, 0

    def __call__(self, model, x):
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return self.objective(model, x)


# ---------------------------------------------------------------------------------------------- the loop


def by_hand(model, data, epochs):
    """The loop as one writes it without this package."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    history = []
    for epoch in range(epochs):
        order = Batches(data, BATCH, seed=5).order(epoch)
        total = 0.0
        for start in range(0, len(data), BATCH):
            x = data.images[order[start : start + BATCH]].float() / 255
            optimizer.zero_grad()
            loss = negative_elbo(model, x)["loss"]
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        history.append(total / len(data))
    return history


def test_fit_is_the_loop_written_by_hand(digits):
    model = make_vae()
    twin = copy.deepcopy(model)
    history = run(model, negative_elbo, digits.train, epochs=3)
    torch.manual_seed(7)
    losses = by_hand(twin, digits.train, 3)
    assert_same(model, twin)
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-6)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert losses[2] < losses[0]


def test_the_history_holds_every_term_and_the_speed(digits):
    (row,) = run(make_vae(), negative_elbo, digits.train, valid=digits.valid, epochs=1)
    names = ["loss", "reconstruction", "kl"]
    assert list(row) == ["epoch", *names, "seconds", "images_per_second", *(f"valid_{n}" for n in names)]
    assert row["loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-6)
    assert row["images_per_second"] == pytest.approx(60 / row["seconds"])
    assert all(isinstance(value, (int, float)) for value in row.values())


def test_terms_are_weighted_by_the_length_of_the_batch():
    data = torch.tensor([[1.0]] * 4 + [[11.0]])  # batches of 4 and 1: the mean of their means would be 6
    model = nn.Linear(1, 1)
    (row,) = fit(
        model, lambda m, x: {"loss": 0 * m(x).sum(), "x": x.mean()}, data, epochs=1, batch_size=4, progress=False
    )
    assert row["x"] == pytest.approx(3.0)
    assert evaluate(model, lambda m, x: {"loss": x.mean()}, data, batch_size=2) == {"loss": pytest.approx(3.0)}


def test_a_dataset_trains_like_resident_images(digits):
    """The fallback gives the same weights, although the model draws noise between the batches."""
    resident, fallback = make_vae(), make_vae()
    first = run(resident, negative_elbo, digits.train.images, epochs=2, valid=digits.valid.images)
    data, valid = (TensorDataset(as_float(split.images)) for split in (digits.train, digits.valid))
    second = run(fallback, negative_elbo, data, epochs=2, valid=valid)
    assert_same(resident, fallback)
    assert terms(first) == terms(second)


def test_labels_reach_the_objective_beside_their_images(digits):
    def objective(model, x, y):
        assert torch.equal(x[:, 0, ::2].mean(-1).argmax(1), y)
        return {"loss": nn.functional.cross_entropy(model(x.flatten(1)), y)}

    model = nn.Linear(64, 4)
    history = run(model, objective, digits.train, valid=digits.valid, epochs=20, with_labels=True, lr=0.05)
    assert history[-1]["valid_loss"] < 0.1
    assert evaluate(model, objective, digits.test, with_labels=True)["loss"] < 0.1


@pytest.mark.parametrize("cosine", [False, True])
def test_the_cosine_schedule_sets_the_rate_of_every_step(cosine, monkeypatch):
    """With the loss w, plain gradient descent at rate 1 lowers w by the sum of the rates."""
    monkeypatch.setattr(fit_module, "adam", lambda parameters, lr, *_: torch.optim.SGD(parameters, lr=lr))
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    fit(
        model,
        lambda m, x: {"loss": m.weight.sum()},
        torch.zeros(8, 1),
        epochs=3,
        batch_size=4,
        lr=1.0,
        cosine=cosine,
        progress=False,
    )
    rates = [0.5 + 0.5 * math.cos(math.pi * step / 6) if cosine else 1.0 for step in range(6)]
    assert model.weight.item() == pytest.approx(-sum(rates), rel=1e-5)


def test_parameters_that_need_no_gradient_stay(digits):
    model = make_vae()
    model["encoder"].requires_grad_(False)
    before = weights(model)
    run(model, negative_elbo, digits.train, epochs=1)
    after = weights(model)
    assert torch.equal(before["encoder.1.weight"], after["encoder.1.weight"])
    assert not torch.equal(before["decoder.0.weight"], after["decoder.0.weight"])


def test_on_epoch_end_sees_the_model_and_the_growing_history(digits):
    seen = []
    model = make_vae()
    history = run(
        model, negative_elbo, digits.train, epochs=3, on_epoch_end=lambda m, h: seen.append((m is model, len(h)))
    )
    assert seen == [(True, 1), (True, 2), (True, 3)] and len(history) == 3


def test_bf16_computes_nearly_the_same_and_leaves_float32_weights(digits):
    exact, rough = make_vae(), make_vae()
    dtypes = []

    def objective(vae, x):
        dtypes.append(vae["encoder"](x).dtype)
        return negative_elbo(vae, x)

    first = run(exact, negative_elbo, digits.train, valid=digits.valid, epochs=3)
    second = run(rough, objective, digits.train, valid=digits.valid, epochs=3, bf16=True)
    assert set(dtypes) == {torch.bfloat16}
    assert {value.dtype for value in rough.state_dict().values()} == {torch.float32}
    assert second[-1]["loss"] == pytest.approx(first[-1]["loss"], rel=0.02)
    assert second[-1]["valid_loss"] == pytest.approx(first[-1]["valid_loss"], rel=0.02)


def make_conv() -> nn.Sequential:
    torch.manual_seed(0)
    down, up = nn.Conv2d(3, 6, 4, stride=2, padding=1), nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1)
    return nn.Sequential(down, nn.ReLU(), up)


def squared_error(model, x):
    return {"loss": (x - model(x)).square().flatten(1).sum(1).mean()}


def test_channels_last_trains_alike_with_pictures_and_weights_in_that_layout():
    crops, layouts = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8), set()

    def watched(model, x):
        layouts.update(part.is_contiguous(memory_format=torch.channels_last) for part in (x, model[0](x)))
        return squared_error(model, x)

    plain, last = make_conv(), make_conv()
    first = run(plain, squared_error, crops, valid=crops[:20], epochs=3)
    second = run(last, watched, crops, valid=crops[:20], epochs=3, channels_last=True)
    assert layouts == {True} and last[0].weight.stride() == (48, 1, 12, 3)
    assert second[-1]["loss"] == pytest.approx(first[-1]["loss"], rel=1e-4)
    assert second[-1]["valid_loss"] == pytest.approx(first[-1]["valid_loss"], rel=1e-4)


def test_terms_are_fetched_once_per_epoch(digits, monkeypatch):
    """No batch waits for the device: nothing turns a tensor into a number while the objective runs."""
    fetched = []
    for name in ("item", "__float__", "tolist", "cpu"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda t, *a, f=original, n=name, **k: (fetched.append(n), f(t, *a, **k))[1]
        )
    counts = {}
    for epochs in (1, 2):
        fetched.clear()
        run(make_vae(), negative_elbo, digits.train, epochs=epochs, batch_size=4)
        counts[epochs] = len(fetched)
    assert counts[2] - counts[1] <= 3  # for an epoch of fifteen batches


# ---------------------------------------------------------------------------------------- two players


def gan_by_hand(model, data, epochs, betas=((0.9, 0.999), (0.9, 0.999))):
    """Alternate with gradients asked for by name, so that none can leak from one player to the other."""
    players = [(model[name], objective) for name, objective in GAN.items()]
    pairs = zip(players, betas, strict=True)
    optimizers = [torch.optim.Adam(player.parameters(), lr=1e-2, betas=own, fused=True) for (player, _), own in pairs]
    for epoch in range(epochs):
        order = Batches(data, BATCH, seed=5).order(epoch)
        for start in range(0, len(data), BATCH):
            x = data.images[order[start : start + BATCH]].float() / 255
            for (player, objective), optimizer in zip(players, optimizers, strict=True):
                own = list(player.parameters())
                for parameter, gradient in zip(own, torch.autograd.grad(objective(model, x)["loss"], own), strict=True):
                    parameter.grad = gradient
                optimizer.step()


def test_two_players_are_the_alternation_written_by_hand(digits):
    model = make_gan()
    twin = copy.deepcopy(model)
    history = run(model, GAN, digits.train, epochs=3)
    torch.manual_seed(7)
    gan_by_hand(twin, digits.train, 3)
    assert_same(model, twin)
    assert {"discriminator_loss", "generator_loss"} <= set(history[0])


@pytest.mark.parametrize(
    ("betas", "own"),
    [
        ({"discriminator": (0.0, 0.99), "generator": (0.5, 0.9)}, ((0.0, 0.99), (0.5, 0.9))),
        ((0.5, 0.9), ((0.5, 0.9), (0.5, 0.9))),
        ([0.0, 0.9], ((0.0, 0.9), (0.0, 0.9))),
    ],
)
def test_players_have_adams_of_their_own(digits, betas, own):
    model = make_gan()
    twin, usual = copy.deepcopy(model), copy.deepcopy(model)
    run(model, GAN, digits.train, epochs=3, betas=betas)
    for each, pairs in ((twin, own), (usual, ((0.9, 0.999), (0.9, 0.999)))):
        torch.manual_seed(7)
        gan_by_hand(each, digits.train, 3, pairs)
    assert_same(model, twin)
    assert not torch.equal(model["generator"][0].weight, usual["generator"][0].weight)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_player_steps_only_its_own_submodule(digits, player):
    model = make_gan()
    before = weights(model)
    run(model, {player: GAN[player]}, digits.train, epochs=1)
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(player)}


def test_players_have_rates_of_their_own(digits):
    model = make_gan()
    before = weights(model)
    run(model, GAN, digits.train, epochs=1, lr={"discriminator": 1e-2, "generator": 0.0})
    after = weights(model)
    assert torch.equal(after["generator.0.weight"], before["generator.0.weight"])
    assert not torch.equal(after["discriminator.1.weight"], before["discriminator.1.weight"])


def test_a_player_may_lie_deeper(digits):
    model = nn.ModuleDict({"inner": make_gan()})
    objective = {"inner.generator": lambda m, x: g_loss(m["inner"], x)}
    assert "inner_generator_loss" in run(model, objective, digits.train, epochs=1)[0]


# ------------------------------------------------------------------- every keyword does what it says

CHANGES = {
    "epochs": 2, "batch_size": 10, "lr": 0.02, "cosine": True, "seed": 6, "bf16": True,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_of_the_training_changes_it(digits, name):
    plain, changed = make_vae(), make_vae()
    run(plain, negative_elbo, digits.train, epochs=1)
    run(changed, negative_elbo, digits.train, **{"epochs": 1} | {name: CHANGES[name]})
    same = [torch.equal(a, b) for a, b in zip(plain.parameters(), changed.parameters(), strict=True)]
    assert not any(same)


def test_the_defaults_are_those_of_the_signature(digits):
    """Ten epochs of batches of 128, Adam at 1e-3, seed 0, no validation, on the device that COURSE_DEVICE names."""
    written, left_out = make_vae(), make_vae()
    torch.manual_seed(7)
    first = fit(written, negative_elbo, digits.train, None, epochs=10, batch_size=128, lr=1e-3, seed=0, progress=False)
    torch.manual_seed(7)
    second = fit(left_out, negative_elbo, digits.train, progress=False)
    assert terms(first) == terms(second) and len(second) == 10
    assert_same(written, left_out)


def test_the_device_wins_over_the_environment(digits, monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "nonsense")
    assert len(run(make_vae(), negative_elbo, digits.train, epochs=1, device="cpu")) == 1
    with pytest.raises(ValueError, match="nonsense"):
        run(make_vae(), negative_elbo, digits.train, epochs=1)


def test_trained_seeds_weights_order_and_noise(digits):
    def build(width=64):
        model = nn.ModuleDict({"encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 6))})
        return model.update({"decoder": nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))}) or model

    options = {"epochs": 1, "batch_size": BATCH}
    set_seed(3)
    by_hand = build()
    set_seed(3)
    fit(by_hand, negative_elbo, digits.train, seed=3, progress=False, **options)
    model = trained(build, negative_elbo, digits.train, seed=3, **options)
    assert_same(model, by_hand)
    other = trained(build, negative_elbo, digits.train, **options)
    assert_same(other, trained(build, negative_elbo, digits.train, seed=0, **options))
    assert not torch.equal(other["decoder"][0].weight, model["decoder"][0].weight)


def test_trained_gives_networks_of_every_size_the_same_noise(digits):
    draws = []

    def objective(model, x):
        draws.append(torch.randn(3))
        return {"loss": model(x.flatten(1)).square().mean()}

    for width in (1, 50):
        trained(lambda width=width: nn.Linear(64, width), objective, digits.train, epochs=1, batch_size=60)
    assert torch.equal(*draws)


def test_trained_is_silent_unless_asked(digits, capsys):
    trained(make_vae, negative_elbo, digits.train, epochs=1)
    assert capsys.readouterr().out == ""
    trained(make_vae, negative_elbo, digits.train, epochs=1, progress="net")
    assert capsys.readouterr().out.startswith("net: epoch 1/1")


# ------------------------------------------------------------------------------------------- evaluate


def test_evaluate_computes_in_batches_of_this_size(digits):
    seen = []

    def objective(vae, x):
        seen.append(len(x))
        return {"loss": vae["encoder"](x).mean()}

    some = evaluate(make_vae(), objective, digits.train, batch_size=50)
    assert seen == [50, 10]
    assert evaluate(make_vae(), objective, digits.train) == pytest.approx(some) and seen[2:] == [60]


def test_validating_does_not_change_training(digits):
    with_valid, without = make_vae(), make_vae()
    first = run(with_valid, negative_elbo, digits.train, valid=digits.valid, epochs=3)
    second = run(without, negative_elbo, digits.train, epochs=3)
    assert_same(with_valid, without)
    assert [row["loss"] for row in first] == [row["loss"] for row in second]


def test_evaluate_repeats_itself_and_leaves_everything_as_it_was(digits):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 1))
    model[1].eval()  # a part that its owner has frozen
    before, randomness, modes = weights(model), torch.get_rng_state(), [m.training for m in model.modules()]

    def objective(model, x):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        return {"loss": (model(x) + torch.randn(len(x), 1)).mean()}

    first, second = (evaluate(model, objective, digits.test) for _ in range(2))
    assert first == second
    assert_same(before, model)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert [m.training for m in model.modules()] == modes
    assert evaluate(model, objective, digits.test, seed=1) != first


def test_evaluate_restores_the_modes_when_the_objective_fails(digits):
    model = make_vae()
    randomness = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        evaluate(model, StopAt(negative_elbo, 1, ZeroDivisionError), digits.test)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), randomness)


def test_evaluate_gives_the_numbers_of_the_history(digits):
    model = make_vae()
    history = run(model, negative_elbo, digits.train, valid=digits.valid, epochs=2)
    means = evaluate(model, negative_elbo, digits.valid, seed=5)
    assert {f"valid_{name}": mean for name, mean in means.items()} == {
        name: value for name, value in history[-1].items() if name.startswith("valid_")
    }
    assert set(evaluate(make_gan(), GAN, digits.valid)) == {"discriminator_loss", "generator_loss"}


# --------------------------------------------------------------------- interruptions and divergence


@pytest.mark.parametrize("call", [1, STEPS + 2, 2 * STEPS, 2 * STEPS + 1])
def test_ctrl_c_keeps_the_last_finished_epoch(digits, capsys, call):
    finished = (call - 1) // STEPS
    model, twin = make_vae(), make_vae()
    history = run(model, StopAt(negative_elbo, call), digits.train, epochs=3)
    assert len(history) == finished
    assert f"after epoch {finished} of 3" in capsys.readouterr().out
    if finished:
        run(twin, negative_elbo, digits.train, epochs=finished)
    assert_same(model, twin)


def test_ctrl_c_during_validation_keeps_the_epoch_before(digits):
    def objective(vae, x):
        if not vae.training and len(calls) == 2 * STEPS:
            raise KeyboardInterrupt
        calls.extend([1] * vae.training)
        return negative_elbo(vae, x)

    calls, model, twin = [], make_vae(), make_vae()
    assert len(run(model, objective, digits.train, valid=digits.valid, epochs=3)) == 1
    run(twin, negative_elbo, digits.train, epochs=1)
    assert_same(model, twin)
    assert model.training


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_divergence_names_epoch_batch_and_term_and_keeps_the_last_good_weights(digits, value, word):
    calls = []

    def objective(vae, x):
        calls.append(1)
        found = negative_elbo(vae, x)
        if len(calls) == STEPS + 2:
            found["kl"] = found["kl"] * value
            found["loss"] = found["reconstruction"] + found["kl"]
        return found

    model, twin = make_vae(), make_vae()
    with pytest.raises(TrainingDiverged, match=rf"'(loss|kl)' became {word} in epoch 2, batch 2 of 4"):
        run(model, objective, digits.train, epochs=3)
    run(twin, negative_elbo, digits.train, epochs=1)
    assert_same(model, twin)


def test_divergence_of_one_term_names_that_term(digits):
    with pytest.raises(TrainingDiverged, match=r"'odd' became nan in epoch 1, batch 1 of 4"):
        run(make_vae(), lambda m, x: {**negative_elbo(m, x), "odd": torch.tensor(float("nan"))}, digits.train)


def test_divergence_in_validation_is_named_as_such(digits):
    def objective(vae, x):
        found = negative_elbo(vae, x)
        return found if vae.training else {**found, "loss": found["loss"] * float("nan")}

    with pytest.raises(TrainingDiverged, match=r"'valid_loss' became nan in the validation of epoch 1, batch 1 of 1"):
        run(make_vae(), objective, digits.train, valid=digits.valid, epochs=2)


def test_divergence_stops_at_the_next_line_of_progress(digits, monkeypatch):
    """A long epoch is not computed to its end when the line already shows that all is lost."""
    monkeypatch.setattr(fit_module.Line, "due", lambda line: True)
    objective = StopAt(lambda m, x: {"loss": negative_elbo(m, x)["loss"] * float("nan")}, call=-1)
    with pytest.raises(TrainingDiverged, match="batch 1 of 4"):
        run(make_vae(), objective, digits.train, epochs=2)
    assert objective.calls == 1


# --------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(("make", "objective"), [(make_vae, negative_elbo), (make_gan, GAN)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_resumed_run_is_the_uninterrupted_one(digits, tmp_path, cosine, make, objective, error):
    options = {"valid": digits.valid, "epochs": 4, "cosine": cosine}
    whole = make()
    expected = run(whole, objective, digits.train, **options)

    stop = StopAt(d_loss if objective is GAN else negative_elbo, call=2 * (STEPS + 1) + 2, error=error)
    stopping = {**GAN, "discriminator": stop} if objective is GAN else stop
    try:
        run(make(), stopping, digits.train, checkpoint=tmp_path, **options)
    except ZeroDivisionError:
        assert error is ZeroDivisionError
    resumed = make(seed=99)  # other weights, and another state of the generator
    history = run(resumed, objective, digits.train, seed=1234, checkpoint=tmp_path, resume=True, **options)
    assert stop.calls == 2 * (STEPS + 1) + 2  # it was stopped within the third epoch
    assert terms(history) == terms(expected)
    assert_same(resumed, whole)


def test_resuming_a_finished_run_changes_nothing_and_a_longer_one_goes_on(digits, tmp_path):
    model = make_vae()
    history = run(model, negative_elbo, digits.train, epochs=2, checkpoint=tmp_path)
    again = make_vae(seed=1)
    assert run(again, negative_elbo, digits.train, epochs=2, checkpoint=tmp_path, resume=True) == history
    assert_same(again, model)
    longer = run(make_vae(seed=1), negative_elbo, digits.train, epochs=3, checkpoint=tmp_path, resume=True)
    assert terms(longer) == terms(run(make_vae(), negative_elbo, digits.train, epochs=3))


def test_resume_without_a_checkpoint_yet_starts_from_the_beginning(digits, tmp_path):
    history = run(make_vae(), negative_elbo, digits.train, epochs=1, checkpoint=tmp_path / "new", resume=True)
    assert len(history) == 1 and (tmp_path / "new" / "last.pt").exists()


def test_best_is_the_epoch_of_least_validation_loss(digits, tmp_path):
    valid_losses = iter([3.0, 1.0, 2.0, 4.0])

    def objective(vae, x):
        loss = negative_elbo(vae, x)["loss"]
        return {"loss": loss if vae.training else 0 * loss + next(valid_losses)}

    kept = []
    run(make_vae(), objective, digits.train, valid=digits.valid, epochs=4, checkpoint=tmp_path,
        on_epoch_end=lambda model, history: kept.append(weights(model)))  # fmt: skip
    best = make_vae(seed=1)
    assert len(files.read(tmp_path / "best.pt", best)["history"]) == 2
    assert_same(best, kept[1])
    assert len(files.read(tmp_path / "last.pt", best)["history"]) == 4
    assert_same(best, kept[3])


def test_without_validation_best_is_the_epoch_of_least_training_loss(digits, tmp_path):
    losses = iter([3.0] * STEPS + [1.0] * STEPS + [2.0] * STEPS)

    def objective(vae, x):
        loss = negative_elbo(vae, x)["loss"]
        return {"loss": loss - loss.detach() + next(losses)}

    run(make_vae(), objective, digits.train, epochs=3, checkpoint=tmp_path)
    assert [row["loss"] for row in files.read(tmp_path / "best.pt")["history"]] == [3.0, 1.0]
    assert len(files.read(tmp_path / "last.pt")["history"]) == 3


def test_resuming_restores_numpys_and_pythons_generators_too(digits, tmp_path):
    def objective(vae, x):
        return {"loss": negative_elbo(vae, x)["loss"] * (np.random.rand() + random.random())}

    set_seed(3)
    expected = fit(make_vae(), objective, digits.train, epochs=2, progress=False)
    set_seed(3)
    fit(make_vae(), objective, digits.train, epochs=1, progress=False, checkpoint=tmp_path)
    set_seed(4)
    options = {"epochs": 2, "progress": False, "checkpoint": tmp_path, "resume": True}
    assert terms(fit(make_vae(), objective, digits.train, **options))[1] == terms(expected)[1]


def test_another_run_in_the_folder_is_not_overwritten(digits, tmp_path):
    run(make_vae(), negative_elbo, digits.train, epochs=1, checkpoint=tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(FileExistsError, match="last.pt holds another run; give resume=True"):
        run(make_vae(), negative_elbo, digits.train, epochs=1, checkpoint=tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, r"'batch_size': \(16, 8\)"),
        ({"seed": 6}, r"'seed': \(5, 6\)"),
        ({"cosine": True}, r"'cosine_epochs': \(0, 2\)"),
        ({"lr": 1e-3}, r"0.01.*0.001"),
        ({"betas": (0.5, 0.999)}, r"0\.9, 0\.999.*0\.5, 0\.999"),
        ({"bf16": True}, r"'bf16': \(False, True\)"),
        ({"channels_last": True}, r"'channels_last': \(False, True\)"),
    ],
)
def test_other_settings_are_refused_and_the_model_is_not_touched(digits, tmp_path, change, message):
    run(make_vae(), negative_elbo, digits.train, epochs=2, checkpoint=tmp_path)
    model, twin = make_vae(seed=1), make_vae(seed=1)
    options = {"lr": 1e-2, "batch_size": BATCH, "seed": 5, "progress": False} | change
    with pytest.raises(ValueError, match=message):
        fit(model, negative_elbo, digits.train, epochs=2, checkpoint=tmp_path, resume=True, **options)
    assert_same(model, twin)


def test_other_data_players_or_networks_are_refused(digits, tmp_path):
    options = {"epochs": 1, "checkpoint": tmp_path, "resume": True}
    run(make_gan(), GAN, digits.train, **options)
    with pytest.raises(ValueError, match=r"'images': \(60, 30\)"):
        run(make_gan(), GAN, digits.valid, **options)
    with pytest.raises(ValueError, match=r"'checksum': \(\d+, \d+\)"):  # as many images, but others
        run(make_gan(), GAN, digits.train[list(range(59, -1, -1))], **options)
    with pytest.raises(ValueError, match="discriminator_.*generator_"):
        run(make_gan(), {"generator": g_loss}, digits.train, **options)
    wider = nn.ModuleDict({"generator": nn.Linear(3, 5), "discriminator": nn.Linear(64, 1)})
    with pytest.raises(ValueError, match="last.pt are not those of this model"):
        run(wider, GAN, digits.train, **options)


def test_resume_needs_a_run_to_go_on_with(digits, tmp_path):
    with pytest.raises(ValueError, match="resume=True needs checkpoint"):
        run(make_vae(), negative_elbo, digits.train, resume=True)
    files.write(tmp_path / "last.pt", {"model": make_vae().state_dict()})
    with pytest.raises(ValueError, match="no run of fit"):
        run(make_vae(), negative_elbo, digits.train, checkpoint=tmp_path, resume=True)


def test_what_the_hook_writes_into_the_history_can_be_read_back(digits, tmp_path):
    def note(model, history):
        history[-1] |= {"score": np.float64(0.5), "spectrum": np.array([1.0, 2.0])}

    options = {"epochs": 1, "checkpoint": tmp_path, "on_epoch_end": note}
    run(make_vae(), negative_elbo, digits.train, **options)
    (row,) = files.read(tmp_path / "last.pt")["history"]
    assert row["score"] == 0.5 and row["spectrum"].dtype == np.float64 and row["spectrum"].tolist() == [1, 2]


# -------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda m, x: {"elbo": negative_elbo(m, x)["loss"]}, r"'loss' among them; this one returned \['elbo'\]"),
        (lambda m, x: negative_elbo(m, x)["loss"], "returned Tensor"),
        (lambda m, x: {"loss": x.flatten(1).sum(1)}, r"term 'loss' has shape \(16,\)"),
        (lambda m, x: {**negative_elbo(m, x), "beta": 0.5}, "term 'beta' is a float"),
        (lambda m, x: {**negative_elbo(m, x), "epoch": x.mean()}, "a term is called 'epoch', which is a name of"),
        (lambda m, x: {**negative_elbo(m, x), "valid_loss": x.mean()}, "a term is called 'valid_loss'"),
        (lambda m, x: negative_elbo(m, x) | ({"now": x.mean()} if len(x) < BATCH else {}), "always give the same"),
        ({"codec": negative_elbo}, r"no submodule 'codec'; it has \['encoder', 'decoder'\]"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused(digits, objective, message):
    with pytest.raises(ValueError, match=message):
        run(make_vae(), objective, digits.train)


def test_bad_numbers_are_named(digits):
    wrong: dict = {"epochs": (0, 2.5, "ten", None), "lr": ("1e-3", None, -1.0, math.nan, True)}
    for name, value in [(name, value) for name, values in wrong.items() for value in values]:
        with pytest.raises(ValueError, match=f"{name} = {value!r}; give "):
            run(make_vae(), negative_elbo, digits.train, **{name: value})
    with pytest.raises(ValueError, match="seed = 1.5; give a whole number from 0"):
        fit(make_vae(), negative_elbo, digits.train, seed=1.5)
    with pytest.raises(ValueError, match="seed = 'x'; give a whole number from 0"):
        evaluate(make_vae(), negative_elbo, digits.train, seed="x")
    with pytest.raises(ValueError, match=r"lr names \['generator'\]"):
        run(make_gan(), GAN, digits.train, lr={"generator": 1e-3})
    with pytest.raises(ValueError, match=r"betas names \['d', 'generator'\], the objectives are \['discriminator', "):
        run(make_gan(), GAN, digits.train, betas={"generator": (0.5, 0.9), "d": (0.5, 0.9)})
    for wrong in (0.5, (0.5,), (0.5, 1.0), (-0.1, 0.9), "ab", None, (True, "x")):
        with pytest.raises(ValueError, match=r"betas = .*; give Adam's pair"):
            run(make_gan(), GAN, digits.train, betas=wrong)
    with pytest.raises(ValueError, match="nothing to train in 'encoder'"):
        model = make_vae()
        model["encoder"].requires_grad_(False)
        run(model, {"encoder": negative_elbo}, digits.train)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bool])
def test_images_of_another_kind_than_the_weights_are_refused(digits, kind):
    x = digits.train.images.float().div(255).to(kind)
    with pytest.raises(ValueError, match=f"the images are {kind}, the weights torch.float32: give images.float"):
        run(make_vae(), negative_elbo, x)
    with pytest.raises(ValueError, match=f"the images are {kind}"):
        run(make_vae(), negative_elbo, digits.train, valid=x)
    with pytest.raises(ValueError, match=f"the images are {kind}"):
        evaluate(make_vae(), negative_elbo, x)


def test_batch_normalisation_meets_no_batch_of_one(digits):
    def error(model, x):
        return {"loss": (model(x) - x).square().mean()}

    x = digits.train.images[:33].flatten(1).float() / 255
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64))
    with pytest.raises(ValueError, match="33 images in batches of 16: the last batch holds one"):
        run(model, error, x)
    assert run(model, error, x[:32]) and run(model[0], error, x)


# ------------------------------------------------------------------------------------------- the line


def test_a_run_ends_with_one_line_that_says_what_came_out(digits, capsys):
    history = run(make_vae(), negative_elbo, digits.train, valid=digits.valid, epochs=2, progress="VAE")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("VAE: epoch 2/2 · ") and line.endswith(" s") and "images/s" in line
    assert f"valid_loss {history[-1]['valid_loss']:.4g}" in line
    run(make_vae(), negative_elbo, digits.train, epochs=1, progress=False)
    assert capsys.readouterr().out == ""


def test_a_long_run_says_how_far_it_is(digits, capsys, monkeypatch):
    monkeypatch.setattr(fit_module.Line, "due", lambda line: True)
    run(make_vae(), negative_elbo, digits.train, epochs=2, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * STEPS + 1
    assert lines[STEPS].startswith("epoch 2/2 · loss ") and lines[STEPS].endswith(" s left")


def test_the_rest_is_estimated_from_the_share_of_this_epoch(digits, capsys, monkeypatch):
    """A clock that gives every batch one second: of 3 epochs of 4 batches, 12 − n seconds are left after n of them."""

    class Clock:
        now = 0.0
        perf_counter = monotonic = staticmethod(lambda: Clock.now)

    def objective(model, x):
        Clock.now += 1
        return negative_elbo(model, x)

    monkeypatch.setattr(fit_module, "time", Clock)
    monkeypatch.setattr(fit_module.Line, "due", lambda line: True)
    run(make_vae(), objective, digits.train, epochs=3, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[-1] for line in lines[:-1]] == [f"{12 - n} s left" for n in range(1, 13)]
    assert "15 images/s" in lines[-1] and " 16 images/s" in lines[0]


# ---------------------------------------------------------------------------------------- accelerator


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_training_on_cuda_is_near_that_on_the_cpu(digits):
    def objective(vae, x):  # without noise, which differs between devices
        mu, _ = vae["encoder"](x).chunk(2, dim=-1)
        return {"loss": -bernoulli_log_prob(x, vae["decoder"](mu)).mean()}

    cpu, cuda = make_vae(), make_vae()
    first = run(cpu, objective, digits.train, valid=digits.valid, epochs=3, device="cpu")
    second = run(cuda, objective, digits.train, valid=digits.valid, epochs=3, device="cuda")
    assert second[-1]["valid_loss"] == pytest.approx(first[-1]["valid_loss"], rel=1e-3)
    assert next(cuda.parameters()).device.type == "cuda"


def without_noise(vae, x):
    """An objective that draws nothing, for noise differs between devices and under torch.compile."""
    mu, _ = vae["encoder"](x).chunk(2, dim=-1)
    return {"loss": -bernoulli_log_prob(x, vae["decoder"](mu)).mean()}


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@needs_cuda
def test_within_an_epoch_the_host_never_waits_for_the_device(digits):
    """The number of waits does not grow with the number of batches."""

    def waits(batch_size):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run(make_vae(), without_noise, digits.train, epochs=2, device="cuda", batch_size=batch_size)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(warning.message) for warning in caught)

    assert waits(4) == waits(20)


@needs_cuda
def test_memory_on_the_device_stays_flat_over_epochs(digits):
    used = []
    run(make_vae(), without_noise, digits.train, epochs=6, device="cuda",
        on_epoch_end=lambda model, history: used.append(torch.cuda.memory_allocated()))  # fmt: skip
    assert max(used[2:]) == used[1]


def test_memory_stays_flat_over_epochs(digits):
    def live_tensors(model, history):
        gc.collect()
        counts.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))

    counts = []
    run(make_vae(), negative_elbo, digits.train, valid=digits.valid, epochs=5, on_epoch_end=live_tensors)
    assert len(set(counts[1:])) == 1
