"""Where and how a chapter runs: one seed for everything, the device, the machine in words, files written whole.

PyTorch is imported inside functions, so that ``course doctor`` works where PyTorch does not.
"""

from __future__ import annotations

import numbers
import os
import platform
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

#: The root of the repository: data/, notebooks/ and build/ lie below it.
ROOT = Path(__file__).resolve().parents[1]


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (every device) with one whole number in 0 … 2³² − 1, else ``ValueError``."""
    import torch

    seed = whole("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a whole number of any type, 3.0 among them, as an int; ``ValueError`` with its name if it is none."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value // 1
    if not number or value < least or (most is not None and value > most):
        wanted = f"from {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} = {value!r}; give a whole number {wanted}")
    return int(value)


def pick_device(prefer: str | torch.device | None = None) -> torch.device:
    """Choose the device to compute on: ``prefer``, else that of ``COURSE_DEVICE``, else CUDA, else MPS, else the CPU.

    A device that is unknown or not on this machine is a ``ValueError``.
    """
    import torch

    mps = torch.backends.mps.is_available()
    prefer = prefer or os.environ.get("COURSE_DEVICE")
    if not prefer:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(prefer)
    except RuntimeError as error:
        raise ValueError(f"device {str(prefer)!r} is not one PyTorch knows; use 'cpu', 'cuda' or 'mps'") from error
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}
    if (device.index or 0) >= present.get(device.type, 0):
        raise ValueError(f"device {str(prefer)!r} is not on this machine; use 'cpu', or None to let the course choose")
    return device


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, str | int | float]:
    """Describe the machine a number was measured on, without naming it or its user; a GB has 10⁹ bytes."""
    from importlib.metadata import version

    import psutil
    import torch

    device, processor = pick_device(), platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "free_disk_gb": round(shutil.disk_usage(ROOT).free / 1e9, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path``, to be renamed to it at the end: a reader sees the old file or the new one.

    If anything is raised meanwhile, Ctrl-C included, the old file alone stays. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder, path.name)
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
