"""Every check of chapter 04 passes its solution and names the misconception behind each wrong answer."""

import math

import numpy as np
import torch
from helpers.answers import Answers

from course_utils.checks import chapter_04 as check


def masked(x, share, *, scale=None, keep=False, draw=None):
    u = torch.rand_like(x) if draw is None else draw(x)
    hidden = u >= share if keep else u < share
    return torch.where(hidden, torch.zeros_like(x), x * (1 / (1 - share) if scale is None else scale(share)))


def masks_in_place(x, share):
    x[torch.rand_like(x) < share] = 0
    return x / (1 - share)


def same_mask_each_call(x, share):
    generator = torch.Generator().manual_seed(0)
    return masked(x, share, draw=lambda x: torch.rand(x.shape, generator=generator))


def rows(x):  # one draw for each row of each picture
    return torch.rand_like(x[..., :1]).expand_as(x)


def channels(x):  # one draw for all channels of a pixel
    return torch.rand_like(x[:, :1]).expand_as(x)


def patches(x):  # one draw for each 2×2 patch
    return torch.rand_like(x[..., ::2, ::2]).repeat_interleave(2, 2).repeat_interleave(2, 3)


def every_second_picture(x):  # pictures share their masks in pairs
    return torch.rand_like(x[::2]).repeat_interleave(2, 0)


def ranks(x):  # masks the exact share of each picture
    places = torch.rand_like(x).flatten(1).argsort(1).argsort(1)
    return (places / places.shape[1]).view(x.shape)


def clips_answer(model, x, sigma):
    return squares(x, model(noise_like(x, sigma)).clamp(0, 1)).mean()


def target_noise(model, x, sigma):
    noise = sigma * torch.randn_like(x)
    return squares(noise, model(x + noise)).mean()


def squares(x, x_hat):
    return (x - x_hat).square().flatten(1).sum(1)


def noise_like(x, sigma):
    return x + sigma * torch.randn_like(x)


def loss_in_place(model, x, sigma):
    x += sigma * torch.randn_like(x)
    return squares(x, model(x)).mean()


def noisy_target(model, x, sigma):
    noisy = noise_like(x, sigma)
    return squares(noisy, model(noisy)).mean()


def same_noise_each_call(model, x, sigma):
    torch.manual_seed(0)
    return squares(x, model(noise_like(x, sigma))).mean()


def called_twice(model, x, sigma):
    model(x)
    return squares(x, model(noise_like(x, sigma))).mean()


def ignores_answer(model, x, sigma):
    noisy = noise_like(x, sigma)
    model(noisy)
    return squares(x, noisy).mean()


def loss_with(corrupt, reduce=lambda e: e.mean()):
    return lambda model, x, sigma: reduce(squares(x, model(corrupt(x, sigma))))


def absolute(model, x, sigma):
    return (x - model(noise_like(x, sigma))).abs().flatten(1).sum(1).mean()


def balance(factor, left):
    return lambda lam, sigma: (factor(lam, sigma**2), left(lam, sigma**2))


def f(lam, v):
    return lam / (lam + v)


def g(lam, v):
    return lam * v / (lam + v)


def in_place_score(r, x, sigma):
    step = r(x) - x
    x += step
    return step / sigma**2


def posterior_mean(world, prior, y, sigma, over=1, half=2, power=2, size=1.0, log=torch.log, sign=-1):
    """The right answer to 4.2, with the slips that change its exponent."""
    squared = (y[:, None] - world).square().sum(2)
    return (log(prior) + sign * squared ** (power / 2) / (half * sigma**2 * size)).softmax(over) @ world


def slipped(**parts):
    return lambda world, prior, y, sigma: posterior_mean(world, prior, y, sigma, **parts)


def underflows(world, prior, y, sigma):
    weights = prior * (-(y[:, None] - world).square().sum(2) / (2 * sigma**2)).exp()
    return weights / weights.sum(1, keepdim=True) @ world


def unnormalised(world, prior, y, sigma):
    return prior * (-(y[:, None] - world).square().sum(2) / (2 * sigma**2)).exp() @ world


def prior_afterwards(world, prior, y, sigma):  # multiplied after the weights were divided by their sum
    return prior * (-(y[:, None] - world).square().sum(2) / (2 * sigma**2)).softmax(1) @ world


def best_only(world, prior, y, sigma):
    return world[(prior.log() - (y[:, None] - world).square().sum(2) / (2 * sigma**2)).argmax(1)]


def changes_y(world, prior, y, sigma):
    answer = posterior_mean(world, prior, y, sigma)
    y -= answer
    return answer


def by_loops(world, prior, y, sigma):  # numpy, one noisy picture after the other, the largest exponent taken off
    world, prior, y, means = world.numpy(), prior.numpy(), y.numpy(), []
    for seen in y:
        exponent = np.log(prior) - ((seen - world) ** 2).sum(1) / (2 * sigma**2)
        weights = np.exp(exponent - exponent.max())
        means.append(weights @ world / weights.sum())
    return np.stack(means)


def rest(s, n):
    return n * math.sqrt(1 - (n / s) ** 2)


def walk(r, x, levels, epsilon, keep=lambda s, n: (n / s) ** 2, fresh=rest, order=lambda k: k, steps=99, at=0):
    """The right answer to 4.6, with the slips that change what is kept, what is drawn, and when."""
    for k in range(min(steps, len(epsilon))):
        s, n = levels[k], levels[k + 1]
        clean = r(x, levels[k + at])
        x = clean + keep(s, n) * (x - clean) + fresh(s, n) * epsilon[order(k)]
    return x


def walked(**parts):
    return lambda r, x, levels, epsilon: walk(r, x, levels, epsilon, **parts)


def draws_its_own(r, x, levels, epsilon):
    return walk(r, x, levels, torch.randn_like(epsilon))


def walks_in_place(r, x, levels, epsilon):
    y = walk(r, x, levels, epsilon)
    x += 1
    return y


def never_asks(r, x, levels, epsilon):
    return x + epsilon.sum(0)


def denoised_at_last(r, x, levels, epsilon):
    return r(walk(r, x, levels, epsilon), levels[-2])


def backwards(r, x, levels, epsilon):
    return walk(r, x, levels, epsilon.flip(0))


def by_variances(r, x, levels, epsilon):
    for s, n, fresh in zip(levels[:-1], levels[1:], epsilon, strict=True):
        kept = n**2 / s
        step = (r(x, s) - x) * (1 - n**2 / s**2)
        x = x + step + (n**2 - kept**2) ** 0.5 * fresh
    return x


SOLUTIONS = {
    "exercise_4": masked,
    "exercise_1": loss_with(noise_like),
    "exercise_3": balance(f, g),
    "exercise_5": lambda r, x, s: (r(x) - x) / s**2,
    "exercise_2": posterior_mean,
    "exercise_6": walk,
}

WRONG = [
    ("exercise_4", lambda x, share: masked(x, share, scale=lambda s: 1), "scale them up"),
    ("exercise_4", lambda x, share: masked(x, share, scale=lambda s: 1 - s), "darker still"),
    ("exercise_4", lambda x, share: masked(x, share, scale=lambda s: 1 / s), "divided by share"),
    ("exercise_4", lambda x, share: masked(x, share, scale=lambda s: 1 + s), "not enough"),
    ("exercise_4", lambda x, share: masked(x, share, scale=lambda s: 1.1), "not all scaled"),
    ("exercise_4", lambda x, share: masked(x, share, keep=True), "kept the share"),
    ("exercise_4", lambda x, share: masked(x, share / 2), "expected about"),
    ("exercise_4", lambda x, share: masked(x, share, draw=lambda x: torch.rand(len(x), 1, 1, 1).expand_as(x)), "whole"),
    (
        "exercise_4",
        lambda x, share: masked(x, share, draw=lambda x: torch.rand(1, *x.shape[1:]).expand_as(x)),
        "has the same mask",
    ),
    ("exercise_4", lambda x, share: masked(x, share, draw=rows), "black together"),
    ("exercise_4", lambda x, share: masked(x, share, draw=lambda x: rows(x).mT), "black together"),
    ("exercise_4", lambda x, share: masked(x, share, draw=patches), "black together"),
    ("exercise_4", lambda x, share: masked(x, share, draw=every_second_picture), "black together"),
    ("exercise_4", lambda x, share: masked(x, share, draw=ranks), "same number of black"),
    ("exercise_4", same_mask_each_call, "two calls"),
    ("exercise_4", masks_in_place, "x itself has changed"),
    ("exercise_4", lambda x, share: x, "no pixel is black"),
    ("exercise_4", lambda x, share: masked(x, share, draw=channels), "black together"),
    ("exercise_4", lambda x, share: x + torch.rand_like(x), "no pixel is black"),
    ("exercise_4", lambda x, share: masked(x, share).flatten(1), "shape"),
    ("exercise_1", loss_in_place, "x itself has changed"),
    ("exercise_1", noisy_target, "keep the noise"),
    ("exercise_1", called_twice, "called 2 times"),
    ("exercise_1", same_noise_each_call, "the same noise: set no seed"),
    ("exercise_3", lambda lam, s: print(end=""), "without a return"),
    ("exercise_1", ignores_answer, "size of the noise"),
    ("exercise_1", lambda model, x, sigma: torch.tensor(1.0), "called 0 times"),
    ("exercise_1", lambda model, x, sigma: squares(x, model(x)).mean(), "chapter 02"),
    ("exercise_1", lambda model, x, sigma: model(noise_like(x, sigma)[:3]).sum(), "the model got shape"),
    ("exercise_1", loss_with(lambda x, s: noise_like(x, s).clamp(0, 1)), "clipped to"),
    ("exercise_1", loss_with(lambda x, s: noise_like(x, s**2)), "σ²"),
    ("exercise_1", loss_with(lambda x, s: noise_like(x, s**0.5)), "√σ"),
    ("exercise_1", loss_with(lambda x, s: x + s * torch.rand_like(x)), "uniform"),
    ("exercise_1", loss_with(lambda x, s: noise_like(x, 3 * s)), "expected 0 and"),
    ("exercise_1", loss_with(lambda x, s: noise_like(x, 1.09 * s)), "expected 0 and"),
    ("exercise_1", loss_with(lambda x, s: noise_like(x + 0.09, s)), "expected 0 and"),
    ("exercise_1", loss_with(lambda x, s: x + s * torch.randn(1, 1, 28, 28)), "same noise"),
    ("exercise_1", loss_with(lambda x, s: x + s * torch.randn(len(x), 1, 1, 1)), "one draw for each picture"),
    ("exercise_1", clips_answer, "clipped the model's answer"),
    ("exercise_1", target_noise, "compared with the noise;"),
    ("exercise_1", loss_with(noise_like, lambda e: e.mean().sqrt()), "root of the loss"),
    ("exercise_1", loss_with(noise_like, lambda e: e.sqrt().mean()), "mean of the roots"),
    ("exercise_1", loss_with(noise_like, lambda e: e), "image: average over the images"),
    ("exercise_1", loss_with(noise_like, lambda e: e.sum()), "summed over the images"),
    ("exercise_1", loss_with(noise_like, lambda e: e.mean() / 784), "averaged over the pixels"),
    ("exercise_1", loss_with(noise_like, lambda e: e.mean() / 2), "½"),
    ("exercise_1", loss_with(noise_like, lambda e: e.mean() + 1), "for the noise you drew"),
    ("exercise_1", loss_with(noise_like, lambda e: e[:2]), "a loss is one number"),
    ("exercise_1", loss_with(noise_like, lambda e: e.mean().item()), "graph"),
    ("exercise_1", absolute, "absolute"),
    ("exercise_3", f, "return two things"),
    ("exercise_3", balance(lambda lam, v: lam / (lam + v**0.5), g), "σ stands where"),
    ("exercise_3", balance(lambda lam, v: v / (lam + v), g), "share of the noise"),
    ("exercise_3", balance(lambda lam, v: lam**0.5 / (lam**0.5 + v**0.5), g), "do not add"),
    ("exercise_3", balance(lambda lam, v: lam**2 / (lam**2 + v), g), "variances already"),
    ("exercise_3", balance(lambda lam, v: (lam > v).double(), g), "whole components"),
    ("exercise_3", balance(lambda lam, v: lam * 0 + 0.5, g), "not those of (4.2)"),
    ("exercise_3", balance(g, f), "factors first"),
    ("exercise_3", balance(lambda lam, v: f(lam, v)[:2], g), "shape (2"),
    ("exercise_3", balance(f, lambda lam, v: lam * (1 - f(lam, v)) ** 2), "noise let through, σ²"),
    ("exercise_3", balance(f, lambda lam, v: v * f(lam, v) ** 2), "signal lost, λ"),
    ("exercise_3", balance(f, lambda lam, v: lam * (1 - f(lam, v)) + v * f(lam, v)), "squared:"),
    ("exercise_3", balance(f, lambda lam, v: g(lam, v) ** 0.5), "root"),
    ("exercise_3", balance(f, lambda lam, v: lam * 0 + v), "noise before filtering"),
    ("exercise_3", balance(f, lambda lam, v: lam), "answering with the mean"),
    ("exercise_3", balance(f, lambda lam, v: g(lam, v).sum()), "shape ()"),
    ("exercise_3", balance(f, lambda lam, v: 3 * g(lam, v)), "simplify"),
    ("exercise_5", lambda r, x, s: r(x) - x, "σ² times the score"),
    ("exercise_5", lambda r, x, s: (r(x) - x) / s, "divided by σ;"),
    ("exercise_5", lambda r, x, s: (x - r(x)) / s**2, "the sign: the score"),
    ("exercise_5", lambda r, x, s: (x - r(x)) / s, "where you have σ"),
    ("exercise_5", lambda r, x, s: x - r(x), "division by σ² is missing"),
    ("exercise_5", lambda r, x, s: (r(x) - x) * s**2, "multiplied"),
    ("exercise_5", lambda r, x, s: r(x) / s**2, "not subtracted"),
    ("exercise_5", lambda r, x, s: r(x) - x / s**2, "brackets"),
    ("exercise_5", lambda r, x, s: r(x), "denoised point"),
    ("exercise_5", lambda r, x, s: x, "not (r(x)"),
    ("exercise_5", lambda r, x, s: (r(x) - x).sum(1), "shape"),
    ("exercise_5", in_place_score, "x itself has changed"),
    ("exercise_2", slipped(log=torch.zeros_like), "the prior is not used"),
    ("exercise_2", slipped(half=1), "the ½ is missing"),
    ("exercise_2", slipped(power=1), "must be squared"),
    ("exercise_2", slipped(sign=1), "the sign"),
    ("exercise_2", slipped(log=lambda prior: prior), "logarithm of the prior"),
    ("exercise_2", slipped(over=0), "over the noisy pictures"),
    ("exercise_2", lambda w, p, y, s: posterior_mean(w, p, y, s, size=w.shape[1]), "averaged over the pixels"),
    ("exercise_2", lambda w, p, y, s: posterior_mean(w, p, y, s**0.5), "σ stands where"),
    ("exercise_2", unnormalised, "divide by their sum"),
    ("exercise_2", prior_afterwards, "divide by their sum"),
    ("exercise_2", underflows, "underflows"),
    ("exercise_2", best_only, "that is one picture"),
    ("exercise_2", lambda w, p, y, s: w[torch.cdist(y, w).argmin(1)], "that is one picture"),
    ("exercise_2", lambda w, p, y, s: (p @ w).expand_as(y), "before anything was seen"),
    ("exercise_2", lambda w, p, y, s: posterior_mean(w, p, y, max(s, 0.3)), "for σ = 0.01"),
    ("exercise_2", lambda w, p, y, s: posterior_mean(w, p, y[:1], s), "shape"),
    ("exercise_2", lambda w, p, y, s: posterior_mean(w, p, y, s).T, "shape"),
    ("exercise_2", changes_y, "an argument has changed"),
    ("exercise_6", walked(keep=lambda s, n: n / s, fresh=lambda s, n: 0), "that is (4.6)"),
    ("exercise_6", walked(keep=lambda s, n: n / s), "too much noise: a share"),
    ("exercise_6", walked(keep=lambda s, n: n / s, fresh=lambda s, n: n), "too much noise: a share"),
    ("exercise_6", walked(fresh=lambda s, n: n), "too much noise: with"),
    ("exercise_6", walked(fresh=lambda s, n: 0), "fresh noise is missing"),
    ("exercise_6", walked(fresh=lambda s, n: math.sqrt(abs(n**2 - (n / s) ** 2 * s**2))), "or its factor is 0"),
    ("exercise_6", walked(fresh=lambda s, n: rest(s, n) ** 2), "is a variance"),
    ("exercise_6", walked(fresh=lambda s, n: n - n**2 / s), "standard deviations do not"),
    ("exercise_6", walked(fresh=lambda s, n: math.sqrt(1 - (n / s) ** 2)), "before the root"),
    ("exercise_6", walked(fresh=lambda s, n: math.sqrt(s**2 - n**2)), "taken away"),
    ("exercise_6", walked(keep=lambda s, n: 0, fresh=lambda s, n: n), "thrown away"),
    ("exercise_6", walked(keep=lambda s, n: 0.5), "not r +"),
    ("exercise_6", walked(order=lambda k: 0), "same noise"),
    ("exercise_6", backwards, "in reverse"),
    ("exercise_6", walked(steps=1), "only the first step"),
    ("exercise_6", lambda r, x, levels, epsilon: walk(r, x, levels, epsilon[:-1]), "the last step is missing"),
    ("exercise_6", walked(at=1), "at the level of the end"),
    ("exercise_6", lambda r, x, levels, epsilon: r(walk(r, x, levels, epsilon), levels[-1]), "a last denoising"),
    ("exercise_6", denoised_at_last, "a last denoising"),
    ("exercise_6", lambda r, x, levels, epsilon: r(x, levels[0]), "straight to level 0"),
    ("exercise_6", draws_its_own, "two calls differ"),
    ("exercise_6", never_asks, "never called"),
    ("exercise_6", walks_in_place, "x itself has changed"),
    ("exercise_6", lambda r, x, levels, epsilon: walk(r, x, levels, epsilon)[0], "shape"),
    ("exercise_6", lambda r, x, levels, epsilon: torch.stack([walk(r, x, levels, epsilon)] * 2), "shape"),
]

RIGHT = [
    ("exercise_2", by_loops),
    ("exercise_2", lambda w, p, y, s: posterior_mean(w, p, y, s).float().tolist()),
    ("exercise_6", by_variances),
    ("exercise_4", torch.nn.functional.dropout),
    ("exercise_4", lambda x, p: x * (torch.rand_like(x) >= p) / (1 - p)),
    ("exercise_3", lambda lam, s: [f(lam, s**2), g(lam, s**2)]),
    ("exercise_3", lambda lam, s: torch.stack((f(lam, s**2), g(lam, s**2)))),
    ("exercise_3", lambda lam, s: np.stack((f(lam, s**2), g(lam, s**2)))),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_1",)
    coincide = ("exercise_2", "exercise_6")
