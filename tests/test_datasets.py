import os

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import datasets
from course_utils.datasets import DataSetMissing, Split, load, stratified


def _pixels(splits) -> torch.Tensor:
    """All images as rows, in an order that does not depend on the split."""
    rows = torch.cat([splits.train.images, splits.valid.images, splits.test.images]).flatten(1).numpy()
    return torch.tensor(rows[np.lexsort(rows.T)])


# ------------------------------------------------------------------------------------- embedded digits


def test_mnist_5k_has_its_sizes_and_every_class_alike(capsys):
    splits = load("mnist-5k")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [4000, 500, 500]
    for split in (splits.train, splits.valid, splits.test):
        assert split.images.shape[1:] == (1, 28, 28) and split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert torch.bincount(split.labels).tolist() == [len(split) // 10] * 10
    assert splits.classes == tuple("0123456789")
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)
    printed = capsys.readouterr().out
    assert printed == "data: mnist-5k · 4,000 train, 500 valid, 500 test · 1×28×28, 10 classes\n"


def test_the_split_depends_on_the_seed_alone():
    first, again, other = load("mnist-5k"), load("mnist-5k"), load("mnist-5k", seed=1)
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.images, other.train.images)
    assert torch.equal(_pixels(first), _pixels(other))  # the same digits, dealt otherwise


def test_the_second_load_comes_from_the_cache(empty_data, monkeypatch):
    reads = []
    images, labels = np.zeros((100, 4, 4), np.uint8), np.arange(100) % 10
    monkeypatch.setattr(datasets, "_read_mnist_5k", lambda: (reads.append(1), (images, labels))[1])
    first = load("mnist-5k")
    second = load("mnist-5k")
    assert len(reads) == 1
    assert torch.equal(first.test.labels, second.test.labels)
    assert os.listdir(empty_data / "cache") == ["mnist-5k.npz"]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a zip", lambda b: b[:60] + b"\0" * 40 + b[100:]],
)
def test_a_damaged_cache_is_read_anew_and_mended(empty_data, monkeypatch, damage):
    reads = []
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (100, 8, 8)).astype(np.uint8), np.arange(100) % 10
    monkeypatch.setattr(datasets, "_read_mnist_5k", lambda: (reads.append(1), (images, labels))[1])
    whole = load("mnist-5k")
    path = empty_data / "cache" / "mnist-5k.npz"
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(load("mnist-5k").train.images, whole.train.images)
    load("mnist-5k")
    assert len(reads) == 2


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "file"))
    images, labels = np.zeros((100, 4, 4), np.uint8), np.arange(100) % 10
    monkeypatch.setattr(datasets, "_read_mnist_5k", lambda: (images, labels))
    assert len(load("mnist-5k").train) == 80
    assert "not cached" in capsys.readouterr().out


# ------------------------------------------------------------------------------------- split by class


def test_shares_are_disjoint_and_of_every_class():
    labels = torch.tensor([0] * 100 + [1] * 40 + [5] * 10)[torch.randperm(150)]
    parts = stratified(labels, (0.5, 0.3, 0.2), seed=3)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(150))
    assert [torch.bincount(labels[p]).tolist() for p in parts] == [
        [50, 20, 0, 0, 0, 5], [30, 12, 0, 0, 0, 3], [20, 8, 0, 0, 0, 2],
    ]  # fmt: skip
    assert [len(p) for p in stratified(labels, (0.1, 0.1), seed=3)] == [15, 15]


def test_shares_are_disjoint_for_every_size_of_classes():
    rng = np.random.default_rng(0)
    for sizes in (
        [29, 3, 13],
        *(rng.integers(1, 30, rng.integers(2, 12)) for _ in range(200)),
    ):  # the first once failed
        labels = torch.tensor(np.repeat(np.arange(len(sizes)), sizes))
        parts = stratified(labels, (0.8, 0.1, 0.1), seed=0)
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
        assert len(parts[0]) == pytest.approx(0.8 * len(labels), abs=1)
        for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
            counts = torch.bincount(labels[part], minlength=len(sizes)).numpy()
            assert (abs(counts - share * np.asarray(sizes)) < 2).all()


@pytest.mark.parametrize("shares", [(0.9, 0.2), (1.1, -0.1)])
def test_impossible_shares_are_named(shares):
    with pytest.raises(ValueError, match=str(shares[0])):
        stratified(torch.zeros(10), shares, seed=0)


def test_a_split_can_be_cut_and_flattened():
    split = Split(torch.tensor([[[[0, 255]]], [[[51, 0]]]], dtype=torch.uint8), torch.tensor([3, 4]))
    assert torch.equal(split.flat(), torch.tensor([[0, 1.0], [0.2, 0]]))
    assert split[1:].labels.tolist() == [4] and len(split[split.labels == 3]) == 1


# -------------------------------------------------------------------------------------- arrays of one's own


def _npz(path, images, labels, **more):
    np.savez(path, images=images, labels=labels, **more)
    return path


@pytest.mark.parametrize("shape", [(40, 6, 5), (40, 6, 5, 3), (40, 3, 6, 5), (40, 6, 5, 1)])
def test_npz_of_every_layout(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    splits = load(_npz(tmp_path / "mine.npz", images, np.arange(40) % 4))
    assert splits.name == "mine" and splits.classes == ("0", "1", "2", "3")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [32, 4, 4]
    channels = 3 if 3 in shape else 1
    assert splits.train.images.shape[1:] == (channels, 6, 5) and splits.train.images.is_contiguous()
    expected = images.transpose(0, 3, 1, 2) if shape[-1] in (1, 3) else images.reshape(40, channels, 6, 5)
    rows = expected.reshape(40, -1)
    assert torch.equal(_pixels(splits), torch.tensor(rows[np.lexsort(rows.T)]))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 2, 2), np.float32), np.arange(4), "float32"),
        (np.zeros((4, 2, 2, 7), np.uint8), np.arange(4), r"\(4, 2, 2, 7\)"),
        (np.zeros((4, 2, 2), np.uint8), np.arange(3), "4 images but 3 labels"),
        (np.zeros((4, 2, 2), np.uint8), np.array(list("abcd")), "labels <U1"),
        (np.zeros((4, 2, 2), np.uint8), np.arange(4) / 2, "labels float64"),
        (np.zeros((4, 2, 2), np.uint8), np.zeros((4, 10), int), r"\(4, 10\)"),
    ],
)
def test_npz_that_does_not_hold_what_it_should_is_refused(tmp_path, images, labels, message):
    with pytest.raises(ValueError, match=message):
        load(_npz(tmp_path / "mine.npz", images, labels))


def test_npz_with_other_names_damaged_or_with_objects_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"mine.npz holds \['x'\]; it needs"):
        load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="mine.npz is not an .npz file of plain arrays, or is damaged"):
        load(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))  # an .npy under the wrong name
    with pytest.raises(ValueError, match="mine.npz is not"):
        load(path)
    np.savez(path, images=np.array([{"code": 1}], dtype=object), labels=np.arange(1))
    with pytest.raises(ValueError, match="mine.npz is not"):
        load(path)


# ------------------------------------------------------------------------------------- folders of pictures


def _folder(path, *, mode="L", sizes=((6, 5),), per_class=10, classes=("cat", "dog")):
    rng = np.random.default_rng(0)
    for k, name in enumerate(classes):
        (path / name).mkdir(parents=True, exist_ok=True)
        for j in range(per_class):
            width, height = sizes[j % len(sizes)]
            shape = (height, width) if mode == "L" else (height, width, 3)
            pixels = rng.integers(100 * k, 100 * k + 50, shape).astype(np.uint8)
            Image.fromarray(pixels).save(path / name / f"{j}.png")
    return path


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_a_folder_with_one_subfolder_per_class(empty_data, tmp_path, mode, channels):
    splits = load(_folder(tmp_path / "pets", mode=mode))
    assert splits.name == "pets" and splits.classes == ("cat", "dog")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [16, 2, 2]
    assert splits.train.images.shape[1:] == (channels, 5, 6)
    dark = splits.train.images.flatten(1).max(1).values < 100
    assert torch.equal(dark, splits.train.labels == 0)


def test_a_flat_folder_is_one_class(empty_data, tmp_path):
    splits = load(_folder(tmp_path / "faces", classes=("",)))
    assert splits.classes == ("all",) and set(splits.train.labels.tolist()) == {0}


def test_mixed_sizes_are_refused_unless_a_size_is_given(empty_data, tmp_path):
    folder = _folder(tmp_path / "pets", sizes=((6, 5), (9, 20)))
    with pytest.raises(ValueError, match=r"1.png has shape \(20, 9\), the pictures before it \(5, 6\); give size="):
        load(folder)
    assert load(folder, size=4).train.images.shape == (16, 1, 4, 4)


def test_grey_pictures_among_coloured_ones_become_coloured(empty_data, tmp_path):
    folder = _folder(tmp_path / "pets", classes=("cat",))
    _folder(folder, classes=("dog",), mode="RGB")
    images = load(folder).train
    assert images.images.shape[1:] == (3, 5, 6)
    cats = images.images[images.labels == 0]
    assert torch.equal(cats[:, 0], cats[:, 1]) and torch.equal(cats[:, 0], cats[:, 2])


def test_the_middle_is_what_a_crop_keeps(empty_data, tmp_path):
    (tmp_path / "wide").mkdir()
    pixels = np.zeros((4, 12), np.uint8)
    pixels[:, 4:8] = 200
    for j in range(10):
        Image.fromarray(pixels).save(tmp_path / "wide" / f"{j}.png")
    assert (load(tmp_path / "wide", size=4).train.images == 200).all()


def test_a_folder_is_cached_until_a_picture_changes(empty_data, tmp_path, monkeypatch):
    folder = _folder(tmp_path / "pets")
    first = load(folder)
    read = datasets._read_pictures
    monkeypatch.setattr(datasets, "_read_pictures", lambda *a: pytest.fail("read again"))
    assert torch.equal(load(folder).train.images, first.train.images)
    monkeypatch.setattr(datasets, "_read_pictures", read)
    Image.fromarray(np.full((5, 6), 255, np.uint8)).save(folder / "cat" / "0.png")
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    assert int(_pixels(load(folder)).max()) == 255


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no pictures.*\.png"):
        load(tmp_path)


# --------------------------------------------------------------------------------------- MNIST on disk


def _idx(path, array):
    header = b"\0\0\x08" + bytes([array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def _small_torchvision(folder):
    rng = np.random.default_rng(0)
    for part, n in (("train", 600), ("t10k", 100)):
        _idx(folder / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28)).astype(np.uint8))
        _idx(folder / f"{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))


def test_the_official_test_part_is_kept(empty_data):
    _small_torchvision(empty_data / "FashionMNIST" / "raw")
    splits, other = load("fashion-mnist"), load("fashion-mnist", seed=1)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [500, 100, 100]
    assert torch.equal(splits.test.images, other.test.images)
    assert not torch.equal(splits.valid.images, other.valid.images)
    assert torch.bincount(splits.valid.labels).tolist() == [10] * 10
    assert splits.classes[0] == "T-shirt/top"
    assert "70,000 images" in datasets.present()["fashion-mnist"]


@pytest.mark.parametrize("gone", ["t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_half_a_data_set_is_missing(empty_data, gone):
    raw = empty_data / "MNIST" / "raw"
    _small_torchvision(raw)
    (raw / gone).unlink()
    assert datasets.present()["mnist"] == "missing"
    with pytest.raises(DataSetMissing):
        load("mnist")


def test_a_missing_data_set_names_three_ways_out(empty_data):
    with pytest.raises(DataSetMissing) as error:
        load("mnist")
    for way in ("course data fetch mnist", "course data import FOLDER", "load('mnist-5k')"):
        assert way in str(error.value)
    with pytest.raises(DataSetMissing, match=r"'nowhere/file.npz'.*check the path"):
        load("nowhere/file.npz")
    with pytest.raises(DataSetMissing, match="'nowhere/folder'"):
        load("nowhere/folder")
    assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize(("name", "near"), [("mnist5k", "mnist-5k"), ("MNIST", None), ("fashion", "fashion-mnist")])
def test_an_unknown_name_names_the_nearest(name, near):
    with pytest.raises(ValueError, match=rf"unknown data set '{name}'") as error:
        load(name)
    assert (f"did you mean '{near}'?" in str(error.value)) == (near is not None)
    assert "mnist-5k, mnist, fashion-mnist" in str(error.value)


def test_the_folder_of_the_data_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert datasets.data_dir() == tmp_path
    monkeypatch.delenv("COURSE_DATA")
    assert datasets.data_dir().name == "data"


def test_the_real_mnist(real_mnist):
    splits = load("mnist")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [50_000, 10_000, 10_000]
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert torch.bincount(splits.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    both = torch.bincount(splits.train.labels) + torch.bincount(splits.valid.labels)
    assert both.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (torch.bincount(splits.valid.labels) - both / 6).abs().max() <= 1
    assert float(splits.train.flat().mean()) == pytest.approx(0.1307, abs=5e-4)
