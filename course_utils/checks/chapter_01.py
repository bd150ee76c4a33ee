"""Exercise checks of chapter 01."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise


@exercise("1.1")
def exercise_1(log_likelihood: Function) -> str:
    """Log-likelihood of a coin: ``log_likelihood(theta, heads, tosses)`` in nats."""
    for theta, heads, tosses in ((0.3, 4, 10), (0.4, 400, 1000), (0.7, 2, 9), (0.4, 4000, 10_000)):
        value = as_tensor(log_likelihood(theta, heads, tosses), ())
        right = heads * math.log(theta) + (tosses - heads) * math.log(1 - theta)
        coefficient = math.lgamma(tosses + 1) - math.lgamma(heads + 1) - math.lgamma(tosses - heads + 1)
        slips = {
            (math.exp(right), -math.inf): "this multiplies the probabilities: for many tosses the product underflows. "
            "Sum the logarithms instead (section 2, Likelihood)",
            heads * math.log(theta): "only the heads are counted; each tail contributes log(1 − θ) (section 2, The "
            "bent coin)",
            heads * math.log(theta) + tosses * math.log(1 - theta): "the tails are tosses − heads, not all tosses "
            "(section 2, The bent coin)",
            -right: "the sign is reversed: this is the negative log-likelihood. Log-probabilities are ≤ 0",
            right / tosses: "this is the mean per toss; the log-likelihood of the data is the *sum* over the tosses "
            "(section 2, Likelihood)",
            (right / math.log(10), right / math.log(2)): "this is in another base of the logarithm; nats need the "
            "natural logarithm",
            right + coefficient: "this has the binomial coefficient: the probability of so many heads in *any* order. "
            "Asked was the given order (section 2, below the maximum)",
        }
        otherwise = (
            f"for θ = {theta}, {heads} heads in {tosses} tosses it gives {value:.6g}, not the sum over the tosses of "
            "log p(toss); look again at the first equation of The bent coin"
        )
        compare(value, right, slips, otherwise)
    return "heads·log θ + tails·log(1 − θ), and no underflow for 10,000 tosses"


@exercise("1.2")
def exercise_2(nats: Any) -> str:
    """Log-density of −500 nats in pixels of [0, 1], asked for in 256 grey levels."""
    shift = math.log(256)
    slips = {
        -500 + 784 * shift: "the direction is reversed: stretched over more units the density gets *smaller*, as the "
        "percent in section 2 divided by 100",
        (-500 - shift, -500 + shift): "this changes the unit of one pixel only; all 784 dimensions change theirs",
        -500: "a density is not a probability: its value depends on the unit (section 2, first equation)",
        -500 - 784 * math.log(255): "the unit is stretched 256 times, not 255: each of the 256 levels 0 … 255 is an "
        "interval of width 1, so [0, 1] becomes [0, 256]",
        -500 - 784 * math.log10(256): "this takes log10 of 256; nats need the natural logarithm, log 256 = 5.545",
        tuple(-500 * factor for factor in (256, 1 / 256, 784, 256**2)): "this scales the logarithm; a factor on the "
        "density *adds* to its logarithm",
        -500 - 784 * 8: "these are bits added to nats: log₂ 256 = 8, but log 256 = 5.545 nats",
    }
    otherwise = "divide the density by 256 for every pixel and take the logarithm; see the first equation of section 2"
    compare(as_tensor(nats, ()), -500 - 784 * shift, slips, otherwise)
    return "every one of the 784 axes is stretched 256 times, so the density shrinks by 256^784"


@exercise("1.3")
def exercise_3(sample: Function) -> str:
    """Samples of a kernel density: ``sample(data, h, n, rng)``."""
    data, h, n = np.repeat([0.0, 10.0], [150, 50]), 0.5, 20_000

    def draw(seed: int) -> np.ndarray:
        return as_tensor(sample(data.copy(), h, n, np.random.default_rng(seed))).numpy()

    try:
        drawn = draw(0)
    except ValueError as error:
        if "larger sample" not in str(error):
            raise
        raise Misconception(
            "this draws data points *without* putting them back, so at most as many as there are: a data point may "
            "be chosen again and again (section 3, before the estimators)"
        ) from None
    if drawn.shape != (n,):
        raise Misconception(
            f"the samples have shape {drawn.shape}; asked were n = {n} numbers, whatever the size of data"
        )
    if np.isin(drawn, data).mean() > 0.5:
        raise Misconception(
            "these are training points drawn again: the noise of width h is missing (section 3, before the estimators)"
        )
    if not np.array_equal(drawn, draw(0)):
        raise Misconception(
            "two calls with the same generator differ: some draw comes from elsewhere, such as np.random; "
            "draw everything from rng"
        )
    _judge_points(drawn, data)
    _judge_noise(drawn - _nearest(drawn), h)
    other = draw(1)
    if np.array_equal(drawn, other):
        raise Misconception("another generator gives the same samples: draw everything from rng")
    if np.array_equal(_nearest(drawn), _nearest(other)):
        raise Misconception(
            "the data points are taken in a fixed order (cycled or repeated), not drawn: samples must be independent, "
            "so choose each data point with rng"
        )
    return "one data point, one bump: each with its own draw"


def _nearest(drawn: np.ndarray) -> np.ndarray:
    """Return the data point, 0 or 10, that each sample sits on."""
    return np.where(drawn > 5, 10.0, 0.0)


def _judge_points(drawn: np.ndarray, data: np.ndarray) -> None:
    if len(np.unique(np.round(drawn - data.mean(), 9))) < len(drawn) // 2:
        raise Misconception("the same noise is used again and again: draw fresh noise for every sample (size n)")
    if abs(drawn.mean() - data.mean()) < 0.3 and drawn.std() < 2:
        raise Misconception(
            "all samples lie around the mean of the data: this averages the bumps. The *density* is an average over "
            "data points; a sample comes from one of them"
        )
    if ((drawn > 3) & (drawn < 7)).mean() > 0.05:
        raise Misconception(
            "samples fall between the two groups of data, where the kernel density is almost zero: this is one broad "
            "bell around the mean. Pick one data point per sample, then add noise"
        )
    share = (drawn > 5).mean()
    if abs(share - 0.25) > 0.02:
        raise Misconception(
            f"a quarter of the data lie at 10, but {share:.2f} of the samples: every data point has the same chance"
        )


def _judge_noise(noise: np.ndarray, h: float) -> None:
    width = noise.std()
    if abs(noise.mean()) > 0.05:
        raise Misconception("the noise has a mean other than zero: the bumps must sit on the data points")
    if abs(width - h**2) < 0.02 or abs(width - math.sqrt(h)) < 0.02:
        raise Misconception(
            f"the noise has standard deviation {width:.2f}: h = {h} *is* that already, so neither square it nor take "
            "its root"
        )
    if abs(width - h) > 0.02:
        raise Misconception(f"the noise has standard deviation {width:.2f}, the bumps have {h}")
    if abs((noise**4).mean() / width**4 - 3) > 0.3:
        raise Misconception("the noise has the right width but is not Gaussian (a uniform one gives flat-topped bumps)")


@exercise("1.4")
def exercise_4(share: Function) -> str:
    """Share of the unit cube within 0.01 of its surface, as a function of its dimension."""
    slips = {
        lambda D: 0.98**D: "this is the share of the *inside*; what is asked is the rest, one minus it",
        lambda D: 1 - 0.99**D: "each axis loses 0.01 at *both* ends, so 0.98 of it is left",
        lambda D: 0.02 * D: "shares of the axes do not add up: corners are counted several times, and at D = 784 this "
        "exceeds 1. Multiply what is left of each axis",
        lambda D: min(1, 0.02 * D): "cutting the sum off at 1 does not mend it: shares of the axes do not add up, "
        "since corners are counted several times. Multiply what is left of each axis",
        lambda D: 0.02**D: "this is a tiny corner: near the surface in *every* coordinate; one coordinate is enough",
        lambda D: 0.02: "this does not depend on D; it is right for a line only",
    }
    otherwise = (
        "at D = {0} it gives {value:.6g}. Think of the complement: a point is *not* near the surface if every one "
        "of its D coordinates lies between 0.01 and 0.99 (section 5, High dimension is strange)"
    )
    compare_all(share, [(1,), (2,), (3,), (10,), (784,)], lambda D: 1 - 0.98**D, slips, otherwise)
    return f"2 % on a line, {100 * (1 - 0.98**784):.4f} % at D = 784: nearly everything is skin"


@exercise("1.5")
def exercise_5(dimension: Function) -> str:
    """Maximum-likelihood TwoNN: ``dimension(rho)``."""
    for d, n in ((2.0, 50), (7.0, 400)):
        rho = (1 - np.random.default_rng(n).random(n)) ** (-1 / d)
        value, logs, mean = as_tensor(dimension(rho.copy()), ()), np.log(rho), rho.mean()
        slips = {
            logs.mean(): "this is the mean of log ρ, which is 1/d: take its reciprocal",
            (1 / logs).mean(): "this is the mean of 1/log ρ, which its smallest ratios rule; asked is one over the "
            "*mean of log ρ*",
            _slopes(logs): "this fits the line of the first TwoNN equation by least squares, as the chapter does for "
            "its figure; asked is the maximum of the likelihood, which needs no sorting",
            (n / np.log10(rho).sum(), n / np.log2(rho).sum()): "this uses another base of the logarithm; the "
            "derivative of log is 1/x for the natural one",
            (mean / (mean - 1), 1 / (mean - 1)): "this matches the mean of ρ, which is ruled by its largest values "
            "(infinite for d ≤ 1); maximum likelihood uses the mean of log ρ",
            1 / np.log(mean): "this is the logarithm of the mean; the sum in the log-likelihood gives the mean of the "
            "log",
            (n - 1) / logs.sum(): "this is the unbiased estimate; the maximum of the likelihood has N, not N − 1",
            1 / logs.sum(): "the N is lost: the term log d appears once for every ratio, so N times",
            n / logs.sum() - 1: "the density is d·ρ^(−d−1), and its d + 1 is not the d that is asked for",
            math.log(2) / np.median(logs): "this solves F(median) = ½: a fair estimate, but not the maximum of the "
            "likelihood",
        }
        otherwise = (
            f"for {n} ratios with Σ log ρ = {logs.sum():.4g} it gives {value:.4g}. The density is d·ρ^(−d−1); set the "
            "derivative of N log d − (d + 1) Σ log ρ to zero"
        )
        compare(value, n / logs.sum(), slips, otherwise)
    return "d = N / Σ log ρ"


def _slopes(logs: np.ndarray) -> tuple[float, ...]:
    """Least-squares slopes of −log(1 − F) over log ρ: with and without intercept, with and without the largest."""
    logs, n = np.sort(logs), len(logs)
    slopes: list[float] = []
    rank = np.arange(1, n + 1)
    for share in (rank / n, (rank - 0.5) / n, rank / (n + 1), (rank - 1) / n):
        for keep in (n, n - 1, int(0.9 * n)):
            x, y = logs[:keep], -np.log1p(-np.minimum(share[:keep], 1 - 1e-12))
            slopes += [float((x * y).sum() / (x * x).sum()), float(np.polyfit(x, y, 1)[0])]
    return tuple(slopes)
