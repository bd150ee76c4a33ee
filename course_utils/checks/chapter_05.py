"""Checks of chapter 05, the variational autoencoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


@exercise("5.1")
def exercise_1(gaussian_negative_elbo: Function) -> str:
    """Negative ELBO with Gaussian pixels of known width."""
    x, x_hat, mu, logvar = (
        rand(6, 1, 28, 28, seed=0),
        rand(6, 1, 28, 28, seed=1),
        randn(6, 5, seed=2),
        randn(6, 5, seed=3),
    )
    error, each = (x - x_hat).square().flatten(1).sum(1), _kl(mu, logvar)
    for tensor in (x_hat, mu, logvar):
        tensor.requires_grad_()
    sigma = 0.3
    result = gaussian_negative_elbo(x, x_hat, mu, logvar, sigma)
    full = error / (2 * sigma**2) + 784 / 2 * math.log(2 * math.pi * sigma**2) + each.sum(1)  # (6,)
    if near(as_tensor(result), full):
        raise Misconception("one value per picture: average over the batch, the optimiser needs one number")
    value, right = as_tensor(result, (), "a loss is one number"), full.mean()
    otherwise = (
        f"on a random batch the negative ELBO is {right:.3f} nats, yours {value:.3f}; start from the formula at the "
        "head of section 9"
    )
    compare(value, right, _elbo_slips(error.mean(), each.mean(0), full.sum(), sigma), otherwise)
    expect_graph(result)
    return "squared error / 2σ², its constant, and the KL, all in nats"


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of every dimension to the standard normal."""
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar)


def _elbo_slips(error: Tensor, each: Tensor, summed: Tensor, sigma: float) -> dict[Tensor, str]:
    """Return the table, from the mean squared error, the mean KL of each dimension and the sum over the batch of 6."""
    known, constant, kl = error / (2 * sigma**2), 784 / 2 * math.log(2 * math.pi * sigma**2), each.sum()
    return {
        known + kl: "the constant D/2·log 2πσ² is missing: without it the value is no negative log-likelihood and "
        "cannot be compared between two σ",
        -summed / 6: "that is the ELBO; the loss is its negative (patient 'sign' of the clinic)",
        error / (2 * sigma) + constant + kl: "σ stands where σ² belongs: the squared error is divided by 2σ², see the "
        "slips",
        2 * known + constant + kl: "the 2 of 1/(2σ²) is missing in the squared error's term",
        known + constant - kl: "the KL has the wrong sign: it is a price, so it adds to the loss",
        known + constant + each.mean(): "the KL is averaged over the latent dimensions; sum over dimensions, mean over "
        "the batch (patient 'averaged')",
        known + constant + 6 * kl: "the KL is summed over the batch as well: average over the batch",
        summed: "you summed over the batch: the loss then grows with the batch size",
        known + constant: "that is the reconstruction term alone; the KL is missing",
        known / 784 + constant + kl: "the squared error is averaged over the pixels, as F.mse_loss does unless told "
        "otherwise; sum over the pixels, mean over the batch",
        known / 784 + kl: "the squared error is averaged over the pixels, as F.mse_loss does unless told otherwise, "
        "and the constant D/2·log 2πσ² is missing",
        6 * known + constant + kl: 'the squared error is summed over the batch as well, as reduction="sum" does: '
        "divide it by the number of pictures",
        known + constant / 784 + kl: "the constant ½·log 2πσ² stands once for every pixel: D/2 times log 2πσ²",
        known + 784 * math.log(sigma) + kl: "the 2π is missing in the constant D/2·log 2πσ²",
        error + kl: "squared error plus KL is right only for σ² = ½, and without the constant, see (5.15)",
        error / 784 + kl: "the squared error is averaged over the pixels: that assumes σ² = D/2, see (5.15)",
    }


@exercise("5.2")
def exercise_2(diagonal_kl: Function) -> str:
    """KL between two diagonal Gaussians."""
    mu0, logvar0, mu1, logvar1 = (randn(4, 3, seed=k) for k in range(4))
    value = as_tensor(diagonal_kl(mu0, logvar0, mu1, logvar1))
    first, second = Normal(mu0, (0.5 * logvar0).exp()), Normal(mu1, (0.5 * logvar1).exp())
    each = kl_divergence(first, second)  # (4, 3)
    right = each.sum(1)
    if near(value, right.mean()) or near(value, right.sum()):
        raise Misconception("one number for all rows; asked is one value for each row, (B,)")
    if near(value, each):
        raise Misconception("one value for each dimension: independent dimensions add up, sum over dim 1")
    value = as_tensor(value, (4,))
    widths, shift, logs = (logvar0 - logvar1).exp(), (mu0 - mu1).square(), logvar1 - logvar0
    slips = {
        kl_divergence(second, first).sum(1): "that is KL(second‖first); the KL is not symmetric, and the second "
        "argument's variance stands in the denominator",
        _kl(mu0, logvar0).sum(1): "that is the KL to the standard normal (5.8): the second Gaussian does not appear",
        each.mean(1): "averaged over dimensions; independent dimensions add up",
        2 * right: "the factor ½ is missing",
        right + 3 / 2: "the −1 of every dimension is missing: then the KL of a distribution to itself is not 0",
        right - logs.sum(1): "the log-determinants are exchanged: see (5.9)",
        0.5 * (widths + shift - 1 + logs).sum(1): "the squared distance of the means is measured in units of the "
        "second variance: divide by σ₁²",
        0.5 * (widths + shift * (-logvar0).exp() - 1 + logs).sum(1): "the squared distance of the means is divided by "
        "σ₀²; (5.9) divides by the *second* variance, σ₁²",
        kl_divergence(Normal(mu0, logvar0.exp()), Normal(mu1, logvar1.exp())).sum(1): "logvar is log σ², so "
        "exp(logvar) is the variance, not the standard deviation",
    }
    otherwise = (
        f"for the first row the KL is {right[0]:.3f} nats, yours {value[0]:.3f}; put diagonal matrices into (5.9)"
    )
    compare(value, right, slips, otherwise)
    return "torch.distributions agrees"


@exercise("5.3")
def exercise_3(exponential_draw: Function) -> str:
    """Exponential draws as a function of uniform ones."""
    rate, uniform = (0.5 + rand(7, 400, seed=0)).requires_grad_(), rand(7, 400, seed=1)
    result = exponential_draw(rate, uniform)
    z, lam = as_tensor(result, uniform.shape, ", that of uniform"), rate.detach()
    up, down = -torch.log1p(-uniform) / lam, -uniform.log() / lam
    slips = {
        up * lam * lam: "you multiplied by the rate; solving u = 1 − exp(−λz) for z divides by it",
        down * lam * lam: "you multiplied by the rate; solving for z divides by it",
        (-up, -down): "the sign is wrong: the logarithm of a number below 1 is negative, and z is not",
        1 - torch.exp(-lam * uniform): "that is the distribution function itself; its *inverse* turns uniform numbers "
        "into draws",
        lam * torch.exp(-lam * uniform): "that is the density; draws come from the inverse of the distribution "
        "function",
        up * lam: "the rate does not appear: these are draws with rate 1",
    }
    otherwise = (
        f"u = {uniform[0, 0]:.3f} and rate {lam[0, 0]:.3f} belong to z = {up[0, 0]:.3f} (or, with 1 − u, "
        f"{down[0, 0]:.3f}), yours is {z[0, 0]:.3f}; solve u = 1 − exp(−λz) for z"
    )
    again, other = (as_tensor(exponential_draw(rate, u)) for u in (uniform, 1 - uniform))
    if not near(again, z) or near(other, z):
        otherwise = "`uniform` is not used: the draws must be a function of it, not come from a generator"
    compare(z, (up, down), slips, otherwise)
    graph = isinstance(result, Tensor) and result.requires_grad
    slope = torch.autograd.grad(result.sum(), rate, allow_unused=True)[0] if graph else None
    if slope is None:
        raise Misconception("the draws are right, but no gradient reaches `rate`: do not detach it or use .sample()")
    if not near(slope, -z / lam):
        raise Misconception("the draws are right, but their gradient by the rate should be −z/λ")
    if near(z, down):
        return "the inverse distribution function; but u = 0 can be drawn and gives infinity, -log1p(-u) does not"
    return "the inverse distribution function moves the randomness out"


@exercise("5.4")
def exercise_4(implied_sigma: Function) -> str:
    """Width of the Gaussian decoder behind a weighted loss."""
    slips = {
        lambda a, b, n: b * n / (2 * a): "that is σ², the variance; the question asks for σ, so take the root",
        lambda a, b, n: math.sqrt(b * n / a): "the 2 of 1/(2σ²) is missing: 2σ² = wD",
        lambda a, b, n: math.sqrt(a * n / (2 * b)): "the weights are exchanged: a heavier KL means a *wider* decoder",
        lambda a, b, n: math.sqrt(b / (2 * a)): "the error is averaged over D pixels, so D belongs into the formula",
        lambda a, b, n: math.sqrt(b * n / 2): "the squared error's weight is missing: only the ratio b / a counts",
        lambda a, b, n: math.sqrt(b / (2 * a * n)): "D stands on the wrong side: the average *divides* the error by D, "
        "which widens the decoder",
    }
    otherwise = (
        "for a = {0:g}, b = {1:g}, D = {2} the width is {right:.3f}, yours {value:.3f}; divide the loss by b "
        "and compare with the formula at the head of section 9"
    )
    cases = [(1.0, 0.00025, 12_288), (1000.0, 1.0, 784), (3.0, 0.6, 50)]
    compare_all(implied_sigma, cases, lambda a, b, n: math.sqrt(b * n / (2 * a)), slips, otherwise)
    return "only the ratio of the weights counts, and D"


@exercise("5.5")
def exercise_5(iw_bound: Function) -> str:
    """Logarithm of the mean weight, computed without underflow."""
    log_w = 3 * randn(8, 5, seed=0) - torch.tensor([0.0, 100.0, 500.0, 1000.0, 2000.0])
    given, total = log_w.clone(), torch.logsumexp(log_w, 0)
    value, right = as_tensor(iw_bound(given)), total - math.log(8)
    if not torch.equal(given, log_w):
        raise Misconception("log_w itself has changed: work on a new tensor, not with in-place operations")
    if value.shape == (8,):
        raise Misconception("you averaged over the pictures; the k draws of one picture run along the first axis")
    if near(value, right.mean()):
        raise Misconception("one number for all pictures; asked is one value for each, (B,)")
    value = as_tensor(value, (5,))
    if not torch.isfinite(value).all():
        raise Misconception(
            "log 0: exp of the smallest log-weights underflows to zero. Keep to logarithms: torch.logsumexp"
        )
    slips = {
        log_w.mean(0): "that is the mean of the logarithms, the ELBO with k draws; the bound takes the logarithm of "
        "the mean, so exponentiate (safely) first",
        total: "the sum of the weights is not divided by k: subtract log k, else it is no bound",
        total - 8: "subtract log k, not k: a factor on the weights adds to the logarithm",
        total / 8: "the division by k belongs inside the logarithm: subtract log k",
        log_w.amax(0): "that is the largest weight alone; the others count as well",
        total - math.log(5): "you divided by the number of pictures; the mean runs over k draws",
    }
    otherwise = f"for the first picture the value is {right[0]:.3f}, yours {value[0]:.3f}; look at (5.7)"
    compare(value, right, slips, otherwise)
    return "log-mean-exp, and no underflow"


@exercise("5.6")
def exercise_6(free_bits: Function) -> str:
    """KL term with a floor under each dimension's batch mean."""
    scales, floor = torch.tensor([0.05, 0.3, 0.9, 1.2, 0.1, 1.6]), 0.3
    mu, logvar = 0.9 * scales * randn(16, 6, seed=0), 0.7 * scales * randn(16, 6, seed=1)
    inputs = [mu.clone().requires_grad_(), logvar.clone().requires_grad_()]
    result = free_bits(*inputs, floor)
    value, each = as_tensor(result, (), "the KL term is one number"), _kl(mu, logvar)  # (16, 6)
    mean = each.mean(0)
    right = mean.clamp(min=floor).sum()
    slips = {
        each.clamp(min=floor).sum(1).mean(): "the floor is put under every picture's KL; asked is the mean over the "
        "batch first, so that a dimension may be cheap for some pictures and dear for others",
        mean.clamp(max=floor).sum(): "that caps the KL from above; a floor is clamp(min=…)",
        mean.sum(): "that is the plain KL: the floor does nothing. It belongs under each dimension, not under the sum",
        right / 6: "averaged over dimensions; sum over dimensions, mean over the batch",
        each.sum(0).clamp(min=floor).sum(): "the KL of a dimension is summed over the batch; average it first",
        (mean - floor).clamp(min=0).sum(): "you subtracted the floor: a dimension below it then counts 0 instead of "
        "the floor. The gradient is the same, but the value is not the one asked for",
    }
    otherwise = (
        f"on a random batch the term is {right:.3f} nats, yours {value:.3f}; KL of each dimension, mean over the "
        "batch, at least floor, then the sum"
    )
    compare(value, right, slips, otherwise)
    expect_graph(result)
    found = torch.autograd.grad(result, inputs, allow_unused=True)
    counts = mean > floor  # the others must feel no pull
    expected = [mu / 16 * counts, 0.5 * (logvar.exp() - 1) / 16 * counts]
    if any(g is None or not near(g, e) for g, e in zip(found, expected, strict=True)):
        raise Misconception(
            "the value is right, the gradient is not: a dimension below the floor must feel no pull at all, one above "
            "it the full pull of its KL"
        )
    return "giving a dimension up saves nothing any more"
