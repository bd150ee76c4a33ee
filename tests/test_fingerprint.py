"""Two collections of values share a name only if nothing differs between them."""

import functools
import importlib
import itertools
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from test_fit import make_vae
from torch import nn

from course_utils.fingerprint import Unkeepable, fingerprint


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ([1, 2], (1, 2)),
        ([[1], 2], [[1, 2]]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, {1, 3}),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])),
        (np.zeros(2), np.zeros(3)),
        (np.float32(1), np.float64(1)),
        (generator(0), generator(1)),
        (np.random.default_rng(0), np.random.default_rng(1)),
        (np.random.RandomState(0), np.random.RandomState(1)),
        (nn.ReLU(), nn.SiLU()),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (torch.sigmoid, torch.tanh),
        (torch.nn.functional.relu, torch.nn.functional.silu),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (torch.optim.Adam, torch.optim.SGD),
        (itertools.count(1), itertools.count(2)),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x, k=1: x, lambda x, k=2: x),
        (torch.no_grad()(lambda x: x + 1), torch.no_grad()(lambda x: x + 2)),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
        ("x".join, "y".join),
    ],
    ids=lambda value: type(value).__name__,  # no address, which differs between workers
)
def test_different_things_have_different_names(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_many_throw_away_objects_are_not_taken_for_one_another():
    """Temporary objects get the ids of earlier ones; the fingerprint must not think that it met them before."""
    names = {
        fingerprint([np.random.default_rng(k) for k in range(8)], np.random.default_rng(seed)) for seed in range(20)
    }
    assert len(names) == 20


def test_aliases_are_told_from_copies():
    inner = [1]
    assert fingerprint([inner, inner]) != fingerprint([[1], [1]])
    loop = [1]
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop)


def test_weights_can_be_left_out_but_not_other_attributes():
    one, other = make_vae(0), make_vae(1)
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one, ignoring_weights_of=one) == fingerprint(other, ignoring_weights_of=other)
    assert fingerprint(one, ignoring_weights_of=one) == fingerprint(one.eval(), ignoring_weights_of=one)
    name = fingerprint(one, ignoring_weights_of=one)
    one.beta = 2.0
    assert fingerprint(one, ignoring_weights_of=one) != name


PROGRAM = """
import random, numpy as np, torch
from torch import nn
from course_utils import datasets, kept
from course_utils.fingerprint import fingerprint
from course_utils.densities import gaussian_kl
WORDS = {"some", "words", "in", "a", "set"}
class Net(nn.Module):
    rate: float = 0.5
    def __init__(self):
        super().__init__(); torch.manual_seed(0); self.layer = nn.Linear(3, 2)
    def forward(self, x):
        return self.layer(x) if len(WORDS) > 1 and x.ndim in {1, 2, 3} else x
def objective(model, x):
    return {"loss": gaussian_kl(model(x), model(x)).mean(), **{k: v for k, v in {"a": torch.tensor(1)}.items()}}
split = datasets.Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4))
print(fingerprint(Net(), objective, split, kept.surroundings()))
"""


def test_the_name_is_the_same_in_another_process():
    """Sets and strings are ordered differently in every process; the name must not be."""
    names = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        names.add(done.stdout.strip())
    assert len(names) == 1 and len(names.pop()) == 128 // 8 * 2


def test_what_a_helper_module_holds_counts(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    names = set()
    for factor in (1.0, 2.0):
        (tmp_path / "my_losses.py").write_text(f"FACTOR = {factor}\ndef scale(x):\n    return FACTOR * x\n")
        sys.modules.pop("my_losses", None)
        importlib.invalidate_caches()
        my_losses = importlib.import_module("my_losses")
        names |= {fingerprint(lambda x, module=my_losses: module.scale(x)), fingerprint(my_losses.scale)}
        monkeypatch.setattr(my_losses, "FACTOR", 3.0)  # at run time
        names.add(fingerprint(my_losses.scale))
    assert len(names) == 5, "three values through the function, two through the module"


def test_an_import_inside_a_function_counts_or_is_refused(monkeypatch):
    def objective(model, x):
        import my_losses_of_another_file as losses

        return losses.f(model, x)

    with pytest.raises(Unkeepable, match="my_losses_of_another_file"):
        fingerprint(objective)
    names = set()
    for factor in (1, 2):
        monkeypatch.setitem(sys.modules, "my_losses_of_another_file", types.SimpleNamespace(f=factor))
        names.add(fingerprint(objective))
    assert len(names) == 2
