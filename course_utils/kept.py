"""Finished trainings and results, kept for a lecture: found again by a name for all that they depend on.

Nothing happens unless the environment variable ``COURSE_CHECKPOINTS`` names a folder; ``course lecture`` sets it. What
``fit`` has trained, and what a function under ``@result`` has computed, is then kept there under a fingerprint of
everything that decides it: weights, data, arguments, code with the values that it reaches, settings, random state,
versions. Where a fingerprint cannot be sure, because a value is of an unknown kind, nothing is kept.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import random
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.fingerprint import Unkeepable, fingerprint
from course_utils.runtime import ROOT

#: Names the folder of kept trainings; without it nothing is kept or looked for.
VARIABLE = "COURSE_CHECKPOINTS"
#: File in that folder with the reasons why trainings were not kept, one a line.
REFUSALS = "not_kept.txt"


def folder() -> Path | None:
    """Return the folder of kept trainings, or None; a relative path counts from the root of the repository."""
    value = os.environ.get(VARIABLE)
    return ROOT / Path(value).expanduser() if value else None


def refuse(reason: str) -> None:
    """Write down in the folder why a training was not kept; do nothing without a folder that can be written."""
    place = folder()
    if place is not None:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with open(place / REFUSALS, "a", encoding="utf-8") as file:
                file.write(" ".join(reason.split()) + "\n")
        except OSError:
            pass  # to keep is a convenience: the training itself must not fail with it


def surroundings() -> tuple:
    """Return what decides the bits of a training beside its arguments: code of this package, versions, threads."""
    settings = (torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision())
    settings += (torch.are_deterministic_algorithms_enabled(), torch.backends.cpu.get_cpu_capability())
    machine = (platform.python_version(), torch.__version__, platform.machine())
    machine += (torch.cuda.get_device_name(),) if torch.cuda.is_available() else ()
    return _package(), _libraries(), *machine, *settings


def other_randomness() -> str:
    """Return a name of the states of Python's and NumPy's own random generators, which ``fit`` does not restore."""
    return fingerprint(random.getstate(), np.random.get_state())


def randomness() -> dict:
    """Return the states of torch's global generators, from which a training draws."""
    states = {"cpu_randomness": torch.get_rng_state()}
    states["cuda_randomness"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return states | ({"mps_randomness": torch.mps.get_rng_state()} if torch.backends.mps.is_available() else {})


def set_randomness(states: dict) -> None:
    """Put torch's global generators into the states that ``randomness`` returned."""
    torch.set_rng_state(states["cpu_randomness"])
    if torch.cuda.is_available() and states["cuda_randomness"]:
        torch.cuda.set_rng_state_all(states["cuda_randomness"])
    if torch.backends.mps.is_available() and "mps_randomness" in states:
        torch.mps.set_rng_state(states["mps_randomness"])


def write(path: Path, content: dict) -> None:
    """Save with torch under a temporary name, then rename: a reader sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            torch.save(content, file)
            file.close()
            os.replace(file.name, path)
        except BaseException:  # Ctrl-C as well: leave nothing half-written behind
            file.close()
            os.unlink(file.name)
            raise


def result(function: Callable) -> Callable:
    """Decorate a slow function: in a lecture its result, computed before with the same arguments, is loaded.

    Result and random state afterwards are the same to the last bit. Nothing is kept if the function changes an
    argument or a value that it reaches, or returns something other than numbers, words, tensors and arrays on the
    CPU, and lists, tuples and dicts of them. Without the folder the function is simply called.
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        place = folder()
        if place is None:
            return function(*args, **kwargs)
        return _reuse(place, function, args, kwargs)

    return call


def _reuse(place: Path, function: Callable, args: tuple, kwargs: dict):
    """Return the kept result, or compute and keep it."""
    try:
        before = fingerprint(function, args, kwargs), other_randomness()
        path = place / f"{fingerprint(before[0], randomness(), surroundings())}.pt"
    except Unkeepable as reason:
        refuse(f"a result of {function.__name__} is not kept: it depends on {reason}")
        return function(*args, **kwargs)
    state = _read(path)
    if state is not None:
        set_randomness(state)
        return _unpack(state["value"])
    value = function(*args, **kwargs)
    try:
        if (fingerprint(function, args, kwargs), other_randomness()) != before:
            raise Unkeepable("it changes more than it returns")
        write(path, {"value": _pack(value), **randomness()})
    except (Unkeepable, OSError) as reason:
        refuse(f"a result of {function.__name__} is not kept: {reason}")
    return value


def _read(path: Path) -> dict | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # there is none, or it is damaged, for which torch has many kinds of error: write it anew
        return None


def _pack(value):
    """Turn a value into kinds that torch reads back without running code, each with a word that says what it was."""
    if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "biufc":
        return {"array" if isinstance(value, np.ndarray) else "number": torch.from_numpy(np.array(value))}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_pack(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[_pack(name), _pack(item)] for name, item in value.items()]}
    plain = type(value) in (type(None), bool, int, float, str)
    if not plain and not (type(value) is Tensor and value.device.type == "cpu" and not value.requires_grad):
        raise Unkeepable(f"it returns a {type(value).__name__}")
    return {"as it is": value}


def _unpack(packed: dict):
    ((kind, value),) = packed.items()
    if kind in ("array", "number"):
        return value.numpy() if kind == "array" else value.numpy()[()]
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_unpack(item) for item in value)
    return {_unpack(name): _unpack(item) for name, item in value} if kind == "dict" else value


@functools.cache
def _libraries() -> tuple[str, ...]:
    return tuple(version(name) for name in ("numpy", "scipy", "scikit-learn", "scikit-image"))


@functools.cache
def _package() -> str:
    """Return a hash of the package's modules that may take part in a training."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


if os.environ.get(VARIABLE):
    _package()  # as the code is now: a file that is edited later is not what this process runs
