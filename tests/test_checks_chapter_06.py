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


def best(x, x_hat):
    return (x - x_hat).square().mean().sqrt()


def faster(seconds, factors):
    return sum(seconds.values()) / sum(t / factors.get(p, 1) for p, t in seconds.items())


SOLUTIONS = {
    "exercise_1": bits,
    "exercise_2": levels,
    "exercise_3": stable,
    "exercise_4": best,
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
    ("exercise_4", lambda x, y: (x - y).square().mean(), "that is σ²"),
    ("exercise_4", lambda x, y: (x - y).std(), "do not subtract the mean (.std()"),
    ("exercise_4", lambda x, y: (x - y).std(correction=0), "do not subtract"),
    ("exercise_4", lambda x, y: (x - y).abs().mean(), "Laplace"),
    ("exercise_4", lambda x, y: (x - y).square().mean((1, 2, 3)).sqrt().mean(), "before the root"),
    ("exercise_4", lambda x, y: (x - y).square().sum((1, 2, 3)).mean().sqrt(), "over the pixels"),
    ("exercise_4", lambda x, y: (x - y).square().sum().sqrt(), "summed:"),
    ("exercise_4", lambda x, y: (x - y).square().mean() / 2, "slip"),
    ("exercise_4", lambda x, y: ((x - y).square().mean() / 2).sqrt(), "cancel"),
    ("exercise_4", lambda x, y: best(x, y).log(), "log σ"),
    ("exercise_4", lambda x, y: (x - y).square().mean((1, 2, 3)), "shape"),
    ("exercise_4", lambda x, y: 0.1, "look at (6.3)"),
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
    ("exercise_4", lambda x, y: float(best(x, y))),
    ("exercise_4", lambda x, y: np.sqrt(((x - y).numpy() ** 2).mean())),
    ("exercise_4", lambda x, y: best(x.double(), y.double())),
    ("exercise_5", lambda s, f: np.float64(faster(s, f))),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_3",)
