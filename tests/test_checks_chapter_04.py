"""Every check of chapter 04 passes its solution and names the misconception behind each wrong answer."""

import math

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


def patches(x):  # one draw for each 2×2 patch
    return torch.rand_like(x[..., ::2, ::2]).repeat_interleave(2, 2).repeat_interleave(2, 3)


def every_second_picture(x):  # pictures share their masks in pairs
    return torch.rand_like(x[::2]).repeat_interleave(2, 0)


def ranks(x):  # masks the exact share of each picture
    places = torch.rand_like(x).flatten(1).argsort(1).argsort(1)
    return (places / 784).view(x.shape)


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


def moved(part):
    return lambda r, x, s, n: r(x, s) + part(s, n) * (x - r(x, s))


def in_place_step(r, x, s, n):
    clean = r(x, s)
    x -= clean
    return clean + n / s * x


SOLUTIONS = {
    "exercise_1": masked,
    "exercise_2": loss_with(noise_like),
    "exercise_3": 20 * math.log10(2),
    "exercise_4": balance(f, g),
    "exercise_5": lambda r, x, s: (r(x) - x) / s**2,
    "exercise_6": moved(lambda s, n: n / s),
}

WRONG = [
    ("exercise_1", lambda x, share: masked(x, share, scale=lambda s: 1), "scale them up"),
    ("exercise_1", lambda x, share: masked(x, share, scale=lambda s: 1 - s), "darker still"),
    ("exercise_1", lambda x, share: masked(x, share, scale=lambda s: 1 / s), "divided by share"),
    ("exercise_1", lambda x, share: masked(x, share, scale=lambda s: 1 + s), "not enough"),
    ("exercise_1", lambda x, share: masked(x, share, scale=lambda s: 1.1), "not all scaled"),
    ("exercise_1", lambda x, share: masked(x, share, keep=True), "kept the share"),
    ("exercise_1", lambda x, share: masked(x, share / 2), "expected about"),
    ("exercise_1", lambda x, share: masked(x, share, draw=lambda x: torch.rand(len(x), 1, 1, 1).expand_as(x)), "whole"),
    (
        "exercise_1",
        lambda x, share: masked(x, share, draw=lambda x: torch.rand(1, 1, 28, 28).expand_as(x)),
        "has the same mask",
    ),
    ("exercise_1", lambda x, share: masked(x, share, draw=rows), "black together"),
    ("exercise_1", lambda x, share: masked(x, share, draw=lambda x: rows(x).mT), "black together"),
    ("exercise_1", lambda x, share: masked(x, share, draw=patches), "black together"),
    ("exercise_1", lambda x, share: masked(x, share, draw=every_second_picture), "black together"),
    ("exercise_1", lambda x, share: masked(x, share, draw=ranks), "same number of black"),
    ("exercise_1", same_mask_each_call, "two calls"),
    ("exercise_1", masks_in_place, "x itself has changed"),
    ("exercise_1", lambda x, share: x, "two calls"),
    ("exercise_1", lambda x, share: x + torch.rand_like(x), "no pixel is black"),
    ("exercise_1", lambda x, share: masked(x, share).flatten(1), "shape"),
    ("exercise_2", loss_in_place, "x itself has changed"),
    ("exercise_2", noisy_target, "keep the noise"),
    ("exercise_2", called_twice, "called 2 times"),
    ("exercise_2", ignores_answer, "size of the noise"),
    ("exercise_2", lambda model, x, sigma: torch.tensor(1.0), "called 0 times"),
    ("exercise_2", lambda model, x, sigma: squares(x, model(x)).mean(), "chapter 02"),
    ("exercise_2", lambda model, x, sigma: model(noise_like(x, sigma)[:3]).sum(), "the model got shape"),
    ("exercise_2", loss_with(lambda x, s: noise_like(x, s).clamp(0, 1)), "clipped to"),
    ("exercise_2", loss_with(lambda x, s: noise_like(x, s**2)), "σ²"),
    ("exercise_2", loss_with(lambda x, s: noise_like(x, s**0.5)), "√σ"),
    ("exercise_2", loss_with(lambda x, s: x + s * torch.rand_like(x)), "uniform"),
    ("exercise_2", loss_with(lambda x, s: noise_like(x, 3 * s)), "expected 0 and"),
    ("exercise_2", loss_with(lambda x, s: noise_like(x, 1.09 * s)), "expected 0 and"),
    ("exercise_2", loss_with(lambda x, s: noise_like(x + 0.09, s)), "expected 0 and"),
    ("exercise_2", loss_with(lambda x, s: x + s * torch.randn(1, 1, 28, 28)), "same noise"),
    ("exercise_2", clips_answer, "clipped the model's answer"),
    ("exercise_2", target_noise, "compared with the noise;"),
    ("exercise_2", loss_with(noise_like, lambda e: e.mean().sqrt()), "root of the loss"),
    ("exercise_2", loss_with(noise_like, lambda e: e.sqrt().mean()), "mean of the roots"),
    ("exercise_2", loss_with(noise_like, lambda e: e), "image: average over the images"),
    ("exercise_2", loss_with(noise_like, lambda e: e.sum()), "summed over the images"),
    ("exercise_2", loss_with(noise_like, lambda e: e.mean() / 784), "averaged over the pixels"),
    ("exercise_2", loss_with(noise_like, lambda e: e.mean() / 2), "½"),
    ("exercise_2", loss_with(noise_like, lambda e: e.mean() + 1), "for the noise you drew"),
    ("exercise_2", loss_with(noise_like, lambda e: e[:2]), "a loss is one number"),
    ("exercise_2", loss_with(noise_like, lambda e: e.mean().item()), "graph"),
    ("exercise_2", absolute, "absolute"),
    ("exercise_3", 10 * math.log10(2), "mean *squared*"),
    ("exercise_3", -10 * math.log10(2), "the sign, and the root"),
    ("exercise_3", -20 * math.log10(2), "the sign:"),
    ("exercise_3", 2 * math.log10(2), "the ten is missing"),
    ("exercise_3", 20 * math.log(2), "natural logarithm;"),
    ("exercise_3", 10 * math.log(2), "natural logarithm, and of the root"),
    ("exercise_3", 20 * math.log10(1 / 0.06), "second alone"),
    ("exercise_3", 20 * math.log10(1 / 0.12), "first alone"),
    ("exercise_3", 10 * math.log10(1 / 0.06), "two slips"),
    ("exercise_3", 2, "ratio of the errors"),
    ("exercise_3", 4, "ratio of the squared errors"),
    ("exercise_3", 5.0, "square both errors"),
    ("exercise_4", f, "return two things"),
    ("exercise_4", balance(lambda lam, v: lam / (lam + v**0.5), g), "σ stands where"),
    ("exercise_4", balance(lambda lam, v: v / (lam + v), g), "share of the noise"),
    ("exercise_4", balance(lambda lam, v: lam**0.5 / (lam**0.5 + v**0.5), g), "do not add"),
    ("exercise_4", balance(lambda lam, v: lam**2 / (lam**2 + v), g), "variances already"),
    ("exercise_4", balance(lambda lam, v: (lam > v).double(), g), "whole components"),
    ("exercise_4", balance(lambda lam, v: lam * 0 + 0.5, g), "not those of (4.2)"),
    ("exercise_4", balance(lambda lam, v: f(lam, v)[:2], g), "shape (2"),
    ("exercise_4", balance(f, lambda lam, v: lam * (1 - f(lam, v)) ** 2), "noise let through, σ²"),
    ("exercise_4", balance(f, lambda lam, v: v * f(lam, v) ** 2), "signal lost, λ"),
    ("exercise_4", balance(f, lambda lam, v: lam * (1 - f(lam, v)) + v * f(lam, v)), "squared:"),
    ("exercise_4", balance(f, lambda lam, v: g(lam, v) ** 0.5), "root"),
    ("exercise_4", balance(f, lambda lam, v: lam * 0 + v), "noise before filtering"),
    ("exercise_4", balance(f, lambda lam, v: lam), "answering with the mean"),
    ("exercise_4", balance(f, lambda lam, v: g(lam, v).sum()), "shape ()"),
    ("exercise_4", balance(f, lambda lam, v: 3 * g(lam, v)), "simplify"),
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
    ("exercise_6", lambda r, x, s, n: r(x, s), "whole denoising step"),
    ("exercise_6", lambda r, x, s, n: r(x, s) * 0 + x, "nothing has moved"),
    ("exercise_6", lambda r, x, s, n: x, "never called"),
    ("exercise_6", moved(lambda s, n: s / n), "upside down"),
    ("exercise_6", moved(lambda s, n: (n / s) ** 2), "ratio of variances"),
    ("exercise_6", moved(lambda s, n: n), "divide by sigma"),
    ("exercise_6", moved(lambda s, n: -n / s), "the sign"),
    ("exercise_6", moved(lambda s, n: s - n), "the difference of the levels; (4.6)"),
    ("exercise_6", moved(lambda s, n: 1 - n / s), "of r(x) − x"),
    ("exercise_6", lambda r, x, s, n: x + (s - n) * (r(x, s) - x) / s**2, "a σ is missing: the step"),
    ("exercise_6", lambda r, x, s, n: x + (s - n) * (r(x, s) - x), "a σ is missing: divide"),
    ("exercise_6", lambda r, x, s, n: x + s * (s - n) * (r(x, s) - x), "divide it by σ²"),
    ("exercise_6", lambda r, x, s, n: x + n / s * (x - r(x, s)), "away from the data"),
    ("exercise_6", lambda r, x, s, n: r(x, s) + n * torch.randn_like(x), "fresh noise"),
    ("exercise_6", lambda r, x, s, n: r(x, n) + n / s * (x - r(x, n)), "asked at sigma_next"),
    ("exercise_6", moved(lambda s, n: 0.9), "not the step"),
    ("exercise_6", lambda r, x, s, n: r(x, s)[:, 0], "shape"),
    ("exercise_6", in_place_step, "x itself has changed"),
]

RIGHT = [
    ("exercise_1", lambda x, p: x * (torch.rand_like(x) >= p) / (1 - p)),
    ("exercise_3", 6.02),
    ("exercise_4", lambda lam, s: [f(lam, s**2), g(lam, s**2)]),
    ("exercise_6", lambda r, x, s, n: x - (1 - n / s) * (x - r(x, s))),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_2",)
