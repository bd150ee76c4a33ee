"""Every check of chapter 01 passes its solution, names each known misconception, and lets no wrong answer through."""

import math

import numpy as np
from helpers.answers import Answers

from course_utils.checks import chapter_01 as check

SOLUTIONS = {
    "exercise_1": lambda theta, heads, tosses: heads * math.log(theta) + (tosses - heads) * math.log(1 - theta),
    "exercise_2": -500 - 784 * math.log(256),
    "exercise_3": lambda data, h, n, rng: rng.choice(data, n) + h * rng.standard_normal(n),
    "exercise_4": lambda D: 1 - 0.98**D,
    "exercise_5": lambda mu: len(mu) / np.log(mu).sum(),
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


def average_of_bumps(data, h, n, rng):
    return data.mean() + h * rng.standard_normal((len(data), n)).mean(0)


def slope_through_origin(mu):
    logs = np.sort(np.log(mu))[: int(0.9 * len(mu))]
    target = -np.log(1 - np.arange(1, len(logs) + 1) / len(mu))
    return (logs * target).sum() / (logs**2).sum()


def slope_with_intercept(mu):
    return np.polyfit(np.sort(np.log(mu)), -np.log(1 - (np.arange(len(mu)) + 0.5) / len(mu)), 1)[0]


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
    ("exercise_2", 12.0, "divide the density"),
    ("exercise_2", float("nan"), "divide the density"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n), "noise of width h is missing"),
    ("exercise_3", lambda data, h, n, rng: data.mean() + data.std() * rng.standard_normal(n), "one broad bell"),
    (
        "exercise_3",
        lambda data, h, n, rng: rng.choice(data, n) + h**2 * rng.standard_normal(n),
        "0.25: h = 0.5 *is* that",
    ),
    (
        "exercise_3",
        lambda data, h, n, rng: rng.choice(data, n) + h**0.5 * rng.standard_normal(n),
        "0.70: h = 0.5 *is* that",
    ),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + 3 * h * rng.random(n), "mean other than zero"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + 12**0.5 * h * (rng.random(n) - 0.5), "not Gaussian"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + h * rng.standard_normal(), "same noise"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + 9 * h * rng.standard_normal(), "same noise"),
    ("exercise_3", same_noise, "same noise"),
    ("exercise_3", lambda data, h, n, rng: np.random.choice(data, n) + h * rng.standard_normal(n), "np.random"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + h * np.random.standard_normal(n), "np.random"),
    ("exercise_3", lambda data, h, n, rng: np.resize(data, n) + h * rng.standard_normal(n), "fixed order"),
    ("exercise_3", lambda data, h, n, rng: np.repeat(data, n // len(data)) + h * rng.standard_normal(n), "fixed order"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n, replace=False) + h * rng.standard_normal(n), "back"),
    ("exercise_3", lambda data, h, n, rng: data.mean() + h * rng.standard_normal(n), "averages the bumps"),
    ("exercise_3", average_of_bumps, "averages the bumps"),
    ("exercise_3", always_the_same, "another generator"),
    ("exercise_3", lambda data, h, n, rng: data + h * rng.standard_normal(len(data)), "shape"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(np.unique(data), n) + h * rng.standard_normal(n), "same chance"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + 0.28 * rng.standard_normal(n), "the bumps have"),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + 0.53 * rng.standard_normal(n), "the bumps have"),
    (
        "exercise_3",
        lambda data, h, n, rng: rng.choice(data, n) + h * 0.875**0.5 * rng.standard_t(16, n),
        "not Gaussian",
    ),
    ("exercise_3", lambda data, h, n, rng: rng.choice(data, n) + h * rng.standard_normal(n) + 0.08, "mean other than"),
    (
        "exercise_3",
        lambda data, h, n, rng: rng.choice(data, n) + 0.4 * rng.standard_normal(n),
        "standard deviation 0.40",
    ),
    ("exercise_4", lambda D: 0.98**D, "inside"),
    ("exercise_4", lambda D: 1 - 0.99**D, "both"),
    ("exercise_4", lambda D: 0.02 * D, "add up:"),
    ("exercise_4", lambda D: min(1, 0.02 * D), "cutting"),
    ("exercise_4", lambda D: 0.02**D, "*every*"),
    ("exercise_4", lambda D: 0.02, "does not depend"),
    ("exercise_4", lambda D: 1.0, "complement"),
    ("exercise_5", lambda mu: np.log(mu).mean(), "reciprocal"),
    ("exercise_5", lambda mu: (1 / np.log(mu)).mean(), "mean of 1/log"),
    ("exercise_5", slope_through_origin, "least squares"),
    ("exercise_5", slope_with_intercept, "least squares"),
    ("exercise_5", lambda mu: len(mu) / np.log10(mu).sum(), "base"),
    ("exercise_5", lambda mu: len(mu) / np.log2(mu).sum(), "base"),
    ("exercise_5", lambda mu: mu.mean() / (mu.mean() - 1), "mean of ρ"),
    ("exercise_5", lambda mu: 1 / (mu.mean() - 1), "mean of ρ"),
    ("exercise_5", lambda mu: 1 / np.log(mu.mean()), "logarithm of the mean"),
    ("exercise_5", lambda mu: 1 / np.log(mu).sum(), "N is lost"),
    ("exercise_5", lambda mu: len(mu) / np.log(mu).sum() - 1, "d + 1 is"),
    ("exercise_5", lambda mu: math.log(2) / np.median(np.log(mu)), "median"),
    ("exercise_5", lambda mu: (len(mu) - 1) / np.log(mu).sum(), "unbiased"),
    ("exercise_5", lambda mu: 7.0, "Σ log ρ"),
]


class TestAnswers(Answers):
    check, solutions, wrong = check, SOLUTIONS, WRONG
