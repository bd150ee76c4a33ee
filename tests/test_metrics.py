import math

import numpy as np
import pytest
import skimage.metrics
import torch
from sklearn.linear_model import LogisticRegression

from course_utils.metrics import (
    draw_per_class,
    principal_angles,
    probe_accuracy,
    psnr,
    relative_error,
    squared_error,
    ssim,
    two_nn_dimension,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _tensor(array):
    return torch.tensor(array, dtype=torch.float32)


def test_squared_error_is_the_loop_over_pixels(rng):
    x, x_hat = rng.random((5, 1, 3, 4)), rng.random((5, 1, 3, 4))
    slow = [sum((a - b) ** 2 for a, b in zip(u.flat, v.flat, strict=True)) for u, v in zip(x, x_hat, strict=True)]
    np.testing.assert_allclose(squared_error(_tensor(x), _tensor(x_hat)), slow, rtol=1e-5)


def test_squared_error_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"x_hat has shape \(1, 4\), expected \(3, 4\)"):
        squared_error(torch.zeros(3, 4), torch.zeros(1, 4))


@pytest.mark.parametrize("metric", [squared_error, psnr, ssim, relative_error])
def test_bytes_are_refused_for_their_differences_wrap_around(metric):
    x = torch.randint(0, 255, (2, 1, 12, 12), dtype=torch.uint8)
    for pair in [(x, x.float()), (x.float(), x), (x, x.flip(0))]:
        with pytest.raises(ValueError, match="images of torch.uint8: give a tensor of floats"):
            metric(*pair)
    with pytest.raises(ValueError, match="images of ndarray: give a tensor"):
        metric(x.float().numpy(), x.float().numpy())


def test_relative_error_is_one_for_the_mean_and_zero_for_the_truth(rng):
    x = _tensor(rng.random((20, 1, 4, 4)))
    assert relative_error(x, x.mean(0).expand_as(x)) == pytest.approx(1)
    assert relative_error(x, x) == 0
    assert relative_error(x, 0.5 * (x + x.mean(0))) == pytest.approx(0.25, rel=1e-5)
    assert relative_error(3 * x + 1, 3 * (x + 0.1) + 1) == pytest.approx(relative_error(x, x + 0.1), rel=1e-4)


def test_relative_error_with_the_mean_of_other_data(rng):
    x, mean = _tensor(rng.random((20, 6))), torch.zeros(6)
    assert relative_error(x, torch.zeros_like(x), mean) == pytest.approx(1)


def test_relative_error_of_constant_images_is_refused():
    with pytest.raises(ValueError, match="equals the mean"):
        relative_error(torch.ones(3, 4), torch.zeros(3, 4))


@pytest.mark.parametrize("degrees", [0.0, 3.0, 30.0, 90.0])
def test_the_angle_of_a_known_rotation_is_found(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first = torch.eye(4)[:, :2].double()
    second = torch.tensor([[1, 0], [0, c], [0, s], [0, 0]], dtype=torch.float64)
    np.testing.assert_allclose(principal_angles(first, second), [degrees, 0], atol=1e-6)


def test_angles_belong_to_the_subspaces_not_to_their_bases(rng):
    first, second = _tensor(rng.normal(size=(10, 3))), _tensor(rng.normal(size=(10, 4)))
    mixed = first @ _tensor(rng.normal(size=(3, 3)))
    angles = principal_angles(first, second)
    assert len(angles) == 3 and (np.diff(angles) <= 0).all()
    np.testing.assert_allclose(principal_angles(mixed, second), angles, atol=1e-3)
    np.testing.assert_allclose(principal_angles(second, first), angles, atol=1e-3)


def test_subspaces_of_different_spaces_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(5, 2\)"):
        principal_angles(torch.zeros(4, 2), torch.zeros(5, 2))


def _slow_two_nn(points: np.ndarray, discard: float) -> float:
    ratios = []
    for k, point in enumerate(points):
        distances = np.sort([np.linalg.norm(point - other) for j, other in enumerate(points) if j != k])
        ratios.append(distances[1] / distances[0])
    x = np.log(np.sort(ratios))
    y = -np.log(np.maximum(1 - np.arange(1, len(x) + 1) / len(x), 1e-12))  # of the last F is 1
    keep = int(len(x) * (1 - discard))
    return float(x[:keep] @ y[:keep] / (x[:keep] @ x[:keep]))


def test_two_nn_is_its_slow_twin(rng):
    points = rng.normal(size=(150, 3)).astype(np.float32)
    expected = _slow_two_nn(points, 0.1)
    assert two_nn_dimension(torch.tensor(points)) == pytest.approx(expected, rel=1e-5)


def test_ten_different_points_are_enough_for_two_nn(rng):
    points = _tensor(rng.normal(size=(10, 2)))
    assert two_nn_dimension(points) > 0
    with pytest.raises(ValueError, match="only 9 different points"):
        two_nn_dimension(points[:9])


@pytest.mark.parametrize(("dimension", "low", "high"), [(2, 1.85, 2.15), (10, 8.5, 10.5)])
def test_two_nn_finds_the_dimension_of_a_gaussian_inside_a_larger_space(rng, dimension, low, high):
    basis, _ = np.linalg.qr(rng.normal(size=(30, dimension)))
    points = _tensor(rng.normal(size=(3000, dimension)) @ basis.T)
    estimate = two_nn_dimension(points)
    assert low < estimate < high
    assert two_nn_dimension(7 * points) == pytest.approx(estimate, rel=1e-3)


def test_two_nn_ignores_duplicates_and_order(rng):
    points = _tensor(rng.normal(size=(200, 4)))
    twice = torch.cat([points, points])[torch.randperm(400)]
    assert two_nn_dimension(twice) == pytest.approx(two_nn_dimension(points), rel=1e-6)


def test_two_nn_refuses_what_it_cannot_judge():
    with pytest.raises(ValueError, match="only 1 different points"):
        two_nn_dimension(torch.ones(50, 2))


def test_a_draw_has_as_many_of_every_class():
    labels = torch.tensor([0] * 50 + [3] * 20 + [7] * 5)[torch.randperm(75)]
    index = draw_per_class(labels, 5, seed=1)
    assert labels[index].unique(return_counts=True)[1].tolist() == [5, 5, 5]
    assert len(index.unique()) == 15
    assert torch.equal(index, draw_per_class(labels, 5, seed=1))
    assert not torch.equal(index, draw_per_class(labels, 5, seed=2))


def test_a_draw_is_the_same_with_every_version():
    """Results of chapters hang on it: each class in turn is shuffled by one generator."""
    labels, generator = torch.arange(30) % 2, torch.Generator().manual_seed(4)
    shuffled = [torch.arange(label, 30, 2)[torch.randperm(15, generator=generator)] for label in (0, 1)]
    assert torch.equal(draw_per_class(labels, 3, seed=4), torch.cat([members[:3] for members in shuffled]))


@pytest.mark.parametrize(("per_class", "message"), [(6, "class 1 has 5 examples, 6"), (0, "per_class = 0")])
def test_an_impossible_draw_is_refused(per_class, message):
    with pytest.raises(ValueError, match=message):
        draw_per_class(torch.tensor([0] * 9 + [1] * 5), per_class, seed=0)


def _clouds(rng, distance: float, n: int = 60):
    labels = np.arange(n) % 3
    centres = distance * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return _tensor(rng.normal(size=(n, 3)) + centres[labels]), torch.tensor(labels)


def test_a_probe_separates_what_is_separable_and_guesses_what_is_not(rng):
    apart, together = _clouds(rng, 30.0), _clouds(rng, 0.0, n=600)
    assert probe_accuracy(*apart, *_clouds(rng, 30.0), per_class=5, seeds=range(3)).tolist() == [1, 1, 1]
    assert probe_accuracy(*together, *_clouds(rng, 0.0, n=600), per_class=None)[0] == pytest.approx(1 / 3, abs=0.08)


def test_a_probe_does_not_see_scale_shift_or_rotation_of_the_codes(rng):
    (train, y), (test, y_test) = _clouds(rng, 1.5), _clouds(rng, 1.5, n=90)
    rotation = _tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    plain = probe_accuracy(train, y, test, y_test, per_class=10, seeds=range(4))
    moved = [100 * codes @ rotation + 5 for codes in (train, test)]
    moved = probe_accuracy(moved[0], y, moved[1], y_test, per_class=10, seeds=range(4))
    np.testing.assert_allclose(moved, plain, atol=0.012)  # one of the 90 may lie on the boundary
    assert plain.shape == (4,) and 0.4 < plain.mean() < 1


def test_all_labels_are_at_least_as_good_as_few(rng):
    train, test = _clouds(rng, 1.5, n=600), _clouds(rng, 1.5, n=600)
    few = probe_accuracy(*train, *test, per_class=1, seeds=range(5)).mean()
    assert probe_accuracy(*train, *test, per_class=None)[0] > few


def _slow_probe(train, y, test, y_test, index, C):
    """The probe in NumPy: codes centred and divided by one number, then scikit-learn."""
    train, test = train.double().numpy(), test.double().numpy()
    mean = train.mean(0)
    scale = math.sqrt(((train - mean) ** 2).sum(1).mean())
    probe = LogisticRegression(C=C, max_iter=2000).fit((train[index] - mean) / scale, y.numpy()[index])
    return probe.score((test - mean) / scale, y_test.numpy())


@pytest.mark.parametrize(
    ("options", "C", "draws"),
    [
        ({"per_class": 20}, 1.0, [(20, 0)]),
        ({"per_class": 20, "C": 10.0}, 10.0, [(20, 0)]),
        ({"per_class": 20, "C": 1e-3}, 1e-3, [(20, 0)]),
        ({"per_class": 4}, 1.0, [(4, 0)]),
        ({"per_class": 4, "seeds": (0, 3, 8)}, 1.0, [(4, 0), (4, 3), (4, 8)]),
        ({"per_class": None}, 1.0, [None]),
    ],
)
def test_every_option_of_a_probe_does_what_it_says_and_has_the_default_of_the_chapters(rng, options, C, draws):
    """The codes are long in one direction that says nothing, so that the strength of the regularisation shows."""
    stretch = torch.tensor([1.0, 1.0, 30.0])
    (train, y), (test, y_test) = (_clouds(rng, 1.5, n=900) for _ in range(2))
    train, test = train * stretch + 7, test * stretch + 7
    parts = [slice(None) if draw is None else draw_per_class(y, *draw).numpy() for draw in draws]
    expected = [_slow_probe(train, y, test, y_test, part, C) for part in parts]
    values = probe_accuracy(train, y, test, y_test, **options)
    np.testing.assert_allclose(values, expected, atol=1.5 / 900)  # a point on the boundary may fall to either side
    others = [_slow_probe(train, y, test, y_test, parts[0], other) for other in (C / 10, 10 * C)]
    assert all(abs(other - values[0]) > 4 / 900 for other in others)  # C is seen by this data


def test_codes_and_labels_of_different_length_are_refused():
    codes, labels = torch.zeros(4, 2), torch.zeros(4)
    with pytest.raises(ValueError, match="4 training codes with 3 labels"):
        probe_accuracy(codes, labels[:3], codes, labels, per_class=None)
    with pytest.raises(ValueError, match="4 test codes with 3"):
        probe_accuracy(codes, labels, codes, labels[:3], per_class=None)
    with pytest.raises(ValueError, match=r"labels \(4, 1\) and \(4,\); give labels \(N,\)"):
        probe_accuracy(codes, labels[:, None], codes, labels, per_class=None)


def test_a_baseline_of_another_shape_and_codes_all_alike_are_refused():
    x = torch.rand(4, 3)
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        relative_error(x, x, mean=torch.zeros(2))
    labels = torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="all alike"):
        probe_accuracy(torch.ones(4, 2), labels, torch.ones(4, 2), labels, per_class=1)


# ---------------------------------------------------------------------------------------- similarity


def test_psnr_and_ssim_are_those_of_scikit_image_picture_by_picture(rng):
    x = rng.random((4, 3, 16, 20))
    x_hat = (x + 0.1 * rng.standard_normal(x.shape)).clip(0, 1)
    slow_psnr = [skimage.metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(x, x_hat, strict=True)]
    np.testing.assert_allclose(psnr(_tensor(x), _tensor(x_hat)), slow_psnr, rtol=1e-5)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    slow_ssim = [
        np.mean([skimage.metrics.structural_similarity(p, q, **wang) for p, q in zip(a, b, strict=True)])
        for a, b in zip(x, x_hat, strict=True)
    ]
    np.testing.assert_allclose(ssim(_tensor(x), _tensor(x_hat)), slow_ssim, rtol=1e-5)


def test_ssim_is_the_formula_of_wang_in_the_middle_of_a_window(rng):
    """One window of 11 × 11 has one inner value: the formula by hand, with its Gaussian weights."""
    x, y = rng.random((11, 11)), rng.random((11, 11))
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w = np.outer(line, line) / line.sum() ** 2
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, cov = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
    by_hand = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(_tensor(x)[None, None], _tensor(y)[None, None]).item() == pytest.approx(by_hand, rel=1e-4)


def test_psnr_loses_ten_decibels_for_ten_times_the_squared_error(rng):
    x, step = _tensor(rng.random((3, 1, 5, 5))), _tensor(rng.random((3, 1, 5, 5)))
    loss = psnr(x, x + 0.01 * step) - psnr(x, x + 0.01 * 10**0.5 * step)
    torch.testing.assert_close(loss, torch.full((3,), 10.0), rtol=1e-3, atol=0)


def test_eleven_pixels_are_enough_for_ssim(rng):
    x = _tensor(rng.random((1, 1, 11, 12)))
    assert ssim(x, x).dtype == torch.float32 and ssim(x, x.transpose(2, 3).transpose(2, 3)).tolist() == [1]


def test_identical_images_have_no_noise_and_full_similarity(rng):
    x = _tensor(rng.random((2, 1, 12, 12)))
    assert psnr(x, x).tolist() == [math.inf, math.inf] and ssim(x, x).tolist() == [1, 1]
    assert (ssim(x, 1 - x) < 0).all()


def test_similarity_refuses_what_it_cannot_compare():
    a, b = torch.rand(3, 1, 12, 12), torch.rand(1, 1, 12, 12)
    with pytest.raises(ValueError, match=r"x_hat has shape \(1, 1, 12, 12\), expected \(3, 1, 12, 12\)"):
        psnr(a, b)
    with pytest.raises(ValueError, match=r"x \(3, 1, 12, 12\) and x_hat \(1, 1, 12, 12\)"):
        ssim(a, b)
    with pytest.raises(ValueError, match=r"\(12, 12\)"):
        ssim(a[0, 0], a[0, 0])
    with pytest.raises(ValueError, match="images of 10 × 12 pixels"):
        ssim(a[..., :10, :], a[..., :10, :])
