import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_utils.synthetic import Mixture, mixture_of_two, ring, smoothed_curve, spiral, swiss_roll


@pytest.fixture
def mixture() -> Mixture:
    means = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 0.5]])
    return Mixture(means, torch.tensor([0.4, 1.3]), torch.tensor([0.25, 0.75]))


def test_log_prob_is_that_of_torch_distributions(mixture):
    parts = Independent(Normal(mixture.means, mixture.scales[:, None].expand(-1, 3)), 1)
    twin = MixtureSameFamily(Categorical(mixture.weights), parts)
    x = 2 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixture.log_prob(x), twin.log_prob(x))


@pytest.mark.parametrize(
    "density", [mixture_of_two(), smoothed_curve(ring(100), 0.3), smoothed_curve(spiral(100), 0.3)]
)
def test_the_density_integrates_to_one(density):
    side = torch.linspace(-7, 7, 401)
    grid = torch.cartesian_prod(side, side)
    total = density.log_prob(grid).exp().sum() * float(side[1] - side[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-3)


def test_the_score_is_the_slope_of_log_prob(mixture):
    double = Mixture(mixture.means.double(), mixture.scales.double(), mixture.weights.double())
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)).double()
    steps = 1e-5 * torch.eye(3).double()
    slopes = [(double.log_prob(x + h) - double.log_prob(x - h)) / 2e-5 for h in steps]
    with torch.no_grad():  # works inside evaluation code, too
        score = double.score(x)
    torch.testing.assert_close(score, torch.stack(slopes, dim=1), rtol=1e-6, atol=1e-8)
    assert not score.requires_grad


def test_samples_have_the_moments_of_the_mixture_and_repeat_with_the_seed(mixture):
    x = mixture.sample(100_000, seed=5)
    mean = mixture.weights @ mixture.means
    spread = (mixture.weights[:, None] * (mixture.scales[:, None] ** 2 + (mixture.means - mean) ** 2)).sum(0)
    torch.testing.assert_close(x.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(x.var(0), spread, atol=0.03, rtol=0)
    assert torch.equal(x, mixture.sample(100_000, seed=5))
    assert not torch.equal(x[:10], mixture.sample(10, seed=6))


@pytest.mark.parametrize(
    ("scales", "weights", "message"),
    [
        ([1.0], [0.5, 0.5], "2 means, 1 scales"),
        ([1.0, 1.0], [0.5, 0.6], r"weights \[0.5, 0.6"),
        ([1.0, 1.0], [1.5, -0.5], "-0.5"),
        ([1.0, 0.0], [0.5, 0.5], r"scales \[1.0, 0.0\]"),
    ],
)
def test_an_impossible_mixture_is_refused(scales, weights, message):
    with pytest.raises(ValueError, match=message):
        Mixture(torch.zeros(2, 2), torch.tensor(scales), torch.tensor(weights))


def test_a_curve_needs_a_width():
    with pytest.raises(ValueError, match="sigma = 0"):
        smoothed_curve(ring(10), 0)


@pytest.mark.parametrize("curve", [ring(200, radius=2.0), spiral(200), spiral(200, turns=3.0, radius=2.0)])
def test_points_of_a_curve_are_evenly_spaced(curve):
    steps = curve.diff(dim=0).norm(dim=1)
    assert curve.shape == (200, 2)
    assert float(steps.max() / steps.min()) < 1.03


def test_the_ring_lies_on_its_circle_and_closes():
    points = ring(50, radius=1.5)
    torch.testing.assert_close(points.norm(dim=1), torch.full((50,), 1.5))
    assert float((points[0] - points[-1]).norm()) == pytest.approx(float((points[0] - points[1]).norm()), rel=1e-4)


def test_the_spiral_ends_at_its_radius():
    assert float(spiral(100, radius=2.0)[-1].norm()) == pytest.approx(2, abs=1e-3)


def test_the_sheet_of_the_roll_keeps_lengths():
    """Near points are as far apart in the roll as on the sheet; far ones are nearer, for it is rolled up."""
    points, sheet = swiss_roll(3000, seed=0)
    in_space, on_sheet = (torch.cdist(p.double(), p.double()) for p in (points, sheet))
    near = (on_sheet > 0) & (on_sheet < 0.5)
    assert near.sum() > 500
    torch.testing.assert_close(in_space[near] / on_sheet[near], torch.ones(int(near.sum())).double(), atol=0.01, rtol=0)
    assert float(in_space.max()) < 0.6 * float(on_sheet.max())


def test_the_length_along_the_roll_is_the_integral_over_its_angle():
    points, sheet = swiss_roll(5, seed=1)
    for point, (arc, height) in zip(points.double(), sheet.double(), strict=True):
        t = torch.linspace(0, float(point[[0, 2]].norm()), 20_001, dtype=torch.float64)  # the radius is the angle
        assert float(torch.trapezoid(torch.sqrt(1 + t**2), t)) == pytest.approx(float(arc), rel=1e-5)
        assert float(point[1]) == float(height)
        assert math.atan2(point[2], point[0]) == pytest.approx(math.remainder(float(t[-1]), 2 * math.pi), abs=1e-5)


@pytest.mark.parametrize(
    ("plain", "written_out", "other"),
    [
        (ring, lambda: ring(400, radius=1.0), lambda: ring(radius=2.0)),
        (spiral, lambda: spiral(400, turns=1.5, radius=1.0), lambda: spiral(turns=2.0)),
        (lambda: swiss_roll(9)[0], lambda: swiss_roll(9, seed=0)[0], lambda: swiss_roll(9, seed=1)[0]),
        (
            lambda: mixture_of_two().sample(9),
            lambda: mixture_of_two().sample(9, seed=0),
            lambda: mixture_of_two().sample(9, seed=1),
        ),
    ],
    ids=["ring", "spiral", "swiss_roll", "Mixture.sample"],
)
def test_the_defaults_are_those_that_chapters_rely_on(plain, written_out, other):
    assert torch.equal(plain(), written_out()) and not torch.equal(plain(), other())


@pytest.mark.parametrize("turns", [1.5, 3.0])
def test_a_spiral_turns_as_often_as_asked_from_15_per_cent_of_its_radius_on(turns):
    points = spiral(2000, turns=turns, radius=2.0)
    angle = torch.atan2(points[:, 1], points[:, 0]).numpy()
    steps = (np.diff(angle) + math.pi) % (2 * math.pi) - math.pi
    assert steps.sum() == pytest.approx(2 * math.pi * turns * 0.85, rel=1e-3)
    assert float(points[0].norm()) == pytest.approx(0.3, abs=2e-3)


def test_the_mixture_of_two_is_the_one_of_the_text():
    first, second = (
        weight * Independent(Normal(torch.tensor([place, 0.0]), scale), 1).log_prob(torch.tensor([[0.3, -0.7]])).exp()
        for weight, place, scale in ((0.6, -1.0, 0.5), (0.4, 1.0, 1.1))
    )
    density = mixture_of_two().log_prob(torch.tensor([[0.3, -0.7]])).exp()
    assert float(density) == pytest.approx(float(first + second), rel=1e-5)


def test_the_roll_lies_between_one_and_a_half_and_four_and_a_half_half_turns():
    points, sheet = swiss_roll(20_000)
    angle = points[:, [0, 2]].norm(dim=1)
    assert float(angle.min()) == pytest.approx(1.5 * math.pi, abs=0.01)
    assert float(angle.max()) == pytest.approx(4.5 * math.pi, abs=0.01)
    assert float(sheet[:, 1].min()) == pytest.approx(0, abs=0.01) and float(sheet[:, 1].max()) == pytest.approx(
        21, abs=0.01
    )
