"""A small classifier of digits, to judge what a model draws: of what share of the pictures is it sure."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from course_utils import fit
from course_utils.datasets import Split
from course_utils.runtime import set_seed


def train_judge(train: Split, *, seed: int = 0, epochs: int = 5) -> nn.Module:
    """Train a small classifier with one hidden layer of 128 units: pictures (B, C, H, W) → scores (B, classes).

    Classes are those up to the largest label; ``seed`` decides weights and order of batches. Introduced in chapter 02.
    """
    set_seed(seed)
    pixels, classes = train.images[0].numel(), int(train.labels.max()) + 1
    judge = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, classes))
    fit.fit(judge, _cross_entropy, train, epochs=epochs, seed=seed, with_labels=True, progress=False)
    return judge


def _cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    return {"loss": F.cross_entropy(model(x), y)}
