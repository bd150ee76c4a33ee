"""Log-probabilities and KL divergences: summed over dimensions, one value per example, in nats."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of x under independent Bernoulli pixels.

    Parameters
    ----------
    x
        (B, …) values in [0, 1]. For grey values strictly between 0 and 1 the result is the
        negative cross-entropy, not the log-probability of a distribution over grey values
        (Loaiza-Ganem & Cunningham 2019, arXiv 1907.06845).
    logits
        (B, …) of the same shape: log-odds, *before* any sigmoid.

    Returns
    -------
    Tensor
        (B,) nats, Σ_d x_d log p_d + (1 − x_d) log(1 − p_d).

    Raises
    ------
    ValueError
        If the shapes differ (broadcasting here is a bug, not a convenience).
    """
    _same_shape(x, logits, "logits")
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_log_prob(x: Tensor, mean: Tensor, logvar: Tensor | float = 0.0) -> Tensor:
    """Log-density of x under independent Gaussians, −½ Σ_d [log 2π + log σ² + (x − μ)²/σ²].

    Parameters
    ----------
    x, mean
        (B, …) of the same shape.
    logvar
        log σ²: a number, or a tensor that broadcasts to the shape of x.

    Returns
    -------
    Tensor
        (B,) nats; may be positive, for a density is no probability.

    Raises
    ------
    ValueError
        If x and mean differ in shape, or logvar does not broadcast to it.
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
    """Draw z = μ + σ ⊙ ε with ε ~ N(0, I), so that gradients reach μ and log σ².

    Parameters
    ----------
    mu, logvar
        (B, d) mean and log-variance; σ = exp(½ logvar).

    Returns
    -------
    Tensor
        (B, d) one draw per row.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, section 2.4.
    """
    _same_shape(mu, logvar, "logvar")
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ_d (σ² + μ² − 1 − log σ²).

    Parameters
    ----------
    mu, logvar
        (B, d) mean and log-variance.

    Returns
    -------
    Tensor
        (B,) nats, never negative.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, appendix B.
    """
    _same_shape(mu, logvar, "logvar")
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar).flatten(1).sum(1)


def importance_weighted_bound(draw: Callable[[int], Tensor], *, k: int, chunk: int = 50) -> Tensor:
    """Importance-weighted bound on log p(x), log (1/k) Σ_i w_i with w_i = p(x, z_i) / q(z_i | x).

    Never holds more than ``chunk`` draws: the sum runs on in float64, relative to the largest weight so far.

    Parameters
    ----------
    draw
        ``draw(n)`` returns (n, B) log-weights log p(x, z_i) − log q(z_i | x) of n fresh draws z_i ~ q(z | x) for
        each of B examples, in nats.
    k
        Draws per example. With k = 1 the mean of the result over draws is the ELBO; it rises with k and tends to
        log p(x).
    chunk
        Draws asked for at a time: memory against calls.

    Returns
    -------
    Tensor
        (B,) nats, float64: one random value per example, whose expectation is the bound.

    Raises
    ------
    ValueError
        If k or chunk is less than one, ``draw`` returns another shape than it should, or log-weights that are NaN or
        +∞ (−∞, a weight of zero, is allowed).

    References
    ----------
    Burda, Grosse & Salakhutdinov 2015, arXiv 1509.00519, equation 8.
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k = {k}, chunk = {chunk}: both must be at least 1")
    total = None
    with torch.no_grad():
        for start in range(0, k, chunk):
            n = min(chunk, k - start)
            log_weights = draw(n)
            if (
                log_weights.ndim != 2
                or len(log_weights) != n
                or (total is not None and log_weights[0].shape != total.shape)
            ):
                raise ValueError(f"draw({n}) returned shape {tuple(log_weights.shape)}, expected ({n}, batch)")
            part = torch.logsumexp(log_weights.double(), dim=0)
            if not (part < math.inf).all():
                raise ValueError(f"draw({n}) returned log-weights that are NaN or +inf, for draws from {start} on")
            total = part if total is None else torch.logaddexp(total, part)
    return total - math.log(k)


def _same_shape(reference: Tensor, other: Tensor, name: str) -> None:
    if reference.shape != other.shape:
        raise ValueError(f"{name} has shape {tuple(other.shape)}, expected {tuple(reference.shape)}")
    if reference.ndim < 2:
        raise ValueError(f"expected a batch (B, …) of at least two dimensions, got shape {tuple(reference.shape)}")
