"""A checkpoint is data: it comes back as it was, whole or not at all, and runs no code."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import checkpoint


def make(width: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def test_everything_comes_back_as_it_was(tmp_path):
    content = {
        "tensor": torch.arange(3), "array": np.arange(3.0), "number": np.float32(2.5), "flag": np.True_,
        "nested": [(1, None, "word"), {4: [True, 2.5, 1 + 2j]}], "parameter": nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    checkpoint.write(tmp_path / "deep" / "state.pt", content)
    state = checkpoint.read(tmp_path / "deep" / "state.pt")
    assert list(state) == list(content)
    for name, value in content.items():
        assert (
            state[name] == value if name == "nested" else np.array_equal(state[name], torch.as_tensor(value).detach())
        )
    kinds = (torch.Tensor, np.ndarray, np.float32, np.bool_, list, torch.Tensor)
    assert [type(value) for value in state.values()] == list(kinds)
    assert type(state["nested"][0]) is tuple and not state["parameter"].requires_grad


def test_the_weights_are_put_into_a_model(tmp_path):
    model, other = make(), make(seed=1)
    checkpoint.write(tmp_path / "model.pt", {"model": model.state_dict()})
    checkpoint.read(tmp_path / "model.pt", other)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    with pytest.raises(ValueError, match="model.pt are not those of this model"):
        checkpoint.read(tmp_path / "model.pt", make(width=4))
    checkpoint.write(
        tmp_path / "wrapped.pt", {"model": {f"module.{name}": w for name, w in model.state_dict().items()}}
    )
    with pytest.raises(ValueError, match="of a model that was wrapped: all names begin with 'module.'"):
        checkpoint.read(tmp_path / "wrapped.pt", make())
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="no weights under 'model'; of a file of plain weights load_state_dict"):
        checkpoint.read(tmp_path / "plain.pt", make())


def test_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # what Windows asks
    checkpoint.write("~/run/last.pt", {"value": 1})
    assert checkpoint.read(tmp_path / "run" / "last.pt") == checkpoint.read("~/run/last.pt") == {"value": 1}


def test_other_kinds_are_named_and_nothing_is_written(tmp_path):
    with pytest.raises(TypeError, match="this is a set"):
        checkpoint.write(tmp_path / "state.pt", {"values": [{1, 2}]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, error):
    path = tmp_path / "state.pt"
    checkpoint.write(path, {"value": 1})

    def half(state, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(type(error)):
        checkpoint.write(path, {"value": 2})
    assert os.listdir(tmp_path) == ["state.pt"] and checkpoint.read(path) == {"value": 1}


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "state.pt"
    with pytest.raises(FileNotFoundError, match="state.pt"):
        checkpoint.read(path)
    checkpoint.write(path, {"value": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="state.pt is not a checkpoint of this course, or is damaged"):
        checkpoint.read(path)
    torch.save(torch.ones(2), path)
    with pytest.raises(ValueError, match="state.pt is not a checkpoint"):
        checkpoint.read(path)


class _Code:
    """Unpickled without care, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_is_data_and_never_runs_code(tmp_path):
    torch.save({"model": _Code(tmp_path / "harm")}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.read(tmp_path / "model.pt")
    assert not Path(tmp_path / "harm").exists()


def test_random_states_are_those_of_torch_numpy_and_python(tmp_path):
    def draw():
        return torch.rand(2).tolist(), np.random.rand(), np.random.randn(), random.random()

    np.random.randn()  # which keeps a second number for the next call
    checkpoint.write(tmp_path / "state.pt", {"random": checkpoint.random_states()})
    first = draw()
    checkpoint.set_random_states(checkpoint.read(tmp_path / "state.pt")["random"])
    assert draw() == first != draw()


def test_copied_weights_do_not_follow_the_model():
    model = make()
    before = checkpoint.copy_weights(model)
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.allclose(before["0.weight"] + 1, model[0].weight)


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos 971072 vs 970964"), OSError(28, "No space left")])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, error):
    checkpoint.write(tmp_path / "last.pt", {"a": 1})

    def full(*_):
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="last.pt could not be written; the disk may be full|No space left"):
        checkpoint.write(tmp_path / "last.pt", {"a": 2})
    assert checkpoint.read(tmp_path / "last.pt") == {"a": 1} and len(list(tmp_path.iterdir())) == 1
