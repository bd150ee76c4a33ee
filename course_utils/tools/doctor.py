"""What this machine has and what is broken, each with its mend; works where PyTorch does not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

from course_utils.runtime import ROOT, cores

#: What importing torchvision says if it was built for another torch.
BROKEN_PAIR = "torchvision::nms does not exist"
NEEDED = ("torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "mlxtend")
TOOLS = ("ipykernel", "jupyterlab", "nbconvert", "papermill")
INSTALL = f'run `make setup`, or `pip install -e ".[tools]"` in {ROOT}'
Findings = list[tuple[str, str]]


def findings(*, data: bool = True) -> Findings:
    """Return (level, words) of everything looked at: "ok", "absent", "warning" or "BROKEN"; data sets if wanted."""
    found = [*_packages(), *_torch()]
    for look in (_machine, _kernel, *([_data] if data else [])):
        try:
            found += look()
        except Exception as error:  # of an import; whatever it raises is what there is to diagnose
            level = "warning" if look is _data else "BROKEN"  # without PyTorch, named above, no data set can be seen
            words = f"the {look.__name__.strip('_')} could not be looked at ({type(error).__name__}: {error})"
            found.append((level, f"{words}; {INSTALL}"))
    if os.environ.get("MPLBACKEND"):
        text = f"MPLBACKEND={os.environ['MPLBACKEND']} silently removes figures from notebooks: unset MPLBACKEND"
        found.append(("warning", text))
    return found


def _packages() -> Findings:
    level = "ok" if sys.version_info >= (3, 11) else "BROKEN"
    found = [(level, f"Python {platform.python_version()} at {sys.executable} (3.11 or newer is needed)")]
    here = {str(each.metadata["Name"]).lower(): each.version for each in metadata.distributions()}
    shown = ", ".join(f"{name} {here[name]}" for name in (*NEEDED, *TOOLS) if name in here)
    found.append(("ok", f"packages: {shown}"))
    for names, level, beside in ((NEEDED, "BROKEN", ""), (TOOLS, "absent", ": notebooks run, the command does not")):
        if missing := [name for name in names if name not in here]:
            found.append((level, f"not installed: {', '.join(missing)}{beside}; {INSTALL}"))
    return found


def _torch() -> Findings:
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:  # whatever it raises is what there is to diagnose
        reason = f"importing torch and torchvision fails ({type(error).__name__}: {error})"
        if BROKEN_PAIR in str(error):
            reason = f"torch and torchvision do not fit together ({error})"
        if os.name == "nt" and isinstance(error, OSError):
            reason += ", often because the Microsoft Visual C++ Redistributable is missing: install that first"
        mend = "delete .venv and run `make setup`; in an environment of your own, `pip install --force-reinstall -c "
        mend += "constraints.txt torch torchvision`, with --index-url for both of them or for neither"
        return [("BROKEN", f"{reason}. Reinstall both from one index: {mend}")]
    devices = ["cpu"] + [f"cuda: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    devices += ["mps"] * torch.backends.mps.is_available()
    return [("ok", "torch and torchvision fit together; devices: " + ", ".join(devices))]


def _machine() -> Findings:
    import psutil

    free, total = shutil.disk_usage(ROOT).free / 1e9, psutil.virtual_memory().total / 1e9
    slow = "microsoft" in platform.release().lower() and ROOT.parts[:2] == ("/", "mnt")
    return [
        ("ok", f"{platform.system()} {platform.machine()}"),
        ("ok", f"{cores()} cores"),
        ("ok" if free > 2 else "warning", f"{free:.1f} GB of disk free at {ROOT}"),
        ("ok" if total > 3 else "warning", f"{total:.1f} GB of memory (a chapter needs up to 3 GB)"),
        *[("warning", f"{ROOT} lies on the disk of Windows, which is slow from WSL: move it into your home")] * slow,
        *[("absent", "make: README, section *Systems*, has the lines to type instead")] * (not shutil.which("make")),
    ]


def _kernel() -> Findings:
    from jupyter_client.kernelspec import KernelSpecManager

    python = KernelSpecManager().get_kernel_spec("python3").argv[0]
    if Path(python).name == python or Path(python).parent == Path(sys.executable).parent:
        return [("ok", "the Jupyter kernel python3 is the one of this environment")]
    mend = "run `python -m ipykernel install --sys-prefix` and do not set JUPYTER_PREFER_ENV_PATH=0"
    return [("BROKEN", f"the Jupyter kernel python3 starts another Python, {python}; {mend}")]


def _data() -> Findings:
    from course_utils import datasets

    found = []
    for name, words in datasets.present().items():
        level = "absent" if words == "missing" else "ok"
        way = f"not here, which is no problem for the quick profile; `course data fetch {name}` brings it"
        found.append((level, f"data set {name}: {way if level == 'absent' else words}"))
    return found
