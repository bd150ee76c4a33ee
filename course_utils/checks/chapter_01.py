"""Exercise checks of chapter 01."""

from __future__ import annotations

import math

import numpy as np

from course_utils.checks import Misconception, exercise


@exercise("1.1")
def exercise_1(log_likelihood) -> str:
    """Log-likelihood of a coin: ``log_likelihood(theta, heads, tosses)`` in nats."""
    for theta, heads, tosses in ((0.3, 4, 10), (0.4, 400, 1000), (0.7, 2, 9), (0.4, 4000, 10_000)):
        value = float(log_likelihood(theta, heads, tosses))
        right = heads * math.log(theta) + (tosses - heads) * math.log(1 - theta)
        coefficient = math.lgamma(tosses + 1) - math.lgamma(heads + 1) - math.lgamma(tosses - heads + 1)
        if _close(value, right):
            continue
        if _close(value, math.exp(right)) or (math.isinf(value) and value < 0):
            raise Misconception(
                "this multiplies the probabilities: for many tosses the product underflows. "
                "Sum the logarithms instead (section 2, Likelihood)"
            )
        if _close(value, heads * math.log(theta)):
            raise Misconception(
                "only the heads are counted; each tail contributes log(1 − θ) (section 2, The bent coin)"
            )
        if _close(value, heads * math.log(theta) + tosses * math.log(1 - theta)):
            raise Misconception("the tails are tosses − heads, not all tosses (section 2, The bent coin)")
        if _close(value, -right):
            raise Misconception("the sign is reversed: this is the negative log-likelihood. Log-probabilities are ≤ 0")
        if _close(value, right / tosses):
            raise Misconception(
                "this is the mean per toss; the log-likelihood of the data is the *sum* over the tosses "
                "(section 2, Likelihood)"
            )
        if _close(value, right / math.log(10)) or _close(value, right / math.log(2)):
            raise Misconception("this is in another base of the logarithm; nats need the natural logarithm")
        if _close(value, right + coefficient):
            raise Misconception(
                "this has the binomial coefficient: the probability of so many heads in *any* order. "
                "Asked was the given order (section 2, below the maximum)"
            )
        raise Misconception(
            f"for θ = {theta}, {heads} heads in {tosses} tosses it gives {value:.6g}, not the sum over the tosses of "
            "log p(toss); look again at the first equation of The bent coin"
        )
    return "heads·log θ + tails·log(1 − θ), and no underflow for 10,000 tosses"


@exercise("1.2")
def exercise_2(nats: float) -> str:
    """Log-density of −500 nats in pixels of [0, 1], asked for in 256 grey levels."""
    nats, shift = float(nats), 784 * math.log(256)
    if _close(nats, -500 - shift, 1e-4):
        return "every one of the 784 axes is stretched 256 times, so the density shrinks by 256^784"
    if _close(nats, -500 + shift, 1e-4):
        raise Misconception(
            "the direction is reversed: stretched over more units the density gets *smaller*, as the percent in "
            "section 2 divided by 100"
        )
    if _close(nats, -500 - math.log(256), 1e-4) or _close(nats, -500 + math.log(256), 1e-4):
        raise Misconception("this changes the unit of one pixel only; all 784 dimensions change theirs")
    if _close(nats, -500, 1e-4):
        raise Misconception("a density is not a probability: its value depends on the unit (section 2, first equation)")
    if _close(nats, -500 - 784 * math.log(255), 1e-5):
        raise Misconception(
            "the unit is stretched 256 times, not 255: each of the 256 levels 0 … 255 is an interval of width 1, "
            "so [0, 1] becomes [0, 256]"
        )
    if _close(nats, -500 - 784 * math.log10(256), 1e-4):
        raise Misconception("this takes log10 of 256; nats need the natural logarithm, log 256 = 5.545")
    if any(_close(nats, -500 * f, 1e-4) for f in (256, 1 / 256, 784, 256**2)):
        raise Misconception("this scales the logarithm; a factor on the density *adds* to its logarithm")
    if _close(nats, -500 - 784 * 8, 1e-4):
        raise Misconception("these are bits added to nats: log₂ 256 = 8, but log 256 = 5.545 nats")
    raise Misconception(
        "divide the density by 256 for every pixel and take the logarithm; see the first equation of section 2"
    )


@exercise("1.3")
def exercise_3(sample) -> str:
    """Samples of a kernel density: ``sample(data, h, n, rng)``."""
    data, h, n = np.repeat([0.0, 10.0], [150, 50]), 0.5, 20_000

    def draw(seed: int) -> np.ndarray:
        return np.asarray(sample(data, h, n, np.random.default_rng(seed)), dtype=float)

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
    near = np.where(drawn > 5, 10.0, 0.0)  # the data point that each sample sits on
    noise = drawn - near
    if len(np.unique(np.round(drawn - data.mean(), 9))) < n // 2:
        raise Misconception("the same noise is used again and again: draw fresh noise for every sample (size n)")
    if abs(drawn.mean() - data.mean()) < 0.3 and drawn.std() < 2:
        raise Misconception(
            "all samples lie around the mean of the data: this averages the bumps. The *density* is an average over "
            "data points; a sample comes from one of them"
        )
    middle, near_ten = ((drawn > 3) & (drawn < 7)).mean(), (drawn > 5).mean()
    if middle > 0.05:
        raise Misconception(
            "samples fall between the two groups of data, where the kernel density is almost zero: this is one broad "
            "bell around the mean. Pick one data point per sample, then add noise"
        )
    if abs(near_ten - 0.25) > 0.02:
        raise Misconception(
            f"a quarter of the data lie at 10, but {near_ten:.2f} of the samples: every data point has the same chance"
        )
    if abs(noise.mean()) > 0.05:
        raise Misconception("the noise has a mean other than zero: the bumps must sit on the data points")
    if abs(noise.std() - h**2) < 0.02 or abs(noise.std() - math.sqrt(h)) < 0.02:
        raise Misconception(
            f"the noise has standard deviation {noise.std():.2f}: h = {h} *is* that already, "
            "so neither square it nor take its root"
        )
    if abs(noise.std() - h) > 0.02:
        raise Misconception(f"the noise has standard deviation {noise.std():.2f}, the bumps have {h}")
    if abs((noise**4).mean() / noise.var() ** 2 - 3) > 0.3:
        raise Misconception("the noise has the right width but is not Gaussian (a uniform one gives flat-topped bumps)")
    other = draw(1)
    if np.array_equal(drawn, other):
        raise Misconception("another generator gives the same samples: draw everything from rng")
    if np.array_equal(near, np.where(other > 5, 10.0, 0.0)):
        raise Misconception(
            "the data points are taken in a fixed order (cycled or repeated), not drawn: samples must be independent, "
            "so choose each data point with rng"
        )
    return "one data point, one bump: each with its own draw"


@exercise("1.4")
def exercise_4(share) -> str:
    """Share of the unit cube within 0.01 of its surface, as a function of its dimension."""
    named = (
        (lambda D: 0.98**D, "this is the share of the *inside*; what is asked is the rest, one minus it"),
        (lambda D: 1 - 0.99**D, "each axis loses 0.01 at *both* ends, so 0.98 of it is left"),
        (
            lambda D: 0.02 * D,
            "shares of the axes do not add up: corners are counted several times, and at D = 784 this exceeds 1. "
            "Multiply what is left of each axis",
        ),
        (
            lambda D: min(1, 0.02 * D),
            "cutting the sum off at 1 does not mend it: shares of the axes do not add up, since corners are counted "
            "several times. Multiply what is left of each axis",
        ),
        (lambda D: 0.02**D, "this is a tiny corner: near the surface in *every* coordinate; one coordinate is enough"),
        (lambda D: 0.02 + 0 * D, "this does not depend on D; it is right for a line only"),
    )
    values = [(D, float(share(D))) for D in (1, 2, 3, 10, 784)]
    if all(_close(value, 1 - 0.98**D, 1e-6) for D, value in values):
        return f"2 % on a line, {100 * (1 - 0.98**784):.4f} % at D = 784: nearly everything is skin"
    for wrong, message in named:
        if all(_close(value, wrong(D), 1e-6) for D, value in values):
            raise Misconception(message)
    D, value = next((D, value) for D, value in values if not _close(value, 1 - 0.98**D, 1e-6))
    raise Misconception(
        f"at D = {D} it gives {value:.6g}. Think of the complement: a point is *not* near the surface if every one of "
        "its D coordinates lies between 0.01 and 0.99 (section 5, High dimension is strange)"
    )


@exercise("1.5")
def exercise_5(dimension) -> str:
    """Maximum-likelihood TwoNN: ``dimension(rho)``."""
    for d, n in ((2.0, 50), (7.0, 400)):
        rho = (1 - np.random.default_rng(n).random(n)) ** (-1 / d)
        value, logs = float(dimension(rho.copy())), np.log(rho)
        right = n / logs.sum()
        if _close(value, right, 1e-6):
            continue
        if _close(value, logs.mean(), 1e-6):
            raise Misconception("this is the mean of log ρ, which is 1/d: take its reciprocal")
        if _close(value, (1 / logs).mean(), 1e-6):
            raise Misconception(
                "this is the mean of 1/log ρ, which its smallest ratios rule; asked is one over the *mean of log ρ*"
            )
        if any(_close(value, slope, 1e-6) for slope in _slopes(logs)):
            raise Misconception(
                "this fits the line of the first TwoNN equation by least squares, as the chapter does for its figure; "
                "asked is the maximum of the likelihood, which needs no sorting"
            )
        if _close(value, n / np.log10(rho).sum(), 1e-6) or _close(value, n / np.log2(rho).sum(), 1e-6):
            raise Misconception(
                "this uses another base of the logarithm; the derivative of log is 1/x for the natural one"
            )
        if _close(value, rho.mean() / (rho.mean() - 1), 1e-6) or _close(value, 1 / (rho.mean() - 1), 1e-6):
            raise Misconception(
                "this matches the mean of ρ, which is ruled by its largest values (infinite for d ≤ 1); "
                "maximum likelihood uses the mean of log ρ"
            )
        if _close(value, 1 / np.log(rho.mean()), 1e-6):
            raise Misconception(
                "this is the logarithm of the mean; the sum in the log-likelihood gives the mean of the log"
            )
        if _close(value, (n - 1) / logs.sum(), 1e-6):
            raise Misconception("this is the unbiased estimate; the maximum of the likelihood has N, not N − 1")
        if _close(value, 1 / logs.sum(), 1e-6):
            raise Misconception("the N is lost: the term log d appears once for every ratio, so N times")
        if _close(value, n / logs.sum() - 1, 1e-6):
            raise Misconception("the density is d·ρ^(−d−1), and its d + 1 is not the d that is asked for")
        if _close(value, math.log(2) / np.median(logs), 1e-6):
            raise Misconception("this solves F(median) = ½: a fair estimate, but not the maximum of the likelihood")
        raise Misconception(
            f"for {n} ratios with Σ log ρ = {logs.sum():.4g} it gives {value:.4g}. The density is d·ρ^(−d−1); set the "
            "derivative of N log d − (d + 1) Σ log ρ to zero"
        )
    return "d = N / Σ log ρ"


def _slopes(logs: np.ndarray) -> list[float]:
    """Least-squares slopes of −log(1 − F) over log ρ: with and without intercept, with and without the largest."""
    logs, n, slopes = np.sort(logs), len(logs), []
    rank = np.arange(1, n + 1)
    for share in (rank / n, (rank - 0.5) / n, rank / (n + 1), (rank - 1) / n):
        for keep in (n, n - 1, int(0.9 * n)):
            x, y = logs[:keep], -np.log1p(-np.minimum(share[:keep], 1 - 1e-12))
            slopes += [float((x * y).sum() / (x * x).sum()), float(np.polyfit(x, y, 1)[0])]
    return slopes


def _close(value: float, target: float, tolerance: float = 1e-6) -> bool:
    return math.isclose(value, target, rel_tol=tolerance, abs_tol=1e-12)
