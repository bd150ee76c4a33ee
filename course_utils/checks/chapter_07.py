"""Checks of chapter 07: evaluating generative models."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise
from course_utils.checks.inputs import rand, randn

#: Log-densities of thousands of nats agree within what float32 can tell, not within a share of them.
NATS = {"rtol": 0.0, "atol": 2e-3}


@exercise("7.1")
def exercise_1(unbiased_mmd: Function) -> str:
    """Unbiased squared MMD from three kernel matrices."""
    kxx, kyy, kxy = _kernels(randn(7, 3, seed=3), randn(5, 3, seed=4) + 0.4)
    n, m = 7, 5
    off_x, off_y, mixed = kxx.sum() - n, kyy.sum() - m, kxy.mean()
    mean_x, mean_y = off_x / (n * (n - 1)), off_y / (m * (m - 1))
    right = mean_x + mean_y - 2 * mixed
    value = as_tensor(unbiased_mmd(kxx.clone(), kyy.clone(), kxy.clone()), ())
    slips = {
        kxx.mean() + kyy.mean() - 2 * mixed: "every point is compared with itself as well: leave the diagonals out of "
        "the first two means, k(x, x) = 1 says nothing",
        off_x / n**2 + off_y / m**2 - 2 * mixed: "the diagonals are left out of the sums, but the sums are divided by "
        "n² and m²; there are n(n − 1) and m(m − 1) pairs left",
        mean_x + mean_y - mixed: "the mixed term counts twice, for x with y and y with x",
        mean_x + mean_y + 2 * mixed: "the mixed term is subtracted",
        off_x + off_y - 2 * kxy.sum(): "sums instead of means",
        mean_x - 2 * kxy.sum() + off_y: "only the first term is a mean: the expectation belongs around all three "
        "kernels (the slip in the lecture notes)",
        right.clamp(min=0).sqrt(): "that is its root; asked is the square, which may be negative",
    }
    compare(value, right, slips, f"the estimate is {right:.4f}, yours {value:.4f}; look at (7.4), term by term")
    x = randn(40, 2, seed=0)
    if not as_tensor(unbiased_mmd(*_kernels(x[::2], x[1::2])), ()) < 0:
        raise Misconception("for two halves of one set the estimate is negative here; do not clip it at 0")
    return "the diagonals are gone, and with them the bias"


def _kernels(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.exp(-0.5 * torch.cdist(a, b).square()) for a, b in ((x, x), (y, y), (x, y)))


@exercise("7.2")
def exercise_2(window_log_density: Function) -> str:
    """Log-density of test points under Gaussian windows, from squared distances."""
    squared, sigma, dim = 3000 + 4 * rand(4, 6, seed=0), 0.5, 50
    given = squared.clone()
    value = as_tensor(window_log_density(given, sigma, dim))
    if not torch.equal(given, squared):
        raise Misconception("squared itself has changed: work on a new tensor, not with in-place operations")
    if value.shape == (6,):
        raise Misconception("one number for each sample; asked is one for each test point: sum over the second axis")
    value = as_tensor(value, (4,), ": one number for each test point")
    if not torch.isfinite(value).all():
        raise Misconception("exp underflows to 0 and its logarithm is −∞: use torch.logsumexp on the exponents")
    scaled, constant = -squared / (2 * sigma**2), 0.5 * dim * math.log(2 * math.pi * sigma**2)
    mean = torch.logsumexp(scaled, 1) - math.log(6)
    right = mean - constant
    slips = {
        mean: "the normalisation −(D/2) log 2πσ² is missing: then it is no density",
        right + math.log(6): "the sum over samples is not divided by N: subtract log N",
        torch.logsumexp(2 * scaled, 1) - math.log(6) - constant: "the factor ½ in the exponent is missing",
        torch.logsumexp(scaled * sigma, 1) - math.log(6) - constant: "the squared distance is divided by σ; the window "
        "has variance σ²",
        mean - constant / dim: f"the normalisation is that of one dimension; there are {dim}",
        mean - 0.5 * dim * math.log(2 * math.pi * sigma): "log 2πσ instead of log 2πσ² in the normalisation",
        scaled.mean(1) - constant: "that is the mean of the logarithms; (7.7) has the logarithm of the mean",
        scaled.amax(1) - constant: "that is the nearest sample alone, and without 1/N",
        right + math.log(6 / 4): "you divided by the number of test points",
    }
    otherwise = f"the first point has {right[0]:.2f} nats, yours {value[0]:.2f}; look at (7.7)"
    compare(value, right, slips, otherwise, **NATS)
    return "log-sum-exp of the exponents, less log N and the normalisation"


@exercise("7.3")
def exercise_3(bits_per_pixel: Function) -> str:
    """Nats of a picture scaled to [0, 1] into bits per pixel of its 256 levels."""
    slips = {
        lambda v, n: -v / (n * math.log(2)): "the change of scale is missing: the density is that of pixels in [0, 1]; "
        "on the scale of 256 levels it is smaller by 256 in each dimension, which is 8 bits",
        lambda v, n: 8 + v / (n * math.log(2)): "the sign is wrong: a higher likelihood costs fewer bits",
        lambda v, n: 8 - v / n: "that subtracts nats from bits: divide by log 2",
        lambda v, n: 8 - v * math.log(2) / n: "multiplied by log 2; a nat is 1/log 2 = 1.44 bits",
        lambda v, n: 8 - v / math.log(2): "bits for the whole picture are subtracted from those of a pixel: divide by "
        "the number of pixels",
        lambda v, n: 8 * n - v / math.log(2): "that is bits per picture",
        lambda v, n: math.log(256) - v / n: "that is nats per pixel",
    }
    otherwise = "{0:g} nats of {1} pixels are {right:.4f} bits per pixel, yours {value:.4f}; see (7.6)"
    cases = [(1300.0, 784), (-50.0, 100), (0.0, 12)]
    compare_all(bits_per_pixel, cases, lambda v, n: 8 - v / (n * math.log(2)), slips, otherwise)
    return "8 bits for no knowledge at all, and less for every nat gained"


@exercise("7.4")
def exercise_4(diluted: Function) -> str:
    """Log-density of a mixture of two, without underflow."""
    log_p = torch.tensor([1500.0, -2000.0, -3.0, 0.5, -1900.0], dtype=torch.float64)
    log_q = torch.tensor([0.0, -1990.0, -4.0, 2.0, -2100.0], dtype=torch.float64)
    share = 0.2
    value = as_tensor(diluted(log_p.clone(), log_q.clone(), share), (5,), ": one number for each point")
    if not torch.isfinite(value).all():
        raise Misconception(
            "exp of 1500 overflows, exp of −2000 underflows: stay with logarithms, torch.logaddexp or torch.logsumexp"
        )
    part_p, part_q = math.log(share) + log_p, math.log(1 - share) + log_q
    right = torch.logaddexp(part_p, part_q)
    slips = {
        share * log_p + (1 - share) * log_q: "that mixes the logarithms; the densities are mixed, then the logarithm "
        "is taken",
        torch.logaddexp(log_p, log_q): "the weights are missing: the two densities would add up to 2",
        torch.logaddexp(math.log(1 - share) + log_p, math.log(share) + log_q): "the shares are exchanged: `share` "
        "belongs to p",
        torch.logaddexp(share * log_p, (1 - share) * log_q): "a weight multiplies the density, so its logarithm is "
        "added to the log-density",
        part_p: "that is the bound (7.10), p's part alone; q adds to it",
        torch.maximum(part_p, part_q): "that is the larger part alone; the smaller one adds to it",
    }
    k = int((value - right).abs().argmax())
    otherwise = (
        f"for log p = {log_p[k]:g}, log q = {log_q[k]:g} and share {share} the mixture has {right[k]:.3f} nats, "
        f"yours {value[k]:.3f}"
    )
    compare(value, right, slips, otherwise, **NATS)
    return "never more than −log(share) below p"


@exercise("7.5")
def exercise_5(support_size: Function) -> str:
    """Effective number of pictures from the share of batches with a repetition."""

    def size(s: int, c: float) -> float:
        return -s * (s - 1) / (2 * math.log(1 - c))

    slips = {
        lambda s, c: -size(s, c): "the sign: log(1 − share) is negative, and a number of pictures is not",
        lambda s, c: size(s, 1 - c): "the exponential is the share of batches *without* repetition: take "
        "log(1 − share)",
        lambda s, c: 2 * size(s, c): "a pair counts once: s(s − 1)/2 pairs",
        lambda s, c: s**2: "that is the rule of thumb for a share of about one half; use the share",
        lambda s, c: s / c: "collisions grow with the number of *pairs*, s(s − 1)/2, not with the number of pictures",
        lambda s, c: s * (s - 1) / (2 * c): "that is the expected number of pairs, which equals the share only while "
        "it is small",
        lambda s, c: size(s, c) * math.log(2): "log to the base 2; (7.11) has the natural logarithm",
        lambda s, c: size(s, c) * math.log(10): "log to the base 10; (7.11) has the natural logarithm",
    }
    otherwise = (
        "repetitions in {1:.0%} of batches of {0} mean about {right:.0f} pictures, yours {value:.5g}; solve "
        "(7.11) for N"
    )
    rights = (size, lambda s, c: size(s, c) * s / (s - 1), lambda s, c: round(size(s, c)))
    compare_all(support_size, [(100, 0.5), (400, 0.9), (23, 0.05)], rights, slips, otherwise)
    return "and rare modes are not counted"
