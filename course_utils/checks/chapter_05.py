"""Checks of chapter 05, the variational autoencoder."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks import Function, Misconception, as_tensor, compare, exercise, expect_graph, near
from course_utils.checks.inputs import rand, randn


def _refuse(when: Any, message: str) -> None:
    if when:
        raise Misconception(message)


@exercise("5.1")
def exercise_1(bound_and_gap: Function) -> str:
    """Evidence, ELBO and gap of a model with K codes."""
    for size in (3, 5):
        prior, q = (rand(size, seed=size + k) + 0.1 for k in (0, 1))
        prior, q, likelihood = prior / prior.sum(), q / q.sum(), rand(size, seed=7) * 0.9
        _judge_table(bound_and_gap, prior, likelihood, q)
        q = torch.cat([torch.zeros(1).double(), q[1:] / q[1:].sum()])
        _judge_table(bound_and_gap, prior, likelihood, q)
    return "bound + gap = log p(x), whatever q is"


def _judge_table(answer: Function, prior: Tensor, likelihood: Tensor, q: Tensor) -> None:
    result = answer(*(values.clone() for values in (prior, likelihood, q)))
    if getattr(result, "ndim", 0) == 1:  # a tensor or an array
        result = tuple(result)
    if result is not None and not (isinstance(result, tuple | list) and len(result) == 3):
        raise Misconception("asked are three numbers: log p(x), the ELBO and the gap, as `return evidence, elbo, gap`")
    evidence, elbo, gap = (as_tensor(each, (), "each of the three is one number") for each in result or (None,) * 3)
    joint, used = prior * likelihood, q > 0
    posterior, log_p = joint / joint.sum(), joint.sum().log()
    if bool((~used).any()) and not torch.isfinite(elbo + gap):
        raise Misconception("0 · log 0 gave nan: a code with q = 0 is never drawn and adds nothing; leave it out")
    slips = {
        joint.sum(): "that is p(x); asked is its logarithm",
        -log_p: "the sign: the logarithm of a probability below 1 is negative",
        log_p / math.log(2): "that is in bits; nats come from the natural logarithm",
        likelihood.mean().log(): "the codes are not equally probable: weight each likelihood by its prior",
        likelihood.sum().log(): "the prior is missing: p(x) is the sum of prior times likelihood",
        (q * likelihood).sum().log(): "you averaged over draws from q; the evidence averages over the prior",
    }
    compare(evidence, log_p, slips, f"the evidence: log p(x) is {log_p:.4f}, yours {evidence:.4f}")

    def mean(values: Tensor) -> Tensor:  # over draws from q
        return (q * values)[used].sum()

    price, likely = mean((q / prior).log()), mean(likelihood.log())
    right = mean((joint / q).log())
    slips = {
        -right: "the sign: that is the negative ELBO",
        likely: "that is the reconstruction alone; the price, KL(q‖prior), is missing",
        mean(joint.log()): "log q is missing: the ELBO is the mean of log p(x, z) − log q(z)",
        likely + price: "the price of the code is subtracted, not added",
        log_p: "that is log p(x) itself, the logarithm of the mean; the ELBO is the mean of the logarithm",
        (prior * likelihood.log()).sum(): "you averaged over draws from the prior; the ELBO averages over q",
        likely - (prior * (prior / q.clamp(min=1e-300)).log()).sum(): "the KL is the other way round: KL(q‖prior)",
    }
    compare(elbo, right, slips, f"the ELBO is {right:.4f} nats, yours {elbo:.4f}; see (5.4)")
    slips = {
        -(log_p - right): "the sign: a KL is never negative",
        (posterior * (posterior / q.clamp(min=1e-300)).log()).sum(): "that is KL(posterior‖q); the gap averages over "
        "draws from q",
        price: "that is the price of the code, KL(q‖prior); the gap is measured to the posterior",
        mean((q / joint).log()): "the joint is not divided by p(x): then it is no distribution",
    }
    compare(gap, log_p - right, slips, f"the gap is {log_p - right:.4f} nats, yours {gap:.4f}; see (5.4)")


@exercise("5.2")
def exercise_2(iw_bound: Function) -> str:
    """Logarithm of the mean weight, computed without underflow."""
    for k, count, kind in ((8, 5, torch.float64), (6, 3, torch.float32)):
        log_w = 3 * randn(k, count, seed=k) - torch.tensor([0.0, 100.0, 500.0, 1000.0, 2000.0])[-count:]
        log_w[: k - 1, -1] -= 200  # one weight dwarfs the others
        log_w = log_w.to(kind)
        given, total = log_w.clone(), torch.logsumexp(log_w.double(), 0)
        value, right = as_tensor(iw_bound(given)), total - math.log(k)
        if not torch.equal(given, log_w):
            raise Misconception("log_w itself has changed: work on a new tensor, not with in-place operations")
        if value.shape == (k,):
            raise Misconception("you averaged over the pictures; the k draws of one picture run along the first axis")
        _refuse(near(value, right.mean()), "one number for all pictures; asked is one value for each, (B,)")
        value = as_tensor(value, (count,))
        words = "exp of a log-weight underflows to zero, or overflows: torch.logsumexp subtracts the largest one first"
        _refuse(not torch.isfinite(value).all(), words)
        slips = {
            log_w.double().mean(0): "that is the mean of the logarithms, the ELBO with k draws: average before log",
            total: "the sum of the weights is not divided by k: subtract log k, else it is no bound",
            total - k: "subtract log k, not k: a factor on the weights adds to the logarithm",
            total / k: "the division by k belongs inside the logarithm: subtract log k",
            log_w.double().amax(0): "that is the largest weight alone; the others count as well",
            total - math.log(count): "you divided by the number of pictures; the mean runs over k draws",
        }
        b = 0 if not near(value[:1], right[:1]) else int((value - right).abs().argmax())
        which = f"picture {b + 1}" if b else "the first picture"
        otherwise = f"for {which} the value is {right[b]:.3f}, yours {value[b]:.3f}; look at (5.7)"
        compare(value, right, slips, otherwise)
    return "log-mean-exp, and no underflow"


@exercise("5.3")
def exercise_3(exponential_draw: Function) -> str:
    """Exponential draws as a function of uniform ones."""
    for shape in ((7, 400), (90,)):
        rate, uniform = (0.5 + rand(*shape, seed=0)).requires_grad_(), rand(*shape, seed=1)
        result = exponential_draw(rate, uniform)
        z, lam = as_tensor(result, uniform.shape, ", that of uniform"), rate.detach()
        up, down = -torch.log1p(-uniform) / lam, -uniform.log() / lam
        slips = {
            up * lam * lam: "you multiplied by the rate; solving u = 1 − exp(−λz) for z divides by it",
            down * lam * lam: "you multiplied by the rate; solving for z divides by it",
            (-up, -down): "the sign is wrong: the logarithm of a number below 1 is negative, and z is not",
            1 - torch.exp(-lam * uniform): "that is the distribution function itself; its *inverse* makes draws",
            lam * torch.exp(-lam * uniform): "that is the density; the inverse distribution function makes draws",
            up * lam: "the rate does not appear: these are draws with rate 1",
            up / lam: "λ is the rate, not its root: divide once",
        }
        first = tuple(t.flatten()[0].item() for t in (uniform, lam, up, down))
        otherwise = "u = {:.3f} and rate {:.3f} belong to z = {:.3f} (or, with 1 − u, {:.3f}); solve u = 1 − exp(−λz)"
        otherwise = otherwise.format(*first)
        again, other = (as_tensor(exponential_draw(rate, u)) for u in (uniform, 1 - uniform))
        if not near(again, z) or near(other, z):
            otherwise = "`uniform` is not used: the draws must be a function of it, not come from a generator"
        compare(z, (up, down), slips, otherwise)
        graph = isinstance(result, Tensor) and result.requires_grad
        slope = torch.autograd.grad(result.sum(), rate, allow_unused=True)[0] if graph else None
        words = "the draws are right, but no gradient reaches `rate`: do not detach it or use .sample()"
        if slope is None:
            raise Misconception(words)
        if not near(slope, -z / lam):
            raise Misconception("the draws are right, but their gradient with respect to the rate should be −z/λ")
        least = as_tensor(exponential_draw(rate[:1], torch.zeros_like(uniform[:1])))
        if not torch.isfinite(least).all():
            raise Misconception("u = 0 can be drawn from [0, 1), and log 0 is −∞: take 1 − u, as −log1p(−u)")
    return "the inverse distribution function moves the randomness out"


class _Noted(nn.Module):
    """Returns one tensor, or a code times it, and notes what it was asked."""

    def __init__(self, answer: Tensor, linear: bool = False) -> None:
        super().__init__()
        self.answer, self.linear, self.heard = nn.Parameter(answer), linear, []  # type: nn.Parameter, bool, list[Tensor]

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x)
        return x @ self.answer if self.linear else self.answer


@exercise("5.4")
def exercise_4(vae_loss: Function) -> str:
    """Negative ELBO from an encoder and a decoder, with one draw per picture."""
    for count, pixels, d in ((400, 9, 2), (600, 20, 3)):
        x = (rand(count, pixels, seed=0) < 0.4).float()
        mu, logvar = randn(count, d, seed=1).float(), randn(count, d, seed=2).float() - 1
        encoder, decoder = _Noted(torch.cat([mu, logvar], 1)), _Noted(randn(d, pixels, seed=3).float(), linear=True)
        result = vae_loss(encoder, decoder, x.clone())
        _refuse(result is not None and not decoder.heard, "the decoder was never called: decode a code of each picture")
        if decoder.heard:
            _judge_codes(decoder.heard[0].detach(), mu, logvar)
            vae_loss(encoder, decoder, x.clone())
            same = near(decoder.heard[-1].detach(), decoder.heard[0].detach())
            _refuse(same, "two calls draw the same noise: set no seed in the function")
        _judge_loss(result, x, encoder, decoder)
    return "noise, reconstruction and price, each where it belongs"


def _judge_codes(z: Tensor, mu: Tensor, logvar: Tensor) -> None:
    _refuse(z.shape != mu.shape, f"the decoder got shape {tuple(z.shape)}, expected one code each, {tuple(mu.shape)}")
    sigma = (0.5 * logvar).exp()
    noise = (z - mu) / sigma
    _refuse(near(z, mu), "the decoder got μ itself: without noise this is an autoencoder; z = μ + σ⊙ε")
    once = any(near(noise, part.expand_as(noise), atol=1e-4) for part in (noise[:1], noise[:, :1]))
    _refuse(once, "one draw of ε is used for several numbers: torch.randn_like(mu), one for each")
    known = {
        None: "",
        sigma: "σ² stands where σ belongs: z = μ + σ⊙ε, and σ = exp(½ log σ²)",
        sigma.reciprocal(): "every code got noise of width 1: multiply ε by σ",
        logvar / sigma: "ε was multiplied by log σ²; first take exp",
    }
    for factor, message in known.items():
        rest = noise if factor is None else noise / factor
        if abs(rest.mean()) < 0.12 and all(abs(rest[part].std() - 1) < 0.12 for part in (logvar < -1, logvar > -1)):
            return _refuse(message, message)
    raise Misconception("(z − μ)/σ should be standard normal noise, see (5.10); (B, 2d) is μ beside log σ²")


def _judge_loss(result: Any, x: Tensor, encoder: _Noted, decoder: _Noted) -> None:
    mu, logvar = encoder.answer.chunk(2, 1)
    z = decoder.heard[0].detach() if decoder.heard else mu.detach()
    z = mu + (0.5 * logvar).exp() * ((z - mu) / (0.5 * logvar).exp()).detach()  # the same noise again
    logits = z @ decoder.answer
    each, kls = F.binary_cross_entropy_with_logits(logits, x, reduction="none"), _kl(mu, logvar)
    rec, kl, count = each.sum(1).mean(), kls.sum(1).mean(), len(x)
    one_each = near(as_tensor(result), (each.sum(1) + kls.sum(1)).detach())
    _refuse(one_each, "one value per picture: average over the batch, the optimiser needs one number")
    twice = F.binary_cross_entropy_with_logits(logits.sigmoid(), x, reduction="none").sum(1).mean()
    slips = {
        -(rec + kl): "that is the ELBO; the loss is its negative",
        rec - kl: "the KL has the wrong sign: it is a price, so it adds to the loss",
        rec: "that is the reconstruction alone; the KL is missing",
        kl: "that is the KL alone; the reconstruction is missing",
        each.mean() + kl: "the reconstruction is averaged over the pixels, as reduction='mean' does: sum over pixels",
        rec + kls.mean(): "the KL is averaged over the latent dimensions: sum over dimensions, mean over the batch",
        each.mean() + kls.mean(): "both terms are averaged over their dimensions: sum these, average over the batch",
        count * rec + count * kl: "summed over the batch: the loss then grows with the batch",
        count * rec + kl: "the reconstruction is summed over the batch as well, as reduction='sum' does",
        rec + count * kl: "the KL is summed over the batch as well: average over the batch",
        rec + 2 * kl: "the ½ of the KL is missing",
        twice + kl: "the decoder returns logits, and a sigmoid came before binary_cross_entropy_with_logits",
        (x - logits.sigmoid()).square().sum(1).mean() + kl: "squared error is for Gaussian pixels, not for coins",
    }
    value, right = as_tensor(result, (), "a loss is one number"), rec + kl
    otherwise = f"with your noise the negative ELBO is {right:.4f} nats, yours {value:.4f}; see (5.12)"
    compare(value, right, slips, otherwise)
    expect_graph(result)
    found, expected = (torch.autograd.grad(loss, encoder.answer, allow_unused=True)[0] for loss in (result, right))
    _refuse(
        found is None or not near(found, expected, atol=1e-5),
        "the value is right, but the gradient through the code is lost: a detached z, or .sample() for .rsample()",
    )


@exercise("5.5")
def exercise_5(train_and_draw: Function) -> str:
    """Train two given networks as a VAE, then draw new pictures."""
    for seed, (pixels, d, n) in enumerate(((12, 2, 700), (20, 3, 900))):
        x = (rand(4, pixels, seed=seed) < 0.5).float()[torch.arange(128) % 4]  # four patterns
        x = torch.where(rand(128, pixels, seed=9) < 0.03, 1 - x, x)  # a few flipped pixels
        torch.manual_seed(seed)
        sizes = (pixels, 2 * d), (d, pixels)
        encoder, decoder = (nn.Sequential(nn.Linear(a, 32), nn.Tanh(), nn.Linear(32, b)) for a, b in sizes)
        heard: list[Tensor] = []
        decoder.register_forward_pre_hook(lambda module, inputs, heard=heard: heard.append(inputs[0].detach()))
        before = [_weights(net) for net in (encoder, decoder)]
        drawn, calls = train_and_draw(encoder, decoder, x.clone(), 300, n), len(heard)
        _refuse(drawn is None, "your function returned nothing: it ends without a return")
        nets = {"encoder": encoder, "decoder": decoder}
        still = [name for (name, net), old in zip(nets.items(), before, strict=True) if torch.equal(_weights(net), old)]
        words = "give the parameters of both networks to the optimiser, then backward and step"
        _refuse(still, f"not moved: {' and '.join(still)}; {words}")
        _judge_training(encoder, decoder, x, calls)
        _judge_draws(drawn, decoder, heard[calls - 1], (n, pixels), d)
    return "a VAE of your own"


def _weights(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in net.parameters()])


def _judge_training(encoder: nn.Module, decoder: nn.Module, x: Tensor, calls: int) -> None:
    with torch.no_grad():
        mu, logvar = encoder(x).repeat(20, 1).chunk(2, 1)
        logits = decoder(mu + (0.5 * logvar).exp() * torch.randn_like(mu))
        rec = F.binary_cross_entropy_with_logits(logits, x.repeat(20, 1), reduction="none").sum(1).mean()
    kl, share = _kl(mu, logvar).sum(1).mean(), x.mean(0).clamp(1e-3, 1 - 1e-3)
    alone = F.binary_cross_entropy(share.expand_as(x), x, reduction="none").sum(1).mean()  # every pixel on its own
    words = f"after training reconstruction and KL are {rec:.3g} and {kl:.3g} nats"
    mad = not torch.isfinite(rec + kl) or rec + kl > 5 * alone or kl > 12
    causes = "gradients not zeroed, a loss that has a wrong sign or lacks the KL, too large a learning rate"
    _refuse(mad, f"{words}; possible reasons: {causes}")
    causes = "Is the reconstruction averaged over pixels, is z detached, or lr too small?"
    _refuse(kl < 0.3, f"{words}: the code carries nothing. {causes}")
    _refuse(calls < 150, f"the decoder was called {calls} times for 300 steps: one forward pass for each step")
    words += f"; without any code, every pixel on its own, it would be {alone:.1f}. Zero the gradients before backward"
    _refuse(rec + kl > 0.75 * alone, f"{words}, and give Adam a rate of 0.01")


def _judge_draws(drawn: Any, decoder: nn.Module, z: Tensor, shape: tuple[int, int], d: int) -> None:
    pictures = as_tensor(drawn, shape, ", n pictures")
    fair = z.shape == (shape[0], d) and abs(z.mean()) < 0.15 and abs(z.std() - 1) < 0.12
    words = f"the codes decoded last, {tuple(z.shape)}, have mean {z.mean():.2f} and deviation {z.std():.2f}"
    _refuse(not fair, f"{words}: draw ({shape[0]}, {d}) from the prior, not codes of pictures and not uniform numbers")
    squares = z.double().square().sum(1).sort().values  # chi-squared with d degrees of freedom, under the prior
    share = torch.special.gammainc(torch.tensor(d / 2).double(), squares / 2)
    off = (share - (torch.arange(len(z)) + 0.5) / len(z)).abs().max()  # right ones: above 0.085 once in 10,000 times
    words = "the lengths of the codes decoded last are not those of draws from the prior: torch.randn(n, d),"
    _refuse(off > 0.085, f"{words} not codes of pictures")
    with torch.no_grad():
        logits = decoder(z).double()
    raw = near(pictures, logits) or near(pictures, logits.sigmoid())
    _refuse(raw, "these are the decoder's logits or probabilities; asked are pictures of zeros and ones")
    coins = bool(((pictures == 0) | (pictures == 1)).all())
    _refuse(not coins, "a picture of this model has only zeros and ones: draw each pixel as a coin")
    cut = near(pictures, (logits > 0).double())
    _refuse(cut, "you cut the probabilities at one half; a draw tosses a coin with each, torch.bernoulli")
    off = abs((pictures - logits.sigmoid()).mean()) > 0.03
    _refuse(off, "pixels are not white as often as the decoder says: logits become probabilities by sigmoid")


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of every dimension to the standard normal."""
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar)


@exercise("5.6")
def exercise_6(gaussian_negative_elbo: Function) -> str:
    """Negative ELBO with Gaussian pixels of known width."""
    for count, side, d, sigma in ((6, 28, 5, 0.3), (9, 10, 4, 0.8)):
        x, x_hat = (1.4 * rand(count, 1, side, side, seed=k) - 0.2 for k in (0, 1))  # outputs may leave [0, 1]
        mu, logvar = 3 * randn(count, d, seed=2), 2 * randn(count, d, seed=3)
        pixels, error, each = side**2, (x - x_hat).square().flatten(1).sum(1), _kl(mu, logvar)
        inputs = [tensor.requires_grad_() for tensor in (x_hat, mu, logvar)]
        result = gaussian_negative_elbo(x, x_hat, mu, logvar, sigma)
        full = error / (2 * sigma**2) + pixels / 2 * math.log(2 * math.pi * sigma**2) + each.sum(1)  # (B,)
        if near(as_tensor(result), full):
            raise Misconception("one value per picture: average over the batch, the optimiser needs one number")
        value, right = as_tensor(result, (), "a loss is one number"), full.mean()
        otherwise = f"on a random batch the negative ELBO is {right:.3f} nats, yours {value:.3f}; see section 9"
        slips = _elbo_slips(error.mean(), each.mean(0), full.sum(), sigma, count, pixels)
        compare(value, right, slips, otherwise, rtol=1e-5)
        expect_graph(result)
        error = (x - x_hat).square().sum() / (2 * sigma**2)
        found = torch.autograd.grad(result, inputs, allow_unused=True)
        expected = torch.autograd.grad((error + _kl(mu, logvar).sum()) / count, inputs)
        lost = any(g is None or not near(g, e) for g, e in zip(found, expected, strict=True))
        _refuse(lost, "the value is right, but a part of it is detached: x_hat, mu, logvar all need their gradient")
    return "squared error / 2σ², its constant, and the KL, all in nats"


def _elbo_slips(
    error: Tensor, each: Tensor, summed: Tensor, sigma: float, count: int, pixels: int
) -> dict[Tensor, str]:
    """Return the table, from the mean squared error, the mean KL of each dimension and the sum over the batch."""
    known, constant, kl = error / (2 * sigma**2), pixels / 2 * math.log(2 * math.pi * sigma**2), each.sum()
    return {
        known + kl: "the constant D/2·log 2πσ² is missing: without it two σ cannot be compared",
        -summed / count: "that is the ELBO; the loss is its negative (patient 'sign' of the clinic)",
        error / (2 * sigma) + constant + kl: "σ stands where σ² belongs: the squared error is divided by 2σ²",
        2 * known + constant + kl: "the 2 of 1/(2σ²) is missing in the squared error's term",
        known + constant - pixels / 2 * math.log(sigma) + kl: "σ stands where σ² belongs in the constant D/2·log 2πσ²",
        known + constant - kl: "the KL has the wrong sign: it is a price, so it adds to the loss",
        known + constant + each.mean(): "the KL is averaged over the latent dimensions (patient 'averaged')",
        known + constant + count * kl: "the KL is summed over the batch as well: average over the batch",
        summed: "you summed over the batch: the loss then grows with the batch size",
        known + constant: "that is the reconstruction term alone; the KL is missing",
        known / pixels + constant + kl: "the squared error is averaged over the pixels, as F.mse_loss does; sum them",
        known / pixels + kl: "the squared error is averaged over the pixels, as F.mse_loss does, and the constant is "
        "missing",
        count * known + constant + kl: 'the squared error is summed over the batch as well, as reduction="sum" does',
        known + constant / pixels + kl: "the constant ½·log 2πσ² stands once for every pixel: D/2 times log 2πσ²",
        known + pixels * math.log(sigma) + kl: "the 2π is missing in the constant D/2·log 2πσ²",
        error + kl: "squared error plus KL is right only for σ² = ½, and without the constant, see (5.15)",
        error / pixels + kl: "the squared error is averaged over the pixels: that assumes σ² = D/2, see (5.15)",
    }
