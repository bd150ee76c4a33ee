"""Checks of chapter 07: evaluating generative models."""

from __future__ import annotations

import math

import torch

from course_utils.checks import Misconception, as_tensor, exercise, near


@exercise("7.1")
def exercise_1(unbiased_mmd) -> str:
    """Unbiased squared MMD from three kernel matrices."""
    x, y = _randn((7, 3), 0), _randn((5, 3), 1) + 0.4
    kxx, kyy, kxy = (torch.exp(-0.5 * torch.cdist(a, b).square()) for a, b in ((x, x), (y, y), (x, y)))
    n, m = 7, 5
    off_x, off_y = kxx.sum() - kxx.diagonal().sum(), kyy.sum() - kyy.diagonal().sum()
    right = off_x / (n * (n - 1)) + off_y / (m * (m - 1)) - 2 * kxy.mean()
    value = _number(unbiased_mmd(kxx.clone(), kyy.clone(), kxy.clone()))
    slips = [
        (kxx.mean() + kyy.mean() - 2 * kxy.mean(), "every point is compared with itself as well: leave the diagonals "
         "out of the first two means, k(x, x) = 1 says nothing"),
        (off_x / n**2 + off_y / m**2 - 2 * kxy.mean(), "the diagonals are left out of the sums, but the sums are "
         "divided by n² and m²; there are n(n − 1) and m(m − 1) pairs left"),
        (off_x / (n * (n - 1)) + off_y / (m * (m - 1)) - kxy.mean(), "the mixed term counts twice, for x with y and y "
         "with x"),
        (off_x / (n * (n - 1)) + off_y / (m * (m - 1)) + 2 * kxy.mean(), "the mixed term is subtracted"),
        (off_x + off_y - 2 * kxy.sum(), "sums instead of means"),
        (off_x / (n * (n - 1)) - 2 * kxy.sum() + off_y, "only the first term is a mean: the expectation belongs around "
         "all three kernels (the slip in the lecture notes)"),
        (right.clamp(min=0).sqrt(), "that is its root; asked is the square, which may be negative"),
    ]  # fmt: skip
    _judge(value, right, slips)
    if not near(value, right):
        raise Misconception(f"the estimate is {right:.4f}, yours {value:.4f}; look at (7.4), term by term")
    equal = _number(unbiased_mmd(*(torch.exp(-0.5 * torch.cdist(a, b).square()) for a, b in _halves())))
    if not equal < 0:
        raise Misconception("for two halves of one set the estimate is negative here; do not clip it at 0")
    return "the diagonals are gone, and with them the bias"


@exercise("7.2")
def exercise_2(window_log_density) -> str:
    """Log-density of test points under Gaussian windows, from squared distances."""
    squared, sigma, dim = 3000 + 4 * _rand((4, 6), 0), 0.5, 50
    given = squared.clone()
    value = as_tensor(window_log_density(squared, sigma, dim)).double()
    if not torch.equal(given, squared):
        raise Misconception("squared itself has changed: work on a new tensor, not with in-place operations")
    scaled, constant = -given / (2 * sigma**2), 0.5 * dim * math.log(2 * math.pi * sigma**2)
    right = torch.logsumexp(scaled, 1) - math.log(6) - constant
    if value.shape != (4,):
        if value.shape == (6,):
            raise Misconception(
                "one number for each sample; asked is one for each test point: sum over the second axis"
            )
        raise Misconception(f"the result has shape {tuple(value.shape)}, expected one number for each test point, (4,)")
    if not torch.isfinite(value).all():
        raise Misconception("exp underflows to 0 and its logarithm is −∞: use torch.logsumexp on the exponents")
    slips = [
        (right + constant, "the normalisation −(D/2) log 2πσ² is missing: then it is no density"),
        (right + math.log(6), "the sum over samples is not divided by N: subtract log N"),
        (torch.logsumexp(-given / sigma**2, 1) - math.log(6) - constant, "the factor ½ in the exponent is missing"),
        (torch.logsumexp(-given / (2 * sigma), 1) - math.log(6) - constant, "the squared distance is divided by σ; the "
         "window has variance σ²"),
        (torch.logsumexp(scaled, 1) - math.log(6) - constant / dim, "the normalisation is that of one dimension; there "
         f"are {dim}"),
        (torch.logsumexp(scaled, 1) - math.log(6) - 0.5 * dim * math.log(2 * math.pi * sigma), "log 2πσ instead of log "
         "2πσ² in the normalisation"),
        (scaled.mean(1) - constant, "that is the mean of the logarithms; (7.7) has the logarithm of the mean"),
        (scaled.amax(1) - constant, "that is the nearest sample alone, and without 1/N"),
        (torch.logsumexp(scaled, 1) - math.log(4) - constant, "you divided by the number of test points"),
    ]  # fmt: skip
    for wrong, message in slips:
        if _alike(value, wrong):
            raise Misconception(message)
    if not _alike(value, right):
        raise Misconception(f"the first point has {right[0]:.2f} nats, yours {value[0]:.2f}; look at (7.7)")
    return "log-sum-exp of the exponents, less log N and the normalisation"


@exercise("7.3")
def exercise_3(bits_per_pixel) -> str:
    """Nats of a picture scaled to [0, 1] into bits per pixel of its 256 levels."""
    cases = [(1300.0, 784), (-50.0, 100), (0.0, 12)]
    values = [_number(bits_per_pixel(*case)) for case in cases]
    slips = [
        (lambda v, n: -v / (n * math.log(2)), "the change of scale is missing: the density is that of pixels in [0, "
         "1]; on the scale of 256 levels it is smaller by 256 in each dimension, which is 8 bits"),
        (lambda v, n: 8 + v / (n * math.log(2)), "the sign is wrong: a higher likelihood costs fewer bits"),
        (lambda v, n: 8 - v / n, "that subtracts nats from bits: divide by log 2"),
        (lambda v, n: 8 - v * math.log(2) / n, "multiplied by log 2; a nat is 1/log 2 = 1.44 bits"),
        (lambda v, n: 8 - v / math.log(2), "bits for the whole picture are subtracted from those of a pixel: divide by "
         "the number of pixels"),
        (lambda v, n: 8 * n - v / math.log(2), "that is bits per picture"),
        (lambda v, n: math.log(256) - v / n, "that is nats per pixel"),
    ]  # fmt: skip
    for slip, message in slips:
        if all(_close(v, slip(*case)) for v, case in zip(values, cases, strict=True)):
            raise Misconception(message)
    for value, (v, n) in zip(values, cases, strict=True):
        right = 8 - v / (n * math.log(2))
        if not _close(value, right):
            raise Misconception(
                f"{v:g} nats of {n} pixels are {right:.4f} bits per pixel, yours {value:.4f}; see (7.6)"
            )
    return "8 bits for no knowledge at all, and less for every nat gained"


@exercise("7.4")
def exercise_4(diluted) -> str:
    """Log-density of a mixture of two, without underflow."""
    log_p, log_q = torch.tensor([1500.0, -2000.0, -3.0, 0.5, -1900.0]), torch.tensor([0.0, -1990.0, -4.0, 2.0, -2100.0])
    log_p, log_q, share = log_p.double(), log_q.double(), 0.2
    value = as_tensor(diluted(log_p.clone(), log_q.clone(), share)).double()
    right = torch.logaddexp(math.log(share) + log_p, math.log(1 - share) + log_q)
    if value.shape != (5,):
        raise Misconception(f"the result has shape {tuple(value.shape)}, expected one number for each point, (5,)")
    if not torch.isfinite(value).all():
        raise Misconception(
            "exp of 1500 overflows, exp of −2000 underflows: stay with logarithms, torch.logaddexp or torch.logsumexp"
        )
    slips = [
        (share * log_p + (1 - share) * log_q, "that mixes the logarithms; the densities are mixed, then the logarithm "
         "is taken"),
        (torch.logaddexp(log_p, log_q), "the weights are missing: the two densities would add up to 2"),
        (torch.logaddexp(math.log(1 - share) + log_p, math.log(share) + log_q), "the shares are exchanged: `share` "
         "belongs to p"),
        (torch.logaddexp(share * log_p, (1 - share) * log_q), "a weight multiplies the density, so its logarithm is "
         "added to the log-density"),
        (math.log(share) + log_p, "that is the bound (7.10), p's part alone; q adds to it"),
        (torch.maximum(math.log(share) + log_p, math.log(1 - share) + log_q), "that is the larger part alone; the "
         "smaller one adds to it"),
    ]  # fmt: skip
    for wrong, message in slips:
        if _alike(value, wrong):
            raise Misconception(message)
    if not _alike(value, right):
        k = int((value - right).abs().argmax())
        raise Misconception(
            f"for log p = {log_p[k]:g}, log q = {log_q[k]:g} and share {share} the mixture has {right[k]:.3f} nats, "
            f"yours {value[k]:.3f}"
        )
    return "never more than −log(share) below p"


@exercise("7.5")
def exercise_5(support_size) -> str:
    """Effective number of pictures from the share of batches with a repetition."""
    cases = [(100, 0.5), (400, 0.9), (23, 0.05)]
    values = [_number(support_size(*case)) for case in cases]
    slips = [
        (lambda s, c: s * (s - 1) / (2 * math.log(1 - c)), "the sign: log(1 − share) is negative, and a number of "
         "pictures is not"),
        (lambda s, c: -s * (s - 1) / (2 * math.log(c)), "the exponential is the share of batches *without* repetition: "
         "take log(1 − share)"),
        (lambda s, c: -s * (s - 1) / math.log(1 - c), "a pair counts once: s(s − 1)/2 pairs"),
        (lambda s, c: s**2, "that is the rule of thumb for a share of about one half; use the share"),
        (lambda s, c: s / c, "collisions grow with the number of *pairs*, s(s − 1)/2, not with the number of pictures"),
        (lambda s, c: s * (s - 1) / (2 * c), "that is the expected number of pairs, which equals the share only while "
         "it is small"),
        (lambda s, c: -s * (s - 1) / (2 * math.log2(1 - c)), "log to the base 2; (7.11) has the natural logarithm"),
        (lambda s, c: -s * (s - 1) / (2 * math.log10(1 - c)), "log to the base 10; (7.11) has the natural logarithm"),
    ]  # fmt: skip
    for slip, message in slips:
        if all(_close(v, slip(*case)) for v, case in zip(values, cases, strict=True)):
            raise Misconception(message)
    for value, (s, c) in zip(values, cases, strict=True):
        right, rough = -s * (s - 1) / (2 * math.log(1 - c)), -(s**2) / (2 * math.log(1 - c))
        if not (_close(value, right) or _close(value, rough) or (_close(value, round(right)) and value == int(value))):
            raise Misconception(
                f"repetitions in {c:.0%} of batches of {s} mean about {right:.0f} pictures, yours {value:.5g}; solve "
                "(7.11) for N"
            )
    return "and rare modes are not counted"


def _judge(value: torch.Tensor, right: torch.Tensor, slips: list) -> None:
    for wrong, message in slips:
        if near(value, wrong) and not near(wrong, right):
            raise Misconception(message)


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Tell whether log-densities of thousands of nats agree: within what float32 can tell, not within a share."""
    return first.shape == second.shape and bool((first.double() - second.double()).abs().max() < 2e-3)


def _number(answer) -> torch.Tensor:
    value = as_tensor(answer).double()
    if value.numel() != 1:
        raise Misconception(f"the result has shape {tuple(value.shape)}; asked is one number")
    return value.reshape(())


def _close(value, right: float) -> bool:
    return math.isclose(float(value), right, rel_tol=1e-4, abs_tol=1e-6)


def _halves():
    x = _randn((40, 2), 3)
    a, b = x[::2], x[1::2]
    return (a, a), (b, b), (a, b)


def _rand(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()


def _randn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
