"""Every check of chapter 01 passes its solution, names each known misconception, and lets no wrong answer through."""

import math

import numpy as np
import torch
from helpers.answers import Answers
from scipy import stats
from scipy.special import logsumexp, rel_entr
from torch.nn import functional as F

from course_utils.checks import chapter_01 as check


def divergence(p, q):
    p, q = np.asarray(p), np.asarray(q)
    with np.errstate(divide="ignore"):
        return (p[p > 0] * (np.log(p[p > 0]) - np.log(q[p > 0]))).sum()


def generator(levels, labels, n_levels, added=0.5, equal=False, apart=False):
    """The right answer to 1.5, with the slips that change the tables, the shares or the draws."""
    levels, labels = np.asarray(levels), np.asarray(labels)
    classes, width = labels.max() + 1, levels.shape[1]
    share = np.full(classes, 1 / classes) if equal else np.bincount(labels) / len(labels)
    tables = np.stack([(levels[labels == c][..., None] == np.arange(n_levels)).sum(0) + added for c in range(classes)])
    tables = tables / tables.sum(-1, keepdims=True)

    def joint(new):
        with np.errstate(divide="ignore"):
            logs = [np.log(table)[np.arange(width), np.asarray(new)].sum(1) for table in tables]
        return np.stack(logs, 1) + np.log(share)

    def sample(n, rng):
        kinds = rng.choice(classes, (n, width) if apart else n, p=share)
        chosen = tables[kinds, np.arange(width)] if apart else tables[kinds]
        return (rng.random((n, width, 1)) > chosen.cumsum(-1)[..., :-1]).sum(-1)

    return lambda new: logsumexp(joint(new), axis=1), sample, lambda new: joint(new).argmax(1)


def changed(**parts):
    """An answer to 1.5 whose ``log_prob``, ``sample`` or ``classify`` is another: part → function of the three."""

    def build(*asked):
        known = dict(zip(("log_prob", "sample", "classify"), generator(*asked), strict=True))
        return tuple(parts[name](known, *asked) if name in parts else known[name] for name in known)

    return build


def one_table(known, levels, labels, n_levels):
    return generator(levels, 0 * labels, n_levels)[0]


def training_pictures(known, levels, labels, n_levels):
    return lambda n, rng: levels[rng.integers(len(levels), size=n)]


SOLUTIONS = {
    "exercise_1": lambda theta, heads, tosses: heads * math.log(theta) + (tosses - heads) * math.log(1 - theta),
    "exercise_2": -500 - 784 * math.log(256),
    "exercise_3": divergence,
    "exercise_4": lambda data, h, n, rng: rng.choice(data, n) + h * rng.standard_normal(n),
    "exercise_5": generator,
    "exercise_6": lambda mu: len(mu) / np.log(mu).sum(),
}


def right(theta, heads, tosses):
    return SOLUTIONS["exercise_1"](theta, heads, tosses)


def log_of_product(theta, heads, tosses):
    product = theta**heads * (1 - theta) ** (tosses - heads)
    return math.log(product) if product else -math.inf


def same_noise(data, h, n, rng):
    return rng.choice(data, n) + h * np.resize(rng.standard_normal(10), n)


def always_the_same(data, h, n, rng):
    rng = np.random.default_rng(5)
    return rng.choice(data, n) + h * rng.standard_normal(n)


def in_passes(data, h, n, rng):
    drawn = np.concatenate([rng.permutation(data) for _ in range(-(-n // len(data)))])[:n]
    return drawn + h * rng.standard_normal(n)


def sorted_draws(data, h, n, rng):
    counts = rng.multinomial(n, np.full(len(data), 1 / len(data)))
    return np.repeat(data, counts) + h * rng.standard_normal(n)


def one_number_for_both(data, h, n, rng):
    u = rng.random(n)
    return data[(u * len(data)).astype(int)] + h * stats.norm.ppf(u)


def average_of_bumps(data, h, n, rng):
    return data.mean() + h * rng.standard_normal((len(data), n)).mean(0)


def slope_through_origin(mu):
    logs = np.sort(np.log(mu))[: int(0.9 * len(mu))]
    target = -np.log(1 - np.arange(1, len(logs) + 1) / len(mu))
    return (logs * target).sum() / (logs**2).sum()


def slope_with_intercept(mu):
    return np.polyfit(np.sort(np.log(mu)), -np.log(1 - (np.arange(len(mu)) + 0.5) / len(mu)), 1)[0]


def log_of_long_product(theta, heads, tosses):
    with np.errstate(divide="ignore"):
        return float(np.log(np.prod(np.repeat(np.longdouble([theta, 1 - theta]), [heads, tosses - heads]))))


def at_least_as_many(data, h, n, rng):
    n = max(n, len(data))
    return rng.choice(data, n) + h * rng.standard_normal(n)


def of_the_classes(formula):
    """A part of the answer to 1.5 that is a formula of log π_c + log p(x | c), (B, K), and of log π_c."""

    def part(known, levels, labels, n_levels):
        prior = np.log(np.bincount(labels) / len(labels))
        classes = [generator(levels[labels == c], 0 * labels[labels == c], n_levels)[0] for c in range(len(prior))]
        return lambda new: formula(np.stack([log_prob(new) for log_prob in classes], 1) + prior, prior)

    return part


def naive(joint, prior):
    with np.errstate(divide="ignore"):
        return np.log(np.exp(joint).sum(1))


#: exercise, a wrong answer, words that its message must contain.
WRONG = [
    ("exercise_1", lambda t, h, n: t**h * (1 - t) ** (n - h), "underflows"),
    ("exercise_1", lambda t, h, n: math.log(t**h * (1 - t) ** (n - h) or 1e-323), "not the sum"),
    ("exercise_1", log_of_product, "underflows"),
    ("exercise_1", lambda t, h, n: h * math.log(t), "only the heads"),
    ("exercise_1", lambda t, h, n: h * math.log(t) + n * math.log(1 - t), "not all tosses"),
    ("exercise_1", lambda t, h, n: -right(t, h, n), "sign"),
    ("exercise_1", lambda t, h, n: right(t, h, n) / math.log(10), "another base"),
    ("exercise_1", lambda t, h, n: right(t, h, n) / math.log(2), "another base"),
    ("exercise_1", lambda t, h, n: right(t, h, n) + math.log(math.comb(n, h)), "binomial coefficient"),
    ("exercise_1", lambda t, h, n: right(t, h, n) / n, "mean per toss"),
    ("exercise_1", lambda t, h, n: 2 * right(t, h, n), "not the sum"),
    ("exercise_1", lambda t, h, n: 1.0, "not the sum"),
    ("exercise_1", lambda t, h, n: right(1 - t, h, n), "exchanged"),
    ("exercise_1", lambda t, h, n: right(min(max(t, 0.01), 0.99), h, n), "not the sum"),
    ("exercise_1", lambda t, h, n: h * math.log(t + 1e-6) + (n - h) * math.log(1 - t + 1e-6), "nor add to it"),
    ("exercise_1", lambda t, h, n: right(min(max(t, 1e-6), 1 - 1e-6), h, n), "clip"),
    ("exercise_1", lambda t, h, n: right(max(t, 1e-12), h, n), "clip"),
    ("exercise_1", log_of_long_product, "underflows"),
    ("exercise_1", lambda t, h, n: print(end=""), "returned nothing"),
    ("exercise_2", -500 + 784 * math.log(256), "direction"),
    ("exercise_2", -500 - math.log(256), "one pixel only"),
    ("exercise_2", -500, "depends on the unit"),
    ("exercise_2", -500 / 256, "adds"),
    ("exercise_2", -500 * 256, "adds"),
    ("exercise_2", -500 * 784, "adds"),
    ("exercise_2", -500 * 256**2, "adds"),
    ("exercise_2", -500 + math.log(256), "one pixel only"),
    ("exercise_2", -500 - 784 * 8, "bits"),
    ("exercise_2", -500 - 784 * math.log(255), "not 255"),
    ("exercise_2", -500 - 784 * math.log10(256), "log10"),
    ("exercise_2", -500 - 784 * 256, "loses log 256 a pixel"),
    ("exercise_2", -4850, "rounded too much"),
    ("exercise_2", 12.0, "divide the density"),
    ("exercise_2", float("nan"), "divide the density"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n), "noise of width h is missing"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) * (1 + h * rng.standard_normal(n)), "multiplied"),
    ("exercise_4", lambda data, h, n, rng: data.mean() + data.std() * rng.standard_normal(n), "one broad bell"),
    (
        "exercise_4",
        lambda data, h, n, rng: rng.choice(data, n) + h**2 * rng.standard_normal(n),
        "0.25: h = 0.5 *is* that",
    ),
    (
        "exercise_4",
        lambda data, h, n, rng: rng.choice(data, n) + h**0.5 * rng.standard_normal(n),
        "0.70: h = 0.5 *is* that",
    ),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + 3 * h * rng.random(n), "mean other than zero"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + 12**0.5 * h * (rng.random(n) - 0.5), "not Gaussian"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + h * rng.standard_normal(), "same noise"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + 9 * h * rng.standard_normal(), "same noise"),
    ("exercise_4", same_noise, "same noise"),
    ("exercise_4", lambda data, h, n, rng: np.random.choice(data, n) + h * rng.standard_normal(n), "np.random"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + h * np.random.standard_normal(n), "np.random"),
    ("exercise_4", lambda data, h, n, rng: np.resize(data, n) + h * rng.standard_normal(n), "fixed order"),
    ("exercise_4", lambda data, h, n, rng: np.repeat(data, n // len(data)) + h * rng.standard_normal(n), "fixed order"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n, replace=False) + h * rng.standard_normal(n), "back"),
    (
        "exercise_4",
        lambda data, h, n, rng: rng.choice(data, n) + h * data.std() * rng.standard_normal(n),
        "gaussian_kde",
    ),
    ("exercise_4", lambda data, h, n, rng: stats.gaussian_kde(data, h).resample(n, seed=rng)[0], "gaussian_kde"),
    ("exercise_4", in_passes, "independent"),
    ("exercise_4", sorted_draws, "independent"),
    ("exercise_4", one_number_for_both, "mean other than zero"),
    ("exercise_1", lambda t, h, n: math.log(t**h * (1 - t) ** (n - h)), "logarithm of 0"),
    ("exercise_3", lambda p, q: np.nan_to_num(p * np.log(p / q)).sum(), "infinite"),
    ("exercise_4", lambda data, h, n, rng: data.mean() + h * rng.standard_normal(n), "averages the bumps"),
    ("exercise_4", average_of_bumps, "averages the bumps"),
    ("exercise_4", always_the_same, "another generator"),
    ("exercise_4", lambda data, h, n, rng: data + h * rng.standard_normal(len(data)), "shape"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(np.unique(data), n) + h * rng.standard_normal(n), "same chance"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + 0.28 * rng.standard_normal(n), "the bumps have"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + 0.53 * rng.standard_normal(n), "the bumps have"),
    (
        "exercise_4",
        lambda data, h, n, rng: rng.choice(data, n) + h * 0.875**0.5 * rng.standard_t(16, n),
        "not Gaussian",
    ),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data, n) + h * rng.standard_normal(n) + 0.08, "mean other than"),
    (
        "exercise_4",
        lambda data, h, n, rng: rng.choice(data, n) + 0.4 * rng.standard_normal(n),
        "standard deviation 0.40",
    ),
    ("exercise_3", lambda p, q: divergence(q, p), "reversed: the draws"),
    ("exercise_3", lambda p, q: -(p * np.log(q)).sum(), "cross-entropy"),
    ("exercise_3", lambda p, q: -(p * np.log(p)).sum(), "entropy of p alone"),
    ("exercise_3", lambda p, q: -divergence(p, q), "sign"),
    ("exercise_3", lambda p, q: divergence(p, q) / math.log(2), "base"),
    ("exercise_3", lambda p, q: divergence(p, q) / math.log(10), "base"),
    ("exercise_3", lambda p, q: (np.log(p) - np.log(q)).mean(), "not weighted"),
    ("exercise_3", lambda p, q: (np.log(p) - np.log(q)).sum(), "not weighted"),
    ("exercise_3", lambda p, q: (p * (np.log(p) - np.log(q))).mean(), "number of values"),
    ("exercise_3", lambda p, q: (p * abs(np.log(p) - np.log(q))).sum(), "absolute"),
    ("exercise_3", lambda p, q: divergence(p, q) + divergence(q, p), "both directions"),
    ("exercise_3", lambda p, q: (divergence(p, q) + divergence(q, p)) / 2, "both directions"),
    ("exercise_3", lambda p, q: ((p - q) ** 2).sum(), "not the expected"),
    ("exercise_3", lambda p, q: (p * (np.log(p) - np.log(q))).sum(), "costs nothing"),
    ("exercise_3", lambda p, q: divergence(p, q + 1e-9), "infinite"),
    ("exercise_3", lambda p, q: divergence(p[q > 0], q[q > 0]), "infinite"),
    ("exercise_3", lambda p, q: np.where(q > 0, p * (np.log(p) - np.log(q)), 0).sum(), "costs nothing"),
    ("exercise_3", lambda p, q: F.kl_div(torch.tensor(q).log(), torch.tensor(p), reduction="sum"), "nan"),
    ("exercise_3", lambda p, q: print(end=""), "returned nothing"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data[:-1], n) + h * rng.standard_normal(n), "number 6 is drawn"),
    ("exercise_4", lambda data, h, n, rng: rng.choice(data[1:], n) + h * rng.standard_normal(n), "number 0 is drawn"),
    ("exercise_4", at_least_as_many, "n may be small"),
    ("exercise_4", lambda data, h, n, rng: print(end=""), "returned nothing"),
    ("exercise_5", lambda *asked: print(end=""), "three functions"),
    ("exercise_5", lambda *asked: generator(*asked)[:2], "three functions"),
    ("exercise_5", lambda *asked: generator(*asked, added=1), "1 is added"),
    ("exercise_5", lambda *asked: generator(*asked, added=0), "nothing is added"),
    ("exercise_5", lambda *asked: generator(*asked, added=0.1), "is off by"),
    ("exercise_5", lambda *asked: generator(*asked, equal=True), "same share"),
    ("exercise_5", changed(log_prob=one_table), "no classes"),
    ("exercise_5", changed(log_prob=lambda k, *a: lambda x: k["log_prob"](x) / math.log(2)), "bits"),
    ("exercise_5", changed(log_prob=lambda k, *a: lambda x: k["log_prob"](x) / x.shape[1]), "mean over the pixels"),
    ("exercise_5", changed(log_prob=lambda k, *a: lambda x: -k["log_prob"](x)), "sign"),
    ("exercise_5", changed(log_prob=lambda k, *a: lambda x: np.exp(k["log_prob"](x))), "its logarithm"),
    ("exercise_5", changed(log_prob=of_the_classes(lambda joint, prior: joint.max(1))), "best class only"),
    ("exercise_5", changed(log_prob=of_the_classes(naive)), "np.exp gives 0"),
    ("exercise_5", changed(classify=of_the_classes(lambda joint, prior: np.exp(joint).argmax(1))), "compare logs"),
    ("exercise_5", changed(log_prob=of_the_classes(lambda joint, prior: joint.mean(1))), "averages the logarithms"),
    ("exercise_5", changed(log_prob=of_the_classes(lambda joint, prior: joint.sum(1))), "adds the logarithms"),
    ("exercise_5", changed(log_prob=of_the_classes(lambda joint, prior: logsumexp(joint - prior, 1))), "above the"),
    ("exercise_5", changed(log_prob=lambda *a: lambda x: print(end="")), "returned nothing"),
    ("exercise_5", changed(classify=of_the_classes(lambda joint, prior: joint.argmin(1))), "least"),
    ("exercise_5", changed(classify=of_the_classes(lambda joint, prior: (joint - prior).argmax(1))), "prior"),
    ("exercise_5", changed(classify=of_the_classes(lambda joint, prior: joint)), "one class for each picture"),
    ("exercise_5", changed(classify=lambda *a: lambda x: 0 * x[:, 0]), "classify is not"),
    ("exercise_5", changed(sample=training_pictures), "drawn again"),
    ("exercise_5", changed(sample=lambda k, *a: generator(*a, apart=True)[1]), "of *one* class"),
    ("exercise_5", changed(sample=lambda k, *a: generator(*a, equal=True)[1]), "with their shares"),
    ("exercise_5", changed(sample=lambda k, *a: lambda n, rng: k["sample"](n, rng) + 0.5), "no grey levels"),
    ("exercise_5", changed(sample=lambda k, *a: lambda n, rng: k["sample"](n, rng)[:10]), "n pictures"),
    ("exercise_5", changed(sample=lambda k, *a: lambda n, rng: k["sample"](n, np.random.default_rng())), "two calls"),
    (
        "exercise_5",
        changed(sample=lambda k, *a: lambda n, rng: k["sample"](n, np.random.default_rng(1))),
        "another gen",
    ),
    (
        "exercise_5",
        changed(sample=lambda k, *a: lambda n, rng: rng.integers(a[2], size=(n, a[0].shape[1]))),
        "is off by",
    ),
    ("exercise_6", lambda mu: len(np.unique(mu)) / np.log(np.unique(mu)).sum(), "keep all"),
    ("exercise_6", lambda mu: (len(mu) + 1) / np.log(mu).sum(), "N + 1"),
    ("exercise_6", lambda mu: len(mu) / np.log(mu).sum() + 1, "asked is d"),
    ("exercise_6", lambda mu: print(end=""), "returned nothing"),
    ("exercise_6", lambda mu: np.log(mu).mean(), "reciprocal"),
    ("exercise_6", lambda mu: (1 / np.log(mu)).mean(), "mean of 1/log"),
    ("exercise_6", slope_through_origin, "least squares"),
    ("exercise_6", slope_with_intercept, "least squares"),
    ("exercise_6", lambda mu: len(mu) / np.log10(mu).sum(), "base"),
    ("exercise_6", lambda mu: len(mu) / np.log2(mu).sum(), "base"),
    ("exercise_6", lambda mu: mu.mean() / (mu.mean() - 1), "mean of ρ"),
    ("exercise_6", lambda mu: 1 / (mu.mean() - 1), "mean of ρ"),
    ("exercise_6", lambda mu: 1 / np.log(mu.mean()), "logarithm of the mean"),
    ("exercise_6", lambda mu: 1 / np.log(mu).sum(), "N is lost"),
    ("exercise_6", lambda mu: len(mu) / np.log(mu).sum() - 1, "d + 1 is"),
    ("exercise_6", lambda mu: math.log(2) / np.median(np.log(mu)), "median"),
    ("exercise_6", lambda mu: (len(mu) - 1) / np.log(mu).sum(), "unbiased"),
    ("exercise_6", lambda mu: round(len(mu) / np.log(mu).sum(), 2), "too coarse"),
    ("exercise_6", lambda mu: 7.0, "Σ log ρ"),
]


def float32(*asked):
    log_prob, sample, classify = generator(*asked)
    return (
        lambda new: torch.from_numpy(log_prob(new)).float(),
        lambda n, rng: torch.from_numpy(sample(n, rng)),
        lambda new: classify(new).tolist(),
    )


RIGHT = (
    ("exercise_1", lambda t, h, n: torch.tensor([h * math.log(t) + (n - h) * math.log1p(-t)])),
    ("exercise_1", lambda t, h, n: np.float32(right(t, h, n))),
    ("exercise_3", lambda p, q: np.float32(divergence(p, q))),
    ("exercise_3", lambda p, q: rel_entr(p, q).sum()),
    ("exercise_3", stats.entropy),
    ("exercise_3", lambda p, q: torch.tensor(divergence(p, q)).float()),
    ("exercise_4", lambda data, h, n, rng: data[rng.integers(len(data), size=n)] + rng.normal(0, h, n)),
    ("exercise_4", lambda data, h, n, rng: rng.normal(rng.choice(data, n), h).astype(np.float32)),
    ("exercise_4", lambda data, h, n, rng: [rng.normal(rng.choice(data), h) for _ in range(n)]),
    ("exercise_5", lambda *asked: list(generator(*asked))),
    ("exercise_5", float32),
    ("exercise_6", lambda mu: 1 / np.log(np.float32(mu)).mean()),
    ("exercise_6", lambda mu: stats.pareto.fit(mu, floc=0, fscale=1)[0]),
)


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_5",)
    coincide = ("exercise_1", "exercise_5")  # a tiny θ: tails cost nothing; many pixels: one class is all of the sum
