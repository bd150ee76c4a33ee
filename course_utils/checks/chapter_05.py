"""Checks of chapter 05, the variational autoencoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from course_utils.checks import Misconception, as_tensor, exercise, near


@exercise("5.1")
def exercise_1(gaussian_negative_elbo) -> str:
    """Negative ELBO with Gaussian pixels of known width."""
    x, x_hat = _rand((6, 1, 28, 28), 0), _rand((6, 1, 28, 28), 1)
    mu, logvar = _randn((6, 5), 2), _randn((6, 5), 3)
    for tensor in (x_hat, mu, logvar):
        tensor.requires_grad_()
    sigma = 0.3
    result = gaussian_negative_elbo(x, x_hat, mu, logvar, sigma)
    value = as_tensor(result)
    _judge_elbo(value, x, x_hat.detach(), mu.detach(), logvar.detach(), sigma)
    if not (isinstance(result, Tensor) and result.requires_grad):
        raise Misconception(
            "the value is right, but it has lost its graph (.item(), float() or detach()): backward could not start "
            "from it; return the tensor itself"
        )
    return "squared error / 2σ², its constant, and the KL, all in nats"


def _judge_elbo(value: Tensor, x: Tensor, x_hat: Tensor, mu: Tensor, logvar: Tensor, sigma: float) -> None:
    error = (x - x_hat).square().flatten(1).sum(1)
    constant = 784 / 2 * math.log(2 * math.pi * sigma**2)
    each = 0.5 * (logvar.exp() + mu.square() - 1 - logvar)
    kl = each.sum(1)
    full = error / (2 * sigma**2) + constant + kl  # (6,)
    right = full.mean()
    if value.ndim:
        if value.shape == (6,) and near(value, full):
            raise Misconception("one value per picture: average over the batch, the optimiser needs one number")
        raise Misconception(f"the result has shape {tuple(value.shape)}; a loss is one number")
    slips = [
        (full.mean() - constant, "the constant D/2·log 2πσ² is missing: without it the value is no negative "
         "log-likelihood and cannot be compared between two σ"),
        (-right, "that is the ELBO; the loss is its negative (patient 'sign' of the clinic)"),
        ((error / (2 * sigma) + constant + kl).mean(), "σ stands where σ² belongs: the squared error is divided by "
         "2σ², see the slips"),
        ((error / sigma**2 + constant + kl).mean(), "the 2 of 1/(2σ²) is missing in the squared error's term"),
        ((error / (2 * sigma**2) + constant - kl).mean(), "the KL has the wrong sign: it is a price, so it adds to "
         "the loss"),
        ((error / (2 * sigma**2) + constant + each.mean(1)).mean(), "the KL is averaged over the latent dimensions; "
         "sum over dimensions, mean over the batch (patient 'averaged')"),
        ((error / (2 * sigma**2) + constant).mean() + kl.sum(), "the KL is summed over the batch as well: average "
         "over the batch"),
        (full.sum(), "you summed over the batch: the loss then grows with the batch size"),
        ((error / (2 * sigma**2) + constant).mean(), "that is the reconstruction term alone; the KL is missing"),
        ((error / (784 * 2 * sigma**2) + constant + kl).mean(), "the squared error is averaged over the pixels, as "
         "F.mse_loss does unless told otherwise; sum over the pixels, mean over the batch"),
        ((error / (784 * 2 * sigma**2) + kl).mean(), "the squared error is averaged over the pixels, as F.mse_loss "
         "does unless told otherwise, and the constant D/2·log 2πσ² is missing"),
        (error.sum() / (2 * sigma**2) + (constant + kl).mean(), "the squared error is summed over the batch as well, "
         'as reduction="sum" does: divide it by the number of pictures'),
        ((error / (2 * sigma**2) + constant / 784 + kl).mean(), "the constant ½·log 2πσ² stands once for every pixel: "
         "D/2 times log 2πσ²"),
        ((error / (2 * sigma**2) + 784 * math.log(sigma) + kl).mean(), "the 2π is missing in the constant "
         "D/2·log 2πσ²"),
        ((error + kl).mean(), "squared error plus KL is right only for σ² = ½, and without the constant, see (5.15)"),
        ((error / 784 + kl).mean(), "the squared error is averaged over the pixels: that assumes σ² = D/2, see (5.15)"),
    ]  # fmt: skip
    for wrong, message in slips:
        if near(value, wrong):
            raise Misconception(message)
    if not near(value, right):
        raise Misconception(
            f"on a random batch the negative ELBO is {right:.3f} nats, yours {value:.3f}; start from the formula at "
            "the head of section 9"
        )


@exercise("5.2")
def exercise_2(diagonal_kl) -> str:
    """KL between two diagonal Gaussians."""
    mu0, logvar0, mu1, logvar1 = (_randn((4, 3), k) for k in range(4))
    value = as_tensor(diagonal_kl(mu0, logvar0, mu1, logvar1))
    first, second = (Normal(m, (0.5 * v).exp()) for m, v in ((mu0, logvar0), (mu1, logvar1)))
    each = kl_divergence(first, second)  # (4, 3)
    right = each.sum(1)
    if value.shape != (4,):
        if value.ndim == 0 and (near(value, right.mean()) or near(value, right.sum())):
            raise Misconception("one number for all rows; asked is one value for each row, (B,)")
        if value.shape == (4, 3) and near(value, each):
            raise Misconception("one value for each dimension: independent dimensions add up, sum over dim 1")
        raise Misconception(f"the result has shape {tuple(value.shape)}, expected (4,)")
    ratio = (logvar0 - logvar1).exp() + (mu0 - mu1).square() * (-logvar1).exp()
    slips = [
        (kl_divergence(second, first).sum(1), "that is KL(second‖first); the KL is not symmetric, and the second "
         "argument's variance stands in the denominator"),
        (0.5 * (logvar0.exp() + mu0.square() - 1 - logvar0).sum(1), "that is the KL to the standard normal (5.8): the "
         "second Gaussian does not appear"),
        (each.mean(1), "averaged over dimensions; independent dimensions add up"),
        (2 * right, "the factor ½ is missing"),
        (0.5 * (ratio + logvar1 - logvar0).sum(1), "the −1 of every dimension is missing: then the KL of a "
         "distribution to itself is not 0"),
        (0.5 * (ratio - 1 + logvar0 - logvar1).sum(1), "the log-determinants are exchanged: see (5.9)"),
        (0.5 * ((logvar0 - logvar1).exp() + (mu0 - mu1).square() - 1 + logvar1 - logvar0).sum(1), "the squared "
         "distance of the means is measured in units of the second variance: divide by σ₁²"),
        (0.5 * ((logvar0 - logvar1).exp() + (mu0 - mu1).square() * (-logvar0).exp() - 1 + logvar1 - logvar0).sum(1),
         "the squared distance of the means is divided by σ₀²; (5.9) divides by the *second* variance, σ₁²"),
        (kl_divergence(Normal(mu0, logvar0.exp()), Normal(mu1, logvar1.exp())).sum(1), "logvar is log σ², so "
         "exp(logvar) is the variance, not the standard deviation"),
    ]  # fmt: skip
    for wrong, message in slips:
        if near(value, wrong):
            raise Misconception(message)
    if not near(value, right):
        raise Misconception(
            f"for the first row the KL is {right[0]:.3f} nats, yours {value[0]:.3f}; put diagonal matrices into (5.9)"
        )
    return "torch.distributions agrees"


@exercise("5.3")
def exercise_3(exponential_draw) -> str:
    """Exponential draws as a function of uniform ones."""
    rate = (0.5 + _rand((7, 400), 0)).requires_grad_()
    uniform = _rand((7, 400), 1)
    result = exponential_draw(rate, uniform)
    z, lam = as_tensor(result), rate.detach()
    if z.shape != uniform.shape:
        raise Misconception(f"the result has shape {tuple(z.shape)}, expected that of uniform, {tuple(uniform.shape)}")
    up, down = -torch.log1p(-uniform) / lam, -uniform.log() / lam
    slips = [
        (up * lam * lam, "you multiplied by the rate; solving u = 1 − exp(−λz) for z divides by it"),
        (down * lam * lam, "you multiplied by the rate; solving for z divides by it"),
        (-up, "the sign is wrong: the logarithm of a number below 1 is negative, and z is not"),
        (-down, "the sign is wrong: the logarithm of a number below 1 is negative, and z is not"),
        (1 - torch.exp(-lam * uniform), "that is the distribution function itself; its *inverse* turns uniform numbers "
         "into draws"),
        (lam * torch.exp(-lam * uniform), "that is the density; draws come from the inverse of the distribution "
         "function"),
        (-torch.log1p(-uniform), "the rate does not appear: these are draws with rate 1"),
    ]  # fmt: skip
    for wrong, message in slips:
        if near(z, wrong):
            raise Misconception(message)
    if not (near(z, up) or near(z, down)):
        again, other = (as_tensor(exponential_draw(rate, u)) for u in (uniform, 1 - uniform))
        if not near(again, z) or near(other, z):
            raise Misconception("`uniform` is not used: the draws must be a function of it, not come from a generator")
        expected = up.flatten()[0]
        raise Misconception(
            f"u = {uniform.flatten()[0]:.3f} and rate {lam.flatten()[0]:.3f} belong to z = {expected:.3f} (or, with "
            f"1 − u, {down.flatten()[0]:.3f}), yours is {z.flatten()[0]:.3f}; solve u = 1 − exp(−λz) for z"
        )
    slope = torch.autograd.grad(result.sum(), rate, allow_unused=True)[0] if _has_graph(result) else None
    if slope is None:
        raise Misconception("the draws are right, but no gradient reaches `rate`: do not detach it or use .sample()")
    if not near(slope, -z / lam):
        raise Misconception("the draws are right, but their gradient by the rate should be −z/λ")
    if near(z, down):
        return "the inverse distribution function; but u = 0 can be drawn and gives infinity, -log1p(-u) does not"
    return "the inverse distribution function moves the randomness out"


@exercise("5.4")
def exercise_4(implied_sigma) -> str:
    """Width of the Gaussian decoder behind a weighted loss."""
    cases = [(1.0, 0.00025, 12_288), (1000.0, 1.0, 784), (3.0, 0.6, 50)]
    values = [float(implied_sigma(*case)) for case in cases]
    slips = [
        (lambda a, b, n: b * n / (2 * a), "that is σ², the variance; the question asks for σ, so take the root"),
        (lambda a, b, n: math.sqrt(b * n / a), "the 2 of 1/(2σ²) is missing: 2σ² = wD"),
        (lambda a, b, n: math.sqrt(a * n / (2 * b)), "the weights are exchanged: a heavier KL means a *wider* decoder"),
        (lambda a, b, n: math.sqrt(b / (2 * a)), "the error is averaged over D pixels, so D belongs into the formula"),
        (lambda a, b, n: math.sqrt(b * n / 2), "the squared error's weight is missing: only the ratio b / a counts"),
        (lambda a, b, n: math.sqrt(b / (2 * a * n)), "D stands on the wrong side: the average *divides* the error "
         "by D, which widens the decoder"),
    ]  # fmt: skip
    for slip, message in slips:
        if all(math.isclose(v, slip(*case), rel_tol=1e-4) for v, case in zip(values, cases, strict=True)):
            raise Misconception(message)
    for value, (a, b, D) in zip(values, cases, strict=True):
        right = math.sqrt(b * D / (2 * a))
        if not math.isclose(value, right, rel_tol=1e-4):
            raise Misconception(
                f"for a = {a:g}, b = {b:g}, D = {D} the width is {right:.3f}, yours {value:.3f}; divide the loss by b "
                "and compare with the formula at the head of section 9"
            )
    return "only the ratio of the weights counts, and D"


@exercise("5.5")
def exercise_5(iw_bound) -> str:
    """Logarithm of the mean weight, computed without underflow."""
    log_w = 3 * _randn((8, 5), 0) - torch.tensor([0.0, 100.0, 500.0, 1000.0, 2000.0])
    given = log_w.clone()
    value = as_tensor(iw_bound(given))
    if not torch.equal(given, log_w):
        raise Misconception("log_w itself has changed: work on a new tensor, not with in-place operations")
    right = torch.logsumexp(log_w, 0) - math.log(8)
    if value.shape != (5,):
        if value.shape == (8,):
            raise Misconception("you averaged over the pictures; the k draws of one picture run along the first axis")
        if value.ndim == 0 and torch.isfinite(value) and near(value, right.mean()):
            raise Misconception("one number for all pictures; asked is one value for each, (B,)")
        raise Misconception(f"the result has shape {tuple(value.shape)}, expected (5,)")
    if not torch.isfinite(value).all():
        raise Misconception(
            "log 0: exp of the smallest log-weights underflows to zero. Keep to logarithms: torch.logsumexp"
        )
    slips = [
        (log_w.mean(0), "that is the mean of the logarithms, the ELBO with k draws; the bound takes the logarithm of "
         "the mean, so exponentiate (safely) first"),
        (torch.logsumexp(log_w, 0), "the sum of the weights is not divided by k: subtract log k, else it is no bound"),
        (torch.logsumexp(log_w, 0) - 8, "subtract log k, not k: a factor on the weights adds to the logarithm"),
        (torch.logsumexp(log_w, 0) / 8, "the division by k belongs inside the logarithm: subtract log k"),
        (log_w.amax(0), "that is the largest weight alone; the others count as well"),
        (torch.logsumexp(log_w, 0) - math.log(5), "you divided by the number of pictures; the mean runs over k draws"),
    ]  # fmt: skip
    for wrong, message in slips:
        if near(value, wrong):
            raise Misconception(message)
    if not near(value, right):
        raise Misconception(f"for the first picture the value is {right[0]:.3f}, yours {value[0]:.3f}; look at (5.7)")
    return "log-mean-exp, and no underflow"


@exercise("5.6")
def exercise_6(free_bits) -> str:
    """KL term with a floor under each dimension's batch mean."""
    mu, logvar = 0.9 * _randn((16, 6), 0), 0.7 * _randn((16, 6), 1)
    mu, logvar = (t * torch.tensor([0.05, 0.3, 0.9, 1.2, 0.1, 1.6]) for t in (mu, logvar))
    floor = 0.3
    inputs = [mu.clone().requires_grad_(), logvar.clone().requires_grad_()]
    result = free_bits(*inputs, floor)
    value = as_tensor(result)
    each = 0.5 * (logvar.exp() + mu.square() - 1 - logvar)  # (16, 6)
    right = each.mean(0).clamp(min=floor).sum()
    if value.ndim:
        raise Misconception(f"the result has shape {tuple(value.shape)}; the KL term is one number")
    slips = [
        (each.clamp(min=floor).sum(1).mean(), "the floor is put under every picture's KL; asked is the mean over the "
         "batch first, so that a dimension may be cheap for some pictures and dear for others"),
        (each.mean(0).clamp(max=floor).sum(), "that caps the KL from above; a floor is clamp(min=…)"),
        (each.sum(1).mean(), "that is the plain KL: the floor does nothing. It belongs under each dimension, not under "
         "the sum"),
        (each.mean(0).clamp(min=floor).mean(), "averaged over dimensions; sum over dimensions, mean over the batch"),
        (each.sum(0).clamp(min=floor).sum(), "the KL of a dimension is summed over the batch; average it first"),
        ((each.mean(0) - floor).clamp(min=0).sum(), "you subtracted the floor: a dimension below it then counts 0 "
         "instead of the floor. The gradient is the same, but the value is not the one asked for"),
    ]  # fmt: skip
    for wrong, message in slips:
        if near(value, wrong):
            raise Misconception(message)
    if not near(value, right):
        raise Misconception(
            f"on a random batch the term is {right:.3f} nats, yours {value:.3f}; KL of each dimension, mean over the "
            "batch, at least floor, then the sum"
        )
    if not _has_graph(result):
        raise Misconception("the value is right, but it has lost its graph (.item(), float() or detach())")
    found = torch.autograd.grad(result, inputs, allow_unused=True)
    counts = each.mean(0) > floor  # the others must feel no pull
    expected = [mu / 16 * counts, 0.5 * (logvar.exp() - 1) / 16 * counts]
    if any(g is None or not near(g, e) for g, e in zip(found, expected, strict=True)):
        raise Misconception(
            "the value is right, the gradient is not: a dimension below the floor must feel no pull at all, one above "
            "it the full pull of its KL"
        )
    return "giving a dimension up saves nothing any more"


def _has_graph(value) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _rand(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()


def _randn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
