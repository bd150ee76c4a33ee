"""Metrics that compare a set of samples with another: against slow twins, exact values and invariances."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import linalg, spatial, stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from course_utils import datasets, samples
from course_utils.datasets import Split
from course_utils.samples import (
    classifier_two_sample,
    coverage,
    frechet_distance,
    mmd,
    mmd_test,
    parzen_log_likelihood,
    precision_recall,
    select_bandwidth,
)


def normal(n, d, seed, shift=0.0, scale=1.0):
    return shift + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------- Parzen windows


def direct_parzen(samples, test, sigma):
    """The definition: a float64 sum over all pairs."""
    samples, test = samples.double().flatten(1), test.double().flatten(1)
    squared = (test[:, None] - samples).square().sum(-1)
    log_normal = -0.5 * squared / sigma**2 - 0.5 * samples.shape[1] * math.log(2 * math.pi * sigma**2)
    return torch.logsumexp(log_normal, 1) - math.log(len(samples))


@pytest.fixture(scope="module")
def digits():
    return datasets.load("mnist-5k").train.flat()


@pytest.mark.parametrize(("sigma", "of_each"), [(0.1, 3e-3), (0.17, 1e-3), (1.0, 1e-3)])
def test_parzen_on_digits_is_the_double_sum_within_a_thousandth_of_a_nat(digits, sigma, of_each):
    """The mean always is; of single digits the error grows as 1/σ²."""
    found, slow = (p(digits[:300], digits[300:400], sigma) for p in (parzen_log_likelihood, direct_parzen))
    assert found.dtype == torch.float64 and found.shape == (100,)
    torch.testing.assert_close(found.mean(), slow.mean(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found, slow, rtol=0, atol=of_each)


@pytest.mark.parametrize(("dimension", "sigma"), [(1, 1e-5), (784, 0.001), (784, 0.005)])
def test_parzen_is_exact_in_a_window_too_small_for_float32(dimension, sigma):
    samples = torch.rand(300, dimension, generator=torch.Generator().manual_seed(0))
    test = torch.cat([samples[:9], 1 - samples[:9]])
    torch.testing.assert_close(parzen_log_likelihood(samples, test, sigma), direct_parzen(samples, test, sigma))


def test_parzen_far_from_the_origin_loses_no_digits(digits):
    """Naive float32 distances of data around 100 are off by whole nats; centring brings them back."""
    samples, test = digits[:100] + 100, digits[100:120] + 100
    found = parzen_log_likelihood(samples, test, 0.2)
    torch.testing.assert_close(found, direct_parzen(samples, test, 0.2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_parzen_does_not_depend_on_the_chunk_or_the_shape(digits, chunk):
    samples, test = digits[:30].view(-1, 1, 28, 28), digits[30:50].view(-1, 1, 28, 28)
    found = parzen_log_likelihood(samples, test, 0.2, chunk=chunk)
    torch.testing.assert_close(found, direct_parzen(samples, test, 0.2), rtol=0, atol=1e-3)


def test_parzen_of_one_place_is_the_normal_density():
    samples = torch.zeros(2, 3)
    test = normal(5, 3, 1)
    exact = stats.multivariate_normal(np.zeros(3), 0.25 * np.eye(3)).logpdf(test.numpy())
    np.testing.assert_allclose(parzen_log_likelihood(samples, test, 0.5), exact, rtol=1e-5)


def test_parzen_agrees_with_scipy_where_that_is_exact():
    samples, test = normal(200, 2, 0), normal(50, 2, 1)
    twin = stats.gaussian_kde(samples.numpy().T, bw_method=1.0)
    scaled = torch.from_numpy(linalg.cholesky(np.linalg.inv(twin.covariance))).float()  # windows of covariance I
    log_det = 0.5 * np.linalg.slogdet(twin.covariance)[1]
    ours = parzen_log_likelihood(samples @ scaled.T, test @ scaled.T, 1.0) - log_det
    np.testing.assert_allclose(ours, twin.logpdf(test.numpy().T), rtol=1e-4, atol=1e-5)


def test_parzen_does_not_change_under_shift_order_or_repetition_and_scales_as_a_density():
    samples, test = normal(40, 6, 0), normal(30, 6, 1)
    value = parzen_log_likelihood(samples, test, 0.4)
    torch.testing.assert_close(parzen_log_likelihood(samples + 9, test + 9, 0.4), value, rtol=0, atol=1e-3)
    torch.testing.assert_close(parzen_log_likelihood(samples.flip(0), test, 0.4), value)
    torch.testing.assert_close(parzen_log_likelihood(samples.repeat(3, 1), test, 0.4), value, rtol=0, atol=1e-4)
    scaled = parzen_log_likelihood(5 * samples, 5 * test, 2.0)
    torch.testing.assert_close(scaled, value - 6 * math.log(5), rtol=0, atol=1e-4)


def test_the_chosen_bandwidth_is_the_best_of_those_tried():
    samples, valid = normal(300, 4, 0), normal(200, 4, 1)
    tried = np.geomspace(0.05, 3, 15).tolist()
    best, means = select_bandwidth(samples, valid, tried)
    slow = [float(direct_parzen(samples, valid, sigma).mean()) for sigma in tried]
    np.testing.assert_allclose(means, slow, atol=1e-3)
    assert best == tried[int(np.argmax(slow))]
    assert select_bandwidth(samples, valid, [0.4])[0] == 0.4


def test_the_bandwidths_tried_by_default_are_25_from_a_twentieth_to_1():
    samples, valid = normal(300, 2, 0), normal(200, 2, 1)
    tried = [0.05 * 20 ** (j / 24) for j in range(25)]
    slow = [float(direct_parzen(samples, valid, sigma).mean()) for sigma in tried]
    best, means = select_bandwidth(samples, valid)
    np.testing.assert_allclose(means, slow, atol=1e-3)
    assert best == pytest.approx(tried[int(np.argmax(slow))])


@pytest.mark.parametrize(("options", "largest"), [({}, 500), ({"chunk": 7}, 7)])
def test_no_more_test_points_than_a_chunk_are_held_at_once(monkeypatch, options, largest):
    sizes, product = [], torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: (sizes.append(len(a[1])), product(*a, **k))[1])
    parzen_log_likelihood(normal(5, 2, 0), normal(600, 2, 1), 0.5, **options)
    select_bandwidth(normal(5, 2, 0), normal(600, 2, 1), [0.5], **options)
    assert max(sizes) == largest and sum(sizes) == 1200


def test_a_chunk_or_a_list_of_bandwidths_that_is_empty_is_refused():
    x = normal(5, 2, 0)
    with pytest.raises(ValueError, match="1 bandwidths, chunk = 0"):
        parzen_log_likelihood(x, x, 0.5, chunk=0)
    with pytest.raises(ValueError, match="0 bandwidths"):
        select_bandwidth(x, x, [])


def test_a_bandwidth_at_the_edge_is_refused():
    samples = normal(50, 3, 0)
    with pytest.raises(ValueError, match=r"at the edge, 0\.001: try values beyond it"):
        select_bandwidth(samples, samples, [0.001, 0.1, 1.0])  # each point finds itself: ever narrower is better
    with pytest.raises(ValueError, match=r"at the edge, 0.2: .* from 0.1 to 0.2"):
        select_bandwidth(samples, normal(50, 3, 1), [0.1, 0.2])
    with pytest.raises(ValueError, match=r"must ascend, got \[1.0, 0.5\]"):
        select_bandwidth(samples, samples, [1.0, 0.5])


@pytest.mark.parametrize("bandwidth", [0, -0.1, math.inf, math.nan])
def test_a_bandwidth_that_is_none_is_refused_with_its_value(bandwidth):
    with pytest.raises(ValueError, match=f"bandwidth = {bandwidth} must be positive"):
        parzen_log_likelihood(normal(5, 2, 0), normal(5, 2, 1), bandwidth)


# ----------------------------------------------------------------------------------------------------- MMD


def double_loop(x, y, widths):
    """Gretton et al. 2012, equation 3, pair by pair."""
    x, y = x.double(), y.double()

    def k(a, b):
        return np.mean([math.exp(-float((a - b).square().sum()) / (2 * w * w)) for w in widths])

    xx = [k(a, b) for (i, a), (j, b) in itertools.product(enumerate(x), enumerate(x)) if i != j]
    yy = [k(a, b) for (i, a), (j, b) in itertools.product(enumerate(y), enumerate(y)) if i != j]
    return np.mean(xx) + np.mean(yy) - 2 * np.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_mmd_is_the_double_loop(shift):
    x, y = normal(12, 3, 0), normal(9, 3, 1, shift)
    assert mmd(x, y, widths=[0.5, 2.0]) == pytest.approx(double_loop(x, y, [0.5, 2.0]), abs=1e-9)
    assert mmd(x, y, widths=[0.5, 2.0]) == pytest.approx(mmd(y, x, widths=[0.5, 2.0]), abs=1e-12)


def test_the_widths_by_default_are_half_once_and_twice_the_median_distance():
    x, y = normal(4, 3, 0), normal(2, 3, 1, 0.7)  # 15 pairs: there is one in the middle
    median = float(np.median(spatial.distance.pdist(torch.cat([x, y]).double().numpy())))
    expected = double_loop(x, y, [median / 2, median, 2 * median])
    assert mmd(x, y) == pytest.approx(expected, abs=1e-12)
    assert mmd_test(x, y, permutations=1)[0] == pytest.approx(expected, abs=1e-12)


def test_the_test_draws_500_permutations_of_seed_0_if_nothing_is_given():
    x, y = normal(20, 2, 0), normal(20, 2, 1, 0.4)
    plain = mmd_test(x, y)
    assert plain == mmd_test(x, y, permutations=500, seed=0)
    assert plain[1] != mmd_test(x, y, permutations=499)[1] and plain[1] != mmd_test(x, y, seed=1)[1]
    assert mmd_test(x, y + 9)[1] == pytest.approx(1 / 501)
    assert plain[0] == mmd(x, y) != mmd(x, y, widths=[0.1])


def test_mmd_by_default_does_not_depend_on_the_unit():
    x, y = normal(30, 2, 0), normal(30, 2, 1, 0.7)
    assert mmd(1000 * x, 1000 * y) == pytest.approx(mmd(x, y), rel=1e-5)


def test_mmd_is_unbiased_and_so_sometimes_negative():
    values = np.array([mmd(normal(20, 2, 2 * s), normal(20, 2, 2 * s + 1), widths=[1.0]) for s in range(200)])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(200)
    assert 0.2 < (values < 0).mean() < 0.9


def test_mmd_of_two_gaussians_meets_its_exact_value():
    """E k(a, b) = (w²/(w² + s²))^(d/2) exp(−‖m‖²/2(w² + s²)) with m and s² the mean and variance of a − b."""
    values = [mmd(normal(400, 2, 2 * s), normal(400, 2, 2 * s + 1, 0.5), widths=[1.0]) for s in range(20)]
    exact = 2 * (1 / 3) * (1 - math.exp(-2 * 0.25 / 6))
    assert abs(np.mean(values) - exact) < 3 * np.std(values) / math.sqrt(20)


def test_p_values_are_uniform_if_nothing_differs_and_small_if_something_does():
    p = [mmd_test(normal(15, 2, 2 * s), normal(15, 2, 2 * s + 1), permutations=99, seed=s)[1] for s in range(150)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    statistic, small = mmd_test(normal(40, 2, 0), normal(40, 2, 1, 2.0), permutations=199)
    assert small == pytest.approx(1 / 200)
    assert statistic == pytest.approx(mmd(normal(40, 2, 0), normal(40, 2, 1, 2.0)))


def test_the_test_is_that_of_a_plain_loop_over_permutations():
    x, y = normal(8, 2, 0), normal(6, 2, 1, 0.5)
    value, p = mmd_test(x, y, permutations=60, seed=3)
    points, generator = torch.cat([x, y]), torch.Generator().manual_seed(3)
    order = torch.rand(60, 14, generator=generator).argsort(1)
    first = order < 8  # as many members of the first set as there were
    widths = [factor * float(torch.pdist(points.double()).median()) for factor in (0.5, 1, 2)]
    slow = [double_loop(points[mask], points[~mask], widths) for mask in first]
    assert value == pytest.approx(double_loop(x, y, widths), abs=1e-9)
    assert p == pytest.approx((1 + sum(v >= value - 1e-12 for v in slow)) / 61)


def test_mmd_names_what_is_wrong():
    x = normal(5, 2, 0)
    with pytest.raises(ValueError, match=r"widths = \[0.0\] must be positive"):
        mmd(x, x, widths=[0.0])
    with pytest.raises(ValueError, match="permutations = 0"):
        mmd_test(x, x, permutations=0)
    with pytest.raises(ValueError, match="most points coincide"):
        mmd(torch.zeros(4, 2), torch.zeros(4, 2))


# ----------------------------------------------------------------------------- features: Fréchet, precision, C2ST


def test_frechet_distance_is_that_of_scipy():
    x, y = normal(100, 5, 0) @ normal(5, 5, 2), normal(80, 5, 1, 0.5, 2.0)
    a, b = np.cov(x.numpy().T), np.cov(y.numpy().T)
    gap = ((x.mean(0) - y.mean(0)) ** 2).sum().item()
    twin = gap + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(twin, rel=1e-5)
    assert frechet_distance(y, x) == pytest.approx(twin, rel=1e-5)


def test_frechet_distance_in_one_dimension_and_of_equal_sets():
    x, y = normal(50, 1, 0), normal(60, 1, 1, 3.0, 2.0)
    exact = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(float(exact), rel=1e-4)
    z = normal(10, 30, 2)  # fewer points than dimensions: the covariance is singular
    assert frechet_distance(z, z) == pytest.approx(0, abs=1e-5)


def slow_precision(real, generated, k):
    inside = 0
    for g in generated:
        for m in real:
            radius = sorted(float((m - other).norm()) for other in real)[k]  # the smallest is its own, 0
            if float((m - g).norm()) <= radius:
                inside += 1
                break
    return inside / len(generated)


def test_precision_and_recall_are_those_of_the_double_loop():
    real, generated = normal(25, 3, 0), normal(20, 3, 1, 1.0)
    for k in (1, 3):
        expected = slow_precision(real, generated, k), slow_precision(generated, real, k)
        assert precision_recall(real, generated, k=k) == pytest.approx(expected)
        assert precision_recall(generated, real, k=k) == pytest.approx(expected[::-1])


def test_the_third_neighbour_gives_the_radius_if_nothing_is_given():
    real, generated = normal(40, 2, 0), normal(40, 2, 1, 0.8)
    expected = slow_precision(real, generated, 3), slow_precision(generated, real, 3)
    assert precision_recall(real, generated) == pytest.approx(expected)
    for k in (2, 4):
        assert precision_recall(real, generated, k=k) != pytest.approx(expected)


def test_precision_and_recall_hold_no_more_than_a_thousand_points_at_once(monkeypatch):
    sizes, distances = [], torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda a, b: (sizes.append(len(a)), distances(a, b))[1])
    real, generated = normal(1100, 2, 0), normal(1100, 2, 1)
    in_parts = precision_recall(real, generated)
    assert max(sizes) == 1000
    monkeypatch.setattr(torch.Tensor, "split", lambda points, size: [points])
    assert precision_recall(real, generated) == in_parts and max(sizes) == 1100


def test_precision_falls_with_foreign_points_and_recall_with_missing_ones():
    real = torch.cat([normal(200, 2, 0), normal(200, 2, 1, 50.0)])
    one_mode = normal(400, 2, 2)
    precision, recall = precision_recall(real, one_mode)
    assert precision > 0.9 and 0.4 < recall < 0.55
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 1000) == (0.0, 0.0)


def slow_coverage(real, generated, k):
    covered = 0
    for point in real:
        radius = sorted(float((point - other).norm()) for other in real)[k]  # the smallest is its own, 0
        covered += min(float((point - g).norm()) for g in generated) < radius
    return covered / len(real)


def test_coverage_is_that_of_the_double_loop_with_five_neighbours_if_nothing_is_given():
    real, generated = normal(40, 2, 0), normal(25, 2, 1, 0.8)
    values = {k: slow_coverage(real, generated, k) for k in (1, 3, 5)}
    assert coverage(real, generated) == pytest.approx(values[5]) and len(set(values.values())) == 3
    assert all(coverage(real, generated, k=k) == pytest.approx(value) for k, value in values.items())


def test_coverage_is_known_for_equal_sets_and_ignores_repetitions_and_outliers():
    same = np.mean([coverage(normal(1100, 8, 2 * s), normal(1100, 8, 2 * s + 1)) for s in range(4)])
    assert same == pytest.approx(1 - 2**-5, abs=0.01)
    real, generated = normal(200, 2, 0), normal(50, 2, 1)
    once = coverage(real, generated)
    assert coverage(real, generated.repeat(9, 1)) == once < 1
    assert coverage(real, torch.cat([generated, normal(50, 2, 2, 99.0)])) == once


def test_a_kernel_sees_a_difference_of_spread_that_a_line_does_not():
    x, y = normal(400, 16, 0), normal(400, 16, 1, 0.0, 1.6)
    assert classifier_two_sample(x, y)[0] < 0.6 < 0.8 < classifier_two_sample(x, y, kernel=True)[0]
    accuracies = [classifier_two_sample(x[:200], x[200:], seed=s, kernel=True)[0] for s in range(20)]
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.04)


def test_a_classifier_guesses_on_equal_sets_and_knows_on_different_ones():
    p_values = [classifier_two_sample(normal(60, 3, 2 * s), normal(60, 3, 2 * s + 1), seed=s)[1] for s in range(60)]
    assert np.mean(np.array(p_values) < 0.05) < 0.15
    accuracy, p = classifier_two_sample(normal(200, 3, 0), normal(200, 3, 1, 2.0))
    assert accuracy > 0.9 and p < 1e-10


@pytest.mark.parametrize(("options", "seed"), [({}, 0), ({"seed": 5}, 5)])
def test_the_classifier_by_default_is_logistic_regression_on_standardised_halves(options, seed):
    scale = torch.tensor([1e-3, 1.0, 1e3])
    x, y = normal(50, 3, 0) * scale, normal(50, 3, 1, 0.5) * scale
    generator, train, test = torch.Generator().manual_seed(seed), [], []
    for points in (x, y):
        order = torch.randperm(50, generator=generator)
        train.append(points[order[:25]].double().numpy())
        test.append(points[order[25:]].double().numpy())
    sides = np.repeat([0, 1], 25)
    standard = StandardScaler().fit(np.concatenate(train))
    model = LogisticRegression().fit(standard.transform(np.concatenate(train)), sides)
    right = int((model.predict(standard.transform(np.concatenate(test))) == sides).sum())
    accuracy, p = classifier_two_sample(x, y, **options)
    assert accuracy == right / 50
    assert p == pytest.approx(stats.binomtest(right, 50, 0.5, alternative="greater").pvalue)


def test_the_classifier_is_judged_on_points_it_has_not_seen(monkeypatch):
    class Memory:
        """Knows every training point by heart, and answers 0 to any other."""

        def fit(self, points, labels):
            self.known = {tuple(point): label for point, label in zip(points, labels, strict=True)}
            self.size = len(points)
            return self

        def predict(self, points):
            return np.array([self.known.get(tuple(point), 0) for point in points])

    memory = Memory()
    monkeypatch.setattr(samples, "make_pipeline", lambda *steps: memory)
    accuracy, p = classifier_two_sample(normal(31, 2, 0), normal(31, 2, 1))
    assert accuracy == 0.5 and p > 0.5 and memory.size == 32


# --------------------------------------------------------------------------------------------- bad input


EVERY = {
    "mmd": mmd,
    "mmd_test": mmd_test,
    "frechet_distance": frechet_distance,
    "precision_recall": lambda x, y: precision_recall(x, y, k=1),
    "coverage": lambda x, y: coverage(x, y, k=1),
    "classifier_two_sample": classifier_two_sample,
    "parzen_log_likelihood": lambda x, y: parzen_log_likelihood(x, y, 0.2),
    "select_bandwidth": lambda x, y: select_bandwidth(x, y, [0.2]),
}


@pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY)
def test_every_metric_names_what_is_no_tensor(metric):
    good = normal(6, 3, 0)
    for other in (good.numpy(), Split(good, good[:, 0])):
        for sets in ((good, other), (other, good)):
            with pytest.raises(ValueError, match=f"is a {type(other).__name__}; give a tensor"):
                metric(*sets)


def test_a_kernel_that_does_not_fit_into_memory_is_refused(monkeypatch):
    free = SimpleNamespace(available=32 * 12**2)
    monkeypatch.setattr(samples.psutil, "virtual_memory", lambda: free)
    assert math.isfinite(mmd(normal(6, 3, 0), normal(6, 3, 1)))
    with pytest.raises(ValueError, match="13 points need .* GB, .* are free: give fewer"):
        mmd(normal(6, 3, 0), normal(7, 3, 1))


@pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY)
def test_every_metric_refuses_what_it_cannot_compare(metric):
    good = normal(6, 3, 0)
    with pytest.raises(ValueError, match="different dimension: 3 and 4"):
        metric(good, normal(6, 4, 1))
    for value in (math.nan, math.inf):
        bad = good.clone()
        bad[4, 1] = value
        for sets in ((bad, good), (good, bad)):
            with pytest.raises(ValueError, match="not finite, first in row 4"):
                metric(*sets)
    with pytest.raises(ValueError, match="has 1 points; at least"):
        metric(good[:1], good)
    with pytest.raises(ValueError, match="has 0 points; at least"):
        metric(good, good[:0])


def test_sets_of_other_sizes_and_types():
    with pytest.raises(ValueError, match="6 points against 5"):
        classifier_two_sample(normal(6, 2, 0), normal(5, 2, 1))
    with pytest.raises(ValueError, match="real has 3 points; at least 4"):
        precision_recall(normal(3, 2, 0), normal(6, 2, 0))
    with pytest.raises(ValueError, match="y has 3 points; at least 4"):
        classifier_two_sample(normal(4, 2, 0), normal(3, 2, 1))
    with pytest.raises(ValueError, match="k = 0"):
        precision_recall(normal(6, 2, 0), normal(6, 2, 0), k=0)
    with pytest.raises(ValueError, match="k = 0"):
        coverage(normal(6, 2, 0), normal(6, 2, 0), k=0)
    bytes_, floats = torch.randint(0, 255, (9, 1, 4, 4), dtype=torch.uint8), torch.rand(8, 1, 4, 4)
    for metric in (mmd, frechet_distance, precision_recall, coverage, classifier_two_sample):
        with pytest.raises(ValueError, match=r"is torch.uint8 and \w+ is torch.float32: divide bytes"):
            metric(bytes_, floats)
    assert frechet_distance(bytes_, bytes_ + 0) == 0 and math.isfinite(mmd(bytes_, bytes_.flip(0)))
    assert mmd(torch.arange(5.0), torch.arange(5.0) + 0.5) == mmd(
        torch.arange(5.0)[:, None], torch.arange(5.0)[:, None] + 0.5
    )
