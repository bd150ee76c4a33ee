"""Every check of chapter 09 passes its solution and names the misconception behind each wrong answer."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from helpers.answers import Answers

from course_utils.checks import chapter_09 as check


def jsd(real, fake):
    return (math.log(4) - F.softplus(-real).mean() - F.softplus(fake).mean()) / 2


def jsd_by_loops(real, fake):  # plain Python, no tensor
    def log_sigmoid(a):
        return min(a, 0.0) - math.log1p(math.exp(-abs(a)))

    value = sum(map(log_sigmoid, real.tolist())) / len(real) + sum(log_sigmoid(-a) for a in fake.tolist()) / len(fake)
    return (value + math.log(4)) / 2


def written_out(real, fake):
    return (torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean() + math.log(4)) / 2


def pooled(real, fake):
    return (math.log(4) - 2 * torch.cat([F.softplus(-real), F.softplus(fake)]).mean()) / 2


def density(p, logits):
    return p * torch.exp(-logits)


def density_in_place(p, logits):
    p *= torch.exp(-logits)
    return p


def losses(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean(), F.softplus(-fake).mean()


def cross_entropies(real, fake):
    ones, zeros = torch.ones_like, torch.zeros_like
    entropy = F.binary_cross_entropy_with_logits
    return [entropy(real, ones(real)) + entropy(fake, zeros(fake)), entropy(fake, ones(fake))]


def with_losses(d=None, g=None):
    def answer(real, fake):
        right = losses(real, fake)
        return d(real, fake) if d else right[0], g(real, fake) if g else right[1]

    return answer


def naive_losses(real, fake):
    D, E = torch.sigmoid(real), torch.sigmoid(fake)
    return -D.log().mean() - (1 - E).log().mean(), -E.log().mean()


def matrix(h, gamma, half=0.5, new=True, g_first=False, sign=1.0, r1=True):
    k, keep = half * h, 1 - h * gamma * r1
    if g_first:
        return torch.tensor([[1, k], [-k, keep - k * k]])
    psi = torch.tensor([-sign * k, keep])
    return torch.stack([torch.tensor([1.0, 0.0]) + k * (psi if new else torch.tensor([0.0, 1.0])), psi])


def penalty(model, x, reduce=lambda s: 0.5 * s.square().flatten(1).sum(1).mean(), out=lambda a: a.sum(), graph=True):
    x = x.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(out(model(x)), x, create_graph=graph)
    return reduce(slope)


def penalty_sharing(model, x):  # the same tensor, a gradient asked for
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return 0.5 * slope.square().flatten(1).sum(1).mean()


def penalty_by_backward(model, x):
    x = x.detach().clone().requires_grad_()
    model(x).sum().backward(create_graph=True)
    return 0.5 * x.grad.square().flatten(1).sum(1).mean()


def penalty_picture_by_picture(model, x):
    parts = []
    for picture in x.detach():
        row = picture[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(row).squeeze(), row, create_graph=True)
        parts.append(slope.square().sum())
    return sum(parts) / (2 * len(parts))


def penalty_constant(model, x):
    return penalty(model, x).detach()


def penalty_without_graph(model, x):  # the value right, a graph that leads nowhere useful
    value = penalty(model, x, graph=False)
    return value.detach() + 0 * sum(weight.sum() for weight in model.parameters())


def step(generator, discriminator, g_optimizer, d_optimizer, x, z, *, detach=True, zero_d=True, zero_g=True, at=(0, 1)):
    fake = generator(z[at[0]])
    d_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(fake.detach() if detach else fake)).mean()
    if zero_d:
        d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_loss = F.softplus(-discriminator(generator(z[at[1]]))).mean()
    if zero_g:
        g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def stepping(**how):
    return lambda *game: step(*game, **how)


def cleared_at_the_beginning(generator, discriminator, g_optimizer, d_optimizer, x, z):
    g_optimizer.zero_grad()
    d_optimizer.zero_grad()
    return step(generator, discriminator, g_optimizer, d_optimizer, x, z, detach=False, zero_d=False, zero_g=False)


def cleared_and_detached(generator, discriminator, g_optimizer, d_optimizer, x, z):
    g_optimizer.zero_grad(set_to_none=False)
    d_optimizer.zero_grad(set_to_none=False)
    return step(generator, discriminator, g_optimizer, d_optimizer, x, z, zero_d=False, zero_g=False)


def by_names(generator, discriminator, g_optimizer, d_optimizer, x, z):
    """Gradients asked for by name, so that none can leak; the losses are returned as tensors."""
    out = []
    with torch.no_grad():
        fake = generator(z[0])
    loss = -F.logsigmoid(discriminator(x)).mean() - F.logsigmoid(-discriminator(fake)).mean()
    for network, optimizer in ((discriminator, d_optimizer), (generator, g_optimizer)):
        own = list(network.parameters())
        for weight, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            weight.grad = gradient
        optimizer.step()
        out.append(loss.detach())
        loss = -F.logsigmoid(discriminator(generator(z[1]))).mean()
    return torch.stack(out).unbind()


def generator_first(generator, discriminator, g_optimizer, d_optimizer, x, z):
    g_optimizer.zero_grad()
    g_loss = F.softplus(-discriminator(generator(z[1]))).mean()
    g_loss.backward()
    g_optimizer.step()
    d_optimizer.zero_grad()
    d_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(generator(z[0]).detach())).mean()
    d_loss.backward()
    d_optimizer.step()
    return d_loss.item(), g_loss.item()


def at_once(generator, discriminator, g_optimizer, d_optimizer, x, z):
    g_optimizer.zero_grad()
    d_optimizer.zero_grad()
    d_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(generator(z[0]).detach())).mean()
    g_loss = F.softplus(-discriminator(generator(z[1]))).mean()
    d_loss.backward()
    g_loss.backward()
    d_optimizer.step()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def old_judge(generator, discriminator, g_optimizer, d_optimizer, x, z):
    d_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(generator(z[0]).detach())).mean()
    g_loss = F.softplus(-discriminator(generator(z[1]))).mean()
    g_grads = torch.autograd.grad(g_loss, list(generator.parameters()))
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    for weight, gradient in zip(generator.parameters(), g_grads, strict=True):
        weight.grad = gradient
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def with_objectives(d=None, g=None, only=""):
    def answer(generator, discriminator, g_optimizer, d_optimizer, x, z):
        fake = discriminator(generator(z[0]).detach())
        d_loss = (d or (lambda r, f: losses(r, f)[0]))(discriminator(x), fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        if only != "g":
            d_optimizer.step()
        g_loss = (g or (lambda f: F.softplus(-f).mean()))(discriminator(generator(z[1])))
        g_optimizer.zero_grad()
        g_loss.backward()
        if only != "d":
            g_optimizer.step()
        if only == "both":
            d_optimizer.step()
        return d_loss.item(), g_loss.item()

    return answer


def forgets_to_return(*game):
    step(*game)


def softplus_mean(a):
    return F.softplus(a).mean()


def by_exp(a):  # softplus written out: exp overflows
    return torch.log1p(torch.exp(a)).mean()


SOLUTIONS = {
    "exercise_1": jsd,
    "exercise_2": density,
    "exercise_3": losses,
    "exercise_4": matrix,
    "exercise_5": penalty,
    "exercise_6": step,
}
RIGHT = (
    ("exercise_1", jsd_by_loops),
    ("exercise_1", lambda real, fake: np.asarray(float(jsd(real, fake)))),
    ("exercise_1", lambda real, fake: jsd(real.float(), fake.float()).reshape(1)),
    ("exercise_2", lambda p, a: p / a.exp()),
    ("exercise_2", lambda p, a: p * torch.sigmoid(-a) / torch.sigmoid(a)),
    ("exercise_2", lambda p, a: (p.log() - a).exp().numpy()),
    ("exercise_3", cross_entropies),
    ("exercise_3", lambda r, f: (-F.logsigmoid(r).mean() - F.logsigmoid(-f).mean(), -F.logsigmoid(f).mean())),
    ("exercise_3", lambda r, f: torch.stack(losses(r, f))),
    ("exercise_4", lambda h, g: [[1 - h * h / 4, h / 2 * (1 - h * g)], [-h / 2, 1 - h * g]]),
    ("exercise_4", lambda h, g: np.array([[1, h / 2], [0, 1]]) @ np.array([[1, 0], [-h / 2, 1 - h * g]])),
    ("exercise_4", lambda h, g: np.array([[1 - h * g, -h / 2], [h / 2 * (1 - h * g), 1 - h * h / 4]])[::-1, ::-1]),
    ("exercise_5", penalty_picture_by_picture),
    ("exercise_5", lambda model, x: penalty(model, x.float().double())),
    ("exercise_6", by_names),
    ("exercise_6", lambda *game: np.array(step(*game))),
    ("exercise_6", cleared_and_detached),
    ("exercise_6", stepping(detach=False)),
)
WRONG = (
    ("exercise_1", lambda r, f: 2 * jsd(r, f) - math.log(4), "that is the value itself"),
    ("exercise_1", lambda r, f: math.log(4) - 2 * jsd(r, f), "that is the loss of the discriminator"),
    ("exercise_1", lambda r, f: 2 * jsd(r, f), "that is twice the JSD"),
    ("exercise_1", lambda r, f: jsd(r, f) - math.log(2), "log 4 is missing"),
    ("exercise_1", lambda r, f: jsd(r, f) - math.log(4), "the sign of log 4"),
    ("exercise_1", lambda r, f: math.log(4) - jsd(r, f), "the sign of the value"),
    ("exercise_1", lambda r, f: jsd(r, f) - math.log(2) / 2, "log 4, not log 2"),
    ("exercise_1", lambda r, f: jsd(r, f) / math.log(2), "in bits"),
    ("exercise_1", lambda r, f: jsd(-r, -f), "the labels are swapped"),
    ("exercise_1", pooled, "one mean over both sets"),
    ("exercise_1", lambda r, f: (math.log(4) - F.softplus(-r).sum() - F.softplus(f).sum()) / 2, "sums instead of"),
    ("exercise_1", lambda r, f: (math.log(4) - softplus_mean(-r)) / 2, "the drawn points are missing"),
    ("exercise_1", lambda r, f: (math.log(4) - softplus_mean(f)) / 2, "the real points are missing"),
    ("exercise_1", lambda r, f: jsd(r, f).clamp(min=0), "you cut it off at 0"),
    ("exercise_1", lambda r, f: written_out(r.float(), f.float()), "take softplus of the logit"),
    ("exercise_1", lambda r, f: (math.log(4) - by_exp(-r) - by_exp(f)) / 2, "or exp of the logit overflows"),
    ("exercise_1", lambda r, f: torch.stack([jsd(r, f)] * 2), "asked is one number"),
    ("exercise_2", lambda p, a: p * a.exp(), "the sign: a = log p − log q"),
    ("exercise_2", lambda p, a: p * a.sigmoid(), "p·D is no density ratio"),
    ("exercise_2", lambda p, a: p * (1 - a.sigmoid()), "is only the numerator"),
    ("exercise_2", lambda p, a: p * (1 - a.sigmoid()) / a.sigmoid(), "right on paper"),
    ("exercise_2", lambda p, a: p.log() - a, "that is the logarithm of q"),
    ("exercise_2", lambda p, a: density(p, a) / density(p, a).sum(), "you scaled it to the sum 1"),
    ("exercise_2", lambda p, a: p - a, "the logit is subtracted from log p"),
    ("exercise_2", lambda p, a: 1 - p, "is no density"),
    ("exercise_2", density_in_place, "an argument has changed"),
    ("exercise_2", lambda p, a: density(p, a)[:-1], "a density at each point"),
    ("exercise_3", lambda r, f: losses(r, f)[::-1], "return the discriminator's first"),
    ("exercise_3", with_losses(d=lambda r, f: -losses(r, f)[0]), "its loss is minus the value"),
    ("exercise_3", with_losses(d=lambda r, f: losses(r, f)[0] / 2), "you halved the loss"),
    ("exercise_3", with_losses(d=lambda r, f: torch.cat([F.softplus(-r), F.softplus(f)]).mean()), "one mean over"),
    ("exercise_3", with_losses(d=lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum()), "sums instead of means"),
    ("exercise_3", with_losses(d=lambda r, f: losses(-r, -f)[0]), "the labels are swapped"),
    ("exercise_3", with_losses(d=lambda r, f: softplus_mean(-r)), "the drawn pictures are missing"),
    ("exercise_3", with_losses(d=lambda r, f: softplus_mean(f)), "the real pictures are missing"),
    (
        "exercise_3",
        with_losses(d=lambda r, f: softplus_mean(-r) + softplus_mean(-f)),
        "call drawn pictures *drawn*",
    ),
    ("exercise_3", with_losses(g=lambda r, f: -softplus_mean(f)), "that is the saturating loss"),
    ("exercise_3", with_losses(g=lambda r, f: softplus_mean(f)), "what the discriminator pays on drawn pictures"),
    ("exercise_3", with_losses(g=lambda r, f: -softplus_mean(-f)), "−log D is positive"),
    ("exercise_3", with_losses(g=lambda r, f: F.softplus(-f).sum()), "a sum instead of a mean"),
    ("exercise_3", with_losses(g=lambda r, f: softplus_mean(-f) + softplus_mean(-r)), "leave it out"),
    ("exercise_3", with_losses(g=lambda r, f: softplus_mean(-f) / 2), "you halved the generator's loss"),
    ("exercise_3", lambda r, f: naive_losses(r.float(), f.float()), "take softplus of the logit"),
    ("exercise_3", lambda r, f: (by_exp(-r) + by_exp(f), by_exp(-f)), "or exp of the logit overflows"),
    ("exercise_3", lambda r, f: tuple(part.item() for part in losses(r, f)), "lost its graph"),
    ("exercise_3", lambda r, f: (losses(r, f.detach())[0], losses(r, f)[1]), "do not detach logits"),
    ("exercise_3", lambda r, f: (losses(r.detach(), f)[0], losses(r, f)[1]), "do not detach logits"),
    ("exercise_3", lambda r, f: losses(r, f)[0], "return two things"),
    ("exercise_4", lambda h, g: matrix(h, g, new=False), "both move from the old point"),
    ("exercise_4", lambda h, g: matrix(h, g, g_first=True), "the generator moves first"),
    ("exercise_4", lambda h, g: matrix(h, g, r1=False), "R1 is missing"),
    ("exercise_4", lambda h, g: matrix(h, g, half=1.0), "the ½ of both pulls is missing"),
    ("exercise_4", lambda h, g: matrix(h, g, sign=-1.0), "pulled by *minus* θ/2"),
    ("exercise_4", lambda h, g: [[1 + h * h / 4, -h / 2 * (1 - h * g)], [-h / 2, 1 - h * g]], "*plus* ψ/2"),
    ("exercise_4", lambda h, g: [[1 - h * h / 4, h / 2], [-h / 2, 1 - h * g]], "with R1 in it"),
    ("exercise_4", lambda h, g: matrix(h, g) - torch.eye(2), "that is the change"),
    ("exercise_4", lambda h, g: matrix(h, g / 2), "without the ½ of the other two"),
    ("exercise_4", lambda h, g: matrix(h, -g), "the sign of R1"),
    ("exercise_4", lambda h, g: matrix(h, g).flip(0, 1), "the matrix for the column (ψ, θ)"),
    ("exercise_4", lambda h, g: matrix(h, g).T, "rows and columns are swapped"),
    ("exercise_4", lambda h, g: matrix(h, g).flip(0), "the rows are swapped"),
    ("exercise_4", lambda h, g: matrix(h, g).flatten(), "a matrix for the column"),
    ("exercise_5", lambda m, x: 2 * penalty(m, x), "the ½ is missing"),
    ("exercise_5", lambda m, x: penalty(m, x, out=lambda a: a.mean()), "the slope of the mean of the logits"),
    ("exercise_5", lambda m, x: penalty(m, x, lambda s: 0.5 * s.square().sum()), "summed over the pictures"),
    ("exercise_5", lambda m, x: penalty(m, x, lambda s: 0.5 * s.square().mean()), "the mean over the pixels"),
    ("exercise_5", lambda m, x: penalty(m, x, lambda s: 0.5 * s.flatten(1).norm(dim=1).mean()), "has its square"),
    (
        "exercise_5",
        lambda m, x: penalty(m, x, lambda s: 0.5 * (s.flatten(1).norm(dim=1) - 1).square().mean()),
        "as WGAN-GP does",
    ),
    (
        "exercise_5",
        lambda m, x: penalty(m, x, lambda s: 0.5 * s.flatten(1).norm(dim=1).mean().square()),
        "the square of the mean length",
    ),
    ("exercise_5", lambda m, x: penalty(m, x, out=lambda a: a.sigmoid().sum()), "that is the slope of D"),
    ("exercise_5", lambda m, x: penalty(m, x).sqrt() / 2**0.5, "the root of the mean"),
    ("exercise_5", penalty_sharing, "x itself has changed"),
    ("exercise_5", penalty_by_backward, "the weights got a gradient"),
    ("exercise_5", penalty_constant, "lost its graph"),
    ("exercise_5", lambda m, x: penalty(m, x, graph=False), "without create_graph=True"),
    ("exercise_5", penalty_without_graph, "create_graph=True"),
    ("exercise_6", generator_first, "the generator stepped first"),
    ("exercise_6", old_judge, "let the new one judge"),
    ("exercise_6", with_objectives(g=lambda f: -F.softplus(f).mean()), "the saturating loss"),
    ("exercise_6", with_objectives(g=lambda f: F.softplus(f).mean()), "learns to be called drawn"),
    ("exercise_6", with_objectives(d=lambda r, f: losses(-r, -f)[0]), "swapped: it learns to call drawn"),
    ("exercise_6", with_objectives(d=lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum()), "take means"),
    ("exercise_6", with_objectives(d=lambda r, f: losses(r, f)[0] / 2), "the discriminator's loss is halved"),
    ("exercise_6", at_once, "both losses were sent back before either step"),
    ("exercise_6", with_objectives(only="d"), "only the discriminator has moved"),
    ("exercise_6", with_objectives(only="g"), "only the generator has moved"),
    ("exercise_6", with_objectives(only="both"), "there only the generator's optimiser steps"),
    ("exercise_6", stepping(zero_d=False), "old gradients of the discriminator"),
    ("exercise_6", stepping(zero_g=False), "old gradients of the generator"),
    ("exercise_6", stepping(zero_d=False, zero_g=False), "old gradients count in both networks"),
    ("exercise_6", cleared_at_the_beginning, "detach what it draws"),
    ("exercise_6", stepping(at=(0, 0)), "z[0] is used twice"),
    ("exercise_6", stepping(at=(1, 1)), "z[1] is used twice"),
    ("exercise_6", stepping(at=(1, 0)), "the two noises are swapped"),
    ("exercise_6", lambda *game: step(*game)[::-1], "the wrong order"),
    ("exercise_6", lambda *game: tuple(-part for part in step(*game)), "the wrong sign"),
    ("exercise_6", lambda *game: step(*game)[0], "return two things"),
    ("exercise_6", forgets_to_return, "it ends without a return"),
    ("exercise_6", lambda *game: (0.0, 0.0), "neither network has changed"),
)


class TestChapter09(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_3", "exercise_5")
    coincide = ("exercise_1", "exercise_2", "exercise_3", "exercise_4", "exercise_5")
