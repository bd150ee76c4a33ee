"""Where and how a chapter runs: one seed for everything, the device, the machine in words."""

from __future__ import annotations

import os
import platform
import random
import shutil
from pathlib import Path

import numpy as np
import psutil
import torch

#: The root of the repository: data/, notebooks/ and build/ lie below it.
ROOT = Path(__file__).resolve().parents[1]


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (every device) with one number.

    Parameters
    ----------
    seed
        A whole number from 0 to 2**32 − 1, the range that NumPy accepts.

    Raises
    ------
    ValueError
        If the seed is not a whole number in that range.
    """
    if seed != int(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed = {seed} is not a whole number in 0 … 2**32 − 1; choose one, e.g. 0")
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(prefer: str | torch.device | None = None) -> torch.device:
    """Choose the device to compute on: CUDA, else MPS (Apple), else the CPU.

    Parameters
    ----------
    prefer
        A device of your choice, e.g. ``"cpu"`` or ``"cuda:1"``. Without it, the
        environment variable ``COURSE_DEVICE`` decides, and without that the fastest
        device found.

    Raises
    ------
    ValueError
        If the device asked for is unknown or not on this machine.
    """
    prefer = prefer or os.environ.get("COURSE_DEVICE") or None
    if prefer is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(prefer)
    except RuntimeError as error:
        raise ValueError(f"device {str(prefer)!r} is not one PyTorch knows; use 'cpu', 'cuda' or 'mps'") from error
    if not _is_present(device):
        raise ValueError(f"device {str(prefer)!r} is not on this machine; use 'cpu', or None to let the course choose")
    return device


def _is_present(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or (device.type == "mps" and torch.backends.mps.is_available())


def describe_machine() -> dict[str, str | int | float]:
    """Describe the machine a number was measured on, without naming it or its user.

    Returns
    -------
    dict
        ``python``, ``torch``, ``torchvision``, ``system``, ``processor``, ``cores``,
        ``memory_gb`` and ``free_disk_gb`` (units of 10⁹ bytes), ``device``.
    """
    from importlib.metadata import version

    device = pick_device()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "free_disk_gb": round(shutil.disk_usage(ROOT).free / 1e9, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
