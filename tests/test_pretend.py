"""The pretended device refuses what a card refuses, each kind of mistake by itself, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import pretend, pretended
from notebook_files import CHAPTERS, NAMES, code_cells, tags

pytestmark = pytest.mark.skipif(bool(pretend.missing()), reason=pretend.missing())

#: What is tried, with x (3,) on the device → the beginning of what is raised, with float64 and without.
TWO_DEVICES = "DeviceMistake: Expected all tensors to be on the same device"
NO_NUMPY = "TypeError: can't convert pretend:0 device type tensor to numpy"
NO_FLOAT64 = "DeviceMistake: Cannot convert a pretend Tensor to float64"
MISTAKES = {
    "x + torch.rand(3)": (TWO_DEVICES, TWO_DEVICES),
    "torch.where(x > 0.5, x, torch.zeros(3))": (TWO_DEVICES, TWO_DEVICES),
    "torch.nn.Linear(3, 2).to(device)(torch.rand(1, 3))": (TWO_DEVICES, TWO_DEVICES),
    "torch.nn.Linear(3, 2)(x[None])": (TWO_DEVICES, TWO_DEVICES),
    "torch.cat([x, torch.rand(3)])": (TWO_DEVICES, TWO_DEVICES),
    "torch.zeros(3).add_(x)": (TWO_DEVICES, TWO_DEVICES),
    "torch.tensor(0.0).add_(x.sum())": (TWO_DEVICES, TWO_DEVICES),
    "torch.rand(3)[x > 0.5]": (TWO_DEVICES, TWO_DEVICES),
    "torch.rand(3)[x.argsort()]": (TWO_DEVICES, TWO_DEVICES),
    "x.index_put_((torch.tensor([0, 1]),), torch.tensor([1, 2]).float())": (TWO_DEVICES, TWO_DEVICES),
    "torch.stack([x.sum(), torch.tensor(1.0)])": (TWO_DEVICES, TWO_DEVICES),
    "torch.randn(3, device=device, generator=torch.Generator())": ("DeviceMistake: Expected a 'pretend'",) * 2,
    "x.numpy()": (NO_NUMPY, NO_NUMPY),
    "np.asarray(x)": (NO_NUMPY, NO_NUMPY),
    "np.corrcoef(x, x)": (NO_NUMPY, NO_NUMPY),
    "np.zeros(2).__setitem__(slice(None), (x.sum(), 1.0))": (NO_NUMPY, NO_NUMPY),
    "x.double()": ("", NO_FLOAT64),
    "torch.zeros(2, dtype=torch.float64, device=device)": ("", NO_FLOAT64),
    "torch.rand(2).double().to(device)": ("", NO_FLOAT64),
    "torch.from_numpy(np.zeros(2)).to(device)": ("", NO_FLOAT64),
    "torch.tensor(np.float64(1.0), device=device)": ("", NO_FLOAT64),
    "x.mean() / torch.tensor(2.0, dtype=torch.float64)": ("", NO_FLOAT64),
}
#: What works on a card, and what it must give.
FINE = {
    "x.cpu().numpy().shape": "(3,)",
    "torch.rand(3).double().to(x).dtype": "torch.float32",
    "(x * torch.tensor(2.0) - x - x).abs().max().item()": "0.0",
    "torch.where(x > 2, 1, torch.where(x < 2, 5.0, x)).tolist()": "[5.0, 5.0, 5.0]",
    "x[torch.tensor([0, 1])].shape, x[[0, 1]].shape, x[torch.ones(3).bool()].shape": "(torch.Size([2]), "
    "torch.Size([2]), torch.Size([3]))",
    "torch.tensor([1, 2], device=device).tolist(), x.new_tensor([1.0]).device": "([1, 2], "
    "device(type='pretend', index=0))",
    "torch.as_tensor(x[0], dtype=x.dtype, device=x.device).device.type": "'pretend'",
    "torch.zeros(3).copy_(x).device.type, torch.zeros(3, device=device).copy_(torch.ones(3)).sum().item()": "('cpu', "
    "3.0)",
    "float(x.new_zeros(())) + int(x.new_ones(2).sum()), bool(x.new_ones(()) > 0)": "(2.0, True)",
    "f'{x.new_ones(()):.2f}'": "'1.00'",
    "torch.autocast('pretend', torch.bfloat16)(lambda: x - x)().tolist()": "[0.0, 0.0, 0.0]",
    "torch.stack([x.sum(), x.mean()]).shape, torch.cat([x, x]).device.type": "(torch.Size([2]), 'pretend')",
}
PROGRAM = """
import json, sys
import numpy as np
import torch
from helpers import pretend

device = pretend.install(float64=sys.argv[1] == "True")
found = {}
for expression in json.load(sys.stdin):
    x = torch.rand(3).to(device)
    try:
        found[expression] = repr(eval(expression))
    except Exception as error:
        found[expression] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""
#: The same training on the CPU and on the device, with batches of the device's own; in a process of its own, too.
TRAINING = """
import copy, sys
import torch
from helpers import pretended

pretended.begin(float64=sys.argv[1] == "True")
from course_utils.datasets import Split
from course_utils.fit import evaluate, fit

def objective(model, x, y):
    return {"loss": torch.nn.functional.cross_entropy(model(x), y), "size": x.square().mean()}

data = Split(torch.randint(0, 256, (120, 1, 4, 4), dtype=torch.uint8), torch.arange(120) % 3)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
options = {"epochs": 3, "batch_size": 50, "with_labels": True, "progress": False, "lr": 0.01, "cosine": True}
rows = {}
for device in ("cpu", None):
    own = copy.deepcopy(model)
    history = fit(own, objective, data, data, device=device, **options)
    where = next(own.parameters()).device.type
    rows[where] = [row[term] for row in history for term in ("loss", "size", "valid_loss", "valid_size")]
    rows[where].append(evaluate(own, objective, data, with_labels=True)["loss"])
assert torch.allclose(torch.tensor(rows["cpu"]), torch.tensor(rows["pretend"]), rtol=1e-4), rows
pretended.end(there=True)
"""


def process(program: str, float64: bool, given: str = "") -> str:
    """Run a program in which the device can be installed; return what it prints."""
    folder = Path(__file__).parent
    command = [sys.executable, "-c", program, str(float64)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=[True, False], ids=["cuda", "mps"])
def tried(request):
    """Whether there is float64, and expression → what became of it on that device."""
    return request.param, json.loads(process(PROGRAM, request.param, json.dumps([*MISTAKES, *FINE])))


@pytest.mark.parametrize("expression", MISTAKES)
def test_mistakes_are_refused(tried, expression):
    float64, found = tried
    expected = MISTAKES[expression][0 if float64 else 1]
    assert found[expression].startswith(expected or "pretended("), found[expression]


@pytest.mark.parametrize("expression", FINE)
def test_what_a_card_does_is_done(tried, expression):
    _, found = tried
    assert found[expression] == FINE[expression]


@pytest.mark.parametrize("float64", [True, False], ids=["cuda", "mps"])
def test_training_there_gives_what_it_gives_on_the_cpu(float64):
    process(TRAINING, float64)


def test_a_mistake_in_a_notebook_fails_it_and_is_named():
    cells = [
        ('profile = "quick"\nsize = 3', ["parameters"]),
        ("import torch\nfrom course_utils.runtime import pick_device\ndevice = pick_device()", []),
        ("x = torch.rand(size).to(device)\nassert size == 4 and device.type == 'pretend'", []),
        ("torch.stack([x.sum(), torch.tensor(1.0)])", []),
    ]
    ended = pretended.run(cells, float64=True, parameters={"size": 4})
    assert ended.ending == "raised" and TWO_DEVICES.removeprefix("DeviceMistake: ") in ended.result.message


def test_a_notebook_that_leaves_the_device_alone_fails():
    ended = pretended.run([("size = 3", ["parameters"])], float64=True)
    assert ended.ending == "raised" and "0 operations" in ended.result.message


@pytest.mark.parametrize("name", NAMES)
def test_small_parameters_are_those_of_the_chapter(name):
    (path,) = [path for path in CHAPTERS if path.stem == name]
    (cell,) = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    values: dict = {}
    exec(cell.source, values)
    assert set(pretended.SMALL[name]) <= set(values)


def test_an_older_pytorch_is_recognised(monkeypatch):
    assert pretend.missing() == ""
    monkeypatch.delattr(pretend.backend_registration, "_setup_privateuseone_for_python_backend")
    assert "_setup_privateuseone_for_python_backend" in pretend.missing()
