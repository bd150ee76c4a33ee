"""Checks of chapter 04, the denoising autoencoder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


@exercise("4.1")
def exercise_1(denoising_loss: Function) -> str:
    """Squared error between the clean picture and the answer to the noisy one."""
    for count, sigma in ((6, 0.7), (9, 0.45)):
        x = (rand(count, 1, 28, 28, seed=count) * torch.linspace(0.3, 1, count).view(-1, 1, 1, 1)).float()
        given, model = x.clone(), _Listener()
        result = denoising_loss(model, given, sigma)
        if not torch.equal(given, x):
            raise Misconception("x itself has changed: `x += …` corrupts the target too; make a new tensor")
        if len(model.heard) != 1:
            raise Misconception(f"the model was called {len(model.heard)} times; call it once, on the noisy pictures")
        noisy = model.heard[0].detach()
        if noisy.shape != x.shape:
            raise Misconception(f"the model got shape {tuple(noisy.shape)}, expected that of x, {tuple(x.shape)}")
        _judge_noise(noisy - x, noisy, sigma)
        denoising_loss(model, x.clone(), sigma)
        if torch.equal(model.heard[1], noisy):
            raise Misconception("two calls draw the same noise: set no seed in the function")
        _judge_loss(result, x, noisy, model.scale.detach() * noisy)
        expect_graph(result)
    return "corrupt the input, compare with the clean picture"


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
    if torch.allclose(noise, noise[:1].expand_as(noise), atol=1e-5):
        raise Misconception("every picture got the same noise: draw it with the shape of the whole batch")
    if torch.allclose(noise, noise[..., :1, :1].expand_as(noise), atol=1e-5):
        raise Misconception("one draw for each picture moves all its pixels alike: torch.randn_like(x)")
    if float(noisy.min()) >= 0 and float(noisy.max()) <= 1:
        raise Misconception("the noisy pictures were clipped to [0, 1]: leave them as they are, see section 3")
    if math.isclose(spread, sigma**2, rel_tol=0.05):
        raise Misconception("the noise has standard deviation σ²: multiply by sigma itself")
    if math.isclose(spread, math.sqrt(sigma), rel_tol=0.05):
        raise Misconception("the noise has standard deviation √σ: multiply by sigma itself")
    if math.isclose(spread, sigma / math.sqrt(12), rel_tol=0.05):
        raise Misconception("uniform noise (rand); Gaussian noise comes from torch.randn_like")
    if not math.isclose(spread, sigma, rel_tol=0.05) or abs(mean) > 0.05:
        raise Misconception(f"the noise has mean {mean:.2f} and deviation {spread:.2f}, expected 0 and {sigma}")


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
        error(x, x_hat.clamp(0, 1)): "you clipped the model's answer: clip before scoring only, not in the loss",
        error(noisy - x, x_hat): "you compared with the noise; the target is the clean picture x",
        each.mean().sqrt(): "that is the root of the loss: leave the square",
        each.sqrt().mean(): "that is the mean of the roots (a distance): leave the square",
        (x - x_hat).abs().flatten(1).sum(1).mean(): "that is the absolute error; the loss has squares",
        each.mean() / 2: "there is no ½ in the loss of the course",
    }
    value = as_tensor(result, (), "a loss is one number")
    otherwise = f"for the noise you drew the loss is {each.mean():.3f}, yours {value:.3f}; see section 1"
    compare(value, each.mean(), slips, otherwise)


@exercise("4.2")
def exercise_2(posterior_mean: Function) -> str:
    """Mean of a world of pictures behind noisy ones: ``posterior_mean(world, prior, y, sigma)``."""
    for n, d, count, sigma in ((5, 3, 4, 0.6), (9, 20, 6, 1.4), (7, 50, 8, 0.01)):
        world, y, prior = rand(n, d, seed=n), rand(count, d, seed=d), 0.1 + rand(n, seed=count)
        asked = (world, prior / prior.sum(), y)
        given = tuple(part.clone() for part in asked)
        answer = as_tensor(posterior_mean(*given, sigma))
        if not all(torch.equal(*pair) for pair in zip(asked, given, strict=True)):
            raise Misconception("an argument has changed: make new tensors")
        answer = as_tensor(answer, y.shape, ": a mean picture for each noisy one")
        if sigma == 0.01 and not bool(answer.isfinite().all()):
            raise Misconception(
                "for σ = 0.01 every exp(−distance²/2σ²) underflows to 0, and 0/0 is nan: work with the exponents, "
                "log prior − distance²/2σ², and let softmax (or log-sum-exp) take the exponential"
            )
        _judge_mean(answer, *asked, sigma)
    return "weights by Bayes' rule, and no underflow for little noise"


def _judge_mean(answer: Tensor, world: Tensor, prior: Tensor, y: Tensor, sigma: float) -> None:
    squared = (y[:, None] - world).square().sum(2)  # (B, N)
    exponent = prior.log() - squared / (2 * sigma**2)

    def mean(logits: Tensor, dim: int = 1) -> Tensor:
        return logits.softmax(dim) @ world

    slips = {
        mean(-squared / (2 * sigma**2)): "the prior is not used: by Bayes' rule it multiplies the closeness",
        mean(prior.log() - squared / (2 * sigma)): "σ stands where its square belongs: distance²/2σ²",
        mean(prior.log() - squared / sigma**2): "the ½ is missing: the exponent of the bell is −distance²/2σ²",
        mean(prior.log() - squared.sqrt() / (2 * sigma**2)): "the distance must be squared: −distance²/2σ²",
        mean(exponent + squared / sigma**2): "the sign: a picture far away must weigh *less*",
        mean(prior - squared / (2 * sigma**2)): "in the exponent stands the logarithm of the prior",
        mean(prior.log() - squared / (2 * sigma**2 * len(world[0]))): "you averaged over the pixels: the squared "
        "differences of all pixels are added",
        mean(exponent, 0): "the weights add up to 1 over the noisy pictures; for each noisy picture they must add up "
        "to 1 over the world",
        (exponent.exp() @ world, prior * (-squared / (2 * sigma**2)).softmax(1) @ world): "the weights do not add up "
        "to 1: divide by their sum",
        (world[exponent.argmax(1)], world[squared.argmin(1)]): "that is one picture, the most probable or the "
        "nearest; asked is the mean over all, each with its weight",
        (prior @ world).expand_as(y): "that is the mean before anything was seen: y is not used",
    }
    otherwise = f"for σ = {sigma} it is not the mean over the world with weights prior · exp(−distance²/2σ²)"
    if sigma == 0.01:  # all the weight is on one picture, so that many slips give the same
        slips = {world.mean(0).expand_as(y): "for little noise all pictures get equal weights"}
    compare(answer, mean(exponent), slips, otherwise)


@exercise("4.3")
def exercise_3(wiener_balance: Function) -> str:
    """Factors of the Wiener filter and the error left in each component."""
    _judge_balance(wiener_balance, torch.tensor([4.0, 1.0, 0.3, 0.0], dtype=torch.float64), 0.8)
    _judge_balance(wiener_balance, 3 * rand(7, seed=4), 1.3)
    return "what is left exceeds neither the signal nor the noise"


def _judge_balance(wiener_balance: Function, lam: Tensor, sigma: float) -> None:
    result = wiener_balance(lam.clone(), sigma)
    if result is None:
        as_tensor(result)  # says that a return is missing
    result = [*result] if getattr(result, "ndim", 0) else result  # a pair may come stacked
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
        lam * v / (lam + v): "that is the error that is left: return the factors first, then the errors",
    }
    otherwise = "the factors are not those of (4.2): signal variance over signal plus noise variance"
    compare(factors, right, slips, otherwise)
    slips = {
        lam * (1 - right) ** 2: "that is the signal lost; the noise let through, σ² · factor², is missing",
        v * right**2: "that is the noise let through; the signal lost, λ(1 − factor)², is missing",
        lam * (1 - right) + v * right: "both factors belong squared: the error is squared",
        (lam * v / (lam + v)).sqrt(): "that is the root of the squared error",
        torch.full_like(lam, v): "that is the noise before filtering",
        lam: "that is the signal before filtering: the error of answering with the mean",
    }
    otherwise = "the factors are right, the errors are not: add λ(1 − factor)² and σ² factor², and simplify"
    compare(left, lam * v / (lam + v), slips, otherwise)


@exercise("4.4")
def exercise_4(unbiased_mask: Function) -> str:
    """Masking whose mean over the draws is the picture."""
    for share, shape in ((0.25, (40, 1, 28, 28)), (0.7, (50, 3, 20, 24))):
        x = 0.2 + 0.6 * rand(*shape, seed=1).float()
        given = x.clone()
        answer, again = as_tensor(unbiased_mask(given, share)), as_tensor(unbiased_mask(x.clone(), share))
        if not torch.equal(given, x):
            raise Misconception("x itself has changed: make a new tensor, or the target is corrupted as well")
        answer = as_tensor(answer, x.shape)
        if torch.equal(answer, again) and bool((answer == 0).any()):
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
    spectrum = torch.fft.fftn(black - share, dim=(0, 1, 2, 3)).abs().square()
    together = torch.fft.ifftn(spectrum, dim=(0, 1, 2, 3)).real / (black.numel() * share * (1 - share))
    together[0, 0, 0, 0] = 0  # every pixel agrees with itself; by chance the others stay below 0.03
    if float(together.abs().max()) > 0.06:
        raise Misconception(
            "pixels turn black together: draw one number for each pixel of each channel, torch.rand_like(x)"
        )
    counts = black.flatten(1).sum(1)
    if float(counts.var()) < 0.2 * black[0].numel() * share * (1 - share):
        raise Misconception(
            "every picture has (nearly) the same number of black pixels, so they are not drawn independently: compare "
            "torch.rand_like(x) with share"
        )


@exercise("4.5")
def exercise_5(score_of: Function) -> str:
    """Score from a denoiser by Tweedie's formula."""

    def r(y: Tensor) -> Tensor:
        return 0.3 * y + 1.0

    for shape, sigma in (((7, 3), 0.6), ((4, 10), 1.7)):
        x = randn(*shape, seed=5)
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
def exercise_6(sample: Function) -> str:
    """Sampler that draws fresh noise at every step: ``sample(r, x, levels, epsilon)``."""
    for seed, levels in enumerate(([2.0, 0.9, 0.5, 0.2], [0.9, 0.4], [1.5, 0.7, 0.0])):
        x, epsilon = randn(5 - seed, 2 + seed, seed=seed), randn(len(levels) - 1, 5 - seed, 2 + seed, seed=9)
        asked: list[float] = []

        def r(y: Tensor, level: Any, asked: list[float] = asked) -> Tensor:
            asked.append(float(torch.as_tensor(level).flatten()[0]))
            return y / (1 + torch.as_tensor(level, dtype=y.dtype) ** 2) + 0.2

        given = x.clone(), epsilon.clone()
        answer, again = (as_tensor(sample(r, given[0], list(levels), given[1])) for _ in range(2))
        if not torch.equal(given[0], x):
            raise Misconception("x itself has changed: make a new tensor")
        answer = as_tensor(answer, x.shape)
        if not torch.equal(given[1], epsilon) or not torch.allclose(answer, again, equal_nan=True):
            raise Misconception("two calls differ: the fresh noise is given, epsilon[k] for step k; draw none")
        if not asked:
            raise Misconception("r was never called: every step starts from its answer")
        heard = {round(level, 6) for level in asked}
        if heard == set(levels):
            raise Misconception("a last denoising was added, or r was asked at both ends: ask at the beginning")
        if not heard <= set(levels[:-1]):
            raise Misconception("r was asked at the level of the end of a step; x still has the noise of its beginning")
        _judge_walk(answer, r, x, levels, epsilon)
    return "at every step the kept and the fresh noise add up to the next level"


def _judge_walk(answer: Tensor, r: Function, x: Tensor, levels: list[float], epsilon: Tensor) -> None:
    def walk(power: float, fresh: Function, noise: Tensor = epsilon, steps: int = len(epsilon)) -> Tensor:
        y = x
        for s, n, e in zip(levels[:steps], levels[1:], noise, strict=False):
            clean = r(y, s)
            y = clean + (n / s) ** power * (y - clean) + fresh(s, n) * e
        return y

    def rest(s: float, n: float) -> float:
        return n * math.sqrt(1 - (n / s) ** 2)

    right = walk(2, rest)
    slips = {
        walk(1, lambda s, n: 0): "that is (4.6), which draws nothing new: keep less of the old noise",
        (walk(1, rest), walk(1, lambda s, n: n)): "too much noise: a share σ'/σ of the old noise is all that the next "
        "level has room for; keep (σ'/σ)²",
        walk(2, lambda s, n: n): "too much noise: with the part that is kept, the variances must add up to σ'²",
        walk(2, lambda s, n: 0): "the fresh noise is missing, or its factor is 0: the variance kept is (σ'/σ)⁴·σ²",
        walk(2, lambda s, n: rest(s, n) ** 2): "that factor is a variance; noise is multiplied by its root",
        walk(2, lambda s, n: n - n**2 / s): "standard deviations do not add: σ'² less the variance kept, then the root",
        walk(2, lambda s, n: math.sqrt(1 - (n / s) ** 2)): "the factor σ' is missing before the root",
        walk(2, lambda s, n: math.sqrt(s**2 - n**2)): "that is what was taken away; asked is what is missing up to σ'",
        walk(math.inf, lambda s, n: n): "all of the old noise is thrown away; keep (σ'/σ)² of it",
        walk(2, rest, epsilon[:1].expand_as(epsilon)): "every step uses the same noise: epsilon[k] is for step k",
        walk(2, rest, epsilon.flip(0)): "the noises are used in reverse: epsilon[0] is for the first step",
        walk(2, rest, steps=1): "only the first step was taken: go through all pairs of levels",
        walk(2, rest, steps=len(epsilon) - 1): "the last step is missing, the one to levels[-1]",
        r(x, levels[0]): "that is the whole denoising step, straight to level 0",
        r(right, levels[-2]): "a last denoising was added; asked is the point at the last level",
    }
    otherwise = "not r + (σ'/σ)²·(x − r) + fresh noise, of variances that add up to σ'² if x − r has σ²"
    compare(answer, right, slips, otherwise)
