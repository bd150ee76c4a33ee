"""Toy distributions in the plane (and one roll in space) whose density is known, to test ideas on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Mixture of isotropic Gaussians, Σ_k w_k N(x; m_k, σ_k² I): means (K, D), scales (K,) σ_k, weights (K,).

    ``ValueError`` for weights that are negative or do not add up to 1, and for scales that are not positive.
    """

    means: Tensor
    scales: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if not (len(self.means) == len(self.scales) == len(self.weights)):
            raise ValueError(f"{len(self.means)} means, {len(self.scales)} scales, {len(self.weights)} weights")
        if not math.isclose(float(self.weights.sum()), 1.0, abs_tol=1e-5) or float(self.weights.min()) < 0:
            raise ValueError(f"weights {self.weights.tolist()} must be non-negative and add up to 1")
        if float(self.scales.min()) <= 0:
            raise ValueError(f"scales {self.scales.tolist()} must be positive")

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Draw (n, D) points."""
        generator = torch.Generator().manual_seed(seed)
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.means[k] + self.scales[k, None] * torch.randn(n, self.means.shape[1], generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density (N,) at points (N, D), in nats."""
        dim = self.means.shape[1]
        squared = (x[:, None, :] - self.means).square().sum(-1)  # (N, K)
        log_normal = -0.5 * squared / self.scales**2 - dim * torch.log(self.scales) - 0.5 * dim * math.log(2 * math.pi)
        return torch.logsumexp(self.weights.log() + log_normal, dim=1)

    def score(self, x: Tensor) -> Tensor:
        """Return ∇ log p (N, D) at points (N, D)."""
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.log_prob(x).sum(), x)
        return gradient


def smoothed_curve(points: Tensor, sigma: float) -> Mixture:
    """Return the density of a curve blurred by N(0, σ² I): equal Gaussians on its points (K, D), closer than σ."""
    if sigma <= 0:
        raise ValueError(f"sigma = {sigma} must be positive")
    count = len(points)
    return Mixture(points, torch.full((count,), float(sigma)), torch.full((count,), 1 / count))


def ring(n: int = 400, *, radius: float = 1.0) -> Tensor:
    """Return n points (n, 2) evenly spaced on a circle."""
    angle = torch.arange(n) * (2 * math.pi / n)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


def spiral(n: int = 400, *, turns: float = 1.5, radius: float = 1.0) -> Tensor:
    """Return n points (n, 2) on an Archimedean spiral, evenly spaced along its length."""
    fine = torch.linspace(0.15, 1, 20_000, dtype=torch.float64)
    angle = 2 * math.pi * turns * fine
    curve = radius * fine[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    steps = (curve[1:] - curve[:-1]).norm(dim=1).cumsum(0)
    nearest = torch.searchsorted(steps, torch.linspace(0, float(steps[-1]), n, dtype=torch.float64))
    return curve[nearest.clamp(max=len(curve) - 1)].float()


def mixture_of_two() -> Mixture:
    """Return the plane's two-component mixture used for fitting one Gaussian by several measures."""
    return Mixture(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.5, 1.1]), torch.tensor([0.6, 0.4]))


def swiss_roll(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw points (n, 3) of a rolled-up sheet, and its own coordinates (n, 2): arc length along the roll, height."""
    generator = torch.Generator().manual_seed(seed)
    angle = 1.5 * math.pi * (1 + 2 * torch.rand(n, generator=generator))
    height = 21 * torch.rand(n, generator=generator)
    points = torch.stack([angle * angle.cos(), height, angle * angle.sin()], dim=1)
    arc = 0.5 * (angle * torch.sqrt(1 + angle**2) + torch.asinh(angle))
    return points, torch.stack([arc, height], dim=1)
