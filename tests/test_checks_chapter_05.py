"""Every check of chapter 05 passes its solution and names the misconception behind each wrong answer."""

import math

import torch
from helpers.answers import Answers
from torch.distributions import Exponential, Normal, kl_divergence

from course_utils.checks import chapter_05 as check


def errors(x, x_hat):
    return (x - x_hat).square().flatten(1).sum(1)


def units(mu, logvar):
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar)


def constant(sigma):
    return 784 / 2 * math.log(2 * math.pi * sigma**2)


def elbo(x, x_hat, mu, logvar, sigma):
    return (errors(x, x_hat) / (2 * sigma**2) + constant(sigma) + units(mu, logvar).sum(1)).mean()


def normals(mu0, logvar0, mu1, logvar1):
    return Normal(mu0, (0.5 * logvar0).exp()), Normal(mu1, (0.5 * logvar1).exp())


def diagonal(*arguments):
    return kl_divergence(*normals(*arguments)).sum(1)


def without_one(mu0, logvar0, mu1, logvar1):
    return diagonal(mu0, logvar0, mu1, logvar1) + mu0.shape[1] / 2


def unscaled_shift(mu0, logvar0, mu1, logvar1):
    ratio = (logvar0 - logvar1).exp() + (mu0 - mu1).square()
    return 0.5 * (ratio - 1 + logvar1 - logvar0).sum(1)


def logs_exchanged(mu0, logvar0, mu1, logvar1):
    return diagonal(mu0, logvar0, mu1, logvar1) + (logvar0 - logvar1).sum(1)


def variance_as_std(mu0, logvar0, mu1, logvar1):
    return kl_divergence(Normal(mu0, logvar0.exp()), Normal(mu1, logvar1.exp())).sum(1)


def draw(rate, u):
    return -torch.log1p(-u) / rate


def plain_sample(rate, u):
    return -torch.log1p(-u) / rate.detach()


def wrong_slope(rate, u):
    fixed = draw(rate, u).detach()
    return fixed + rate - rate.detach()


def bound(log_w):
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


def in_place(log_w):
    log_w -= 1
    return bound(log_w) + 1


def free(mu, logvar, floor):
    return units(mu, logvar).mean(0).clamp(min=floor).sum()


def still_pulled(mu, logvar, floor):  # the right value, but a dimension below the floor keeps its gradient
    by_unit = units(mu, logvar).mean(0)
    return torch.where(by_unit < floor, by_unit - by_unit.detach() + floor, by_unit).sum()


def first_variance(mu0, logvar0, mu1, logvar1):
    shift = (mu0 - mu1).square()
    return diagonal(mu0, logvar0, mu1, logvar1) + 0.5 * (shift * ((-logvar0).exp() - (-logvar1).exp())).sum(1)


def terms(error_weight, constant_weight):  # negative ELBO with other weights on its first two terms
    def answer(x, x_hat, mu, logvar, sigma):
        error = errors(x, x_hat) / (2 * sigma**2)
        return error_weight * error.mean() + constant_weight * constant(sigma) + units(mu, logvar).sum(1).mean()

    return answer


SOLUTIONS = {
    "exercise_1": elbo,
    "exercise_2": diagonal,
    "exercise_3": draw,
    "exercise_4": lambda a, b, n: math.sqrt(b * n / (2 * a)),
    "exercise_5": bound,
    "exercise_6": free,
}

WRONG = [
    ("exercise_1", lambda *a: -elbo(*a), "that is the ELBO"),
    ("exercise_1", lambda x, y, m, v, s: elbo(x, y, m, v, s) - constant(s), "constant D/2·log 2πσ² is missing:"),
    (
        "exercise_1",
        lambda x, y, m, v, s: (errors(x, y) / (2 * s) + units(m, v).sum(1)).mean() + constant(s),
        "σ stands",
    ),
    ("exercise_1", lambda x, y, m, v, s: (errors(x, y) / s**2 + units(m, v).sum(1)).mean() + constant(s), "the 2 of"),
    ("exercise_1", lambda x, y, m, v, s: elbo(x, y, m, v, s) - 2 * units(m, v).sum(1).mean(), "wrong sign"),
    (
        "exercise_1",
        lambda x, y, m, v, s: elbo(x, y, m, v, s) - 0.8 * units(m, v).sum(1).mean(),
        "averaged over the lat",
    ),
    ("exercise_1", lambda x, y, m, v, s: elbo(x, y, m, v, s) + 5 * units(m, v).sum(1).mean(), "KL is summed over the"),
    ("exercise_1", lambda *a: 6 * elbo(*a), "summed over the batch:"),
    ("exercise_1", lambda x, y, m, v, s: elbo(x, y, m, v, s) - units(m, v).sum(1).mean(), "KL is missing"),
    ("exercise_1", lambda x, y, m, v, s: (errors(x, y) + units(m, v).sum(1)).mean(), "σ² = ½"),
    ("exercise_1", lambda x, y, m, v, s: (errors(x, y) / 784 + units(m, v).sum(1)).mean(), "averaged over the pixels:"),
    ("exercise_1", terms(1 / 784, 1), "as F.mse_loss does unless told otherwise; sum"),
    ("exercise_1", terms(1 / 784, 0), "unless told otherwise, and the constant"),
    ("exercise_1", terms(6, 1), 'reduction="sum"'),
    ("exercise_1", terms(1, 1 / 784), "once for every pixel"),
    ("exercise_1", lambda x, y, m, v, s: elbo(x, y, m, v, s) - 392 * math.log(2 * math.pi), "2π is missing"),
    ("exercise_1", lambda x, y, m, v, s: errors(x, y) / (2 * s**2) + constant(s) + units(m, v).sum(1), "one value per"),
    ("exercise_1", lambda x, y, m, v, s: units(m, v), "shape"),
    ("exercise_1", lambda *a: elbo(*a).item(), "graph"),
    ("exercise_1", lambda *a: elbo(*a) + 1, "on a random batch"),
    ("exercise_2", lambda a, b, c, d: diagonal(c, d, a, b), "not symmetric"),
    ("exercise_2", lambda a, b, c, d: units(a, b).sum(1), "standard normal"),
    ("exercise_2", lambda *a: diagonal(*a) / 3, "averaged"),
    ("exercise_2", lambda *a: 2 * diagonal(*a), "factor ½"),
    ("exercise_2", without_one, "−1 of every"),
    ("exercise_2", logs_exchanged, "exchanged"),
    ("exercise_2", unscaled_shift, "divide by σ₁²"),
    ("exercise_2", first_variance, "divided by σ₀²"),
    ("exercise_2", variance_as_std, "not the standard deviation"),
    ("exercise_2", lambda *a: diagonal(*a).mean(), "one number"),
    ("exercise_2", lambda *a: kl_divergence(*normals(*a)), "each dimension"),
    ("exercise_2", lambda *a: diagonal(*a)[:2], "shape"),
    ("exercise_2", lambda *a: diagonal(*a) + 0.1, "for the first row"),
    ("exercise_3", lambda r, u: -torch.log1p(-u) * r, "−λz) for z divides by it"),
    ("exercise_3", lambda r, u: -torch.log(u) * r, "solving for z divides by it"),
    ("exercise_3", lambda r, u: torch.log1p(-u) / r, "sign"),
    ("exercise_3", lambda r, u: torch.log(u) / r, "sign"),
    ("exercise_3", lambda r, u: 1 - torch.exp(-r * u), "*inverse*"),
    ("exercise_3", lambda r, u: r * torch.exp(-r * u), "density"),
    ("exercise_3", lambda r, u: -torch.log1p(-u), "does not appear"),
    ("exercise_3", plain_sample, "no gradient"),
    ("exercise_3", wrong_slope, "−z/λ"),
    ("exercise_3", lambda r, u: Exponential(1 + 0 * r[0]).sample(), "shape"),
    ("exercise_3", lambda r, u: draw(r, u) + 0.3, "solve"),
    ("exercise_3", lambda r, u: Exponential(r).rsample(), "`uniform` is not used"),
    ("exercise_3", lambda r, u: 2 / r, "`uniform` is not used"),
    ("exercise_4", lambda a, b, n: b * n / (2 * a), "variance"),
    ("exercise_4", lambda a, b, n: math.sqrt(b * n / a), "the 2 of"),
    ("exercise_4", lambda a, b, n: math.sqrt(a * n / (2 * b)), "exchanged"),
    ("exercise_4", lambda a, b, n: math.sqrt(b / (2 * a)), "D belongs"),
    ("exercise_4", lambda a, b, n: math.sqrt(b * n / 2), "weight is missing"),
    ("exercise_4", lambda a, b, n: math.sqrt(b / (2 * a * n)), "wrong side"),
    ("exercise_4", lambda a, b, n: 1.24, "divide the loss by b"),
    ("exercise_5", lambda w: w.mean(0), "mean of the logarithms"),
    ("exercise_5", lambda w: torch.logsumexp(w, 0), "k: subtract log k"),
    ("exercise_5", lambda w: torch.logsumexp(w, 0) - 8, "not k"),
    ("exercise_5", lambda w: torch.logsumexp(w, 0) / 8, "inside"),
    ("exercise_5", lambda w: w.amax(0), "largest"),
    ("exercise_5", lambda w: torch.logsumexp(w, 0) - math.log(5), "number of pictures"),
    ("exercise_5", lambda w: w.exp().mean(0).log(), "underflows"),
    ("exercise_5", lambda w: torch.logsumexp(w, 1) - math.log(5), "first axis"),
    ("exercise_5", lambda w: bound(w).mean(), "one number"),
    ("exercise_5", lambda w: bound(w)[:3], "shape"),
    ("exercise_5", in_place, "itself has changed"),
    ("exercise_5", lambda w: bound(w) + 0.5, "look at (5.7)"),
    ("exercise_6", lambda m, v, f: units(m, v).clamp(min=f).sum(1).mean(), "every picture"),
    ("exercise_6", lambda m, v, f: units(m, v).sum(1).mean().clamp(min=f), "not under the sum"),
    ("exercise_6", lambda m, v, f: units(m, v).mean(0).clamp(max=f).sum(), "caps"),
    ("exercise_6", lambda m, v, f: units(m, v).sum(1).mean(), "does nothing"),
    ("exercise_6", lambda m, v, f: units(m, v).mean(0).clamp(min=f).mean(), "averaged over dimensions"),
    ("exercise_6", lambda m, v, f: units(m, v).sum(0).clamp(min=f).sum(), "summed over the batch"),
    ("exercise_6", lambda m, v, f: (units(m, v).mean(0) - f).clamp(min=0).sum(), "subtracted"),
    ("exercise_6", lambda m, v, f: units(m, v).mean(0).clamp(min=f), "shape"),
    ("exercise_6", lambda m, v, f: free(m, v, f) + 1, "on a random batch"),
    ("exercise_6", still_pulled, "must feel no pull"),
    ("exercise_6", lambda m, v, f: free(m.detach(), v, f), "must feel no pull"),
    ("exercise_6", lambda m, v, f: free(m, v, f).item(), "graph"),
]

RIGHT = [
    ("exercise_2", lambda *a: diagonal(*(t.clone() for t in a))),
    ("exercise_3", lambda r, u: -torch.log(u) / r),
    ("exercise_3", lambda r, u: -torch.log(1 - u) / r),
    ("exercise_6", lambda m, v, f: torch.relu(units(m, v).mean(0) - f).add(f).sum()),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_1", "exercise_3", "exercise_6")


def test_a_draw_that_can_be_infinite_passes_with_a_warning():
    assert "infinity" in check.exercise_3.judge(lambda r, u: -torch.log(u) / r).message
