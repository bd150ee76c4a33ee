"""Every check of chapter 05 passes its solution and names the misconception behind each wrong answer."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from helpers.answers import Answers
from torch.distributions import Bernoulli, Exponential, Normal, kl_divergence

from course_utils.checks import chapter_05 as check


def errors(x, x_hat):
    return (x - x_hat).square().flatten(1).sum(1)


def units(mu, logvar):
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar)


def constant(x, sigma):
    return x[0].numel() / 2 * math.log(2 * math.pi * sigma**2)


def elbo(x, x_hat, mu, logvar, sigma):
    return (errors(x, x_hat) / (2 * sigma**2) + constant(x, sigma) + units(mu, logvar).sum(1)).mean()


def terms(error_weight=1.0, constant_weight=1.0, kl_weight=1.0, per_pixel=False):  # other weights on the three terms
    def answer(x, x_hat, mu, logvar, sigma):
        error = errors(x, x_hat).mean() / (2 * sigma**2) / (x[0].numel() if per_pixel else 1)
        return error_weight * error + constant_weight * constant(x, sigma) + kl_weight * units(mu, logvar).sum(1).mean()

    return answer


def mean_kl(x, y, m, v, s):
    return terms(kl_weight=0)(x, y, m, v, s) + units(m, v).mean()


def table(prior, likelihood, q):
    joint = prior * likelihood
    evidence, used = joint.sum(), q > 0
    posterior = joint / evidence
    bound = (q * (joint / q).log())[used].sum()
    return evidence.log(), bound, (q * (q / posterior).log())[used].sum()


def table_with(evidence=None, bound=None, gap=None):  # one of the three replaced by a formula of prior, likelihood, q
    def answer(*given):
        made = zip((evidence, bound, gap), table(*given), strict=True)
        return tuple(right if formula is None else formula(*given) for formula, right in made)

    return answer


def mean(q, values):
    return (q * values)[q > 0].sum()


def careless(prior, likelihood, q):
    joint = prior * likelihood
    return joint.sum().log(), (q * (joint / q).log()).sum(), (q * (q / (joint / joint.sum())).log()).sum()


def in_numpy(prior, likelihood, q):
    joint, q = np.asarray(prior * likelihood), np.asarray(q)
    used = q > 0
    bound = float(np.sum(q[used] * (np.log(joint[used]) - np.log(q[used]))))
    log_p = math.log(joint.sum())
    return [log_p, bound, log_p - bound]


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


def by_the_mean(log_w):
    shift = log_w.mean(0)
    return (log_w - shift).exp().mean(0).log() + shift


def loss_of(code=None, rec=lambda r: r.sum(1).mean(), kl=lambda k: k.sum(1).mean(), sign=1, squash=False):
    code = code or (lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.randn_like(mu))

    def answer(encoder, decoder, x):
        mu, logvar = encoder(x).chunk(2, dim=1)
        logits = decoder(code(mu, logvar))
        logits = logits.sigmoid() if squash else logits
        each = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return sign * (rec(each) + kl(units(mu, logvar)))

    return answer


def with_distributions(encoder, decoder, x):
    mu, logvar = encoder(x).chunk(2, dim=1)
    q = Normal(mu, (0.5 * logvar).exp())
    pixels = Bernoulli(logits=decoder(q.rsample()))
    return (kl_divergence(q, Normal(0.0, 1.0)).sum(1) - pixels.log_prob(x).sum(1)).mean()


def stolen_path(encoder, decoder, x):
    mu, logvar = encoder(x).chunk(2, dim=1)
    q = Normal(mu, (0.5 * logvar).exp())
    each = F.binary_cross_entropy_with_logits(decoder(q.sample()), x, reduction="none")
    return (each.sum(1) + units(mu, logvar).sum(1)).mean()


vae_loss = loss_of()


def training(loss=vae_loss, who=("encoder", "decoder"), lr=0.01, draws=None, codes=torch.randn, steps=1.0):
    draws = draws or (lambda logits: torch.bernoulli(logits.sigmoid()))

    def answer(encoder, decoder, x, count, n):
        nets = {"encoder": encoder, "decoder": decoder}
        optimizer = torch.optim.Adam([w for name in who for w in nets[name].parameters()], lr=lr)
        for _ in range(int(steps * count)):
            optimizer.zero_grad()
            loss(encoder, decoder, x).backward()
            optimizer.step()
        d = encoder(x).shape[1] // 2
        with torch.no_grad():
            return draws(decoder(codes(n, d)))

    return answer


def in_batches(encoder, decoder, x, count, n):
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    for _ in range(count):
        loss = with_distributions(encoder, decoder, x[torch.randint(len(x), (128,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = decoder(torch.randn(n, encoder(x).shape[1] // 2)).detach()
    return (torch.rand_like(logits) < logits.sigmoid()).numpy()


SOLUTIONS = {
    "exercise_1": table,
    "exercise_2": bound,
    "exercise_3": draw,
    "exercise_4": vae_loss,
    "exercise_5": training(),
    "exercise_6": elbo,
}

LN2 = math.log(2)
WRONG = [
    ("exercise_1", table_with(evidence=lambda p, y, q: (p * y).sum()), "its logarithm"),
    ("exercise_1", table_with(evidence=lambda p, y, q: -(p * y).sum().log()), "negative"),
    ("exercise_1", table_with(evidence=lambda p, y, q: (p * y).sum().log() / LN2), "bits"),
    ("exercise_1", table_with(evidence=lambda p, y, q: y.mean().log()), "not equally probable"),
    ("exercise_1", table_with(evidence=lambda p, y, q: y.sum().log()), "prior is missing"),
    ("exercise_1", table_with(evidence=lambda p, y, q: (q * y).sum().log()), "draws from q; the evidence"),
    ("exercise_1", table_with(bound=lambda *g: -table(*g)[1]), "negative ELBO"),
    ("exercise_1", table_with(bound=lambda p, y, q: mean(q, y.log())), "reconstruction alone"),
    ("exercise_1", table_with(bound=lambda p, y, q: mean(q, (p * y).log())), "log q is missing"),
    ("exercise_1", table_with(bound=lambda p, y, q: mean(q, (y * q / p).log())), "subtracted, not added"),
    ("exercise_1", table_with(bound=lambda p, y, q: (p * y).sum().log()), "log p(x) itself"),
    ("exercise_1", table_with(bound=lambda p, y, q: (p * y.log()).sum()), "draws from the prior; the ELBO"),
    ("exercise_1", table_with(bound=lambda p, y, q: mean(q, y.log()) - (p * (p / q).log()).sum()), "other way round"),
    ("exercise_1", table_with(gap=lambda *g: -table(*g)[2]), "never negative"),
    (
        "exercise_1",
        table_with(gap=lambda p, y, q: mean(p * y / (p * y).sum(), (p * y / (p * y).sum() / q).log())),
        "‖q)",
    ),
    ("exercise_1", table_with(gap=lambda p, y, q: mean(q, (q / p).log())), "price of the code"),
    ("exercise_1", table_with(gap=lambda p, y, q: mean(q, (q / (p * y)).log())), "not divided by p(x)"),
    ("exercise_1", careless, "adds nothing"),
    ("exercise_1", lambda *g: table(*g)[:2], "three numbers"),
    ("exercise_1", lambda p, y, q: (table(p, y, q)[0], q, q), "one number"),
    ("exercise_1", table_with(gap=lambda *g: table(*g)[2] + 1), "the gap is"),
    ("exercise_1", table_with(bound=lambda *g: table(*g)[1] + 1), "the ELBO is"),
    ("exercise_2", lambda w: w.mean(0), "mean of the logarithms"),
    ("exercise_2", lambda w: torch.logsumexp(w, 0), "k: subtract log k"),
    ("exercise_2", lambda w: torch.logsumexp(w, 0) - len(w), "not k"),
    ("exercise_2", lambda w: torch.logsumexp(w, 0) / len(w), "inside"),
    ("exercise_2", lambda w: w.amax(0), "largest"),
    ("exercise_2", lambda w: torch.logsumexp(w, 0) - math.log(w.shape[1]), "number of pictures"),
    ("exercise_2", lambda w: torch.logsumexp(w, 0) - math.log(8), "for the first picture"),
    ("exercise_2", lambda w: (w.exp() + 1e-30).mean(0).log(), "for picture "),
    ("exercise_2", lambda w: w.exp().mean(0).log(), "underflows"),
    ("exercise_2", by_the_mean, "overflows"),
    ("exercise_2", lambda w: torch.logsumexp(w, 1) - math.log(w.shape[1]), "first axis"),
    ("exercise_2", lambda w: bound(w).mean(), "one number"),
    ("exercise_2", lambda w: bound(w)[:2], "shape"),
    ("exercise_2", in_place, "itself has changed"),
    ("exercise_2", lambda w: bound(w) + 0.5, "look at (5.7)"),
    ("exercise_3", lambda r, u: -torch.log1p(-u) * r, "−λz) for z divides by it"),
    ("exercise_3", lambda r, u: -torch.log(u) * r, "solving for z divides by it"),
    ("exercise_3", lambda r, u: torch.log1p(-u) / r, "sign"),
    ("exercise_3", lambda r, u: torch.log(u) / r, "sign"),
    ("exercise_3", lambda r, u: 1 - torch.exp(-r * u), "*inverse*"),
    ("exercise_3", lambda r, u: r * torch.exp(-r * u), "density"),
    ("exercise_3", lambda r, u: -torch.log1p(-u), "does not appear"),
    ("exercise_3", lambda r, u: -torch.log1p(-u) / r**2, "divide once"),
    ("exercise_3", plain_sample, "no gradient"),
    ("exercise_3", wrong_slope, "−z/λ"),
    ("exercise_3", lambda r, u: Exponential(1 + 0 * r.flatten()[:3]).sample(), "shape"),
    ("exercise_3", lambda r, u: draw(r, u) + 0.3, "solve"),
    ("exercise_3", lambda r, u: Exponential(r).rsample(), "`uniform` is not used"),
    ("exercise_3", lambda r, u: 2 / r, "`uniform` is not used"),
    ("exercise_3", lambda r, u: -torch.log(u) / r, "u = 0"),
    ("exercise_4", loss_of(sign=-1), "that is the ELBO"),
    ("exercise_4", loss_of(kl=lambda k: -k.sum(1).mean()), "wrong sign"),
    ("exercise_4", loss_of(kl=lambda k: 0 * k.sum()), "reconstruction alone"),
    ("exercise_4", loss_of(rec=lambda r: 0 * r.sum()), "KL alone"),
    ("exercise_4", loss_of(rec=lambda r: r.mean()), "averaged over the pixels"),
    ("exercise_4", loss_of(kl=lambda k: k.mean()), "averaged over the latent"),
    ("exercise_4", loss_of(rec=lambda r: r.mean(), kl=lambda k: k.mean()), "both terms are averaged"),
    ("exercise_4", loss_of(rec=lambda r: r.sum(), kl=lambda k: k.sum()), "grows with the batch"),
    ("exercise_4", loss_of(rec=lambda r: r.sum()), "reduction='sum'"),
    ("exercise_4", loss_of(kl=lambda k: k.sum()), "KL is summed over the batch"),
    ("exercise_4", loss_of(kl=lambda k: 2 * k.sum(1).mean()), "½ of the KL"),
    ("exercise_4", loss_of(squash=True), "a sigmoid came before"),
    ("exercise_4", loss_of(rec=lambda r: r.sum(1), kl=lambda k: k.sum(1)), "one value per picture"),
    ("exercise_4", loss_of(code=lambda m, v: m), "without noise"),
    ("exercise_4", loss_of(code=lambda m, v: m + v.exp() * torch.randn_like(m)), "σ² stands"),
    ("exercise_4", loss_of(code=lambda m, v: m + torch.randn_like(m)), "noise of width 1"),
    ("exercise_4", loss_of(code=lambda m, v: m + v * torch.randn_like(m)), "first take exp"),
    ("exercise_4", loss_of(code=lambda m, v: m + (0.5 * v).exp() * torch.randn(m.shape[1])), "one draw of ε"),
    ("exercise_4", loss_of(code=lambda m, v: m + (0.5 * v).exp() * torch.randn(len(m), 1)), "one draw of ε"),
    ("exercise_4", loss_of(code=lambda m, v: m + (0.5 * v).exp() * torch.rand_like(m)), "standard normal noise"),
    ("exercise_4", loss_of(code=lambda m, v: torch.randn_like(m)), "standard normal noise"),
    ("exercise_4", lambda e, d, x: torch.manual_seed(3) and vae_loss(e, d, x), "set no seed"),
    ("exercise_4", stolen_path, "gradient through the code"),
    ("exercise_4", lambda *a: vae_loss(*a).item(), "graph"),
    ("exercise_4", lambda *a: vae_loss(*a) + 1, "see (5.12)"),
    ("exercise_4", lambda e, d, x: units(*e(x).chunk(2, 1)).sum(1).mean(), "never called"),
    ("exercise_5", training(who=("encoder",)), "not moved: decoder"),
    ("exercise_5", training(who=("decoder",)), "not moved: encoder"),
    ("exercise_5", training(lr=0.0), "not moved: encoder and decoder"),
    ("exercise_5", training(loss=loss_of(sign=-1)), "wrong sign"),
    ("exercise_5", training(loss=loss_of(kl=lambda k: 0 * k.sum())), "lacks the KL"),
    ("exercise_5", training(loss=loss_of(rec=lambda r: r.mean())), "carries nothing"),
    ("exercise_5", training(steps=0.1), "300 steps"),
    ("exercise_5", training(draws=lambda logits: logits), "logits or probabilities"),
    ("exercise_5", training(draws=torch.sigmoid), "logits or probabilities"),
    ("exercise_5", training(draws=lambda logits: (logits > 0).float()), "at one half"),
    ("exercise_5", training(draws=lambda logits: torch.bernoulli(logits.clamp(0, 1))), "not white as often"),
    ("exercise_5", training(draws=lambda logits: 2 * torch.bernoulli(logits.sigmoid())), "only zeros and ones"),
    ("exercise_5", training(codes=torch.rand), "from the prior"),
    ("exercise_5", training(codes=lambda n, d: torch.randn(n, 1).expand(n, d)), "the lengths of the codes"),
    ("exercise_5", training(codes=lambda n, d: 2 * torch.randn(n, d)), "from the prior"),
    ("exercise_5", training(draws=lambda logits: torch.bernoulli(logits.sigmoid())[:5]), "n pictures"),
    ("exercise_6", lambda *a: -elbo(*a), "that is the ELBO"),
    ("exercise_6", terms(constant_weight=0), "constant D/2·log 2πσ² is missing:"),
    (
        "exercise_6",
        lambda x, y, m, v, s: elbo(x, y, m, v, s) + errors(x, y).mean() * (1 / s - 1 / s**2) / 2,
        "σ stands",
    ),
    ("exercise_6", terms(error_weight=2), "the 2 of"),
    ("exercise_6", lambda x, y, m, v, s: elbo(x, y, m, v, s) - x[0].numel() / 2 * math.log(s), "in the constant"),
    ("exercise_6", terms(kl_weight=-1), "wrong sign"),
    ("exercise_6", mean_kl, "averaged over the lat"),
    ("exercise_6", lambda x, *a: terms(kl_weight=len(x))(x, *a), "KL is summed over the"),
    ("exercise_6", lambda x, *a: len(x) * elbo(x, *a), "summed over the batch:"),
    ("exercise_6", terms(kl_weight=0), "KL is missing"),
    ("exercise_6", lambda x, y, m, v, s: (errors(x, y) + units(m, v).sum(1)).mean(), "σ² = ½"),
    ("exercise_6", lambda x, y, m, v, s: (errors(x, y) / x[0].numel() + units(m, v).sum(1)).mean(), "assumes σ² = D/2"),
    ("exercise_6", terms(per_pixel=True), "as F.mse_loss does; sum"),
    ("exercise_6", terms(constant_weight=0, per_pixel=True), "and the constant is"),
    ("exercise_6", lambda x, *a: terms(error_weight=len(x))(x, *a), 'reduction="sum"'),
    ("exercise_6", lambda x, *a: terms(constant_weight=1 / x[0].numel())(x, *a), "once for every pixel"),
    ("exercise_6", lambda x, *a: elbo(x, *a) - x[0].numel() / 2 * math.log(2 * math.pi), "2π is missing"),
    (
        "exercise_6",
        lambda x, y, m, v, s: errors(x, y) / (2 * s**2) + constant(x, s) + units(m, v).sum(1),
        "one value per",
    ),
    ("exercise_6", lambda x, y, m, v, s: units(m, v), "shape"),
    ("exercise_6", lambda *a: elbo(*a).item(), "graph"),
    ("exercise_6", lambda *a: elbo(*a) + 1, "on a random batch"),
    ("exercise_6", lambda x, y, m, v, s: elbo(x, y, m, v, 0.3), "on a random batch"),
    ("exercise_6", lambda x, y, *a: elbo(x, y.detach(), *a), "is detached"),
    ("exercise_6", lambda x, y, m, v, s: elbo(x, y, m.detach(), v, s), "is detached"),
    ("exercise_6", lambda x, y, m, v, s: elbo(x, y.clamp(0, 1), m, v, s), "on a random batch"),
    ("exercise_6", lambda x, y, m, v, s: elbo(x, y, m, v.abs(), s), "on a random batch"),
]

RIGHT = [
    ("exercise_1", in_numpy),
    ("exercise_1", lambda *g: torch.stack(table(*g))),
    ("exercise_1", lambda *g: np.array([value.item() for value in table(*g)])),
    ("exercise_2", lambda w: w.amax(0) + (w - w.amax(0)).exp().mean(0).log()),
    ("exercise_2", lambda w: np.logaddexp.reduce(w.double().numpy()) - np.log(len(w))),
    ("exercise_3", lambda r, u: -torch.log(1 - u) / r),
    ("exercise_3", lambda r, u: -torch.log(u + 1e-12) / r),
    ("exercise_4", with_distributions),
    ("exercise_5", in_batches),
    ("exercise_5", training(loss=with_distributions, lr=0.02)),
    ("exercise_6", lambda x, y, m, v, s: -Normal(y, s).log_prob(x).sum() / len(x) + units(m, v).sum() / len(x)),
]


class TestAnswers(Answers):
    check, solutions, right, wrong = check, SOLUTIONS, RIGHT, WRONG
    as_it_is = ("exercise_1", "exercise_3", "exercise_4", "exercise_5", "exercise_6")
