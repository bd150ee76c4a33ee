"""Chapters on the pretended device: what begins and ends their kernel, their small parameters, and how they are run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from course_utils import runtime
from course_utils.runtime import ROOT
from helpers import pretend

#: Chapter → parameters with which it takes seconds. No number is judged, so a network need not learn anything.
SMALL: dict[str, dict[str, Any]] = {
    "00_start_here": {"epochs": 2},
    "01_generative_models": {"seeds": 1, "price_sizes": [50, 200], "price_repeats": 2, "nn_sizes": [250, 500]},
    "02_autoencoder": {
        "draws": 1,
        "tunings": 1,
        "width": 128,
        "epochs": 2,
        "linear_steps": 20,
        "copy_epochs": 1,
        "long_factor": 1,
        "other_amounts": [[4000, 1], [1000, 1]],
        "judge_epochs": 1,
        "few_steps": 4,
    },
    "03_convolutional_autoencoder": {
        "crops": 640,
        "up_seeds": 1,
        "up_epochs": [1],
        "ae_seeds": 1,
        "rates": [0.004],
        "digits": 500,
        "ae_epochs": 2,
        "long_epochs": 3,
    },
    "04_denoising_autoencoder": {
        "epochs": 1,
        "pictures": 8,
        "tuning_pictures": 1,
        "distances": [2],
        "clinic_seeds": 1,
        "copy_epochs": 1,
        "code_seeds": 2,
        "code_epochs": 2,
        "draws": 1,
        "spiral_steps": 20,
    },
    "05_variational_autoencoder": {
        "main_hidden": [32],
        "main_epochs": 4,
        "small_epochs": 2,
        "long_epochs": 2,
        "judge_epochs": 1,
        "lab_epochs": 2,
        "iw_images": 20,
        "iw_draws": 5,
        "prior_draws": 100,
        "draws": 1,
    },
    "06_svhn": {
        "train_size": 200,
        "epochs": 1,
        "latent_dim": 8,
        "other_latents": [4],
        "label_steps": 20,
        "speed_rounds": 1,
    },
    "07_evaluation": {
        "seeds": 1,
        "judges": 1,
        "rounds": 2,
        "samples": 1000,
        "compared": 100,
        "epochs": 1,
        "long_factor": 1,
        "judge_epochs": 1,
        "small_epochs": 1,
        "iw_images": 4,
        "centroids": [50, 1000],
        "kmeans_seeds": 1,
        "many_centroids": [60],
        "board_centroids": 50,
        "patch_counts": [100, 1000],
        "repeats": 20,
        "power_repeats": 2,
    },
    "08_autoregressive_models": {
        "linear_epochs": 1,
        "made_epochs": 1,
        "vae_epochs": 1,
        "conv_epochs": 1,
        "row_epochs": 1,
        "tested": 60,
        "iw_images": 4,
        "iw_draws": 4,
        "drawn": 14,
        "small_digits": 100,
        "grey_epochs": 1,
        "judge_epochs": 1,
    },
    "09_gans": {
        "critic_steps": 3,
        "few_steps": 2,
        "finite_steps": 3,
        "toy_seeds": 1,
        "toy_steps": 25,
        "runs": 2,
        "ring_steps": 2,
        "other_cures": ["spectral norm × 10", "WGAN-GP", "PacGAN, pairs"],
        "grid_cures": ["plain"],
        "grid_steps": 2,
        "clinic_steps": 3,
        "judge_epochs": 1,
        "gan_epochs": 4,
        "vae_epochs": 1,
        "convolutional_epochs": 4,
        "tricks": ["label smoothing", "instance noise", "R1"],
        "fresh_epochs": 1,
        "samples": 600,
    },
}
#: Chapters that never ask for a device.
ELSEWHERE = {"01_generative_models"}


def begin(float64: bool) -> None:
    """Let the course, in this kernel, compute on the pretended device; every epoch has one batch, every slider a frame.

    To be called before anything but ``runtime`` is imported from the course.
    """
    device, usual = pretend.install(float64), runtime.pick_device

    def pick_device(prefer: Any = None) -> Any:
        return device if prefer is None or str(prefer).startswith(pretend.NAME) else usual(prefer)

    runtime.pick_device = pick_device
    from course_utils import widgets
    from course_utils.batches import Batches

    made, slider, static_twin = Batches.__init__, widgets.slider, widgets.static_twin

    def one_batch(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.size = min(self.size, self.batch_size)

    Batches.__init__ = one_batch  # type: ignore[method-assign]
    widgets.slider = lambda draw, values, **options: slider(draw, list(values)[:1], **options | {"start": 0})
    widgets.static_twin = lambda draw, values, **options: static_twin(draw, values[:1], **options)
    from course_utils import datasets

    datasets.IMAGES[datasets.DRAWN] = 4000  # drawing all takes a quarter of a minute
    from torch import nn

    nn.GRU.forward = _gru_step_by_step  # type: ignore[method-assign]


def _gru_step_by_step(self: Any, x: Any, state: Any = None) -> Any:
    """Compute a GRU of one layer, batch first, without the fused kernel that PyTorch asks of every other device."""
    import torch
    from torch.nn import functional as F

    h, states = x.new_zeros(len(x), self.hidden_size) if state is None else state[0], []
    for step in x.unbind(1):
        reset, update, new = F.linear(step, self.weight_ih_l0, self.bias_ih_l0).chunk(3, 1)
        of_reset, of_update, of_new = F.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, 1)
        update = torch.sigmoid(update + of_update)
        new = torch.tanh(new + torch.sigmoid(reset + of_reset) * of_new)
        h = (1 - update) * new + update * h
        states.append(h)
    return torch.stack(states, 1), h[None]


def end(there: bool) -> None:
    """Raise if nothing was computed on the device, or something was that should not have been."""
    if bool(pretend.State.operations) != there:
        raise AssertionError(f"{pretend.State.operations} operations were carried out on the pretended device")


def hold(name: str) -> None:
    """Raise unless a chapter and its solutions run through on the device that has no float64."""
    ended = run(chapter(name), float64=False, there=name not in ELSEWHERE, parameters=SMALL[name])
    assert ended.ending == "ran", f"{ended.result.message}\n{ended.result.traceback}"


def chapter(name: str) -> list[tuple[str, list[str]]]:
    """Return source and tags of every code cell of a chapter and then of its solutions."""
    import nbformat

    cells = []
    for path in (ROOT / "notebooks" / f"{name}.ipynb", ROOT / "notebooks" / "solutions" / f"{name}.ipynb"):
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        cells += [(cell.source, cell.metadata.get("tags", [])) for cell in code]
    return cells


def run(cells: list[tuple[str, list[str]]], *, float64: bool, there: bool = True, parameters: Any = ()) -> Any:
    """Execute cells, given as source and tags, in a kernel whose device is the pretended one; return how it ended."""
    from nbformat.v4 import new_code_cell, new_notebook, writes

    from course_utils.tools.chapter import Chapter, Plan
    from course_utils.tools.kernel import execute

    opening = f"__import__('helpers.pretended').pretended.begin({float64})"
    cells = [(opening, []), *cells, (f"__import__('helpers.pretended').pretended.end({there})", [])]
    code = [new_code_cell(source, metadata={"tags": tags}) for source, tags in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = writes(new_notebook(cells=code, metadata={"kernelspec": kernel})).encode()
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "MPLBACKEND": "Agg"}  # no figure needs to be drawn
    place = Chapter("pretended", "Pretended", ROOT / "notebooks" / "pretended.ipynb")
    return execute(Plan(place, "quick", dict(parameters), True, {}, notebook, "key"), environment=environment)
