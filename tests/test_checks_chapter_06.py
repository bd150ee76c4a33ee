"""The checks of chapter 06 pass right answers, name wrong ones, and reject what nobody foresaw."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from helpers.answers import Answers

from course_utils.checks import chapter_06 as check


def bits(log_density, D):
    return 8 - log_density.mean() / (D * math.log(2))


def levels(mean, s, *, widen=0.0, ends=True, F_of=torch.sigmoid):
    k = torch.arange(256).double()
    upper, lower = F_of(((k + 1 + widen) / 256 - mean) / s), F_of(((k - widen) / 256 - mean) / s)
    if ends:
        upper[-1], lower[0] = 1.0, 0.0
    return upper - lower


def in_float32(mean, s):
    edges = torch.sigmoid((torch.arange(257) / 256 - mean) / s)
    edges[0], edges[-1] = 0, 1
    return edges.diff()


def centred(mean, s):
    k = torch.arange(256).double() / 255
    upper, lower = torch.sigmoid((k + 0.5 / 255 - mean) / s), torch.sigmoid((k - 0.5 / 255 - mean) / s)
    upper[-1], lower[0] = 1.0, 0.0
    return upper - lower


def density(mean, s):
    middle = ((torch.arange(256).double() + 0.5) / 256 - mean) / s
    return torch.sigmoid(middle) * torch.sigmoid(-middle) / s


def stable(a, b):
    return F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1(a - b))


def naive(a, b):
    return (torch.sigmoid(b) - torch.sigmoid(a)).log()


def linear(x, q, n, *, lengths=lambda v, s2: (v - s2).sqrt(), sigma=None, up=False, noise=None, shift=True, z=None):
    """Fit a linear VAE and draw from it; every keyword bends one step of it."""
    variances, axes = torch.linalg.eigh(torch.cov(x.T))
    if not up:
        variances, axes = variances.flip(0), axes.flip(1)
    s2, D = variances[q:].mean(), x.shape[1]
    W = axes[:, :q] * lengths(variances[:q], s2)
    width = s2.sqrt() if sigma is None else sigma(variances, q)
    code = torch.randn(n, q).double() if z is None else z(n, q)
    epsilon = torch.randn(n, D).double() * s2.sqrt() if noise is None else noise(n, D, s2)
    return x.mean(0), W, width, shift * x.mean(0) + code @ W.T + epsilon


def rotated(x, q, n):
    """As good a fit: the code turned, which no likelihood can tell."""
    mean, W, sigma, samples = linear(x, q, n)
    return mean, W @ torch.linalg.qr(torch.randn(q, q).double())[0], sigma, samples


def by_svd(x, q, n):
    mean = x.numpy().mean(0)
    _, s, rows = np.linalg.svd(x.numpy() - mean, full_matrices=False)
    variances = s**2 / len(x)  # N, not N − 1
    sigma = math.sqrt(variances[q:].mean())
    W = rows[:q].T * np.sqrt(variances[:q] - sigma**2)
    draw = np.random.default_rng(0).standard_normal
    return [mean, W, sigma, mean + draw((n, q)) @ W.T + sigma * draw((n, len(mean)))]


def faster(seconds, factors):
    return sum(seconds.values()) / sum(t / factors.get(p, 1) for p, t in seconds.items())


SOLUTIONS = {
    "exercise_1": bits,
    "exercise_2": levels,
    "exercise_3": stable,
    "exercise_4": linear,
    "exercise_5": faster,
}
LOG2 = math.log(2)
WRONG = [
    ("exercise_1", lambda p, D: -p.mean() / (D * LOG2), "8 bits of a level are missing"),
    ("exercise_1", lambda p, D: -8 - p.mean() / (D * LOG2), "wrong sign"),
    ("exercise_1", lambda p, D: math.log(256) - p.mean() / D, "nats per dimension"),
    ("exercise_1", lambda p, D: 8 - p.mean() / D, "part is in nats"),
    ("exercise_1", lambda p, D: 8 + p.mean() / (D * LOG2), "sign of the log-density"),
    ("exercise_1", lambda p, D: 8 * D - p.mean() / LOG2, "divide by D"),
    ("exercise_1", lambda p, D: 8 - p.mean() / LOG2, "whole picture"),
    ("exercise_1", lambda p, D: 8 - p.sum() / (D * LOG2), "summed over the pictures"),
    ("exercise_1", lambda p, D: 8 - p / (D * LOG2), "one value per picture"),
    ("exercise_1", lambda p, D: p[:2], "shape"),
    ("exercise_1", lambda p, D: 3.0, "put (6.2)"),
    ("exercise_2", lambda m, s: levels(m, s, ends=False), "not open:"),
    ("exercise_2", lambda m, s: levels(m, s, widen=0.5), "twice too wide,"),
    ("exercise_2", lambda m, s: levels(m, s, widen=0.5, ends=False), "twice too wide (patient"),
    ("exercise_2", lambda m, s: density(m, s) / 256, "density times width"),
    ("exercise_2", density, "integral over the cell"),
    ("exercise_2", lambda m, s: levels(m, s * math.sqrt(3) / math.pi), "not the standard deviation"),
    ("exercise_2", lambda m, s: levels(m, s * s), "not by s²"),
    ("exercise_2", lambda m, s: levels(m, s).log(), "logarithms"),
    ("exercise_2", lambda m, s: levels(m, s, F_of=torch.special.ndtr), "Gaussian"),
    ("exercise_2", centred, "centred on k/255"),
    ("exercise_2", lambda m, s: levels(m, s)[:255], "shape"),
    ("exercise_2", lambda m, s: torch.full((256,), 1 / 256), "level 102 has 0.0195"),
    ("exercise_2", lambda m, s: torch.full((256,), math.nan), "nan; look at (6.4)"),
    ("exercise_3", naive, "but a = 90, b = 91 gives"),
    ("exercise_3", lambda a, b: (torch.sigmoid(b) - torch.sigmoid(a) + 1e-7).log(), "bends the tails"),
    ("exercise_3", lambda a, b: naive(a, b).clamp(min=-50), "at a = -95, b = -94 the result should be"),
    ("exercise_3", lambda a, b: F.logsigmoid(b) - F.logsigmoid(a), "difference of the logarithms"),
    ("exercise_3", lambda a, b: torch.sigmoid(b) - torch.sigmoid(a), "logarithm is missing"),
    ("exercise_3", lambda a, b: F.logsigmoid(b) + F.logsigmoid(a) + torch.log(-torch.expm1(a - b)), "sigmoid(−a)"),
    ("exercise_3", lambda a, b: F.logsigmoid(b) + F.logsigmoid(-a), "third term"),
    (
        "exercise_3",
        lambda a, b: stable(a, b) + F.logsigmoid(a) - F.logsigmoid(b) + F.logsigmoid(-b) - F.logsigmoid(-a),
        "exchanged",
    ),
    ("exercise_3", lambda a, b: F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(1 - torch.exp(b - a)), "NaN where"),
    ("exercise_3", lambda a, b: stable(a, b) + 1, "look at (6.5)"),
    ("exercise_3", lambda a, b: stable(a, b)[:3], "shape"),
    ("exercise_3", lambda a, b: stable(a, b).detach(), "graph"),
    ("exercise_3", lambda a, b: stable(a.detach(), b), "or missing"),
    (
        "exercise_3",
        lambda a, b: torch.where(b < 4, torch.where(a > -4, naive(a, b), stable(a, b)), stable(a, b)),
        "gradient",
    ),
    ("exercise_4", lambda x, q, n: linear(x, q, n, lengths=lambda v, s2: v.sqrt()), "σ² comes on top"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, lengths=lambda v, s2: 1), "axes of length 1"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, lengths=lambda v, s2: v - s2), "*root* of"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, lengths=lambda v, s2: v), "axis times λ;"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: v[q:].mean()), "that is σ²"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: (v[q:].sum() / len(v)).sqrt()), "not by all D"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: v[q:].sum().sqrt()), "not their sum"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: v[q].sqrt()), "not the largest"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: v[-1].sqrt()), "not the least"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: v.mean().sqrt()), "of all variances"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, sigma=lambda v, q: v[q:].sqrt().mean()), "averaged the roots"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, up=True, lengths=lambda v, s2: v.sqrt()), "sorts them upwards"),
    (
        "exercise_4",
        lambda x, q, n: (
            linear(x, q, n)[:1] + linear(x, q, n, up=True, lengths=lambda v, s2: v.sqrt())[1:2] + linear(x, q, n)[2:]
        ),
        "least variance",
    ),
    ("exercise_4", lambda x, q, n: linear(x, q, n, noise=lambda n, D, s2: 0), "no pixel noise"),
    (
        "exercise_4",
        lambda x, q, n: linear(x, q, n, noise=lambda n, D, s2: torch.randn(n, 1).double() * s2.sqrt()),
        "shared by all pixels",
    ),
    (
        "exercise_4",
        lambda x, q, n: linear(x, q, n, noise=lambda n, D, s2: torch.randn(n, D).double() * s2),
        "width σ², not σ",
    ),
    ("exercise_4", lambda x, q, n: linear(x, q, n, z=lambda n, q: torch.randn(1, q).double()), "drawn anew"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, shift=False), "do not lie around"),
    ("exercise_4", lambda x, q, n: linear(x, q, n, z=lambda n, q: 2 * torch.randn(n, q).double()), "do not have the"),
    ("exercise_4", lambda x, q, n: linear(x, q, n)[:3], "four things"),
    ("exercise_4", lambda x, q, n: [linear(x, q, n)[k] for k in (0, 1, 2, 2)], "a sample in each row"),
    ("exercise_4", lambda x, q, n: (x.mean(0), linear(x, q, n)[1].T, *linear(x, q, n)[2:]), "a column for each"),
    ("exercise_4", lambda x, q, n: (x.mean(1), *linear(x, q, n)[1:]), "shape"),
    ("exercise_4", lambda x, q, n: (x[0], *linear(x, q, n)[1:]), "mean of the pictures"),
    ("exercise_4", lambda x, q, n: (linear(x, q, n), None)[1], "nothing"),
    ("exercise_5", lambda s, f: 1 / faster(s, f), "reciprocal"),
    ("exercise_5", lambda s, f: sum(t / sum(s.values()) * f.get(p, 1) for p, t in s.items()), "averaged the factors"),
    ("exercise_5", lambda s, f: math.prod(f.values()), "multiplied the factors"),
    ("exercise_5", lambda s, f: sum(s.values()) / sum(t * f.get(p, 1) for p, t in s.items()), "wrong way"),
    ("exercise_5", lambda s, f: sum(t / f.get(p, 1) for p, t in s.items()), "new time in seconds"),
    ("exercise_5", lambda s, f: sum(s[p] for p in f) / max(sum(s[p] / f[p] for p in f), 1e-9), "only the phases"),
    ("exercise_5", lambda s, f: 1 / (1 - sum(s[p] for p in f) / sum(s.values())), "limit"),
    ("exercise_5", lambda s, f: 1.5, "times as fast"),
]

RIGHT = [
    ("exercise_1", lambda p, D: float(bits(p.double(), D))),
    ("exercise_1", lambda p, D: np.float64(bits(p, D))),
    ("exercise_1", lambda p, D: -(p - D * math.log(256)).mean().numpy() / (D * LOG2)),
    ("exercise_1", lambda p, D: bits(p, D).reshape(1)),
    ("exercise_2", in_float32),
    ("exercise_3", lambda a, b: stable(a.double(), b.double())),
    ("exercise_3", lambda a, b: b + torch.log(-torch.expm1(a - b)) - F.softplus(b) - F.softplus(a)),
    ("exercise_4", rotated),
    ("exercise_4", by_svd),
    ("exercise_4", lambda x, q, n: [part.float() for part in linear(x, q, n)]),
    ("exercise_5", lambda s, f: np.float64(faster(s, f))),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_3",)
