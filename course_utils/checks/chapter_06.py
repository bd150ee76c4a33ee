"""Checks of chapter 06, colour likelihoods and the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.checks import Function, Misconception, as_tensor, compare, compare_all, exercise, near
from course_utils.checks.inputs import randn

Times = Mapping[str, float]  # phase → seconds, or → how many times as fast it gets


@exercise("6.1")
def exercise_1(bits_per_dimension: Function) -> str:
    """Bits per dimension from the log-density of dequantised pictures."""
    for count, D in ((4, 192), (7, 3072)):
        _judge_bits(bits_per_dimension, 100 + 300 * randn(count, seed=count).float(), D)
    return "8 for knowing nothing, less for every nat of density"


def _judge_bits(bits_per_dimension: Function, log_density: Tensor, D: int) -> None:
    result, nats = bits_per_dimension(log_density.clone(), D), -log_density.double()  # (B,)
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
        8 + len(nats) * bits / D: "you summed over the pictures: take the mean",
    }
    compare(value, right, slips, f"expected {right:.4f} bits per dimension, found {value:.4f}; put (6.2) into (6.1)")


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
        f"mean {mean}, s {s}: your probabilities sum to {value.sum():.6f}; level {worst} has {right[worst]:.6f}, yours "
        f"{value[worst]:.6f}; look at (6.4)"
    )
    compare(value, right, slips, otherwise, atol=3e-7)


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
            f"right where a and b are small, but a = {a[bad]:g}, b = {b[bad]:g} gives {value[bad]:g}: what "
            "stands inside a logarithm has become 0, infinite or NaN (both sigmoids round to 1, or an exponential "
            "overflows); use (6.5) with F.logsigmoid"
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
            "the values are right, but a gradient is NaN, infinite or missing: subtract no two values near 0 inside a "
            "logarithm; and torch.where lets NaN through"
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
def exercise_4(linear_vae: Function) -> str:
    """Fit a linear VAE and draw from it."""
    for D, q in ((6, 2), (5, 3)):
        x = 3 + randn(400, D, seed=D) @ randn(D, D, seed=q)
        answer = linear_vae(x.clone(), q, 20_000)
        if answer is None or not isinstance(answer, tuple | list) or len(answer) != 4:
            kind = "nothing: a return is missing" if answer is None else "something else"
            raise Misconception(f"asked are four things, mean, W, sigma, samples; your function returned {kind}")
        mean, W, sigma, samples = answer
        _judge_linear(mean, W, sigma, samples, x, q)
    return "WWᵀ + σ²I keeps q variances and shares out the rest; your draws have that covariance"


def _judge_linear(mean: Any, W: Any, sigma: Any, samples: Any, x: Tensor, q: int) -> None:
    D, wide = x.shape[1], {"rtol": 5e-3, "atol": 5e-3}  # N and N − 1 are both right
    variances, axes = torch.linalg.eigh(torch.cov(x.T))
    variances, axes = variances.flip(0), axes.flip(1)
    noise = variances[q:].mean()

    def along(lengths: Tensor, chosen: Tensor) -> Tensor:
        return chosen * lengths @ chosen.T

    if not near(as_tensor(mean, (D,)), x.mean(0), **wide):
        raise Misconception("`mean` is the mean of the pictures, one number per dimension")
    slips: dict[Any, str] = {
        noise: "that is σ², the mean of the left-out variances; asked is σ, its root",
        (variances[q:].sum() / D).sqrt(): "the left-out variances are shared by D − q axes, not by all D",
        variances[q:].sum().sqrt(): "σ² is the *mean* of the left-out variances, not their sum",
        variances[q].sqrt(): "σ² is the mean of all left-out variances, not the largest of them",
        variances[-1].sqrt(): "σ² is the mean of all left-out variances, not the least of them",
        variances[:-q].mean().sqrt(): "you took the mean of the wrong variances: eigh sorts them upwards",
        variances.mean().sqrt(): "that is the mean of all variances; those of the first q axes are kept by W",
        variances[q:].sqrt().mean(): "variances are averaged, then the root is taken; you averaged the roots",
    }
    value = as_tensor(sigma, (), "σ is one number, the same for every pixel")
    compare(value, noise.sqrt(), slips, f"σ should be {noise.sqrt():.4f}, yours is {value:.4f}", **wide)
    first, kept = axes[:, :q], variances[:q]
    slips = {
        along(kept, first): "W Wᵀ has the variances λ along its axes, and σ² comes on top: take the root of λ − σ²",
        along(torch.ones(q).double(), first): "the columns of W are axes of length 1; each wants the root of λ − σ²",
        along((kept - noise).square(), first): "column i of W is the axis times the *root* of λ − σ²",
        along(kept.square(), first): "column i of W is the axis times λ; take the root of λ − σ²",
        along((variances[-q:] - noise).clamp(min=0), axes[:, -q:]): "these are the axes of least variance: eigh sorts "
        "them upwards",
        along(variances[-q:], axes[:, -q:]): "these are the axes of least variance: eigh sorts them upwards",
    }
    shared = as_tensor(W, (D, q), ", a column for each latent")
    right = along(kept - noise, first)
    compare(shared @ shared.T, right, slips, "W Wᵀ should keep the q largest variances, less σ²; see (6.6)", **wide)
    drawn = as_tensor(samples, (20_000, D), ", a sample in each row")
    found, eye = torch.cov(drawn.T), torch.eye(D).double()
    slips = {
        right: "the samples have no pixel noise: add σ times a fresh normal draw for every value",
        right + noise * torch.ones(D, D).double(): "one draw of noise is shared by all pixels of a picture; each value "
        "gets its own",
        right + noise.square() * eye: "the pixel noise has the width σ², not σ",
    }
    if not near(drawn.mean(0), x.mean(0), atol=0.1 * float(variances[0]) ** 0.5):
        raise Misconception("the samples do not lie around `mean`: is it added to z Wᵀ and the noise, is z drawn anew?")
    gap = {name: float((found - known).abs().max()) for known, name in [*slips.items(), (right + noise * eye, "")]}
    best = min(gap, key=lambda name: gap[name])
    if best or not gap[best] < 0.06 * float(variances[0]):
        known = best if gap[best] < 0.06 * float(variances[0]) else ""
        raise Misconception(known or "the samples do not have the covariance W Wᵀ + σ²I")


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
        "little, see (6.7)",
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
