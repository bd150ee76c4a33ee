"""What answers are asked about: draws that are always the same for one seed."""

from __future__ import annotations

import torch
from torch import Tensor


def rand(*shape: int, seed: int) -> Tensor:
    """Draw uniformly from [0, 1), in double precision."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randn(*shape: int, seed: int) -> Tensor:
    """Draw from the standard normal, in double precision."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
