"""Checks of chapter 07: evaluating generative models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise
from course_utils.checks.inputs import rand, randn

#: Log-densities of thousands of nats agree within what float32 can tell, not within a share of them.
NATS = {"rtol": 0.0, "atol": 2e-2}


@exercise("7.1")
def exercise_1(unbiased_mmd: Function) -> str:
    """Unbiased squared MMD from three kernel matrices."""
    for n, m, top in ((7, 5, 1.7), (4, 9, 2.5)):  # the kernels are not 1 on their diagonals
        kxx, kyy, kxy = (top * k for k in _kernels(randn(n, 3, seed=3), randn(m, 3, seed=n) + 1))
        off_x, off_y, mixed = kxx.sum() - n * top, kyy.sum() - m * top, kxy.mean()
        mean_x, mean_y = off_x / (n * (n - 1)), off_y / (m * (m - 1))
        right = mean_x + mean_y - 2 * mixed
        value = as_tensor(unbiased_mmd(kxx.clone(), kyy.clone(), kxy.clone()), ())
        slips = {
            kxx.mean() + kyy.mean() - 2 * mixed: "every point is compared with itself as well: leave the diagonals out "
            "of the first two means, a point's likeness with itself says nothing",
            off_x / n**2 + off_y / m**2 - 2 * mixed: "the diagonals are left out of the sums, but the sums are divided "
            "by n² and m²; there are n(n − 1) and m(m − 1) pairs left",
            mean_x + mean_y - mixed: "the mixed term counts twice, for x with y and y with x",
            mean_x + mean_y + 2 * mixed: "the mixed term is subtracted",
            off_x + off_y - 2 * kxy.sum(): "these are sums instead of means: divide each sum by its number of pairs",
            mean_x - 2 * kxy.sum() + off_y: "only the first term is a mean: the expectation belongs around all three "
            "kernels",
            (mean_x + mean_y) / 2 - 2 * mixed: "each pair counts once there, but is divided by n(n − 1), which counts "
            "every pair twice",
            mean_x + off_y / (n * (n - 1)) - 2 * mixed: "the second set has m points, its sum is divided by m(m − 1)",
            (kxx.sum() - n) / (n * (n - 1)) + (kyy.sum() - m) / (m * (m - 1)) - 2 * mixed: "the diagonal was taken to "
            "be 1; that is so for one kernel, so take the entries themselves",
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
def exercise_2(permutation_test: Function) -> str:
    """P-value of any statistic by dividing the points anew, seen through a statistic that remembers its calls."""
    for n, m, count in ((12, 9, 20), (7, 15, 40)):
        statistic = _Statistic(randn(n, 3, seed=n), randn(m, 3, seed=m) + 1)
        answer = permutation_test(statistic, statistic.x.clone(), statistic.y.clone(), count)
        value = as_tensor(answer, (), "asked is one number, the p-value")
        statistic.judge(count)
        larger, equal, smaller = 3 * count // 5, count // 5, count // 5
        as_large = larger + equal
        right = (as_large + 1) / (count + 1)
        slips = {
            as_large / count: "the true division is one of the equally likely ones: add 1 above and below, else p can "
            "be 0",
            (as_large + 1) / count: "1 is added above but not below: with the true division there are B + 1",
            as_large / (count + 1): "1 is added below but not above: the true division counts as at least as large",
            (larger + 1) / (count + 1): "values *equal* to the true one count as well: ≥, not >",
            larger / count: "values *equal* to the true one count as well, and so does the true division itself",
            (smaller + equal + 1) / (count + 1): "that counts values that are smaller or equal; a large statistic "
            "speaks against equality, so count those at least as large",
            1 - right: "that is one minus the p-value",
        }
        compare(value, right, slips, f"p is {right:.4f} here, yours {value:.4f}; look at (7.5)")
    return "it works for every statistic, and needs no formula for its distribution"


class _Statistic:
    """Is 0 for the true division, and in turn 1, 1, −1, 0, 1 for others; remembers what it was given."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.y, self.others = x, y, 0
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, a: Any, b: Any) -> float:
        a, b = (torch.as_tensor(points).detach().cpu().double().clone() for points in (a, b))
        self.calls.append((a, b))
        same_sizes = (a.shape, b.shape) == (self.x.shape, self.y.shape)
        if same_sizes and torch.allclose(a, self.x) and torch.allclose(b, self.y):
            return 0.0
        self.others += 1
        return (1.0, 1.0, -1.0, 0.0, 1.0)[self.others % 5]

    def judge(self, count: int) -> None:
        """Raise unless there was the true division and ``count`` random ones of the pooled points."""
        n, m, pool = len(self.x), len(self.y), torch.cat([self.x, self.y])
        if self.others == len(self.calls):
            raise Misconception("the statistic was never computed for the true division, x against y")
        if self.others != count:
            raise Misconception(f"{self.others} new divisions were made, asked are {count}")
        for a, b in self.calls:
            if (len(a), len(b)) != (n, m):
                raise Misconception(f"a division has {len(a)} and {len(b)} points: keep the sizes {n} and {m}")
            if not torch.allclose(torch.cat([a, b]).sort(0).values, pool.sort(0).values):
                raise Misconception(
                    "a division holds a point twice and misses another: draw *without* replacement, with one order of "
                    "all points (torch.randperm)"
                )
            if sorted(torch.cat([a, b]).tolist()) != sorted(pool.to(a.dtype).tolist()):
                raise Misconception("the coordinates were shuffled one by one: draw one order of the *rows*")
        if all(torch.allclose(a.sort(0).values, self.x.sort(0).values) for a, _ in self.calls):
            raise Misconception("points change places within x and within y only: pool both sets, then divide anew")
        if len({tuple(a.flatten().tolist()) for a, _ in self.calls}) < count // 2:
            raise Misconception("the same division comes again and again: draw a new order each time")


@exercise("7.3")
def exercise_3(window_log_density: Function) -> str:
    """Log-density of test points under Gaussian windows, from squared distances."""
    for tests, samples, sigma, dim in ((4, 6, 0.5, 50), (7, 3, 0.2, 20)):
        squared = 3000 + 4 * rand(tests, samples, seed=samples)
        given = squared.clone()
        value = as_tensor(window_log_density(given, sigma, dim))
        if not torch.equal(given, squared):
            raise Misconception("squared itself has changed: work on a new tensor, not with in-place operations")
        if value.shape == (samples,):
            raise Misconception("one number for each sample; asked is one for each test point: sum over the samples")
        value = as_tensor(value, (tests,), ": one number for each test point")
        if not torch.isfinite(value).all():
            raise Misconception("exp underflows to 0 and its logarithm is −∞: use torch.logsumexp on the exponents")
        scaled, constant = -squared / (2 * sigma**2), 0.5 * dim * math.log(2 * math.pi * sigma**2)
        mean, of_sigma = (torch.logsumexp(exponents, 1) - math.log(samples) for exponents in (scaled, scaled * sigma))
        right, variance_constant = mean - constant, 0.5 * dim * math.log(2 * math.pi * sigma)
        slips = {
            mean: "the normalisation −(D/2) log 2πσ² is missing: then it is no density",
            right + math.log(samples): "the sum over samples is not divided by N: subtract log N",
            torch.logsumexp(2 * scaled, 1) - math.log(samples) - constant: "the factor ½ in the exponent is missing",
            of_sigma - constant: "the squared distance is divided by σ; the window has variance σ²",
            of_sigma - variance_constant: "σ was taken for the variance, in the exponent and in the normalisation; the "
            "variance is σ²",
            mean - constant / dim: f"the normalisation is that of one dimension; there are {dim}",
            mean - variance_constant: "log 2πσ instead of log 2πσ² in the normalisation",
            scaled.mean(1) - constant: "that is the mean of the logarithms; (7.7) has the logarithm of the mean",
            scaled.amax(1) - constant: "that is the nearest sample alone, and without 1/N",
            right + math.log(samples / tests): "you divided by the number of test points",
        }
        otherwise = f"the first point has {right[0]:.2f} nats, yours {value[0]:.2f}; look at (7.7)"
        compare(value, right, slips, otherwise, **NATS)
    return "log-sum-exp of the exponents, less log N and the normalisation"


@exercise("7.4")
def exercise_4(support_size: Function) -> str:
    """Effective number of pictures from the share of batches with a repetition."""

    def size(b: int, c: float) -> float:
        return -b * (b - 1) / (2 * math.log(1 - c))

    slips = {
        lambda b, c: -size(b, c): "the sign: log(1 − share) is negative, and a number of pictures is not",
        lambda b, c: size(b, 1 - c): "the exponential is the share of batches *without* repetition: take "
        "log(1 − share)",
        lambda b, c: 2 * size(b, c): "a pair counts once: b(b − 1)/2 pairs",
        lambda b, c: size(b, c) * b / (b - 1): "b² counts every picture as its own twin: there are b(b − 1)/2 "
        "pairs; in a batch of three the difference is large",
        lambda b, c: b**2: "that is the rule of thumb for a share of about one half; use the share",
        lambda b, c: b / c: "collisions grow with the number of *pairs*, b(b − 1)/2, not with the number of pictures",
        lambda b, c: b * (b - 1) / (2 * c): "that takes the share for the expected number of pairs that are equal; "
        "the two are close only while they are small",
        lambda b, c: size(b, c) * math.log(2): "log to the base 2; (7.12) has the natural logarithm",
        lambda b, c: size(b, c) * math.log(10): "log to the base 10; (7.12) has the natural logarithm",
    }
    otherwise = (
        "repetitions in {1:.0%} of batches of {0} mean about {right:.4g} pictures, yours {value:.5g}; solve (7.12) for "
        "the number"
    )
    rights = (size, lambda b, c: round(size(b, c)))
    compare_all(support_size, [(100, 0.5), (400, 0.9), (3, 0.2)], rights, slips, otherwise)
    return "and rare modes hardly count"


@exercise("7.5")
def exercise_5(coverage: Function) -> str:
    """Share of real points with a generated one in their neighbourhood."""
    for n, m, k in ((30, 24, 3), (22, 40, 5)):
        real, drawn = randn(n, 4, seed=n), 0.7 * randn(m, 4, seed=m) + 0.5
        value = as_tensor(coverage(real.clone(), drawn.clone(), k), (), "asked is one number, a share")
        within, across, own = torch.cdist(real, real), torch.cdist(real, drawn), torch.cdist(drawn, drawn)
        radii, near = within.sort(1).values, across.amin(1)
        own_radii = own.sort(1).values[:, k]
        right = (near < radii[:, k]).double().mean()
        inside = across < radii[:, k, None]
        slips = {
            (near < radii[:, k - 1]).double().mean(): "the nearest point of a real point in its own set is the point "
            "itself, at distance 0: do not count it as a neighbour",
            inside.any(0).double().mean(): "that is the share of *generated* points in some neighbourhood, the "
            "precision with this k; coverage counts real points",
            (across < own_radii).any(1).double().mean(): "that is recall: the neighbourhoods are those of the "
            "generated points; coverage takes those of the real points",
            inside.double().mean(): "that is the share of pairs; a real point is covered if *any* drawn one is near",
            inside.sum(0).double().mean() / k: "that is the density of Naeem et al.: generated points count several "
            "times",
            100 * right: "that is per cent; asked is a share",
            right * n: "that is a count; divide by the number of real points",
            1 - right: "that is the share of real points that are *not* covered",
            (near < radii[:, k].mean()).double().mean(): "one radius for all: each real point has its own",
            torch.ones(()).double(): "every real point comes out as covered: look at the radii, their order and unit",
            (across.amin(0) < own_radii).double().mean(): "real and generated points are exchanged",
        }
        otherwise = f"the coverage is {right:.4f} here, yours {value:.4f}; look at (7.15)"
        compare(value, right, {key: words for key, words in slips.items() if abs(key - right) > 1e-6}, otherwise)
    return "neighbourhoods of the real points: repetitions and outliers of the model cannot change them"


#: Exercise 7.6: question → the instrument that answers it.
ANSWERS = {
    "copies": "shift-tolerant nearest neighbour",
    "classes": "class histogram",
    "diversity": "coverage",
    "difference": "two-sample test",
    "likelihood": "bound on the log-likelihood",
    "published": "none",
}
#: What a wrong choice shows, of one question or of any ("*").
WRONG_CHOICES: Mapping[tuple[str, str], str] = {
    ("copies", "look at samples"): "copies look perfect; that is what makes them dangerous",
    ("copies", "nearest neighbour in pixels"): "with one pixel of shift another one is often nearer (section 8)",
    ("copies", "Fréchet distance"): "it never looks at the training images, so it cannot know that a picture is a copy",
    ("copies", "two-sample test"): "it never looks at the training images, so it cannot know that a picture is a copy",
    ("copies", "coverage"): "copies of all training images cover the data as well as other digits do",
    ("classes", "precision"): "precision does not ask what is missing",
    ("classes", "Fréchet distance"): "it rises, as it does for blur and noise; which class is missing it cannot say",
    ("classes", "coverage"): "it falls, but does not say that it is classes that are missing",
    ("diversity", "precision"): "precision asks whether pictures are plausible; one picture again and again is",
    ("diversity", "recall"): "the balls around a picture that comes often have radius 0: recall falls for that reason, "
    "too (section 9)",
    ("diversity", "class histogram"): "all ten classes may be there, each with one picture",
    ("difference", "Fréchet distance"): "with few pictures it is large even if nothing differs, and has no p-value",
    ("difference", "look at samples"): "the eye has no p-value",
    ("likelihood", "Parzen window"): "it is blurred, has too few samples, and can reverse the order of bounds",
    ("likelihood", "Fréchet distance"): "it looks at samples; asked is the probability of unseen digits",
    ("published", "Fréchet distance"): "the value depends on the features, on n and on the pictures' preparation: the "
    "two numbers are not of one kind",
}


@exercise("7.6")
def exercise_6(choices: Mapping[str, str]) -> str:
    """Which instrument answers which question."""
    if not isinstance(choices, Mapping):
        raise Misconception(f"assign a dictionary, question → instrument, not a {type(choices).__name__}")
    known = {(question, name.lower()): message for (question, name), message in WRONG_CHOICES.items()}
    for question, right in ANSWERS.items():
        words = str(choices.get(question, "")).strip().lower()
        if words in ("", "ellipsis", "…"):
            raise Misconception(f"the question {question!r} has no answer yet")
        if words not in {name for _, name in known} | {name.lower() for name in ANSWERS.values()}:
            raise Misconception(f"{question}: {words!r} is none of the names in the list of instruments")
        default = f"{words!r} does not answer it; ask what it would read if the fault were there, and what if not"
        if words != right.lower():
            raise Misconception(f"{question}: " + known.get((question, words), default))
    return "an instrument is chosen by the fault that it must see"
