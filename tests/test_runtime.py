import random

import numpy as np
import pytest
import torch

from course_utils.runtime import ROOT, describe_machine, pick_device, set_seed, whole


def _draws() -> tuple:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_one_seed_repeats_python_numpy_and_torch():
    set_seed(3)
    first = _draws()
    set_seed(3)
    assert _draws() == first
    set_seed(4)
    assert all(a != b for a, b in zip(_draws(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1", None, True, float("nan")])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match=f"seed = {seed!r}; give a whole number from 0 to 4294967295"):
        set_seed(seed)


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3)])
def test_whole_numbers_of_every_type_are_taken_from_the_least_on(value):
    assert whole("k", value, 3) == 3 and type(whole("k", value, 3)) is int
    with pytest.raises(ValueError, match="k = .*; give a whole number from 4$"):
        whole("k", value, 4)


def test_the_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "nonsense")
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="'nonsense'"):
        pick_device()


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_without_a_wish_the_fastest_device_is_taken(monkeypatch, cuda, mps, expected):
    monkeypatch.delenv("COURSE_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device().type == expected


@pytest.mark.parametrize("name", ["cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' is not on this machine"):
        pick_device(name)


def test_the_machine_is_described_without_names():
    import getpass
    import platform

    machine = describe_machine()
    assert set(machine) == {
        "python", "torch", "torchvision", "system", "processor", "cores", "memory_gb", "free_disk_gb", "device",
    }  # fmt: skip
    assert machine["torch"] == torch.__version__ and machine["device"] == "cpu"
    assert machine["cores"] >= 1 and machine["memory_gb"] > 0.1 and machine["free_disk_gb"] >= 0
    assert platform.node() not in machine.values() and getpass.getuser() not in machine.values()


def test_the_root_is_the_repository():
    assert (ROOT / "course_utils" / "runtime.py").exists()
