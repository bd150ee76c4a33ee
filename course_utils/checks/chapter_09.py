"""Checks of chapter 09, generative adversarial networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, exercise, expect_graph
from course_utils.checks.inputs import rand, randn

LOG4 = math.log(4)


def _finite(value: Tensor) -> None:
    if not bool(value.isfinite().all()):
        raise Misconception(
            "for logits of ±200 the answer is not finite: sigmoid rounds to 0 or 1 there, and its logarithm is −inf, "
            "or exp of the logit overflows; take softplus of the logit"
        )


@exercise("9.1")
def exercise_1(jsd_estimate: Function) -> str:
    """Jensen–Shannon divergence from logits by (9.2)."""
    cases = [(2 + randn(7, seed=1), randn(12, seed=2) - 1), (randn(30, seed=3) - 0.5, randn(9, seed=4) + 0.8)]
    cases += [(torch.tensor([-200.0, 3.0]), torch.tensor([200.0, -1.0, 0.5]))]
    for real, fake in cases:
        answer = as_tensor(jsd_estimate(real.clone(), fake.clone()), (), "asked is one number")
        _finite(answer)
        r, f = F.softplus(-real), F.softplus(fake)
        value = -r.mean() - f.mean()
        right = (value + LOG4) / 2
        pooled = torch.cat([r, f]).mean()
        slips = {
            value: "that is the value itself; solve (9.2) for the JSD",
            -value: "that is the loss of the discriminator; solve (9.2) for the JSD",
            value + LOG4: "that is twice the JSD, see (9.2)",
            value / 2: "log 4 is missing: solve (9.2) for the JSD",
            (value - LOG4) / 2: "the sign of log 4: it comes to the other side of (9.2)",
            (LOG4 - value) / 2: "the sign of the value: log D and log(1 − D) are negative",
            (value + LOG4 / 2) / 2: "log 4, not log 2: each of the two means brings a log 2",
            right / math.log(2): "that is in bits: take natural logarithms",
            (LOG4 - F.softplus(real).mean() - F.softplus(-fake).mean()) / 2: "the labels are swapped: real pictures "
            "are to get log D = −softplus(−a), drawn ones log(1 − D) = −softplus(a)",
            ((LOG4 - pooled) / 2, (LOG4 - 2 * pooled) / 2): "one mean over both sets: take the mean of each by itself, "
            "there may be more of the one than of the other",
            (LOG4 - r.sum() - f.sum()) / 2: "sums instead of means: an expectation is estimated by a mean",
            (LOG4 - r.mean()) / 2: "the drawn points are missing",
            (LOG4 - f.mean()) / 2: "the real points are missing",
            right.clamp(min=0) if right < 0 else None: "you cut it off at 0: the estimate may be negative, and then "
            "it says something",
        }
        compare(answer, right, slips, f"for these logits the estimate is {right:.4f}, yours {answer:.4f}; see (9.2)")
    return "a classifier on fresh points measures a divergence"


@exercise("9.2")
def exercise_2(generator_density: Function) -> str:
    """Density of the generator from that of the data and perfect logits."""
    for count, mean, width in ((9, 0.7, 1.3), (25, -0.4, 0.8), (3, 0.0, 0.25)):
        line = torch.linspace(-2.4, 2.4, count, dtype=torch.float64)
        log_p, log_q = -0.5 * line**2, -0.5 * ((line - mean) / width) ** 2 - math.log(width)
        p, q, logits = (log_p.exp(), log_q.exp(), log_p - log_q)  # up to one factor that both share
        given = p.clone(), logits.clone()
        answer = as_tensor(generator_density(*given), p.shape, ": a density at each point")
        if not (torch.equal(given[0], p) and torch.equal(given[1], logits)):
            raise Misconception("an argument has changed: make a new tensor")
        if not bool(answer.isfinite().all()):
            raise Misconception("not finite where the discriminator is sure: stay with the logit, do not go over D")
        D = logits.sigmoid()
        slips = {
            p * logits.exp(): "the sign: a = log p − log q, so log q = log p − a",
            p * D: "p·D is no density ratio; by (9.1) in logits p/q = exp(a)",
            p * (1 - D): "p·(1 − D) is only the numerator: it must be divided by D",
            p * (1 - D) / D: "right on paper; D is rounded to 1 where the discriminator is sure: use the logit",
            q.log(): "that is the logarithm of q: take the exponential",
            q / q.sum(): "you scaled it to the sum 1; a density on a grid does not add up to 1",
            p - logits: "the logit is subtracted from log p, not from p",
            1 - p: "1 − p is no density",
        }
        compare(answer, q, slips, "not p · exp(−a); solve a = log p − log q for q", atol=0.0)
    return "a perfect discriminator knows the generator's density"


@exercise("9.3")
def exercise_3(gan_losses: Function) -> str:
    """Loss of the discriminator and non-saturating loss of the generator, from logits."""
    cases = [(1 + randn(6, seed=5), randn(9, seed=6) - 0.7), (randn(20, seed=7), randn(4, seed=8))]
    cases += [(torch.tensor([-200.0, 3.0]), torch.tensor([200.0, -200.0, 0.5]))]
    for real, fake in cases:
        given = real.clone().requires_grad_(), fake.clone().requires_grad_()
        result = _pair(gan_losses(*given), "the loss of the discriminator, then that of the generator")
        d_loss, g_loss = (as_tensor(part, (), "a loss is one number") for part in result)
        _finite(torch.stack([d_loss, g_loss]))
        on_real, on_fake, as_real = F.softplus(-real), F.softplus(fake), F.softplus(-fake)
        right = on_real.mean() + on_fake.mean()
        pooled = torch.cat([on_real, on_fake]).mean()
        slips = {
            as_real.mean(): "the first is the generator's loss: return the discriminator's first",
            -right: "that is the value; the discriminator wants it large, so its loss is minus the value",
            right / 2: "you halved the loss: add the two means",
            (pooled, 2 * pooled): "one mean over both sets: take the mean of each by itself",
            on_real.sum() + on_fake.sum(): "sums instead of means over the pictures",
            F.softplus(real).mean() + as_real.mean(): "the labels are swapped: calling a real picture real costs "
            "softplus(−a), calling a drawn one drawn costs softplus(a)",
            on_real.mean(): "the drawn pictures are missing in the discriminator's loss",
            on_fake.mean(): "the real pictures are missing in the discriminator's loss",
            on_real.mean() + as_real.mean(): "the discriminator is to call drawn pictures *drawn*: softplus(+a)",
        }
        compare(d_loss, right, slips, f"the discriminator's loss is {right:.4f} here, yours {d_loss:.4f}")
        slips = {
            -on_fake.mean(): "that is the saturating loss, log(1 − D); asked is −log D",
            on_fake.mean(): "that is what the discriminator pays on drawn pictures: the generator wants to be called "
            "real",
            -as_real.mean(): "the sign: −log D is positive",
            as_real.sum(): "a sum instead of a mean over the pictures",
            as_real.mean() + on_real.mean(): "the generator cannot change what D says of real pictures: leave it out",
            as_real.mean() / 2: "you halved the generator's loss",
        }
        compare(g_loss, as_real.mean(), slips, f"the generator's loss is {as_real.mean():.4f} here, yours {g_loss:.4f}")
        for part in result:
            expect_graph(part)
        inner = real.clone().requires_grad_(), fake.clone().requires_grad_()
        on_real, on_fake, as_real = F.softplus(-inner[0]), F.softplus(inner[1]), F.softplus(-inner[1])
        for part, reference in zip(result, (on_real.mean() + on_fake.mean(), as_real.mean()), strict=True):
            found = torch.autograd.grad(part, given, retain_graph=True, allow_unused=True)
            wanted = torch.autograd.grad(reference, inner, retain_graph=True, allow_unused=True)
            for own, other in zip(found, wanted, strict=True):
                if other is not None and (own is None or not torch.allclose(own, other, rtol=1e-3, atol=1e-6)):
                    raise Misconception(
                        "the value is right, its gradient by the logits is not: do not detach logits; what is cut in a "
                        "step of the discriminator is the drawn *picture*, before it is judged"
                    )
    return "three means, each of them one softplus"


def _pair(result: Any, what: str) -> list[Any]:
    if result is None:
        as_tensor(result)  # says that a return is missing
    if isinstance(result, np.ndarray | Tensor) and result.shape[:1] == (2,):
        result = [*result]
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Misconception(f"return two things: {what}")
    return [*result]


@exercise("9.4")
def exercise_4(step_matrix: Function) -> str:
    """Matrix of a step in turn of the Dirac-GAN with R1, first the discriminator."""
    for h, gamma in ((0.3, 0.8), (0.9, 0.4), (0.2, 2.5)):
        answer = as_tensor(step_matrix(h, gamma), (2, 2), ", a matrix for the column (θ, ψ)")
        k, keep = h / 2, 1 - h * gamma
        right = torch.tensor([[1 - k * k, k * keep], [-k, keep]], dtype=torch.float64)
        table = {
            ((1, k), (-k, keep)): "both move from the old point: the generator already sees the new ψ",
            ((1, k), (-k, keep - k * k)): "the generator moves first; asked is the discriminator first",
            ((1 - k * k, k), (-k, 1)): "R1 is missing: it pulls ψ by −γψ",
            ((1 - h * h, h * keep), (-h, keep)): "the ½ of both pulls is missing: D is about ½ near the goal",
            ((1 + k * k, k * keep), (k, keep)): "the sign: the discriminator is pulled by *minus* θ/2",
            ((1 + k * k, -k * keep), (-k, keep)): "the sign: the generator is pulled by *plus* ψ/2",
            ((1 - k * k, k), (-k, keep)): "in the first row the new ψ must be inserted with R1 in it",
            ((-k * k, k * keep), (-k, keep - 1)): "that is the change; the step adds it to the old point",
            ((1 - k * k, k * (1 - k * gamma)), (-k, 1 - k * gamma)): "R1 pulls by −γψ, without the ½ of the other two",
            ((1 - k * k, k * (1 + h * gamma)), (-k, 1 + h * gamma)): "the sign of R1: it pulls ψ towards 0",
        }
        slips = {torch.tensor(matrix, dtype=torch.float64): message for matrix, message in table.items()}
        slips |= {
            right.flip(0, 1): "that is the matrix for the column (ψ, θ); asked is (θ, ψ)",
            right.T.clone(): "rows and columns are swapped: the matrix stands before the column (θ, ψ)",
            right.flip(0): "the rows are swapped: the first one gives θ",
        }
        compare(answer, right, slips, f"not the step for h = {h}, γ = {gamma}; write the new ψ first, then insert it")
    return "for γ = 0 the determinant is 1: the game circles"


class _Bent(nn.Module):
    """A discriminator whose slope differs from picture to picture; logits (B,) or (B, 1)."""

    def __init__(self, inputs: int, column: bool) -> None:
        super().__init__()
        self.first = nn.Parameter(0.7 * randn(inputs, 5, seed=inputs))
        self.last = nn.Parameter(randn(5, seed=9))
        self.column = column

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.tanh(x.flatten(1).to(self.first.dtype) @ self.first) @ self.last
        return logits[:, None] if self.column else logits


@exercise("9.5")
def exercise_5(r1_penalty: Function) -> str:
    """Half of the mean squared slope of the logit at real pictures, differentiable by the weights."""
    for shape, column in (((6, 3), False), ((5, 1, 4, 4), True)):
        x, model = rand(*shape, seed=shape[0]), _Bent(math.prod(shape[1:]), column)
        given = x.clone()
        result = r1_penalty(model, given)
        if given.requires_grad or not torch.equal(given, x):
            raise Misconception("x itself has changed: take x.detach().requires_grad_(), a copy of its own")
        if any(weight.grad is not None for weight in model.parameters()):
            raise Misconception("the weights got a gradient: backward was called; use torch.autograd.grad by the copy")
        answer = as_tensor(result, (), "asked is one number, the mean over the batch")
        right, slips = _slopes(model, x)
        compare(answer, right, slips, f"for this discriminator it is {right:.4f}, yours {answer:.4f}")
        expect_graph(result, "autograd.grad without create_graph=True, .item() or detach()")
        wanted = torch.autograd.grad(right, [*model.parameters()])
        found = torch.autograd.grad(result, [*model.parameters()], allow_unused=True)
        for own, reference in zip(found, wanted, strict=True):
            if own is None or not torch.allclose(own, reference, rtol=1e-3, atol=1e-7):
                raise Misconception("the value is right, its gradient by the weights is not: create_graph=True")
    return "a gradient of a gradient: the discriminator learns to be flat at real pictures"


def _slopes(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[Any, str]]:
    inner = x.clone().requires_grad_()
    logits = model(inner).flatten()
    (slope,) = torch.autograd.grad(logits.sum(), inner, create_graph=True)
    squared = slope.flatten(1).square().sum(1)  # (B,)
    D = logits.sigmoid()
    of_d = squared * (D * (1 - D)).square()
    right, count, pixels = 0.5 * squared.mean(), len(x), x[0].numel()
    return right, {
        squared.mean(): "the ½ is missing",
        right / count**2: "that is the slope of the mean of the logits, smaller by the size of the batch: sum them",
        0.5 * squared.sum(): "summed over the pictures: take the mean over the batch",
        right / pixels: "the mean over the pixels: the squared slopes of all pixels of a picture are added",
        0.5 * squared.sqrt().mean(): "that is the length of the slope; R1 has its square",
        0.5 * (squared.sqrt() - 1).square().mean(): "that pulls the slope to 1, as WGAN-GP does; R1 pulls it to 0",
        (0.5 * of_d.mean(), of_d.mean()): "that is the slope of D; R1 takes the slope of the logit",
        0.5 * squared.sqrt().mean().square(): "that is the square of the mean length: take the mean of the squares",
        0.5 * squared.mean().sqrt(): "that is the root of the mean: leave the square",
    }


@exercise("9.6")
def exercise_6(training_step: Function) -> str:
    """One step of the discriminator, one of the generator: networks after it, and both losses."""
    for seed, shape, kind in ((0, (6, 3), torch.optim.SGD), (1, (8, 1, 2, 2), torch.optim.Adam)):
        x, z = rand(*shape, seed=seed), randn(2, shape[0], 2, seed=seed)
        game = _Game(shape[1:], seed, kind)
        own, before = copy.deepcopy(game), game.weights()
        losses = training_step(own.generator, own.discriminator, own.g_optimizer, own.d_optimizer, x.clone(), z.clone())
        after = own.weights()
        if torch.equal(after, before):
            raise Misconception("neither network has changed: call the step() of both optimisers")
        twins = {how: copy.deepcopy(game) for how in [(), *_WRONG]}
        wanted = twins[()].play(x, z, ())
        slips: dict[Any, str] = {}
        for how, message in _WRONG.items():
            twins[how].play(x, z, how)
            slips[twins[how].weights()] = message
        words = "the networks are not where one step of each brings them; follow the plan line by line"
        compare(after, twins[()].weights(), slips, words, rtol=1e-6, atol=1e-9)
        pair = _pair(losses, "the loss of the discriminator, then that of the generator")
        told = torch.stack([as_tensor(part, (), "a loss is one number") for part in pair])
        told_wrong = {
            wanted.flip(0): "the losses come in the wrong order: the discriminator's first",
            -wanted: "the losses have the wrong sign",
        }
        compare(told, wanted, told_wrong, "the networks are right; the losses are not those before each step")
    return "each player moves its own network, with gradients of its own"


#: What goes wrong → what it shows. The words are looked up by ``_Game.play``.
_WRONG: dict[tuple[str, ...], str] = {
    ("generator first",): "the generator stepped first: asked is the discriminator first",
    ("old judge",): "the generator was judged by the discriminator before its step; let the new one judge",
    ("saturating",): "the generator has the saturating loss, log(1 − D); asked is −log D",
    ("swapped",): "the labels of the discriminator are swapped: it learns to call drawn pictures real",
    ("dirty d",): "old gradients of the discriminator were added: zero_grad before its backward",
    ("dirty g",): "old gradients of the generator were added: zero_grad before its backward",
    ("dirty d", "dirty g"): "old gradients count in both networks: zero_grad before each backward",
    ("no detach",): "the discriminator's loss left its gradient in the generator: detach what it draws, or clear the "
    "generator's gradients before its own backward",
    ("first noise",): "z[0] is used twice: the generator's step has z[1]",
    ("second noise",): "z[1] is used twice: the discriminator's step has z[0]",
    ("noise swapped",): "the two noises are swapped: z[0] is for the discriminator's step",
    ("d alone",): "only the discriminator has moved",
    ("g alone",): "only the generator has moved",
    ("d twice",): "the discriminator stepped in the second half too: there only the generator's optimiser steps",
    ("d half",): "the discriminator's loss is halved: add the two means, one over real and one over drawn pictures",
    ("at once",): "both losses were sent back before either step: the discriminator got the generator's gradient too, "
    "and the generator was judged by the old one",
    ("d sum",): "the discriminator's loss is summed over the pictures: take means",
    ("g fools itself",): "the generator learns to be called drawn: its loss is softplus(−a)",
}


class _Game:
    """Two small networks with gradients left over from before, and their optimisers."""

    def __init__(self, shape: tuple[int, ...], seed: int, kind: Callable[..., torch.optim.Optimizer]) -> None:
        size = math.prod(shape)
        self.generator = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, size), nn.Unflatten(1, shape)).double()
        layers = (nn.Flatten(), nn.Linear(size, 5), nn.Tanh(), nn.Linear(5, 1), *[nn.Flatten(0)] * (seed == 0))
        self.discriminator = nn.Sequential(*layers).double()
        for k, weight in enumerate([*self.generator.parameters(), *self.discriminator.parameters()]):
            weight.data = 0.6 * randn(*weight.shape, seed=10 * k + seed)
            weight.grad = 0.5 * randn(*weight.shape, seed=10 * k + seed + 5)
        self.g_optimizer = kind(self.generator.parameters(), lr=0.1)
        self.d_optimizer = kind(self.discriminator.parameters(), lr=0.2)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Game:
        twin = object.__new__(_Game)
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        for mine, own in ((self.generator, twin.generator), (self.discriminator, twin.discriminator)):
            for old, new in zip(mine.parameters(), own.parameters(), strict=True):
                new.grad = None if old.grad is None else old.grad.clone()
        return twin

    def weights(self) -> Tensor:
        both = [*self.generator.parameters(), *self.discriminator.parameters()]
        return torch.cat([weight.detach().flatten() for weight in both])

    def play(self, x: Tensor, z: Tensor, how: tuple[str, ...]) -> Tensor:
        """Carry out a step, with what ``how`` does wrong; return both losses."""
        first = {"second noise": z[1], "noise swapped": z[1]}.get(how[0] if how else "", z[0])
        second = {"first noise": z[0], "noise swapped": z[0]}.get(how[0] if how else "", z[1])
        if "generator first" in how:
            self._generate(second, how)
        judge = copy.deepcopy(self.discriminator) if "old judge" in how else self.discriminator
        if "no detach" in how:
            self.g_optimizer.zero_grad()
        fake = self.generator(first)
        real_logits = self.discriminator(x).flatten()
        fake_logits = self.discriminator(fake if "no detach" in how else fake.detach()).flatten()
        sign = -1 if "swapped" in how else 1
        parts = F.softplus(-sign * real_logits), F.softplus(sign * fake_logits)
        d_loss: Any = sum(part.sum() if "d sum" in how else part.mean() for part in parts)
        if "d half" in how:
            d_loss = d_loss / 2
        if "dirty d" not in how:
            self.d_optimizer.zero_grad()
        d_loss.backward()
        if "at once" in how:
            self.g_optimizer.zero_grad()
            g_loss = F.softplus(-self.discriminator(self.generator(second)).flatten()).mean()
            g_loss.backward()
            self.d_optimizer.step()
            self.g_optimizer.step()
            return torch.stack([d_loss.detach(), g_loss.detach()])
        if "g alone" not in how:
            self.d_optimizer.step()
        g_loss = d_loss
        if not {"d alone", "generator first"} & set(how):
            g_loss = self._generate(second, how, judge)
        return torch.stack([d_loss.detach(), g_loss.detach()])

    def _generate(self, z: Tensor, how: tuple[str, ...], judge: nn.Module | None = None) -> Tensor:
        logits = (judge or self.discriminator)(self.generator(z)).flatten()
        if not {"dirty g", "no detach"} & set(how):
            self.g_optimizer.zero_grad()
        wrong = {"saturating": -F.softplus(logits), "g fools itself": F.softplus(logits)}
        loss = wrong.get(how[0] if how else "", F.softplus(-logits)).mean()
        loss.backward()
        self.g_optimizer.step()
        if "d twice" in how:
            self.d_optimizer.step()
        return loss
