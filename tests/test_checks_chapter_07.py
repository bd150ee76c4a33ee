"""Every check of chapter 07 passes its solution and names the misconception behind each wrong answer."""

import math

import numpy as np
import pytest
import torch
from helpers.answers import Answers

from course_utils import samples
from course_utils.checks import chapter_07 as check


def off(k):
    return k.sum() - k.diagonal().sum()


def pairs(k):
    return len(k) * (len(k) - 1)


def mmd(kxx, kyy, kxy):
    return off(kxx) / pairs(kxx) + off(kyy) / pairs(kyy) - 2 * kxy.mean()


def permutation(statistic, x, y, count, order=torch.randperm, value=None):
    pool, true = torch.cat([x, y]), statistic(x, y)
    as_large = 0
    for _ in range(count):
        mixed = pool[order(len(pool))]
        as_large += statistic(mixed[: len(x)], mixed[len(x) :]) >= true
    return (1 + as_large) / (1 + count) if value is None else value(as_large, count)


def numpy_permutation(statistic, x, y, count):
    pool, rng = np.concatenate([x.numpy(), y.numpy()]), np.random.default_rng(1)
    true, values = statistic(x.numpy(), y.numpy()), []
    for _ in range(count):
        rng.shuffle(pool)
        values.append(statistic(pool[: len(x)].copy(), pool[len(x) :].copy()))
    return np.mean([value >= true for value in [true, *values]])


def within(statistic, x, y, count):
    true = statistic(x, y)
    values = [statistic(x[torch.randperm(len(x))], y[torch.randperm(len(y))]) for _ in range(count)]
    return (1 + sum(value >= true for value in values)) / (1 + count)


def halves(statistic, x, y, count):
    pool, true = torch.cat([x, y]), statistic(x, y)
    values = []
    for _ in range(count):
        mixed = pool[torch.randperm(len(pool))]
        values.append(statistic(mixed[: len(pool) // 2], mixed[len(pool) // 2 :]))
    return (1 + sum(value >= true for value in values)) / (1 + count)


def by_coordinate(statistic, x, y, count):
    pool, value = torch.cat([x, y]), statistic(x, y)
    columns = [torch.stack([c[torch.randperm(len(c))] for c in pool.T], 1) for _ in range(count)]
    others = [statistic(p[: len(x)], p[len(x) :]) for p in columns]
    return (1 + sum(other >= value for other in others)) / (1 + count)


def never_true(statistic, x, y, count):
    pool = torch.cat([x, y])
    values = [statistic(*pool[torch.randperm(len(pool))].split([len(x), len(y)])) for _ in range(count)]
    return (1 + sum(value >= 0 for value in values)) / (1 + count)


def once(statistic, x, y, count):
    return permutation(statistic, x, y, count, order=lambda n: torch.arange(n).roll(3))


def window(squared, sigma, dim):
    scaled = -squared / (2 * sigma**2)
    return torch.logsumexp(scaled, 1) - math.log(squared.shape[1]) - 0.5 * dim * math.log(2 * math.pi * sigma**2)


def in_place(squared, sigma, dim):
    squared /= -2 * sigma**2
    return torch.logsumexp(squared, 1) - math.log(6) - 0.5 * dim * math.log(2 * math.pi * sigma**2)


def constant(sigma, dim):
    return 0.5 * dim * math.log(2 * math.pi * sigma**2)


def size(batch, share):
    return -batch * (batch - 1) / (2 * math.log(1 - share))


def covered(real, drawn, k, own=0, least=lambda d: d.amin(1)):
    radii = torch.cdist(real, real).sort(1).values[:, k - own]
    return (least(torch.cdist(real, drawn)) < radii).double().mean()


def precision(real, drawn, k):
    radii = torch.cdist(real, real).sort(1).values[:, k]
    return (torch.cdist(drawn, real) < radii).any(1).double().mean()


CHOICES = {
    "copies": "shift-tolerant nearest neighbour",
    "classes": "class histogram",
    "diversity": "coverage",
    "difference": "two-sample test",
    "likelihood": "bound on the log-likelihood",
    "published": "none",
}

SOLUTIONS = {
    "exercise_1": mmd,
    "exercise_2": permutation,
    "exercise_3": window,
    "exercise_4": size,
    "exercise_5": covered,
    "exercise_6": CHOICES,
}
RIGHT = [
    ("exercise_1", lambda a, b, c: [mmd(a, b, c).item()]),
    ("exercise_1", lambda a, b, c: np.float32(mmd(a, b, c))),
    ("exercise_2", numpy_permutation),
    ("exercise_4", lambda b, c: round(size(b, c))),
    ("exercise_5", lambda real, drawn, k: samples.coverage(real, drawn, k=k)),
    ("exercise_6", {question: f" {name.upper()} " for question, name in CHOICES.items()}),
    ("exercise_6", CHOICES | {"published": None}),
    ("exercise_1", lambda a, b, c: sum(k.numpy()[~np.eye(len(k), dtype=bool)].mean() for k in (a, b)) - 2 * c.mean()),
    (
        "exercise_3",
        lambda s, w, d: [
            torch.distributions.Normal(0.0, w).log_prob(torch.zeros(d)).sum()
            + torch.logsumexp(-r / (2 * w**2), 0)
            - math.log(len(r))
            for r in s
        ],
    ),
    ("exercise_5", lambda real, drawn, k: np.float32(covered(real, drawn, k))),
]
WRONG = [
    ("exercise_1", lambda a, b, c: a.mean() + b.mean() - 2 * c.mean(), "leave the diagonals out"),
    ("exercise_1", lambda a, b, c: off(a) / len(a) ** 2 + off(b) / len(b) ** 2 - 2 * c.mean(), "n(n − 1)"),
    ("exercise_1", lambda a, b, c: mmd(a, b, c) + c.mean(), "counts twice"),
    ("exercise_1", lambda a, b, c: mmd(a, b, c) + 4 * c.mean(), "is subtracted"),
    ("exercise_1", lambda a, b, c: off(a) + off(b) - 2 * c.sum(), "sums instead of means"),
    ("exercise_1", lambda a, b, c: off(a) / pairs(a) - 2 * c.sum() + off(b), "around all three kernels"),
    ("exercise_1", lambda a, b, c: mmd(a, b, c) / 2 - c.mean(), "divided by n(n − 1), which counts every pair twice"),
    ("exercise_1", lambda a, b, c: off(a) / pairs(a) + off(b) / pairs(a) - 2 * c.mean(), "divided by m(m − 1)"),
    (
        "exercise_1",
        lambda a, b, c: (a.sum() - len(a)) / pairs(a) + (b.sum() - len(b)) / pairs(b) - 2 * c.mean(),
        "taken to be 1",
    ),
    ("exercise_1", lambda a, b, c: mmd(a, b, c).clamp(min=0).sqrt(), "asked is the square"),
    ("exercise_1", lambda a, b, c: mmd(a, b, c).clamp(min=0), "do not clip it at 0"),
    ("exercise_1", lambda a, b, c: 1.1 * mmd(a, b, c), "term by term"),
    ("exercise_1", lambda a, b, c: c, "asked is one number"),
    ("exercise_2", lambda s, x, y, n: permutation(s, x, y, n, value=lambda k, b: k / b), "add 1 above and below"),
    ("exercise_2", lambda s, x, y, n: permutation(s, x, y, n, value=lambda k, b: (k + 1) / b), "not below"),
    ("exercise_2", lambda s, x, y, n: permutation(s, x, y, n, value=lambda k, b: k / (b + 1)), "not above"),
    ("exercise_2", lambda s, x, y, n: permutation(s, x, y, n) + 0.1, "look at (7.5)"),
    ("exercise_2", lambda s, x, y, n: permutation(s, x, y, n - 1), "new divisions were made"),
    ("exercise_2", within, "pool both sets"),
    ("exercise_2", by_coordinate, "coordinates were shuffled one by one"),
    ("exercise_2", halves, "keep the sizes 12 and 9"),
    ("exercise_2", never_true, "the true division, x against y"),
    ("exercise_2", once, "draw a new order each time"),
    (
        "exercise_2",
        lambda s, x, y, n: permutation(s, x, y, n, order=lambda m: torch.randint(m, (m,))),
        "*without* replacement",
    ),
    ("exercise_3", lambda s, w, d: window(s, w, d) + constant(w, d), "then it is no density"),
    ("exercise_3", lambda s, w, d: window(s, w, d) + math.log(s.shape[1]), "subtract log N"),
    ("exercise_3", lambda s, w, d: window(2 * s, w, d), "factor ½"),
    ("exercise_3", lambda s, w, d: window(s * w, w, d), "the window has variance σ²"),
    ("exercise_3", lambda s, w, d: window(s, math.sqrt(w), d), "σ was taken for the variance"),
    ("exercise_3", lambda s, w, d: window(s, w, 1), "that of one dimension; there are 50"),
    ("exercise_3", lambda s, w, d: window(s, w, d) + constant(w, d) - constant(math.sqrt(w), d), "log 2πσ instead"),
    ("exercise_3", lambda s, w, d: (-s / (2 * w**2)).mean(1) - constant(w, d), "mean of the logarithms"),
    ("exercise_3", lambda s, w, d: (-s / (2 * w**2)).amax(1) - constant(w, d), "nearest sample alone"),
    ("exercise_3", lambda s, w, d: window(s, w, d) + math.log(s.shape[1] / len(s)), "number of test points"),
    ("exercise_3", lambda s, w, d: window(s.T, w, d), "one for each test point"),
    ("exercise_3", lambda s, w, d: window(s, w, d)[None], "shape"),
    ("exercise_3", lambda s, w, d: (-s / (2 * w**2)).exp().mean(1).log() - constant(w, d), "underflows"),
    ("exercise_3", in_place, "in-place"),
    ("exercise_3", lambda s, w, d: window(s, w, d) + 1, "look at (7.7)"),
    ("exercise_4", lambda b, c: -size(b, c), "the sign"),
    ("exercise_4", lambda b, c: -b * (b - 1) / (2 * math.log(c)), "*without* repetition"),
    ("exercise_4", lambda b, c: 2 * size(b, c), "a pair counts once"),
    ("exercise_4", lambda b, c: b**2 / (-2 * math.log(1 - c)), "every picture as its own twin"),
    ("exercise_4", lambda b, c: b**2, "rule of thumb"),
    ("exercise_4", lambda b, c: b / c, "number of *pairs*"),
    ("exercise_4", lambda b, c: b * (b - 1) / (2 * c), "expected number of pairs"),
    ("exercise_4", lambda b, c: size(b, c) * math.log(2), "base 2"),
    ("exercise_4", lambda b, c: size(b, c) * math.log(10), "base 10"),
    ("exercise_4", lambda b, c: size(b, c) + 100, "solve (7.12)"),
    ("exercise_5", lambda r, d, k: covered(r, d, k, own=1), "do not count it as a neighbour"),
    ("exercise_5", precision, "precision with this k"),
    ("exercise_5", lambda r, d, k: covered(r, d, k, own=-1), "look at (7.15)"),
    ("exercise_5", lambda r, d, k: precision(d, r, k), "that is recall"),
    ("exercise_5", lambda r, d, k: covered(r, d, k, least=lambda x: x.amin(1).square()), "look at (7.15)"),
    ("exercise_5", lambda r, d, k: 100 * covered(r, d, k), "per cent"),
    ("exercise_5", lambda r, d, k: len(r) * covered(r, d, k), "that is a count"),
    ("exercise_5", lambda r, d, k: 1 - covered(r, d, k), "*not* covered"),
    ("exercise_5", lambda r, d, k: covered(r, d, k, least=lambda x: x.amax(1)), "look at (7.15)"),
    ("exercise_5", lambda r, d, k: covered(r, d, k, least=lambda x: x.mean(1)), "look at (7.15)"),
    ("exercise_6", CHOICES | {"copies": "nearest neighbour in pixels"}, "one pixel of shift"),
    ("exercise_6", CHOICES | {"copies": "look at samples"}, "copies look perfect"),
    ("exercise_6", CHOICES | {"copies": "two-sample test"}, "never looks at the training images"),
    ("exercise_6", CHOICES | {"classes": "precision"}, "does not ask what is missing"),
    ("exercise_6", CHOICES | {"diversity": "recall"}, "comes often have radius 0"),
    ("exercise_6", CHOICES | {"difference": "Fréchet distance"}, "has no p-value"),
    ("exercise_6", CHOICES | {"likelihood": "Parzen window"}, "too few samples"),
    ("exercise_6", CHOICES | {"published": "Fréchet distance"}, "not of one kind"),
    ("exercise_6", CHOICES | {"published": "look at samples"}, "if the fault were there"),
    ("exercise_6", {"copies": CHOICES["copies"]}, "'classes' has no answer yet"),
    ("exercise_6", dict.fromkeys(CHOICES, "…"), "'copies' has no answer yet"),
    ("exercise_6", CHOICES | {"copies": None}, "if the fault were there"),
    ("exercise_6", CHOICES | {"copies": "Fréchet distance"}, "cannot know that a picture is a copy"),
    ("exercise_6", list(CHOICES.values()), "a dictionary"),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_6",)
    coincide = ("exercise_5",)


@pytest.mark.parametrize("seed", range(20))
def test_a_permutation_test_passes_whatever_it_draws(seed):
    def answer(statistic, x, y, count):
        generator = torch.Generator().manual_seed(seed)
        return permutation(statistic, x, y, count, order=lambda n: torch.randperm(n, generator=generator))

    verdict = check.exercise_2.judge(answer)
    assert verdict.status == "passed", verdict.message
