"""Checks of chapter 04, the denoising autoencoder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


@exercise("4.1")
def exercise_1(unbiased_mask: Function) -> str:
    """Masking whose mean over the draws is the picture."""
    x = 0.2 + 0.6 * rand(40, 1, 28, 28, seed=1).float()
    for share in (0.25, 0.75):
        given = x.clone()
        answer, again = as_tensor(unbiased_mask(given, share)), as_tensor(unbiased_mask(x.clone(), share))
        if not torch.equal(given, x):
            raise Misconception("x itself has changed: make a new tensor, or the target of the loss is spoilt as well")
        answer = as_tensor(answer, x.shape)
        if torch.equal(answer, again):
            raise Misconception("two calls give the same mask: draw a fresh one in each (torch.rand_like)")
        _judge_mask(x, answer, share)
    return "the mean over the draws is the clean picture"


def _judge_mask(x: Tensor, answer: Tensor, share: float) -> None:
    black = answer == 0
    if not black.any():
        raise Misconception("no pixel is black: set those to 0 where a uniform draw is below share")
    if bool((black.flatten(1).float().std(1) == 0).all()):
        raise Misconception("whole pictures are masked: draw one number for each pixel, torch.rand_like(x)")
    if torch.equal(black, black[:1].expand_as(black)):
        raise Misconception("every picture has the same mask: draw one number for each pixel, torch.rand_like(x)")
    found = float(black.float().mean())
    if abs(found - (1 - share)) < 0.02:
        raise Misconception(f"{found:.0%} are black, but share = {share}: you kept the share instead of masking it")
    if abs(found - share) > 0.02:
        raise Misconception(f"{found:.0%} of the pixels are black, expected about {share:.0%}")
    _judge_independence(black.double(), share)
    ratio = (answer / x)[~black]
    one = torch.ones_like(ratio)
    slips = {
        one: "the kept pixels are as before, so the mean is (1 − share)·x: scale them up",
        one * (1 - share): "you made the kept pixels darker still: divide by 1 − share, do not multiply",
        one / share: "you divided by share; the mean of the mask is 1 − share",
        one * (1 + share): "1 + share is not enough: (1 − share)(1 + share) is below 1; divide by 1 − share",
    }
    otherwise = "the kept pixels are not all scaled by 1/(1 − share), so the mean over the draws is not x"
    compare(ratio, one / (1 - share), slips, otherwise)


def _judge_independence(black: Tensor, share: float) -> None:
    spectrum = torch.fft.fftn(black - share, dim=(0, 2, 3)).abs().square()
    together = torch.fft.ifftn(spectrum, dim=(0, 2, 3)).real / (black.numel() * share * (1 - share))
    together[0, 0, 0, 0] = 0  # every pixel agrees with itself; by chance the others stay below 0.03
    if float(together.abs().max()) > 0.06:
        raise Misconception(
            "pixels turn black together: draw one number for each pixel, torch.rand_like(x), not for each row or patch"
        )
    counts = black.flatten(1).sum(1)
    if float(counts.var()) < 0.2 * black[0].numel() * share * (1 - share):
        raise Misconception(
            "every picture has (nearly) the same number of black pixels, so they are not drawn independently: compare "
            "torch.rand_like(x) with share"
        )


@exercise("4.2")
def exercise_2(denoising_loss: Function) -> str:
    """Squared error between the clean picture and the answer to the noisy one."""
    x, sigma = rand(6, 1, 28, 28, seed=2).float(), 0.7
    given, model = x.clone(), _Listener()
    result = denoising_loss(model, given, sigma)
    if not torch.equal(given, x):
        raise Misconception("x itself has changed: `x += …` spoils the target too; make a new tensor")
    if len(model.heard) != 1:
        raise Misconception(f"the model was called {len(model.heard)} times; call it once, on the noisy pictures")
    noisy = model.heard[0].detach()
    if noisy.shape != x.shape:
        raise Misconception(f"the model got shape {tuple(noisy.shape)}, expected the noisy pictures, {tuple(x.shape)}")
    _judge_noise(noisy - x, noisy, sigma)
    _judge_loss(result, x, noisy, model.scale.detach() * noisy)
    expect_graph(result)
    return "spoil the input, compare with the clean picture"


class _Listener(nn.Module):
    """Scales its input (not by ½: x and the noise would be equal targets) and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.4))
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x)
        return self.scale * x


def _judge_noise(noise: Tensor, noisy: Tensor, sigma: float) -> None:
    spread, mean = float(noise.std()), float(noise.mean())
    if spread == 0:
        raise Misconception("the model saw the clean pictures: that is the loss of chapter 02; add the noise first")
    if float(noisy.min()) >= 0 and float(noisy.max()) <= 1:
        raise Misconception("the noisy pictures were clipped to [0, 1]; the course does not, see section 2")
    if math.isclose(spread, sigma**2, rel_tol=0.05):
        raise Misconception("the noise has standard deviation σ²: multiply by sigma itself")
    if math.isclose(spread, math.sqrt(sigma), rel_tol=0.05):
        raise Misconception("the noise has standard deviation √σ: multiply by sigma itself")
    if math.isclose(spread, sigma / math.sqrt(12), rel_tol=0.05):
        raise Misconception("uniform noise (rand); Gaussian noise comes from torch.randn_like")
    if not math.isclose(spread, sigma, rel_tol=0.05) or abs(mean) > 0.05:
        raise Misconception(
            f"the noise has mean {mean:.2f} and standard deviation {spread:.2f}, expected 0 and {sigma}"
        )
    if torch.allclose(noise, noise[:1].expand_as(noise), atol=1e-5):
        raise Misconception("every picture got the same noise: draw it with the shape of the whole batch")
    if torch.allclose(noise, noise[..., :1, :1].expand_as(noise), atol=1e-5):
        raise Misconception("one draw for each picture moves all its pixels alike: torch.randn_like(x)")


def _judge_loss(result: Any, x: Tensor, noisy: Tensor, x_hat: Tensor) -> None:
    def error(target: Tensor, answer: Tensor) -> Tensor:
        return (target - answer).square().flatten(1).sum(1).mean()

    each = (x - x_hat).square().flatten(1).sum(1)
    if near(as_tensor(result), each):
        raise Misconception("one value per image: average over the images")
    slips = {
        error(noisy, x_hat): "you compared with the noisy pictures: the network would learn to keep the noise; the "
        "target is x",
        error(noisy, x): "that is the size of the noise: compare the model's answer",
        each.mean() / 784: "you averaged over the pixels as well: sum over them, average over the images",
        each.sum(): "you summed over the images as well: average over the batch",
        error(x, x_hat.clamp(0, 1)): "you clipped the model's answer: the loss takes it as it is; clipping comes "
        "before scoring only",
        error(noisy - x, x_hat): "you compared with the noise; the target is the clean picture x",
        each.mean().sqrt(): "that is the root of the loss: leave the square",
        each.sqrt().mean(): "that is the mean of the roots (a distance): leave the square",
        (x - x_hat).abs().flatten(1).sum(1).mean(): "that is the absolute error; the loss has squares",
        each.mean() / 2: "there is no ½ in the loss of the course",
    }
    value = as_tensor(result, (), "a loss is one number")
    otherwise = f"for the noise you drew the loss is {each.mean():.3f}, yours {value:.3f}; see section 1"
    compare(value, each.mean(), slips, otherwise)


@exercise("4.3")
def exercise_3(answer: Any) -> str:
    """Decibels between two root-mean-square errors."""
    right, ratio = 20 * math.log10(2), 10 * math.log10(2)
    slips = {
        ratio: "10·log₁₀ 2 would be right for the mean *squared* error; 0.12 and 0.06 are its roots",
        -ratio: "the sign, and the root: half the error means a *higher* PSNR, and 0.12 and 0.06 are roots of the mean "
        "squared error",
        -right: "the sign: the smaller error has the higher PSNR",
        2 * math.log10(2): "the ten is missing: a *deci*bel is a tenth of log₁₀",
        20 * math.log(2): "that is the natural logarithm; decibels use log₁₀",
        10 * math.log(2): "that is the natural logarithm, and of the root; decibels use log₁₀ of the mean squared "
        "error",
        10 * math.log10(1 / 0.06): "two slips: that is one PSNR, not a difference, and the error under the logarithm "
        "must be squared",
        20 * math.log10(1 / 0.06): "that is the PSNR of the second alone; the question asks for the difference",
        20 * math.log10(1 / 0.12): "that is the PSNR of the first alone; the question asks for the difference",
        2: "that is the ratio of the errors; decibels are ten times the log₁₀ of the ratio of squared errors",
        4: "that is the ratio of the squared errors; now ten times its log₁₀",
    }
    otherwise = "square both errors, take 10·log₁₀(1/error) of each, subtract; two decimals"
    compare(as_tensor(answer, ()), right, slips, otherwise, rtol=0, atol=0.006)
    return "half the error, a quarter of the squared error"


@exercise("4.4")
def exercise_4(wiener_balance: Function) -> str:
    """Factors of the Wiener filter and the error left in each component."""
    lam, sigma = torch.tensor([4.0, 1.0, 0.3, 0.0], dtype=torch.float64), 0.8
    result = wiener_balance(lam.clone(), sigma)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Misconception("return two things: the factors, (K,), and the errors left, (K,)")
    factors, left = (as_tensor(part) for part in result)
    for name, part in (("factors", factors), ("errors", left)):
        if part.shape != lam.shape:
            raise Misconception(f"the {name} have shape {tuple(part.shape)}, expected {tuple(lam.shape)}")
    v = sigma**2
    right = lam / (lam + v)
    slips = {
        lam / (lam + sigma): "σ stands where its square belongs: variances add, λ + σ²",
        v / (lam + v): "that is the share of the noise; (4.2) keeps the share of the signal",
        lam.sqrt() / (lam.sqrt() + sigma): "standard deviations do not add; use the variances λ and σ²",
        lam**2 / (lam**2 + v): "the eigenvalues are variances already: do not square them",
        (lam > v).double(): "that keeps or drops whole components; the best factors lie in between",
    }
    otherwise = (
        "the factors are not those of (4.2): signal variance over signal plus noise variance, for each component"
    )
    compare(factors, right, slips, otherwise)
    slips = {
        lam * (1 - right) ** 2: "that is the signal lost; the noise let through, σ² times the factor squared, is "
        "missing",
        v * right**2: "that is the noise let through; the signal lost, λ(1 − factor)², is missing",
        lam * (1 - right) + v * right: "both factors belong squared: the error is squared",
        (lam * v / (lam + v)).sqrt(): "that is the root of the squared error",
        torch.full_like(lam, v): "that is the noise before filtering",
        lam: "that is the signal before filtering: the error of answering with the mean",
    }
    otherwise = "the factors are right, the errors are not: add λ(1 − factor)² and σ² factor², and simplify"
    compare(left, lam * v / (lam + v), slips, otherwise)
    return "what is left lies below both the signal and the noise"


@exercise("4.5")
def exercise_5(score_of: Function) -> str:
    """Score from a denoiser by Tweedie's formula."""

    def r(y: Tensor) -> Tensor:
        return 0.3 * y + 1.0

    x, sigma = randn(7, 3, seed=5), 0.6
    given = x.clone()
    answer = as_tensor(score_of(r, given, sigma))
    if not torch.equal(given, x):
        raise Misconception("x itself has changed: make a new tensor")
    answer = as_tensor(answer, x.shape, ": a vector each")
    step = r(x) - x
    slips = {
        step: "that is the step, σ² times the score: divide, see (4.3)",
        step / sigma: "you divided by σ; (4.3) has σ²",
        -step / sigma**2: "the sign: the score points from the noisy point to the denoised one",
        -step / sigma: "the sign, and σ² where you have σ, see (4.3)",
        -step: "the sign, and the division by σ² is missing, see (4.3)",
        step * sigma**2: "you multiplied by σ²: solve (4.3) for the score",
        r(x) / sigma**2: "x is not subtracted: the step is r(x) − x",
        r(x) - x / sigma**2: "brackets: r(x) − x/σ² divides only x; the whole step is divided",
        r(x): "that is the denoised point itself",
    }
    compare(answer, step / sigma**2, slips, "not (r(x) − x)/σ²; solve (4.3) for the score")
    return "the denoiser's step, in units of the noise variance"


@exercise("4.6")
def exercise_6(step_down: Function) -> str:
    """One step from a level to the next lower one."""
    x, sigma, lower = randn(5, 2, seed=6), 0.9, 0.3  # no two slips coincide
    given = x.clone()
    asked: list[float] = []

    def r(y: Tensor, level: Any) -> Tensor:
        asked.append(float(torch.as_tensor(level).flatten()[0]))
        return y / (1 + torch.as_tensor(level, dtype=y.dtype) ** 2) + 0.2

    answer, again = (as_tensor(step_down(r, z, sigma, lower)) for z in (given, x.clone()))
    if not torch.equal(given, x):
        raise Misconception("x itself has changed: make a new tensor")
    answer = as_tensor(answer, x.shape)
    if not torch.allclose(answer, again):
        raise Misconception("fresh noise was drawn; (4.6) keeps a part of the old noise, x − r(x), instead")
    if not asked:
        raise Misconception("r was never called: the step starts from its answer")
    if all(math.isclose(level, lower, rel_tol=1e-5) for level in asked):
        raise Misconception("r was asked at sigma_next; x still has the noise of sigma")
    _judge_step(answer, x, r(x, sigma), sigma, lower)
    return "denoise, and keep sigma_next / sigma of the old noise"


def _judge_step(answer: Tensor, x: Tensor, r: Tensor, sigma: float, lower: float) -> None:
    rest, part = x - r, lower / sigma
    slips = {
        r: "that is the whole denoising step, straight to level 0; keep a part of x − r(x)",
        x: "nothing has moved",
        r + rest / part: "the ratio is upside down: sigma_next / sigma is below 1",
        r + part**2 * rest: "the ratio of variances; (4.6) has the ratio of the standard deviations",
        r + lower * rest: "sigma_next is not yet a share: divide by sigma",
        r - part * rest: "the sign: what is kept of the noise points from r(x) to x",
        x + part * rest: "you start from x and walk away from the data; start from r(x)",
        x - part * rest: "you moved by the share that should be kept: the step is 1 − sigma_next/sigma of r(x) − x",
        x - (sigma - lower) / sigma**2 * rest: "a σ is missing: the step is σ(σ − σ') times the score",
        x - (sigma - lower) * rest: "a σ is missing: divide the difference of the levels by sigma",
        x - sigma * (sigma - lower) * rest: "r(x) − x is σ² times the score: divide it by σ²",
        r + (sigma - lower) * rest: "the difference of the levels; (4.6) has their ratio",
    }
    otherwise = "not the step of (4.6): r(x) plus sigma_next / sigma of what is left, x − r(x)"
    compare(answer, r + part * rest, slips, otherwise)
