"""A kept training is the training itself, to the last bit, and is never mistaken for another."""

import functools
import itertools
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from test_fit import GAN, assert_same, make_gan, make_vae, negative_elbo, run, terms, weights
from torch import nn

from course_utils import fingerprint as fingerprint_module
from course_utils import fit as fit_module
from course_utils import kept
from course_utils.fingerprint import Unkeepable, fingerprint


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def files(folder) -> list:
    return sorted(folder.glob("*.pt"))


def refusals(folder) -> str:
    return (folder / kept.REFUSALS).read_text()


def refuse_to_train(monkeypatch):
    monkeypatch.setattr(fit_module, "_train", lambda *_: pytest.fail("trained again"))


class Watcher:
    """A hook that keeps what it saw, and draws noise of its own."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, history):
        self.seen.append((weights(model), torch.randn(3), len(history), terms(history)[-1], model.training))


CASES = {
    "noise": (make_vae, negative_elbo, {}),
    "two players": (make_gan, GAN, {}),
    "cosine, bf16": (make_vae, negative_elbo, {"cosine": True, "bf16": True}),
    "own optimizer": (make_vae, negative_elbo, {"optimizer": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.5)}),
    "batch norm": (
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 4)),
        lambda model, x: {"loss": model(x).square().mean()},
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loaded_is_trained_to_the_last_bit(name, digits, folder, monkeypatch):
    make, objective, options = CASES[name]

    def once(**more):
        torch.manual_seed(3)
        model, watcher = make(), Watcher()
        history = run(model, objective, digits.train, valid=digits.valid, epochs=3, on_epoch_end=watcher, **options)
        gradients = [p.grad for p in model.parameters()]
        return model, history, watcher.seen, torch.get_rng_state(), gradients

    monkeypatch.delenv(kept.VARIABLE)
    plain = once()
    assert not folder.exists()
    monkeypatch.setenv(kept.VARIABLE, str(folder))
    first = once()
    assert len(files(folder)) == 1
    refuse_to_train(monkeypatch)
    for found in (first, once()):
        assert terms(found[1]) == terms(plain[1])
        assert_same(found[0], plain[0])
        assert torch.equal(found[3], plain[3])
        assert all(torch.equal(a, b) for a, b in zip(found[4], plain[4], strict=True))
        for (one, noise, *rest), (other, other_noise, *other_rest) in zip(found[2], plain[2], strict=True):
            assert_same(one, other)
            assert torch.equal(noise, other_noise) and rest == other_rest
    assert len(files(folder)) == 1


def test_history_keeps_the_seconds_of_the_training_that_took_place(digits, folder):
    first, second = (run(make_vae(), negative_elbo, digits.train, epochs=2) for _ in range(2))
    assert first == second  # seconds and speed as well


def test_what_was_loaded_can_be_trained_on(digits, folder, monkeypatch):
    runs = []
    for where in ("", str(folder), str(folder)):
        monkeypatch.setenv(kept.VARIABLE, where)
        model = make_vae()
        run(model, negative_elbo, digits.train, epochs=1)
        runs.append((model, run(model, negative_elbo, digits.train, epochs=2, seed=9)))
    for model, history in runs[1:]:
        assert_same(model, runs[0][0])
        assert terms(history) == terms(runs[0][1])


SCALE = 1.0


def helper(loss):
    return SCALE * loss


def through_a_global(model, x):
    return {"loss": helper(negative_elbo(model, x)["loss"])}


def with_code(factor: str):
    """An objective whose code, but for one constant, is always the same."""
    scope = {"negative_elbo": negative_elbo, "__name__": "__main__"}
    exec(f"def objective(model, x):\n    return {{'loss': {factor} negative_elbo(model, x)['loss']}}", scope)
    return scope["objective"]


def closing_over(value):
    def objective(model, x):
        return {"loss": negative_elbo(model, x)["loss"] * float(torch.as_tensor(value).sum())}

    return objective


def one_pixel(digits):
    images = digits.train.images.clone()
    images[0, 0, 0, 0] += 1
    return images


CHANGES = {
    "learning rate": lambda d: {"lr": 2e-2},
    "epochs": lambda d: {"epochs": 3},
    "order": lambda d: {"seed": 6},
    "batch size": lambda d: {"batch_size": 15},
    "cosine": lambda d: {"cosine": True},
    "bf16": lambda d: {"bf16": True},
    "layout": lambda d: {"channels_last": True},
    "optimizer": lambda d: {"optimizer": lambda p: torch.optim.SGD(p, lr=1e-2)},
    "validation": lambda d: {"valid": d.valid},
    "validation data": lambda d: {"valid": d.valid[:10]},
    "one pixel": lambda d: {"train": one_pixel(d)},
    "one example less": lambda d: {"train": d.train.images[:-1]},
    "first weights": lambda d: {"model": make_vae(1)},
    "noise": lambda d: {"noise_seed": 8},
    "hook": lambda d: {"on_epoch_end": lambda model, history: None},
    "constant": lambda d: {"objective": with_code("1.5 *")},
    "operation": lambda d: {"objective": with_code("-1 / 2 +")},
    "value": lambda d: {"objective": closing_over(0.5)},
    "list": lambda d: {"objective": closing_over([0.5, 0.25])},
    "tensor": lambda d: {"objective": closing_over(torch.tensor([0.5, 0.2]))},
    "partial": lambda d: {"objective": functools.partial(negative_elbo)},
}


def test_another_training_is_another_one(digits, folder):
    """Each of these changes alone makes fit train anew: one file each."""

    def go(noise_seed=7, model=None, objective=None, train=None, **options):
        torch.manual_seed(noise_seed)
        model = make_vae() if model is None else model
        torch.manual_seed(noise_seed)
        data = digits.train.images if train is None else train
        options = {"epochs": 2, "batch_size": 16, "lr": 1e-2, "seed": 5, "progress": False} | options
        fit_module.fit(model, objective or with_code("1.0 *"), data, **options)

    go()
    go()
    assert len(files(folder)) == 1
    for count, (name, change) in enumerate(CHANGES.items(), start=2):
        go(**change(digits))
        assert len(files(folder)) == count, name
    go()
    assert len(files(folder)) == 1 + len(CHANGES)


def test_a_global_that_a_helper_reads_counts(digits, folder, monkeypatch):
    for scale in (1.0, 2.0, 1.0):
        monkeypatch.setitem(globals(), "SCALE", scale)
        run(make_vae(), through_a_global, digits.train, epochs=1)
    assert len(files(folder)) == 2


def test_threads_and_versions_count(monkeypatch):
    before = kept.surroundings()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 63)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert len(set(map(str, before)) - set(map(str, kept.surroundings()))) == 2


def test_the_packages_code_counts(tmp_path, monkeypatch):
    (tmp_path / "fit.py").write_text("a")
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "kept.py"))
    names = set()
    for text in ("a", "b"):
        (tmp_path / "fit.py").write_text(text)
        kept._package.cache_clear()
        names.add(kept._package())
    kept._package.cache_clear()
    assert len(names) == 2


def test_a_model_of_other_code_is_another_model(digits, folder):
    def make(slope):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.layer = nn.Linear(64, 64)

            def forward(self, x):
                return slope * self.layer(x.flatten(1))

        return Net()

    for slope in (1.0, 1.5, 1.0):
        run(make(slope), lambda model, x: {"loss": (model(x) - 1).square().mean()}, digits.train, epochs=1)
    assert len(files(folder)) == 2


def test_a_damaged_file_is_trained_anew_and_mended(digits, folder, monkeypatch):
    expected = run(make_vae(), negative_elbo, digits.train, epochs=1)
    (file,) = files(folder)
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 2])
    assert terms(run(make_vae(), negative_elbo, digits.train, epochs=1)) == terms(expected)
    assert file.stat().st_size == size
    refuse_to_train(monkeypatch)
    run(make_vae(), negative_elbo, digits.train, epochs=1)


def test_a_training_stopped_by_hand_or_diverged_is_not_kept(digits, folder):
    def stop(model, history):
        raise KeyboardInterrupt

    run(make_vae(), negative_elbo, digits.train, epochs=2, on_epoch_end=stop)
    with pytest.raises(fit_module.TrainingDiverged):
        run(make_vae(), lambda m, x: {"loss": m["decoder"](torch.zeros(1, 3)).sum() / 0}, digits.train, epochs=1)
    assert not files(folder)


def test_an_objective_that_counts_is_not_kept_and_says_so(digits, folder):
    steps = itertools.count(1)

    def warm_up(model, x):
        return {"loss": min(1.0, next(steps) / 4) * negative_elbo(model, x)["loss"]}

    run(make_vae(), warm_up, digits.train, epochs=1)
    assert not files(folder)
    assert "changes more than weights" in refusals(folder)


def test_numpys_dice_are_not_restored_so_such_a_training_is_not_kept(digits, folder):
    def objective(model, x):
        return {"loss": negative_elbo(model, x)["loss"] * np.random.rand()}

    run(make_vae(), objective, digits.train, epochs=1)
    assert not files(folder)


@pytest.mark.parametrize("secret", [iter([1, 2]), open(os.devnull), types.SimpleNamespace(inner=(k for k in "ab"))])  # noqa: SIM115
def test_what_cannot_be_read_is_not_kept_and_named(secret, digits, folder):
    def objective(model, x):
        return {"loss": negative_elbo(model, x)["loss"] * (1 if secret else 0)}

    history = run(make_vae(), objective, digits.train, epochs=1)
    assert len(history) == 1 and not files(folder)
    assert "cannot be read" in refusals(folder)
    with pytest.raises(Unkeepable):
        fingerprint(objective)


def test_a_data_set_that_may_read_files_is_not_kept(digits, folder):
    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, index):
            return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(index))

    run(make_vae(), negative_elbo, Files(), epochs=1)
    assert not files(folder) and "which may read files" in refusals(folder)
    run(make_vae(), negative_elbo, torch.utils.data.TensorDataset(digits.train.images.float() / 255), epochs=1)
    assert len(files(folder)) == 1


def test_the_code_counts_as_it_was_when_the_process_began():
    program = "from pathlib import Path; from course_utils import kept; kept.Path = None; print(kept._package())"
    environment = os.environ | {kept.VARIABLE: "somewhere"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == kept._package(), done.stderr


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_file(digits, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(kept.VARIABLE, str(blocked / "kept"))
    assert len(run(make_vae(), negative_elbo, digits.train, epochs=1)) == 1


def test_with_a_checkpoint_of_ones_own_nothing_is_kept(digits, folder, tmp_path):
    run(make_vae(), negative_elbo, digits.train, epochs=1, checkpoint=tmp_path / "own")
    assert not folder.exists()


def test_without_the_variable_nothing_is_looked_at(digits, monkeypatch):
    monkeypatch.delenv(kept.VARIABLE, raising=False)
    monkeypatch.setattr(fingerprint_module, "_Digest", lambda *_: pytest.fail("looked at"))
    monkeypatch.setattr(kept, "other_randomness", lambda: pytest.fail("looked at"))
    assert kept.folder() is None
    run(make_vae(), negative_elbo, digits.train, epochs=1)


def test_the_line_says_that_it_was_loaded(digits, folder, capsys):
    for _ in range(2):
        run(make_vae(), negative_elbo, digits.train, epochs=1, progress=True)
    first, second = capsys.readouterr().out.splitlines()
    assert "images/s" in first and "loaded: trained before in" in second


# ---------------------------------------------------------------- results of functions


@pytest.fixture
def slow(tmp_path):
    """A function that leaves a trace of each call outside of Python's reach: a line in a file."""
    trace = tmp_path / "calls"
    trace.write_text("")

    @kept.result
    def function(points, *, draws=2):
        with open(trace, "a") as file:
            file.write("called\n")
        kinds = {"array": np.arange(3.0), "number": np.float32(2.5), "tuple": (1, None, "word"), 4: [True, 2.5]}
        return points.sum() + torch.randn(draws), kinds

    function.count = lambda: len(trace.read_text().splitlines())
    return function


def call(function, *args, seed=4, **options):
    torch.manual_seed(seed)
    return *function(*args, **options), torch.get_rng_state()


def test_a_result_is_the_same_computed_and_loaded(slow, folder, monkeypatch):
    monkeypatch.delenv(kept.VARIABLE)
    plain = call(slow, torch.ones(3))
    assert not folder.exists() and slow.count() == 1
    monkeypatch.setenv(kept.VARIABLE, str(folder))
    for value, kinds, state in (call(slow, torch.ones(3)), call(slow, torch.ones(3))):
        assert torch.equal(value, plain[0]) and torch.equal(state, plain[2])
        assert np.array_equal(kinds.pop("array"), np.arange(3.0))
        assert kinds == {"number": 2.5, "tuple": (1, None, "word"), 4: [True, 2.5]}
        assert type(kinds["number"]) is np.float32 and type(kinds["tuple"]) is tuple
    assert slow.count() == 2 and len(files(folder)) == 1


@pytest.mark.parametrize("change", [{"draws": 3}, {"seed": 5}, {"points": torch.full((3,), 2.0)}])
def test_other_arguments_and_other_dice_are_computed(slow, folder, change):
    call(slow, torch.ones(3))
    call(slow, change.pop("points", torch.ones(3)), **change)
    assert slow.count() == 2 == len(files(folder))


def test_a_damaged_result_is_computed_anew(slow, folder):
    first = call(slow, torch.ones(3))
    files(folder)[0].write_bytes(b"half")
    assert torch.equal(call(slow, torch.ones(3))[0], first[0])
    call(slow, torch.ones(3))
    assert slow.count() == 2


MANY = {
    "changes its argument": lambda points: (points.add_(1), 1)[1],
    "returns a class": lambda points: torch.nn.ReLU(),
    "returns something that can be trained": lambda points: points.clone().requires_grad_(),
    "uses NumPy's dice": lambda points: float(np.random.rand()),
}


@pytest.mark.parametrize("name", MANY)
def test_what_could_differ_when_loaded_is_not_kept(name, folder):
    kept.result(MANY[name])(torch.ones(3))
    assert not files(folder) and "is not kept" in refusals(folder)


def test_errors_of_the_function_are_its_own(folder):
    @kept.result
    def refuses(points):
        raise ValueError("too few points")

    with pytest.raises(ValueError, match="too few points") as raised:
        refuses(torch.ones(3))
    assert raised.value.__context__ is None


def test_metrics_that_take_seconds_are_kept(folder):
    from course_utils import metrics

    points, labels = torch.randn(60, 3), torch.arange(60) % 3
    for _ in range(2):
        metrics.two_nn_dimension(points)
        accuracy = metrics.probe_accuracy(points, labels, points, labels, per_class=4, seeds=(0, 1))
    assert len(files(folder)) == 2 and accuracy.shape == (2,)
