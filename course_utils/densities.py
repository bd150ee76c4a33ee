"""Log-probabilities and KL divergences: summed over dimensions, one value per example, in nats.

The first four refuse shapes that differ or hold no batch (``ValueError``): broadcasting here is a bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of x (B, …) in [0, 1] under independent Bernoulli pixels → (B,) nats.

    Σ_d x_d log p_d + (1 − x_d) log(1 − p_d); ``logits`` (B, …) are log-odds, *before* any sigmoid. Of grey values this
    is the negative cross-entropy, no log-probability (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845).
    """
    _same_shape(x, logits, "logits")
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_log_prob(x: Tensor, mean: Tensor, logvar: Tensor | float = 0.0) -> Tensor:
    """Log-density of x (B, …) under independent Gaussians → (B,) nats, −½ Σ_d [log 2π + log σ² + (x − μ)²/σ²].

    ``mean`` as x; ``logvar``, log σ², is a number or broadcasts to the shape of x.
    """
    _same_shape(x, mean, "mean")
    logvar = torch.as_tensor(logvar, dtype=x.dtype, device=x.device)
    try:
        logvar = logvar.expand_as(x)
    except RuntimeError as error:
        raise ValueError(f"logvar {tuple(logvar.shape)} does not broadcast to x {tuple(x.shape)}") from error
    terms = math.log(2 * math.pi) + logvar + (x - mean).square() * torch.exp(-logvar)
    return -0.5 * terms.flatten(1).sum(1)


def reparameterize(mu: Tensor, logvar: Tensor) -> Tensor:
    """Draw z = μ + σ ⊙ ε, ε ~ N(0, I), σ² = exp(logvar), (B, d) each. Kingma & Welling 2013, arXiv 1312.6114, 2.4."""
    _same_shape(mu, logvar, "logvar")
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ_d (σ² + μ² − 1 − log σ²): (B, d) each → (B,) nats (the same, appendix B)."""
    _same_shape(mu, logvar, "logvar")
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar).flatten(1).sum(1)


def importance_weighted_bound(draw: Callable[[int], Tensor], *, k: int, chunk: int = 50) -> Tensor:
    """Importance-weighted bound on log p(x) → (B,) nats, float64: log (1/k) Σ_i w_i with w_i = p(x, z_i) / q(z_i | x).

    ``draw(n)`` returns log-weights (n, B) log p(x, z_i) − log q(z_i | x) of n fresh draws z_i ~ q(z | x), n at most
    ``chunk``, for each of B examples. One random value per example, whose expectation is the bound; builds no graph.
    Another shape, or log-weights that are NaN or +∞ (−∞, a weight of zero, is allowed), are a ``ValueError``. Burda,
    Grosse & Salakhutdinov 2015, arXiv 1509.00519, equation 8.
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k = {k}, chunk = {chunk}: both must be at least 1")
    total = torch.tensor(-math.inf, dtype=torch.float64)  # the logarithm of no weight yet
    with torch.no_grad():
        for start in range(0, k, chunk):
            n = min(chunk, k - start)
            log_weights = draw(n)
            if log_weights.ndim != 2 or log_weights.shape != (n, *(total.shape or log_weights.shape[1:])):
                raise ValueError(f"draw({n}) returned shape {tuple(log_weights.shape)}, expected ({n}, batch)")
            part = torch.logsumexp(log_weights.cpu().double(), dim=0)  # not every device has float64
            if not (part < math.inf).all():
                raise ValueError(f"draw({n}) returned log-weights that are NaN or +inf, for draws from {start} on")
            total = torch.logaddexp(total, part)
    return total - math.log(k)


def vae_log_weights(vae: Any, x: Tensor, n: int) -> Tensor:
    """Log-weights (n, B) of a VAE for x (B, …) of zeros and ones: log p(z) + log p(x | z) − log q(z | x), z ~ q(z | x).

    For ``importance_weighted_bound(lambda n: vae_log_weights(vae, x, n), k=…)``. ``vae.encoder(x)`` is (B, 2d), μ
    beside log σ²; ``vae.decoder(z)`` are logits as x; the prior is N(0, I). Introduced in chapter 05.
    """
    mu, logvar = (t.repeat(n, 1) for t in vae.encoder(x).chunk(2, dim=-1))  # (n · B, d)
    z = reparameterize(mu, logvar)
    pixels = bernoulli_log_prob(x.repeat(n, *[1] * (x.ndim - 1)), vae.decoder(z))
    log_joint = gaussian_log_prob(z, torch.zeros_like(z)) + pixels
    return (log_joint - gaussian_log_prob(z, mu, logvar)).view(n, -1)


def _same_shape(reference: Tensor, other: Tensor, name: str) -> None:
    if reference.shape != other.shape:
        raise ValueError(f"{name} has shape {tuple(other.shape)}, expected {tuple(reference.shape)}")
    if reference.ndim < 2:
        raise ValueError(f"expected a batch (B, …) of at least two dimensions, got shape {tuple(reference.shape)}")
