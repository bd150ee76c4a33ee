import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from course_utils.densities import (
    bernoulli_log_prob,
    gaussian_kl,
    gaussian_log_prob,
    importance_weighted_bound,
    reparameterize,
    vae_log_weights,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(6, 10), (6, 2, 3, 4)])
def test_bernoulli_is_that_of_torch_distributions(shape):
    logits, x = 3 * torch.randn(shape), torch.rand(shape).round()
    expected = Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(bernoulli_log_prob(x, logits), expected)


def test_bernoulli_of_grey_values_is_the_cross_entropy():
    x, logits = torch.rand(5, 7), torch.randn(5, 7)
    p = logits.sigmoid()
    torch.testing.assert_close(bernoulli_log_prob(x, logits), (x * p.log() + (1 - x) * (1 - p).log()).sum(1))


def test_bernoulli_is_finite_for_logits_that_overflow_a_sigmoid():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    value = bernoulli_log_prob(torch.tensor([[0.0, 1.0]]), logits)
    value.sum().backward()
    assert value.item() == pytest.approx(-400) and logits.grad.tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize("logvar_shape", [(4, 3, 5), (5,), (4, 1, 1)])
def test_gaussian_is_that_of_torch_distributions(logvar_shape):
    x, mean, logvar = torch.randn(4, 3, 5), torch.randn(4, 3, 5), torch.randn(logvar_shape)
    expected = Normal(mean, (0.5 * logvar).exp().expand(4, 3, 5)).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_log_prob(x, mean, logvar), expected)


def test_gaussian_takes_a_number_and_defaults_to_unit_variance():
    x, mean = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(gaussian_log_prob(x, mean), Normal(mean, 1.0).log_prob(x).sum(1))
    torch.testing.assert_close(gaussian_log_prob(x, mean, -2.0), Normal(mean, torch.e**-1).log_prob(x).sum(1))


def test_a_narrow_gaussian_density_is_above_one():
    assert gaussian_log_prob(torch.zeros(1, 3), torch.zeros(1, 3), -10.0).item() > 0


def test_kl_is_that_of_torch_distributions():
    mu, logvar = torch.randn(8, 5), torch.randn(8, 5)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)
    assert (gaussian_kl(mu, logvar) > 0).all()
    assert gaussian_kl(torch.zeros(2, 5), torch.zeros(2, 5)).tolist() == [0, 0]


def test_kl_is_the_mean_log_ratio_of_draws():
    mu, logvar = torch.tensor([[0.8, -0.3]]), torch.tensor([[-0.5, 0.4]])
    z = reparameterize(mu.expand(200_000, 2), logvar.expand(200_000, 2))
    ratio = gaussian_log_prob(z, mu.expand_as(z), logvar) - gaussian_log_prob(z, torch.zeros_like(z))
    assert float(ratio.mean()) == pytest.approx(
        gaussian_kl(mu, logvar).item(), abs=4 * float(ratio.std()) / 200_000**0.5
    )


def test_draws_have_the_moments_asked_for():
    mu, logvar = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.0, 1.0, -3.0])
    z = reparameterize(mu.expand(100_000, 3), logvar.expand(100_000, 3))
    torch.testing.assert_close(z.mean(0), mu, atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0).log(), logvar, atol=0.03, rtol=0)
    assert float((z - z.mean(0)).T.corrcoef().triu(1).abs().max()) < 0.02


def test_gradients_through_draws_are_those_of_the_expectation():
    """E z² = μ² + σ², so its gradients are 2μ and, in log σ², σ²."""
    mu, logvar = torch.tensor([0.7], requires_grad=True), torch.tensor([-0.4], requires_grad=True)
    reparameterize(mu.expand(200_000, 1), logvar.expand(200_000, 1)).square().mean().backward()
    assert mu.grad.item() == pytest.approx(1.4, abs=0.02)
    assert logvar.grad.item() == pytest.approx(torch.tensor(-0.4).exp().item(), abs=0.02)


@pytest.mark.parametrize("function", [bernoulli_log_prob, gaussian_log_prob, reparameterize, gaussian_kl])
@pytest.mark.parametrize("shape", [(4, 1), (1, 3), (3,)])
def test_shapes_that_would_broadcast_are_refused(function, shape):
    with pytest.raises(ValueError, match=rf"{str(shape)[:-1]}.*expected \(4, 3\)".replace("(", r"\(", 1)):
        function(torch.zeros(4, 3), torch.zeros(shape))


@pytest.mark.parametrize("function", [bernoulli_log_prob, gaussian_log_prob, reparameterize, gaussian_kl])
def test_one_example_without_a_batch_is_refused(function):
    with pytest.raises(ValueError, match=r"\(3,\)"):
        function(torch.zeros(3), torch.zeros(3))


def test_a_logvar_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"logvar \(2,\) does not broadcast to x \(4, 3\)"):
        gaussian_log_prob(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(2))


# ------------------------------------------------------------------------------ importance-weighted bound


def _replay(log_weights):
    """Hand out the rows of a table (k, B) in order, and remember how many were asked for at a time."""
    asked, rows = [], iter(log_weights)

    def draw(n):
        asked.append(n)
        return torch.stack([next(rows) for _ in range(n)])

    return draw, asked


@pytest.mark.parametrize("chunk", [1, 7, 20, 50])
def test_the_bound_is_the_float64_sum_over_all_draws_whatever_the_chunk(chunk):
    log_weights = 40 * torch.randn(20, 6) - 1000  # far below what exp can hold
    draw, asked = _replay(log_weights)
    exact = torch.logsumexp(log_weights.double(), 0) - math.log(20)
    bound = importance_weighted_bound(draw, k=20, chunk=chunk)
    assert bound.dtype == torch.float64
    torch.testing.assert_close(bound, exact, rtol=1e-12, atol=1e-9)
    assert sum(asked) == 20 and max(asked) <= chunk


@pytest.mark.parametrize(("options", "expected"), [({}, [50, 50, 20]), ({"chunk": 70}, [70, 50])])
def test_draws_are_asked_for_a_chunk_at_a_time(options, expected):
    draw, asked = _replay(torch.zeros(120, 2))
    importance_weighted_bound(draw, k=120, **options)
    assert asked == expected


def _linear_gaussian(x):
    """p(z) = N(0, 1), p(x|z) = N(z, 1): p(x) = N(0, 2); q is the posterior N(x/2, 1/2), widened and shifted."""
    q = Normal(x / 2 + 0.3, 1.0)

    def draw(n):
        z = q.sample((n,))
        return Normal(0.0, 1.0).log_prob(z) + Normal(z, 1.0).log_prob(x) - q.log_prob(z)

    return draw, Normal(0.0, math.sqrt(2)).log_prob(x).double()


def test_the_bound_rises_with_k_and_reaches_log_p():
    draw, exact = _linear_gaussian(torch.linspace(-3, 3, 2000))
    bounds = [float((importance_weighted_bound(draw, k=k) - exact).mean()) for k in (1, 5, 50, 1000)]
    assert bounds == sorted(bounds) and bounds[0] < -0.2
    assert abs(bounds[-1]) < 3e-3


def test_with_the_exact_posterior_one_draw_is_enough():
    x = torch.randn(10)
    q = Normal(x / 2, math.sqrt(0.5))

    def draw(n):
        z = q.sample((n,))
        return Normal(0.0, 1.0).log_prob(z) + Normal(z, 1.0).log_prob(x) - q.log_prob(z)

    exact = Normal(0.0, math.sqrt(2)).log_prob(x).double()
    torch.testing.assert_close(importance_weighted_bound(draw, k=1), exact, rtol=1e-5, atol=1e-5)


def test_weights_of_zero_are_allowed_and_broken_ones_are_not():
    draw, _ = _replay(torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]]))
    assert importance_weighted_bound(draw, k=2).tolist() == [pytest.approx(-math.log(2)), -math.inf]
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or"):
            importance_weighted_bound(lambda n, b=broken: torch.full((n, 2), b), k=2)


def test_the_bound_names_what_is_wrong_with_its_arguments():
    with pytest.raises(ValueError, match="k = 0"):
        importance_weighted_bound(lambda n: torch.zeros(n, 2), k=0)
    with pytest.raises(ValueError, match="chunk = 0"):
        importance_weighted_bound(lambda n: torch.zeros(n, 2), k=1, chunk=0)
    with pytest.raises(ValueError, match=r"draw\(4\) returned shape \(2, 4\)"):
        importance_weighted_bound(lambda n: torch.zeros(2, n), k=4)
    with pytest.raises(ValueError, match=r"draw\(3\) returned shape \(3,\)"):
        importance_weighted_bound(lambda n: torch.zeros(n), k=3)  # noqa: PLW0108
    with pytest.raises(ValueError, match=r"returned shape \(\)"):
        importance_weighted_bound(lambda n: torch.zeros(()), k=3)
    widths = iter([2, 3])
    with pytest.raises(ValueError, match=r"returned shape \(1, 3\)"):
        importance_weighted_bound(lambda n: torch.zeros(n, next(widths)), k=2, chunk=1)


def test_the_bound_builds_no_graph():
    weight = torch.zeros(1, 2, requires_grad=True)
    assert not importance_weighted_bound(lambda n: weight.expand(n, 2) * 1, k=3).requires_grad


# ------------------------------------------------------------------------------ log-weights of a VAE


class _VAE(torch.nn.Module):
    """Pictures (B, 1, 3, 2) of zeros and ones, two latent variables."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4))
        self.decoder = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Unflatten(1, (1, 3, 2)))


def test_log_weights_are_those_of_the_definition_draw_by_draw():
    """Introduced in chapter 05; here with torch.distributions, one draw and one picture at a time."""
    vae, x = _VAE(), torch.rand(4, 1, 3, 2).round()
    with torch.no_grad():
        torch.manual_seed(3)
        found = vae_log_weights(vae, x, 5)
        mu, logvar = vae.encoder(x).chunk(2, dim=-1)
        torch.manual_seed(3)
        epsilon = torch.randn(20, 2).view(5, 4, 2)
        slow = torch.empty(5, 4)
        for i, b in np.ndindex(5, 4):
            q = Normal(mu[b], (0.5 * logvar[b]).exp())
            z = q.loc + q.scale * epsilon[i, b]
            log_joint = Normal(0.0, 1.0).log_prob(z).sum() + Bernoulli(logits=vae.decoder(z[None])).log_prob(x[b]).sum()
            slow[i, b] = log_joint - q.log_prob(z).sum()
    torch.testing.assert_close(found, slow)


def test_the_mean_log_weight_is_the_elbo_and_the_bound_lies_above_it():
    vae, x = _VAE(), torch.rand(3, 1, 3, 2).round()
    with torch.no_grad():
        log_weights = vae_log_weights(vae, x, 20_000)
        mu, logvar = vae.encoder(x).chunk(2, dim=-1)
        logits = vae.decoder(reparameterize(mu.repeat(20_000, 1), logvar.repeat(20_000, 1)))
        reconstruction = bernoulli_log_prob(x.repeat(20_000, 1, 1, 1), logits).view(-1, 3).mean(0)
    torch.testing.assert_close(log_weights.mean(0), reconstruction - gaussian_kl(mu, logvar), atol=0.03, rtol=0)
    bound = importance_weighted_bound(lambda n: vae_log_weights(vae, x, n), k=500)
    assert (bound > log_weights.mean(0)).all()


def test_pictures_may_have_any_shape():
    vae, x = _VAE(), torch.rand(4, 1, 3, 2).round()
    flat = _VAE()
    flat.load_state_dict(vae.state_dict())
    flat.decoder[1] = torch.nn.Flatten()
    torch.manual_seed(0)
    first = vae_log_weights(vae, x, 3)
    torch.manual_seed(0)
    torch.testing.assert_close(vae_log_weights(flat, x.flatten(1), 3), first)
