"""Exercise checks of chapter 01."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import logsumexp

from course_utils.checks import Function, Misconception, as_tensor, compare, exercise


@exercise("1.1")
def exercise_1(log_likelihood: Function) -> str:
    """Log-likelihood of a coin: ``log_likelihood(theta, heads, tosses)`` in nats."""
    drawn = float(np.random.default_rng(1).uniform(0.2, 0.35))
    for theta, heads, tosses in ((0.3, 4, 10), (drawn, 7, 19), (1e-30, 400, 500), (0.4, 400_000, 1_000_000)):
        try:
            value = as_tensor(log_likelihood(theta, heads, tosses), ())
        except ValueError as error:
            if "domain" not in str(error):
                raise
            raise Misconception(
                "this takes the logarithm of 0: for many tosses a product of probabilities underflows. Sum the "
                "logarithms instead (section 2, Likelihood)"
            ) from None
        right = heads * math.log(theta) + (tosses - heads) * math.log(1 - theta)
        coefficient = math.lgamma(tosses + 1) - math.lgamma(heads + 1) - math.lgamma(tosses - heads + 1)
        slips = {
            (math.exp(right), -math.inf): "this multiplies the probabilities: for many tosses the product underflows. "
            "Sum the logarithms instead (section 2, Likelihood)",
            heads * math.log(theta): "only the heads are counted; each tail contributes log(1 − θ) (section 2, The "
            "bent coin)",
            heads * math.log(theta) + tosses * math.log(1 - theta): "the tails are tosses − heads, not all tosses "
            "(section 2, The bent coin)",
            heads * math.log(1 - theta) + (tosses - heads) * math.log(theta): "heads and tails are exchanged: θ is the "
            "probability of heads, so each *head* contributes log θ",
            -right: "the sign is reversed: this is the negative log-likelihood. Log-probabilities are ≤ 0",
            right / tosses: "this is the mean per toss; the log-likelihood of the data is the *sum* over the tosses "
            "(section 2, Likelihood)",
            (right / math.log(10), right / math.log(2)): "this is in another base of the logarithm; nats need the "
            "natural logarithm",
            right + coefficient: "this has the binomial coefficient: the probability of so many heads in *any* order. "
            "Asked was the given order (section 2, The bent coin, before (1.5))",
        }
        otherwise = (
            f"for θ = {theta}, {heads} heads in {tosses} tosses it gives {value:.6g}, not the sum over the tosses of "
            "log p(toss); look again at the first equation of The bent coin, and neither clip θ nor add to it "
            "(some libraries do so by themselves)"
        )
        compare(value, right, slips, otherwise)
    return "heads·log θ + tails·log(1 − θ), and no underflow for a million tosses"


@exercise("1.2")
def exercise_2(nats: Any) -> str:
    """Log-density of −500 nats in pixels of [0, 1], asked for in 256 grey levels."""
    shift, value = math.log(256), as_tensor(nats, ())
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
        (-500 - 784 * 256, -500 + 784 * 256): "the *density* is divided by 256; its logarithm loses log 256 a pixel",
        -500 - 784 * 8: "these are bits added to nats: log₂ 256 = 8, but log 256 = 5.545 nats",
    }
    otherwise = "divide the density by 256 for every pixel and take the logarithm; see the first equation of section 2"
    if abs(value + 500 + 784 * shift) < 10:
        otherwise = f"{value:.6g} is near, but rounded too much: give four digits, or the formula itself"
    compare(value, -500 - 784 * shift, slips, otherwise)
    return "every one of the 784 axes is stretched 256 times, so the density shrinks by 256^784"


@exercise("1.3")
def exercise_3(kl: Function) -> str:
    """KL divergence of two tables of probabilities: ``kl(p, q)`` in nats."""
    for size in (2, 5, 40):
        p, q = np.random.default_rng(size).dirichlet(np.ones(size), 2)
        cross, entropy, logs = -(p * np.log(q)).sum(), -(p * np.log(p)).sum(), np.log(p) - np.log(q)
        right, reverse = (p * logs).sum(), -(q * logs).sum()
        slips = {
            reverse: "the order is reversed: the draws come from p, so p weights the sum (section 2, What maximum "
            "likelihood makes small)",
            cross: "this is the cross-entropy −Σ p log q; subtract the entropy −Σ p log p, which even the truth costs",
            entropy: "this is the entropy of p alone; q does not occur in it",
            -right: "the sign is reversed: the divergence is never negative, so log p − log q, not log q − log p",
            (right / math.log(2), right / math.log(10)): "this is in another base of the logarithm; nats need the "
            "natural logarithm",
            (logs.mean(), logs.sum()): "the sum is not weighted: how often a value occurs, p, stands before its "
            "logarithm",
            right / size: "this divides by the number of values: the weights p add up to 1 already",
            (p * np.abs(logs)).sum(): "absolute values are taken: terms where q is larger than p are negative and stay "
            "so; only the sum is never negative",
            (right + reverse, (right + reverse) / 2): "this adds both directions; asked is the one that draws from p",
        }
        otherwise = "not the expected value: sum p · (log p − log q) over the values, with the natural logarithm"
        compare(as_tensor(kl(p.copy(), q.copy()), ()), right, slips, otherwise)
    half, never = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.25, 0.25, 0.5, 0.0])  # the last never happens
    with np.errstate(divide="ignore", invalid="ignore"):
        harmless, fatal = as_tensor(kl(half, never), ()), as_tensor(kl(never, half), ())
    if not abs(harmless - math.log(2)) < 1e-4:
        raise Misconception(
            f"for p = {half} and q = {never} it gives {harmless:.4g}, not log 2 = 0.6931: what never happens under p "
            "costs nothing (0 · log 0 counts as 0; a computer says nan). Keep the values with p > 0"
        )
    if not fatal == math.inf:
        raise Misconception(
            f"for p = {never} and q = {half} it gives {fatal:.4g}: q gives zero to something that happens under p, so "
            "the divergence is infinite. Do not leave out values with q = 0, and add nothing to q"
        )
    return "weighted by p; a zero of p is harmless, a zero of q where p is not zero is fatal"


@exercise("1.4")
def exercise_4(sample: Function) -> str:
    """Samples of a kernel density: ``sample(data, h, n, rng)``."""
    data, h, n = np.repeat([0.0, 10.0], [150, 50]), 0.5, 20_000

    def draw(seed: int, data: np.ndarray = data, n: int = n) -> np.ndarray:
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
    if np.array_equal(np.isin(drawn, data), drawn == 0) and 0.7 < (drawn == 0).mean() < 0.8:
        raise Misconception("the noise is multiplied by the data, so a 0 gets none: *add* noise of width h")
    if np.isin(drawn, data).mean() > 0.5:
        raise Misconception(
            "these are training points drawn again: the noise of width h is missing (section 3, before the estimators)"
        )
    if not np.array_equal(drawn, draw(0)):
        raise Misconception(
            "two calls with the same generator differ: some draw comes from elsewhere, such as np.random; "
            "draw everything from rng"
        )
    _judge_points(drawn, data, h)
    for group in (drawn, drawn[drawn < 5], drawn[drawn > 5]):  # one number for point and noise would tie them
        _judge_noise(group - _nearest(group), h)
    other = draw(1)
    if np.array_equal(drawn, other):
        raise Misconception("another generator gives the same samples: draw everything from rng")
    if np.array_equal(_nearest(drawn), _nearest(other)):
        raise Misconception(
            "the data points are taken in a fixed order (cycled or repeated), not drawn: samples must be independent, "
            "so choose each data point with rng"
        )
    if not 3 < (drawn.reshape(100, 200) > 5).sum(1).std() < 12:  # 6.1 for independent draws
        raise Misconception(
            "samples must be independent: choose each data point anew, and put it back; here they come sorted, or each "
            "data point comes once before any comes again"
        )
    _judge_every_point(draw(2, 100 * np.arange(7.0), 2000), draw(3, 100 * np.arange(40.0), 5))
    return "one data point, one bump: each with its own draw"


def _judge_every_point(drawn: np.ndarray, few: np.ndarray) -> None:
    """``drawn`` are 2,000 samples of bumps at 0, 100, …, 600; ``few`` are asked to be five of forty bumps."""
    counts = np.bincount(np.clip(np.round(drawn / 100), 0, 6).astype(int), minlength=7)
    if counts.min() < 200:
        raise Misconception(
            f"of seven data points number {counts.argmin()} is drawn {counts.min()} times in 2,000: every data point, "
            "the first and the last as well, has the same chance"
        )
    if few.shape != (5,):
        raise Misconception(f"asked for 5 samples of 40 data points it returns shape {few.shape}; n may be small")


def _nearest(drawn: np.ndarray) -> np.ndarray:
    """Return the data point, 0 or 10, that each sample sits on."""
    return np.where(drawn > 5, 10.0, 0.0)


def _judge_points(drawn: np.ndarray, data: np.ndarray, h: float) -> None:
    if len(np.unique(np.round(drawn - data.mean(), 9))) < len(drawn) // 2:
        raise Misconception("the same noise is used again and again: draw fresh noise for every sample (size n)")
    if abs(drawn.mean() - data.mean()) < 0.3 and drawn.std() < 2:
        raise Misconception(
            "all samples lie around the mean of the data: this averages the bumps. The *density* is an average over "
            "data points; a sample comes from one of them"
        )
    spread = math.sqrt(max(drawn.var() - data.var(), 0))
    if abs(spread / (h * data.std()) - 1) < 0.1:
        raise Misconception(
            "the noise has h times the standard deviation of the data (so gaussian_kde reads its factor); here h is "
            "the standard deviation of the noise itself"
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


@exercise("1.5")
def exercise_5(build: Function) -> str:
    """``build(levels, labels, n_levels)`` → log_prob, sample, classify of a table for each class and pixel."""
    for seed, (n, width, n_levels, n_classes) in enumerate(((400, 9, 6, 4), (90, 5, 3, 3), (90, 1500, 3, 3))):
        rng = np.random.default_rng(seed)
        shares = 2.0 ** np.arange(n_classes) / (2**n_classes - 1)
        kinds = rng.permutation(np.concatenate([np.arange(n_classes), rng.choice(n_classes, n - n_classes, p=shares)]))
        tables = rng.dirichlet(np.ones(n_levels), (n_classes, width))

        def draw(labels: np.ndarray, rng: Any = rng, tables: Any = tables) -> np.ndarray:
            return (rng.random((*labels.shape, tables.shape[1], 1)) > tables[labels].cumsum(-1)[..., :-1]).sum(-1)

        levels, new = draw(kinds), draw(rng.choice(n_classes, 120))
        answer = build(levels.copy(), kinds.copy(), n_levels)
        if not isinstance(answer, tuple | list) or len(answer) != 3 or not all(map(callable, answer)):
            raise Misconception("return three functions, in this order: log_prob, sample, classify")
        log_prob, sample, classify = answer
        joint = _joint(levels, kinds, n_levels, new, 0.5)
        _judge_log_prob(as_tensor(log_prob(new.copy()), (120,)), levels, kinds, n_levels, new)
        named = as_tensor(classify(new.copy()), (120,), ": one class for each picture")
        no_share = joint - np.log(np.bincount(kinds) / n)
        slips = {
            as_tensor(no_share.argmax(1)): "the shares of the classes are missing: by Bayes' rule the prior π_c counts",
            as_tensor(joint.argmin(1)): "this takes the *least* probable class",
            as_tensor(np.exp(joint).argmax(1)): "with many pixels the probabilities are 0 to a computer: compare logs",
        }
        otherwise = "log_prob is right, classify is not: the class with the largest log π_c + log p(x | c)"
        compare(named, as_tensor(joint.argmax(1)), slips, otherwise)
        if width < 10:
            _judge_generator(sample, levels, kinds, n_levels)
    return "one set of tables, used in three ways: summed over classes, drawn from, and turned round by Bayes' rule"


def _joint(levels: np.ndarray, kinds: np.ndarray, n_levels: int, new: np.ndarray, added: float) -> np.ndarray:
    """Log π_c + log p(x | c) of new pictures, (B, K)."""
    columns = []
    for c in range(kinds.max() + 1):
        counts = (levels[kinds == c][..., None] == np.arange(n_levels)).sum(0) + added  # (D, n_levels)
        with np.errstate(divide="ignore"):
            logs = np.log(counts / counts.sum(1, keepdims=True))
        columns.append(np.log((kinds == c).mean()) + logs[np.arange(new.shape[1]), new].sum(1))
    return np.stack(columns, 1)


def _judge_log_prob(value: Any, levels: np.ndarray, kinds: np.ndarray, n_levels: int, new: np.ndarray) -> None:
    joint, one = _joint(levels, kinds, n_levels, new, 0.5), _joint(levels, 0 * kinds, n_levels, new, 0.5)[:, 0]
    right, prior = logsumexp(joint, 1), np.log(np.bincount(kinds) / len(kinds))
    with np.errstate(divide="ignore"):
        naive = np.log(np.exp(joint).sum(1))
    slips = {
        as_tensor(naive): "with many pixels np.exp gives 0, and its log −∞; scipy.special.logsumexp does not",
        as_tensor(one): "this has one table for each pixel and no classes: make a set of tables for every class",
        as_tensor(joint.max(1)): "this takes the best class only; log p(x) sums the *probabilities* of all classes",
        as_tensor(joint.mean(1)): "this averages the logarithms of the classes: sum the probabilities first "
        "(log-sum-exp)",
        as_tensor(joint.sum(1)): "this adds the logarithms of the classes, which multiplies their probabilities: sum "
        "the probabilities (log-sum-exp)",
        as_tensor(logsumexp(joint - prior, 1)): "the shares π_c of the classes are missing (the result is above the "
        "right one)",
        as_tensor(logsumexp(joint - prior, 1) - math.log(len(prior))): "all classes get the same share; π_c is the "
        "share of the training pictures",
        as_tensor(logsumexp(_joint(levels, kinds, n_levels, new, 0.0), 1)): "nothing is added to the counts, so an "
        "unseen level has log 0 = −∞: add 0.5 to every cell",
        as_tensor(logsumexp(_joint(levels, kinds, n_levels, new, 1.0), 1)): "1 is added to every cell; asked is 0.5",
        as_tensor(right / math.log(2)): "this is in bits; asked are nats",
        as_tensor(right / new.shape[1]): "this is the mean over the pixels; independent pixels *add* their logarithms",
        as_tensor(-right): "the sign is reversed: log-probabilities are ≤ 0",
        as_tensor(np.exp(right)): "this is the probability; asked is its logarithm",
    }
    otherwise = (
        f"log_prob is off by {float((value - as_tensor(right)).abs().max()):.3g} nats at most. For each class: log π_c "
        "plus the sum over pixels of the table's logarithm; then log-sum-exp over the classes"
    )
    compare(value, as_tensor(right), slips, otherwise)


def _judge_generator(sample: Function, levels: np.ndarray, kinds: np.ndarray, n_levels: int) -> None:
    n, width = 6000, levels.shape[1]
    drawn = as_tensor(sample(n, np.random.default_rng(3)), (n, width), ": n pictures of D pixels").numpy()
    if not np.isin(drawn, np.arange(n_levels)).all():
        raise Misconception("sample draws values that are no grey levels: whole numbers from 0 to n_levels − 1")
    if not np.array_equal(drawn, as_tensor(sample(n, np.random.default_rng(3))).numpy()):
        raise Misconception("two calls with the same generator differ: draw everything from rng")
    if np.array_equal(drawn, as_tensor(sample(n, np.random.default_rng(4))).numpy()):
        raise Misconception("another generator gives the same samples: draw everything from rng")
    seen = {tuple(row) for row in levels}
    if width > 8 and np.mean([tuple(row) in seen for row in drawn]) > 0.9:
        raise Misconception("these are training pictures drawn again: draw every pixel from the table of its class")
    share = np.bincount(kinds) / len(kinds)
    hot = (levels[..., None] == np.arange(n_levels)).astype(float)
    tables = np.stack([(hot[kinds == c].sum(0) + 0.5) for c in range(len(share))])
    tables = (tables / tables.sum(-1, keepdims=True)).reshape(len(share), -1)  # (K, D · n_levels)
    mine = (drawn[..., None] == np.arange(n_levels)).reshape(n, -1).astype(float)
    off = np.abs(mine.mean(0) - share @ tables).max()
    if off > 0.05:
        same = np.abs(mine.mean(0) - tables.mean(0)).max() < 0.03
        more = "the classes are drawn with equal chances, not with their shares" if same else "check class and table"
        raise Misconception(f"how often a pixel has a level is off by up to {off:.2f}: {more}")
    pairs, known = mine.T @ mine / n, (tables.T * share) @ tables
    apart = ~np.kron(np.eye(width, dtype=bool), np.ones((n_levels, n_levels), dtype=bool))
    if np.abs(pairs - known)[apart].max() > 0.05:
        raise Misconception(
            "each pixel alone is right, two together are not: all pixels of one picture come from the tables of *one* "
            "class, drawn once for the picture"
        )


@exercise("1.6")
def exercise_6(dimension: Function) -> str:
    """Maximum-likelihood TwoNN: ``dimension(rho)``."""
    for d, n in ((2.0, 50), (7.0, 400), (3.0, 30)):
        rho = (1 - np.random.default_rng(n).random(n)) ** (-1 / d)
        rho = np.concatenate([rho[:20], rho[:10]]) if n == 30 else rho  # ten ratios occur twice
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
            len(np.unique(rho)) / np.log(np.unique(rho)).sum() if n == 30 else None: "ratios that occur twice count "
            "twice: keep all of them",
            (n + 1) / logs.sum(): "this has N + 1; the term log d appears once for every ratio, so N times",
            n / logs.sum() + 1: "the density is d·ρ^(−d−1): its exponent is d + 1, asked is d",
            n / logs.sum() - 1: "the density is d·ρ^(−d−1), and its d + 1 is not the d that is asked for",
            math.log(2) / np.median(logs): "this solves F(median) = ½: a fair estimate, but not the maximum of the "
            "likelihood",
        }
        otherwise = (
            f"for {n} ratios with Σ log ρ = {logs.sum():.4g} it gives {value:.4g}. The density is d·ρ^(−d−1); set the "
            "derivative of N log d − (d + 1) Σ log ρ to zero"
        )
        if abs(value * logs.sum() / n - 1) < 0.01:
            otherwise = f"{value:.4g} is near, but too coarse, as a grid of d or an early stop gives: solve for d"
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
