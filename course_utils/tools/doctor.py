"""What this machine has and what is broken, each with its mend; works where PyTorch does not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from course_utils.runtime import ROOT, cores

#: What importing torchvision says if it was built for another torch.
BROKEN_PAIR = "torchvision::nms does not exist"
PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "ipykernel", "papermill", "nbconvert")
Findings = list[tuple[str, str]]


def findings(*, data: bool = True) -> Findings:
    """Return (level, words) of everything looked at: "ok", "absent", "warning" or "BROKEN"; data sets if wanted."""
    found = [*_packages(), *_torch(), *_machine(), *_kernel(), *(_data() if data else [])]
    if os.environ.get("MPLBACKEND"):
        text = f"MPLBACKEND={os.environ['MPLBACKEND']} silently removes figures from notebooks: unset MPLBACKEND"
        found.append(("warning", text))
    return found


def _packages() -> Findings:
    from importlib.metadata import PackageNotFoundError, version

    level = "ok" if sys.version_info >= (3, 11) else "BROKEN"
    found = [(level, f"Python {platform.python_version()} at {sys.executable} (3.11 or newer is needed)")]
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    found.append(("ok", "packages: " + ", ".join(versions)))
    if missing:
        text = f"not installed: {', '.join(missing)}; run `make run`, or `pip install -e .` in {ROOT}"
        found.append(("BROKEN", text))
    return found


def _torch() -> Findings:
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:  # whatever it raises is what there is to diagnose
        if BROKEN_PAIR in str(error):
            reason = f"torch and torchvision do not fit together ({error})"
        else:
            reason = f"importing torch and torchvision fails ({type(error).__name__}: {error})"
        mend = "delete .venv and run `make setup`; in an environment of your own, `pip install --force-reinstall -c "
        mend += "constraints.txt torch torchvision`, with --index-url for both of them or for neither"
        return [("BROKEN", f"{reason}. Reinstall both from one index: {mend}")]
    devices = ["cpu"] + [f"cuda: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    devices += ["mps"] * torch.backends.mps.is_available()
    return [("ok", "torch and torchvision fit together; devices: " + ", ".join(devices))]


def _machine() -> Findings:
    free = shutil.disk_usage(ROOT).free / 1e9
    found = [("ok", f"{cores()} cores"), ("ok" if free > 2 else "warning", f"{free:.1f} GB of disk free at {ROOT}")]
    try:
        import psutil
    except ImportError as error:
        return [*found, ("BROKEN", f"the memory cannot be read: {error}; run `pip install psutil`")]
    total = psutil.virtual_memory().total / 1e9
    return [*found, ("ok" if total > 3 else "warning", f"{total:.1f} GB of memory (a chapter needs up to 3 GB)")]


def _kernel() -> Findings:
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        return [("BROKEN", f"the Jupyter kernel cannot be looked for: {error}; run `pip install ipykernel`")]
    try:
        python = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return [("BROKEN", "there is no Jupyter kernel python3; run `python -m ipykernel install --sys-prefix`")]
    if Path(python).name == python or Path(python).parent == Path(sys.executable).parent:
        return [("ok", "the Jupyter kernel python3 is the one of this environment")]
    mend = "run `python -m ipykernel install --sys-prefix` and do not set JUPYTER_PREFER_ENV_PATH=0"
    return [("BROKEN", f"the Jupyter kernel python3 starts another Python, {python}; {mend}")]


def _data() -> Findings:
    try:
        from course_utils import datasets
    except Exception as error:  # without PyTorch there is nothing to look with; that is named above
        return [("warning", f"data sets not looked at: {type(error).__name__}")]
    fetch = "not here, which is no problem for the quick profile; `course data fetch {}` brings it"
    return [
        ("absent", f"data set {name}: {fetch.format(name)}") if words == "missing" else ("ok", f"data set {name}: {words}")
        for name, words in datasets.present().items()
    ]
