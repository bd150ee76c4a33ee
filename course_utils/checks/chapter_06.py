"""Checks of chapter 06, colour likelihoods and the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise, near
from course_utils.checks.inputs import rand

Times = Mapping[str, float]  # phase → seconds, or → how many times as fast it gets


@exercise("6.1")
def exercise_1(bits_per_dimension: Function) -> str:
    """Bits per dimension from the log-density of dequantised pictures."""
    log_density, D = torch.tensor([310.0, 150.0, -40.0, 500.0]), 192
    result, nats = bits_per_dimension(log_density.clone(), D), -log_density.double()  # (4,)
    bits = nats.mean() / math.log(2)
    if near(as_tensor(result), 8 + nats / (D * math.log(2))):
        raise Misconception("one value per picture; asked is their mean, one number")
    value, right = as_tensor(result, (), "the mean over the pictures is one number"), 8 + bits / D
    slips = {
        bits / D: "the 8 bits of a level are missing: a density on [0, 1] is 256 times one per level, so log 256 is "
        "subtracted for every dimension, see (6.2)",
        -8 + bits / D: "the 8 bits have the wrong sign: an even density on [0, 1] has log-density 0 and costs +8",
        math.log(256) + nats.mean() / D: "these are nats per dimension: divide by log 2 (patient D of the clinic)",
        8 + nats.mean() / D: "the density's part is in nats, the 8 in bits: divide the nats by log 2",
        8 - bits / D: "the sign of the log-density is wrong: likelier pictures cost less",
        8 * D + bits: "these are bits per picture: divide by D",
        8 + bits: "the log-density belongs to a whole picture: divide it by D",
        8 + 4 * bits / D: "you summed over the pictures: take the mean",
    }
    compare(value, right, slips, f"expected {right:.4f} bits per dimension, found {value:.4f}; put (6.2) into (6.1)")
    return "8 for knowing nothing, less for every nat of density"


@exercise("6.2")
def exercise_2(level_probabilities: Function) -> str:
    """Probabilities of the 256 levels under a discretised logistic pixel."""
    for mean, s in ((0.4, 0.05), (0.03, 0.1), (0.97, 0.02)):
        value = as_tensor(level_probabilities(mean, s), (256,), ", one for each level")
        _judge_levels(value, mean, s)
    return "256 masses that sum to 1"


def _judge_levels(value: Tensor, mean: float, s: float) -> None:
    k = torch.arange(256).double()
    right = _masses(k, k + 1, mean, s)
    if near(value, right):  # to 1e-6, which is what float32 can do; the table tells narrower
        return
    middle = ((k + 0.5) / 256 - mean) / s
    density = torch.sigmoid(middle) * torch.sigmoid(-middle) / s
    slips = {
        _masses(k, k + 1, mean, s, ends=False): "the ends are not open: level 0 takes the whole lower tail and 255 the "
        "whole upper one, so that the sum is 1",
        _masses(k - 0.5, k + 1.5, mean, s): "the cells are twice too wide, so the sum is far from 1 (patient A)",
        _masses(k - 0.5, k + 1.5, mean, s, ends=False): "the cells are twice too wide (patient A), and the ends are "
        "not open",
        density / 256: "that is density times width, which is near the mass of narrow cells only; (6.4) takes the "
        "difference of F, with open ends",
        density: "that is the density in the middle of the cells; a probability is its integral over the cell",
        _masses(k, k + 1, mean, s * math.sqrt(3) / math.pi): "`s` is the scale, not the standard deviation: F(x) = "
        "sigmoid((x − mean) / s) as it is",
        _masses(k, k + 1, mean, s * s): "the argument is divided by s, not by s²",
        right.log(): "these are the logarithms of the probabilities; asked are the probabilities",
        _masses(k, k + 1, mean, s, F_of=torch.special.ndtr): "that is a Gaussian's distribution function; the "
        "logistic's is the sigmoid",
        _masses((k - 0.5) * 256 / 255, (k + 0.5) * 256 / 255, mean, s): "these cells are centred on k/255; the "
        "chapter's go from k/256 to (k + 1)/256",
    }
    worst = int((value - right).abs().nan_to_num(math.inf).argmax())
    otherwise = (
        f"mean {mean}, s {s}: your probabilities sum to {value.sum():.4f}; level {worst} has {right[worst]:.6f}, yours "
        f"{value[worst]:.6f}; look at (6.4)"
    )
    compare(value, right, slips, otherwise, atol=1e-7)


def _masses(
    low: Tensor,
    high: Tensor,
    mean: float,
    s: float,
    *,
    ends: bool = True,
    F_of: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Tensor:
    upper, lower = F_of((high / 256 - mean) / s), F_of((low / 256 - mean) / s)
    if ends:
        upper[-1], lower[0] = 1.0, 0.0
    return upper - lower


@exercise("6.3")
def exercise_3(log_difference: Function) -> str:
    """Log of a difference of sigmoids, stable in float32."""
    a = torch.tensor([-3.0, 0.1, 2.0, -1.0, 90.0, -95.0, -99.0, 20.0])
    b = torch.tensor([-2.9, 0.4, 2.2, 6.0, 91.0, -94.0, 99.0, 20.01])
    inputs = [t.clone().requires_grad_() for t in (a, b)]
    result = log_difference(*inputs)
    value, right = as_tensor(result), _log_difference(a.double(), b.double())
    value = as_tensor(value, a.shape, ", that of a")
    _judge_difference(value[:4], right[:4], a[:4].double(), b[:4].double())
    if not value.isfinite().all():
        bad = int((~value.isfinite()).nonzero()[0])
        raise Misconception(
            f"right where a and b are small, but a = {a[bad]:g}, b = {b[bad]:g} gives {value[bad]:g}: the sigmoids "
            "are equal in float32 before they are subtracted; use (6.5) with F.logsigmoid"
        )
    if not near(value, right, atol=1e-3):
        bad = int((value - right).abs().argmax())
        raise Misconception(
            f"at a = {a[bad]:g}, b = {b[bad]:g} the result should be {right[bad]:.3f}, yours is {value[bad]:.3f}: a "
            "small constant inside the logarithm, or clamping, bends the tails; use (6.5)"
        )
    if not (isinstance(result, Tensor) and result.requires_grad):
        raise Misconception("the values are right, but they have lost their graph: a decoder could not learn from them")
    slopes = torch.autograd.grad(result.sum(), inputs, allow_unused=True)
    if any(slope is None or not slope.isfinite().all() for slope in slopes):
        raise Misconception(
            "the values are right, but a gradient is NaN, infinite or missing: torch.where lets NaN through"
        )
    return "finite in both tails"


def _judge_difference(value: Tensor, right: Tensor, a: Tensor, b: Tensor) -> None:
    upper, third = F.logsigmoid(b), torch.log1p(-(a - b).exp())
    slips = {
        upper - F.logsigmoid(a): "that is the difference of the logarithms; asked is the logarithm of the difference",
        torch.sigmoid(b) - torch.sigmoid(a): "the logarithm is missing",
        upper + F.logsigmoid(a) + third: "log sigmoid(a) stands where (6.5) has log sigmoid(−a)",
        upper + F.logsigmoid(-a): "the third term of (6.5), log(1 − exp(a − b)), is missing",
        F.logsigmoid(a) + F.logsigmoid(-b) + third: "a and b are exchanged in the first two terms",
    }
    otherwise = (
        f"at a = {a[0]:g}, b = {b[0]:g} the result should be {right[0]:.4f}, yours is {value[0]:.4f}; look at (6.5)"
    )
    if value.isnan().any():
        otherwise = "the result is NaN where a and b are small: is it exp(a − b), with a < b, in 1 − exp(…)?"
    compare(value, right, slips, otherwise, rtol=1e-3, atol=1e-4)


def _log_difference(a: Tensor, b: Tensor) -> Tensor:
    return F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1(a - b))


@exercise("6.4")
def exercise_4(best_sigma: Function) -> str:
    """The width under which Gaussian pixels fit best."""
    x, x_hat = rand(5, 3, 6, 4, seed=0).float(), 0.7 * rand(5, 3, 6, 4, seed=1).float() + 0.25  # another mean than x
    value = as_tensor(best_sigma(x.clone(), x_hat.clone()), (), "asked is one number for all pixels and pictures")
    error = (x - x_hat).double()
    squares = error.square()
    right = squares.mean().sqrt()
    slips = {
        squares.mean(): "that is σ²; the question asks for σ",
        error.std(): "that is the spread about the mean error: an error that is always the same counts as well, so do "
        "not subtract the mean (.std() does)",
        error.std(correction=0): "that is the spread about the mean error: an error that is always the same counts as "
        "well, so do not subtract the mean",
        error.abs().mean(): "that is the mean absolute error, the best width of a Laplace distribution",
        squares.flatten(1).mean(1).sqrt().mean(): "you averaged the pictures' own best widths; the mean comes before "
        "the root",
        squares.flatten(1).sum(1).mean().sqrt(): "the squared error is summed over the pixels: take the mean over "
        "pixels as well",
        squares.sum().sqrt(): "the squared error is summed: take its mean over pixels and pictures",
        squares.mean() / 2: "that follows from the slip −(x − x_hat)²/(2σ); the density has 2σ²",
        (squares.mean() / 2).sqrt(): "the ½ of the logarithm and the ½ of the square cancel: σ² is the mean square",
        right.log(): "that is log σ",
    }
    compare(value, right, slips, f"expected {right:.5f}, found {value:.5f}; look at (6.3)")
    return "the root of the mean squared error"


@exercise("6.5")
def exercise_5(speed_up: Function) -> str:
    """How much faster a run gets when some phases do."""
    cases = [
        ({"loading": 3.0, "forward": 2.0, "backward": 4.0, "step": 1.0}, {"loading": 10.0}),
        ({"loading": 0.5, "forward": 6.0, "backward": 2.0}, {"forward": 2.0, "backward": 4.0}),
        ({"forward": 1.0, "backward": 3.0}, {"forward": 0.5}),
        ({"forward": 1.0, "step": 1.0}, {}),
    ]

    def new(s: Times, f: Times) -> float:
        return sum(s[p] / f.get(p, 1) for p in s)

    def old(s: Times, f: Times) -> float:
        return sum(s.values())

    def multiplied(s: Times, f: Times) -> float:
        return sum(s[p] * f.get(p, 1) for p in s)

    def changing(s: Times, f: Times) -> float:
        return sum(s[p] for p in f)

    slips = {
        lambda s, f: (
            new(s, f) / old(s, f)
        ): "that is the share of the time that is left; the speed-up is its reciprocal",
        lambda s, f: math.prod(f.values()): "you multiplied the factors: a phase that takes little time can save only "
        "little, see (6.6)",
        lambda s, f: old(s, f) / multiplied(s, f): "the factors are used the wrong way round: a phase that is twice as "
        "fast takes *half* the time",
        lambda s, f: multiplied(s, f) / old(s, f): "you averaged the factors by share of the time; add up the *times*, "
        "then divide: a phase that is twice as fast takes half the time, not double",
        lambda s, f: changing(s, f) / max(sum(s[p] / f[p] for p in f), 1e-9): "only the phases that change are "
        "counted; the others still take their time",
        new: "that is the new time in seconds; divide the old one by it",
        lambda s, f: 1 / (1 - changing(s, f) / old(s, f)) if len(f) < len(s) else math.inf: "that is the limit for "
        "infinitely fast phases, 1/(1 − p)",
    }
    otherwise = "for {0} and {1} the run is {right:.4f} times as fast, not {value:.4f}"
    compare_all(speed_up, cases, lambda s, f: old(s, f) / new(s, f), slips, otherwise)
    return "old time over new time"
