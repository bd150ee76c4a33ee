"""Every check of chapter 07 passes its solution and names the misconception behind each wrong answer."""

import math

import numpy as np
import torch
from helpers.answers import Answers

from course_utils.checks import chapter_07 as check


def off(k):
    return k.sum() - k.diagonal().sum()


def pairs(k):
    return len(k) * (len(k) - 1)


def mmd(kxx, kyy, kxy):
    return off(kxx) / pairs(kxx) + off(kyy) / pairs(kyy) - 2 * kxy.mean()


def window(squared, sigma, dim):
    scaled = -squared / (2 * sigma**2)
    return torch.logsumexp(scaled, 1) - math.log(squared.shape[1]) - 0.5 * dim * math.log(2 * math.pi * sigma**2)


def in_place(squared, sigma, dim):
    squared /= -2 * sigma**2
    return torch.logsumexp(squared, 1) - math.log(6) - 0.5 * dim * math.log(2 * math.pi * sigma**2)


def constant(sigma, dim):
    return 0.5 * dim * math.log(2 * math.pi * sigma**2)


def bits(log_density, pixels):
    return 8 - log_density / (pixels * math.log(2))


def mix(log_p, log_q, share):
    return torch.logaddexp(math.log(share) + log_p, math.log(1 - share) + log_q)


def size(batch, share):
    return -batch * (batch - 1) / (2 * math.log(1 - share))


SOLUTIONS = {"exercise_1": mmd, "exercise_2": window, "exercise_3": bits, "exercise_4": mix, "exercise_5": size}
RIGHT = [
    ("exercise_1", lambda a, b, c: [mmd(a, b, c).item()]),
    ("exercise_3", lambda v, n: np.float32(bits(v, n))),
    ("exercise_5", lambda s, c: s**2 / (-2 * math.log(1 - c))),
    ("exercise_5", lambda s, c: round(size(s, c))),
]
WRONG = [
    ("exercise_1", lambda a, b, c: a.mean() + b.mean() - 2 * c.mean(), "leave the diagonals out"),
    ("exercise_1", lambda a, b, c: off(a) / 49 + off(b) / 25 - 2 * c.mean(), "n(n − 1)"),
    ("exercise_1", lambda a, b, c: off(a) / 42 + off(b) / 20 - c.mean(), "counts twice"),
    ("exercise_1", lambda a, b, c: off(a) / 42 + off(b) / 20 + 2 * c.mean(), "is subtracted"),
    ("exercise_1", lambda a, b, c: off(a) + off(b) - 2 * c.sum(), "sums instead of means"),
    ("exercise_1", lambda a, b, c: off(a) / 42 - 2 * c.sum() + off(b), "around all three kernels"),
    ("exercise_1", lambda a, b, c: mmd(a, b, c).clamp(min=0).sqrt(), "asked is the square"),
    ("exercise_1", lambda a, b, c: mmd(a, b, c).clamp(min=0), "do not clip it at 0"),
    ("exercise_1", lambda a, b, c: 1.1 * mmd(a, b, c), "term by term"),
    ("exercise_1", lambda a, b, c: c, "asked is one number"),
    ("exercise_2", lambda s, w, d: window(s, w, d) + constant(w, d), "then it is no density"),
    ("exercise_2", lambda s, w, d: window(s, w, d) + math.log(6), "subtract log N"),
    ("exercise_2", lambda s, w, d: window(2 * s, w, d), "factor ½"),
    ("exercise_2", lambda s, w, d: window(s * w, w, d), "the window has variance σ²"),
    ("exercise_2", lambda s, w, d: window(s, w, 1), "that of one dimension; there are 50"),
    ("exercise_2", lambda s, w, d: window(s, w, d) + constant(w, d) - constant(math.sqrt(w), d), "log 2πσ instead"),
    ("exercise_2", lambda s, w, d: (-s / (2 * w**2)).mean(1) - constant(w, d), "mean of the logarithms"),
    ("exercise_2", lambda s, w, d: (-s / (2 * w**2)).amax(1) - constant(w, d), "nearest sample alone"),
    ("exercise_2", lambda s, w, d: window(s, w, d) + math.log(6) - math.log(4), "number of test points"),
    ("exercise_2", lambda s, w, d: window(s.T, w, d), "one for each test point"),
    ("exercise_2", lambda s, w, d: window(s, w, d)[None], "shape"),
    ("exercise_2", lambda s, w, d: (-s / (2 * w**2)).exp().mean(1).log() - constant(w, d), "underflows"),
    ("exercise_2", in_place, "in-place"),
    ("exercise_2", lambda s, w, d: window(s, w, d) + 1, "look at (7.7)"),
    ("exercise_3", lambda v, n: -v / (n * math.log(2)), "change of scale"),
    ("exercise_3", lambda v, n: 8 + v / (n * math.log(2)), "sign is wrong"),
    ("exercise_3", lambda v, n: 8 - v / n, "divide by log 2"),
    ("exercise_3", lambda v, n: 8 - v * math.log(2) / n, "multiplied by log 2"),
    ("exercise_3", lambda v, n: 8 - v / math.log(2), "divide by the number of pixels"),
    ("exercise_3", lambda v, n: 8 * n - v / math.log(2), "bits per picture"),
    ("exercise_3", lambda v, n: math.log(256) - v / n, "nats per pixel"),
    ("exercise_3", lambda v, n: bits(v, n) + 0.1, "are 5.6078 bits"),
    ("exercise_4", lambda p, q, s: s * p + (1 - s) * q, "mixes the logarithms"),
    ("exercise_4", lambda p, q, s: torch.logaddexp(p, q), "weights are missing"),
    ("exercise_4", lambda p, q, s: mix(p, q, 1 - s), "exchanged"),
    ("exercise_4", lambda p, q, s: torch.logaddexp(s * p, (1 - s) * q), "its logarithm is added"),
    ("exercise_4", lambda p, q, s: math.log(s) + p, "q adds to it"),
    ("exercise_4", lambda p, q, s: torch.maximum(math.log(s) + p, math.log(1 - s) + q), "the larger part alone"),
    ("exercise_4", lambda p, q, s: (s * p.exp() + (1 - s) * q.exp()).log(), "stay with logarithms"),
    ("exercise_4", lambda p, q, s: mix(p, q, s).mean(), "one number for each point"),
    ("exercise_4", lambda p, q, s: mix(p, q, s) + 0.01 * (p < -1950), "log p = -2000"),
    ("exercise_4", lambda p, q, s: mix(p, q, s) + 0.003, "the mixture has"),
    ("exercise_5", lambda s, c: -size(s, c), "the sign"),
    ("exercise_5", lambda s, c: -s * (s - 1) / (2 * math.log(c)), "*without* repetition"),
    ("exercise_5", lambda s, c: 2 * size(s, c), "a pair counts once"),
    ("exercise_5", lambda s, c: s**2, "rule of thumb"),
    ("exercise_5", lambda s, c: s / c, "number of *pairs*"),
    ("exercise_5", lambda s, c: s * (s - 1) / (2 * c), "expected number of pairs"),
    ("exercise_5", lambda s, c: size(s, c) * math.log(2), "base 2"),
    ("exercise_5", lambda s, c: size(s, c) * math.log(10), "base 10"),
    ("exercise_5", lambda s, c: size(s, c) + 100, "solve (7.11)"),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
