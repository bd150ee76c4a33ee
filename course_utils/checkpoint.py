"""State in a file: weights, history, random generators, numbers. Reading one never runs code."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.runtime import replacing

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
_NUMPY = "numpy: array or number"


def write(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write tensors, NumPy's arrays and numbers, Python's numbers and words, and lists, tuples and dicts of them.

    An interruption leaves the old file whole; ``TypeError`` names a value of another kind, ``OSError`` the path.
    """
    packed = _pack(dict(content))
    try:
        with replacing(Path(path).expanduser()) as file:
            torch.save(packed, file)
    except RuntimeError as error:  # torch's own, where the disk is full
        raise OSError(f"{path} could not be written; the disk may be full ({error})") from error


def read(path: str | Path, model: nn.Module | None = None, *, device: str | None = "cpu") -> dict[str, Any]:
    """Return what was written, on ``device`` (None: where it was); put the weights under "model" into ``model``.

    ``FileNotFoundError`` if there is no file; ``ValueError`` if it is damaged or something else, or does not fit.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        content = dict(_unpack(torch.load(path, map_location=device, weights_only=True)))
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"{path} is not a checkpoint of this course, or is damaged") from error
    if model is not None:
        put(content.get("model"), model, path)
    return content


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the parameters and buffers of a model by name."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def put(state: Any, model: nn.Module, path: str | Path) -> None:
    """Put weights that ``path`` holds into a model; ``ValueError`` if they are not its."""
    if state is None:
        raise ValueError(f"{path} has no weights under 'model'; of a file of plain weights load_state_dict takes them")
    wrapped = next((p for p in ("module.", "_orig_mod.") if all(name.startswith(p) for name in state)), "")
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        whose = f" (they are of a model that was wrapped: all names begin with {wrapped!r})" if wrapped else ""
        raise ValueError(f"the weights in {path} are not those of this model{whose}: {error}") from error


@dataclass
class Folder:
    """Where ``fit`` leaves ``last.pt`` and ``best.pt``, if anywhere, of what, and the settings that must stay."""

    path: str | Path | None
    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    settings: dict[str, Any]

    def last(self, resume: bool) -> list[dict[str, Any]]:
        """Return the history to go on from, with everything restored; an empty one for a run that begins."""
        if self.path is None and resume:
            raise ValueError("resume=True needs checkpoint=FOLDER, the folder with last.pt")
        if self.path is None or not (file := Path(self.path).expanduser() / "last.pt").exists():
            return []
        if not resume:
            raise FileExistsError(f"{file} holds another run; give resume=True to go on with it, or another folder")
        state = read(file)
        if not {"settings", "random"} <= set(state):
            raise ValueError(f"{file} holds weights, but no run of fit to go on with")
        pairs = {name: (state["settings"].get(name), now) for name, now in self.settings.items()}
        if other := {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}:
            raise ValueError(f"{file} was made with other settings (then, now): {other}; use these, or another folder")
        put(state["model"], self.model, file)
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        set_random_states(state["random"])
        return state["history"]

    def save(self, history: list[dict[str, Any]]) -> None:
        """Write ``last.pt``, and ``best.pt`` if no epoch had a smaller loss, on validation data if there are any."""
        if self.path is None:
            return
        content = {"model": self.model.state_dict(), "optimizers": [own.state_dict() for own in self.optimizers]}
        content |= {"random": random_states(), "history": history, "settings": self.settings}
        write(Path(self.path) / "last.pt", content)
        losses: list[Any] = [row.get("valid_loss", row.get("loss")) for row in history]
        if losses[-1] is not None and losses[-1] <= min(losses):
            write(Path(self.path) / "best.pt", content)


def random_states() -> dict[str, Any]:
    """Return the states of the global generators of torch (every device), NumPy and Python."""
    states = {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}  # without a card []
    states |= {"numpy": np.random.get_state(), "python": random.getstate()}
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Put the global generators into states that ``random_states`` returned, here or on a machine without a GPU."""
    torch.set_rng_state(states["torch"].cpu())
    for card, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state.cpu(), card)
    if torch.backends.mps.is_available() and "mps" in states:
        torch.mps.set_rng_state(states["mps"].cpu())
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])


def _pack(value: Any) -> Any:
    """Turn what ``weights_only`` would not read back, NumPy's, into torch's, marked; a copy, but for tensors."""
    if isinstance(value, dict):
        return {_pack(name): _pack(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_pack(item) for item in value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        return {_NUMPY: torch.from_numpy(np.array(value)), "array": isinstance(value, np.ndarray)}
    if type(value) in (Tensor, nn.Parameter):
        return value.detach()
    if type(value) not in _PLAIN:
        raise TypeError(f"a checkpoint holds tensors, arrays, numbers and words, but this is a {type(value).__name__}")
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict) and _NUMPY in value:
        array = value[_NUMPY].cpu().numpy()
        return array if value["array"] else array[()]
    if isinstance(value, dict):
        return {_unpack(name): _unpack(item) for name, item in value.items()}
    return type(value)(_unpack(item) for item in value) if type(value) in (list, tuple) else value
