import io
import os
import re
import zipfile

import numpy as np
import pytest
import torch
import torchvision.datasets
from helpers.processes import posix
from helpers.svhn import write_svhn
from PIL import Image

from course_utils import datasets, pictures, street_digits
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


def _in_one_order(part):
    """Images and labels as rows (N, 1 + pixels) in the order of their values: equal for equal sets."""
    rows = torch.cat([part.labels[:, None], part.images.flatten(1).long()], dim=1).numpy()
    return torch.as_tensor(rows[np.lexsort(rows.T[::-1])])


# ------------------------------------------------------------------------------------- the order within a part


def _worst(labels):
    """Largest distance of a class's count in any prefix (N,) from its share of the whole."""
    counts = torch.nn.functional.one_hot(labels).cumsum(0).double()
    return (counts - torch.arange(1, len(labels) + 1)[:, None] * counts[-1] / len(labels)).abs().max().item()


def _parts_of(name, empty_data, tmp_path):
    if name == "fashion-mnist":
        _small_torchvision(empty_data / "FashionMNIST" / "raw")
    if name == "file":
        labels = np.repeat(np.arange(3), [600, 300, 100])
        name = _npz(tmp_path / "sorted.npz", np.zeros((1000, 2, 2), np.uint8), labels)
    splits = load(name)
    return splits.train, splits.valid, splits.test


@pytest.mark.parametrize("name", ["mnist-5k", "street-digits", "fashion-mnist", "svhn", "svhn-extra", "file"])
def test_every_slice_of_every_part_holds_all_classes_in_their_shares(name, empty_data, few_drawn, svhn_files, tmp_path):
    if name.startswith("svhn"):
        svhn_files(empty_data / "SVHN")
    for part in _parts_of(name, empty_data, tmp_path):
        assert _worst(part.labels) < 2, "of a prefix, hence less than 4 of any slice"


def test_classes_of_one_size_take_turns_in_an_order_that_does_not_repeat():
    labels = load("mnist-5k").train.labels.reshape(400, 10)
    assert torch.equal(labels.sort(dim=1).values, torch.arange(10).expand(400, 10))
    assert labels.unique(dim=0).shape[0] > 390
    assert 0.05 < (labels[1:] == labels[:-1]).double().mean() < 0.15, "picture i + 10 tells nothing of picture i"


def test_the_order_depends_on_the_seed_and_also_mixes_the_members_of_a_class():
    labels = torch.arange(5).repeat_interleave(torch.tensor([40, 1, 7, 20, 32]))
    order, again, other = (datasets.balanced_order(labels, seed) for seed in (3, 3, 4))
    assert torch.equal(order, again) and not torch.equal(order, other)
    assert torch.equal(order.sort().values, torch.arange(100))
    members = order[labels[order] == 0]
    assert not torch.equal(members, members.sort().values)
    assert datasets.balanced_order(labels[:0], 0).tolist() == []


def test_the_second_load_comes_from_the_cache(empty_data, monkeypatch):
    reads = []
    images, labels = np.zeros((100, 4, 4), np.uint8), np.arange(100) % 10
    monkeypatch.setattr(datasets, "_read_mnist_5k", lambda: (reads.append(1), (images, labels))[1])
    first = load("mnist-5k")
    second = load("mnist-5k")
    assert len(reads) == 1
    assert torch.equal(first.test.labels, second.test.labels)
    assert [path.name for path in (empty_data / "cache").iterdir()] == ["mnist-5k.npz"]


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


def test_the_seed_of_a_load_is_0_if_none_is_given():
    assert torch.equal(load("mnist-5k").train.images, load("mnist-5k", seed=0).train.images)


# ------------------------------------------------------------------------------------- split by class


def test_shares_are_disjoint_and_of_every_class():
    labels = torch.tensor([0] * 100 + [1] * 40 + [5] * 10)[torch.randperm(150)]
    parts = stratified(labels, (0.5, 0.3, 0.2), seed=3)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(150))
    counts = [torch.bincount(labels[p]).tolist() for p in parts]
    assert counts == [[50, 20, 0, 0, 0, 5], [30, 12, 0, 0, 0, 3], [20, 8, 0, 0, 0, 2]]
    assert [len(p) for p in stratified(labels, (0.1, 0.1), seed=3)] == [15, 15]


def test_shares_are_disjoint_for_every_size_of_classes():
    rng = np.random.default_rng(0)
    others = (rng.integers(1, 30, rng.integers(2, 12)) for _ in range(200))
    for sizes in ([29, 3, 13], *others):  # the first once failed
        labels = torch.tensor(np.repeat(np.arange(len(sizes)), sizes))
        parts = stratified(labels, (0.8, 0.1, 0.1), seed=0)
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
        assert len(parts[0]) == pytest.approx(0.8 * len(labels), abs=1)
        for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
            counts = torch.bincount(labels[part], minlength=len(sizes)).numpy()
            assert (abs(counts - share * np.asarray(sizes)) < 2).all()


def test_the_seed_decides_which_examples_are_drawn_not_how_many():
    labels = torch.arange(60) % 3
    first, again, other = (stratified(labels, (0.5, 0.5), seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and len(first) == len(other)
    twin = torch.Generator().manual_seed(1)
    drawn = [torch.arange(label, 60, 3)[torch.randperm(20, generator=twin)[:10]] for label in range(3)]
    assert torch.equal(first, torch.cat(drawn).sort().values)


@pytest.mark.parametrize("shares", [(0.9, 0.2), (1.1, -0.1)])
def test_impossible_shares_are_named(shares):
    with pytest.raises(ValueError, match=str(shares[0])):
        stratified(torch.zeros(10), shares, seed=0)


def test_a_split_can_be_cut_and_flattened():
    split = Split(torch.tensor([[[[0, 255]]], [[[51, 0]]]], dtype=torch.uint8), torch.tensor([3, 4]))
    assert torch.equal(split.flat(), torch.tensor([[0, 1.0], [0.2, 0]]))
    assert split[1:].labels.tolist() == [4] and len(split[split.labels == 3]) == 1


def test_a_split_gives_single_images_with_their_labels_as_a_dataset_does():
    split = Split(torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2), torch.tensor([3, 4, 5]))
    pairs = list(split)
    assert [int(y) for _, y in pairs] == [3, 4, 5] and torch.equal(pairs[2][0], split.images[2])
    x, y = next(iter(torch.utils.data.DataLoader(split, batch_size=2)))
    assert torch.equal(x, split.images[:2]) and y.tolist() == [3, 4] and split[np.int64(1)][1] == 4
    assert torch.utils.data.Subset(split, [2])[0][1] == 5


@pytest.mark.parametrize("name", ["mnist-5k", "nowhere.npz"])
def test_a_size_is_for_folders_and_a_seed_is_a_whole_number(name):
    with pytest.raises(ValueError, match=f"size = 14 is for folders of pictures; leave it out for '{name}'"):
        load(name, size=14)
    with pytest.raises(ValueError, match="seed = 1.5; give a whole number from 0"):
        load(name, seed=1.5)


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
        (np.zeros((4, 2), np.uint8), np.arange(4), r"\(4, 2\); give \(N, H, W\)"),
        (np.zeros((0, 2, 2), np.uint8), np.arange(0), r"\(0, 2, 2\).*none of them 0"),
        (np.zeros((4, 2, 2)), np.arange(4), r"float64; give uint8.*\(255 \* images\)"),
        (np.zeros((4, 2, 2), np.int64), np.arange(4), r"int64; give uint8 in 0 … 255$"),
        (np.zeros((4, 2, 2), np.uint8), np.array([0, 1, -1, -2]), r"label -1 \(picture 2\); number the classes 0, 1"),
        (np.zeros((4, 2, 2), np.uint8), np.array([0, 2**40, 1, 1]), r"label 1099511627776 \(picture 1\)"),
        (np.zeros((4, 2, 2), np.uint8), np.array([0, 2**64 - 1, 1, 1], np.uint64), r"label 18446744073709551615 "),
    ],
)
def test_npz_that_does_not_hold_what_it_should_is_refused(tmp_path, images, labels, message):
    with pytest.raises(ValueError, match=f"mine.npz holds .*{message}"):
        load(_npz(tmp_path / "mine.npz", images, labels))


def test_npz_with_labels_of_another_byte_order_and_in_the_home_folder(tmp_path, monkeypatch):
    images, labels = np.zeros((40, 2, 2), np.uint8), np.arange(40) % 4
    _npz(tmp_path / "mine.npz", images, labels.astype(">i4"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # what Windows asks
    assert torch.bincount(load("~/mine.npz").train.labels).tolist() == [8] * 4


def test_npz_whose_header_promises_more_than_there_is_memory(tmp_path):
    header = io.BytesIO()
    form = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**4, 10**4)}
    np.lib.format.write_array_header_1_0(header, form)
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as file:
        file.writestr("images.npy", header.getvalue() + b"too short")
    with pytest.raises(ValueError, match=r"mine\.npz is not an .npz file of plain arrays, or is damaged"):
        load(tmp_path / "mine.npz")


def test_npz_with_other_names_damaged_or_with_objects_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"mine.npz holds \['x'\]; it needs"):
        load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"mine\.npz is not an .npz file of plain arrays, or is damaged"):
        load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))  # an .npy under the wrong name
    with pytest.raises(ValueError, match=r"mine\.npz is not"):
        load(path)
    np.savez(path, images=np.array([{"code": 1}], dtype=object), labels=np.arange(1))
    with pytest.raises(ValueError, match=r"mine\.npz is not"):
        load(path)


# ------------------------------------------------------------------------------------- split in order


@pytest.mark.parametrize(("test_from", "sizes"), [(79, [72, 7, 21]), (10, [9, 1, 90]), (99, [90, 9, 1])])
def test_test_from_cuts_in_order_whatever_the_seed(tmp_path, capsys, test_from, sizes):
    images = np.arange(100, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    path = _npz(tmp_path / "film.npz", images, np.arange(100) % 4)
    splits, other = load(path, test_from=test_from), load(path, test_from=test_from, seed=1)
    parts = (splits.train, splits.valid, splits.test)
    assert [len(part) for part in parts] == sizes
    assert [sorted(part.images[:, 0, 0, 0].tolist()) for part in parts] == [
        list(range(sizes[0])),
        list(range(sizes[0], test_from)),
        list(range(test_from, 100)),
    ]
    assert all(torch.equal(part.images[:, 0, 0, 0] % 4, part.labels) for part in parts)
    assert torch.equal(_in_one_order(splits.test), _in_one_order(other.test))
    assert splits.classes == ("0", "1", "2", "3")
    assert f"{sizes[0]} train, {sizes[1]} valid, {sizes[2]} test" in capsys.readouterr().out


@pytest.mark.parametrize("test_from", [9, 0, -5, 100, 1000, 0.8, True, "79"])
def test_a_cut_that_leaves_a_part_empty_or_is_no_number_is_refused(tmp_path, test_from):
    path = _npz(tmp_path / "film.npz", np.zeros((100, 2, 2), np.uint8), np.arange(100) % 4)
    with pytest.raises(ValueError, match=rf"test_from = '?{test_from}'? .*100 pictures of 'film'.*from 10 to 99"):
        load(path, test_from=test_from)


@pytest.mark.parametrize("name", ["mnist-5k", "mnist", "svhn"])
def test_sets_with_an_order_of_their_own_refuse_test_from(empty_data, name):
    with pytest.raises(ValueError, match=f"test_from = 100 is for files.*leave it out for '{name}'"):
        load(name, test_from=100)


def test_a_folder_is_split_in_the_order_of_names(empty_data, tmp_path):
    (tmp_path / "film").mkdir()
    for j in range(20):
        Image.fromarray(np.full((4, 4), j, np.uint8)).save(tmp_path / "film" / f"{j:02}.png")
    splits = load(tmp_path / "film", test_from=15)
    assert sorted(splits.train.images[:, 0, 0, 0].tolist()) == list(range(14))
    assert splits.valid.images[:, 0, 0, 0].tolist() == [14]
    assert sorted(splits.test.images[:, 0, 0, 0].tolist()) == list(range(15, 20))


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
    for size in (0, (28, 28), 1.5, "x", True):
        with pytest.raises(ValueError, match=re.escape(f"size = {size!r}; give a whole number from 1")):
            load(folder, size=size)


def test_grey_pictures_saved_in_colour_are_grey(empty_data, tmp_path):
    grey = load(_folder(tmp_path / "grey")).train.images
    for path in _folder(tmp_path / "colour").rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert torch.equal(load(tmp_path / "colour").train.images, grey)


@posix
def test_other_files_are_counted_and_a_link_that_leads_nowhere_is_named(empty_data, tmp_path, capsys):
    folder = _folder(tmp_path / "pets")
    for name in ("a.heic", "b.HEIC", "notes"):
        (folder / "cat" / name).write_bytes(b"")
    load(folder)
    assert f"(not read in {folder}: 2 .heic, 1 notes)" in capsys.readouterr().out
    (folder / "cat" / "z.png").symlink_to("/nowhere.png")
    with pytest.raises(ValueError, match="z.png is a link that leads nowhere"):
        load(folder)


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
    read = pictures.read
    monkeypatch.setattr(pictures, "read", lambda *a: pytest.fail("read again"))
    assert torch.equal(load(folder).train.images, first.train.images)
    monkeypatch.setattr(pictures, "read", read)
    Image.fromarray(np.full((5, 6), 255, np.uint8)).save(folder / "cat" / "0.png")
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    assert int(_pixels(load(folder)).max()) == 255


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        ("png", lambda b: b[: len(b) // 2]),
        ("jpg", lambda b: b[: len(b) // 2]),
        ("png", lambda b: b[:40] + b"\xff" * 30 + b[70:]),
        ("gif", lambda b: b""),
        ("jpg", lambda b: b"<html>not found</html>"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named(empty_data, tmp_path, ending, damage):
    folder = _folder(tmp_path / "pets")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6)).astype(np.uint8)
    bad = folder / "dog" / f"holiday.{ending}"
    Image.fromarray(pixels).save(bad)
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(ValueError, match=rf"pets/dog/holiday.{ending} is no picture or is damaged .*move it elsewhere"):
        load(folder)
    assert not (empty_data / "cache").exists()
    bad.unlink()
    assert len(load(folder).train) == 16


def _turned(pixels, path):
    """As a camera held upright saves it: lying, with a note that says how to turn it."""
    notes = Image.Exif()
    notes[0x0112] = 6  # turn by 90° clockwise
    Image.fromarray(np.rot90(pixels)).save(path, exif=notes)


def _transparent(pixels, path):
    """Black everywhere; what is seen is how much of the paper shows."""
    Image.merge("LA", (Image.new("L", pixels.shape[::-1], 0), Image.fromarray(255 - pixels))).save(path)


#: How a picture of grey levels can be saved that is to come back as it was.
SAVED = {
    "eight bits": lambda pixels, path: Image.fromarray(pixels).save(path),
    "sixteen bits": lambda pixels, path: Image.fromarray(257 * pixels.astype(np.uint16)).save(path),
    "turned": _turned,
    "on transparent ground": _transparent,
    "with a palette": lambda pixels, path: Image.fromarray(pixels).convert("P").save(path),
    "black and white": lambda pixels, path: Image.fromarray(pixels > 99).save(path),
}


@pytest.mark.parametrize("how", SAVED)
def test_a_picture_comes_back_as_it_is_seen(tmp_path, how):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4)).astype(np.uint8)
    SAVED[how](pixels, tmp_path / "a.png")
    (found,) = pictures.read(pictures.find(tmp_path), None)
    expected = 255 * (pixels > 99) if how == "black and white" else pixels
    np.testing.assert_array_equal(found[..., 0] if found.ndim == 3 else found, expected)


def test_pictures_of_print_and_of_floats(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    (found,) = pictures.read(pictures.find(tmp_path), None)
    assert found.shape == (4, 4, 3) and found[0, 0, 0] > 200 and found[0, 0, 1] < 60
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "floats.tiff")
    with pytest.raises(ValueError, match=r"floats.tiff .*pixels are floats"):
        pictures.read([tmp_path / "floats.tiff"], None)


def test_hidden_folders_are_no_classes_and_numbers_are_in_order(empty_data, tmp_path):
    folder = _folder(tmp_path / "pets", classes=("2", "10", ".ipynb_checkpoints", "__MACOSX"))
    (folder / "2" / "._0.png").write_bytes(b"of a Mac")
    splits = load(folder)
    assert splits.classes == ("2", "10") and len(splits.train) == 16
    dark = splits.train.images.flatten(1).max(1).values < 100
    assert torch.equal(dark, splits.train.labels == 0)


def test_train_and_test_are_no_classes(tmp_path):
    with pytest.raises(ValueError, match="holds train/ and test/, which are no classes"):
        load(_folder(tmp_path / "pets", classes=("train", "test")))


def test_too_few_pictures_are_refused(empty_data, tmp_path):
    with pytest.raises(ValueError, match="'pets' has 3 pictures, too few for three parts"):
        load(_folder(tmp_path / "pets", classes=("cat",), per_class=3))
    assert len(load(_folder(tmp_path / "more", classes=("cat",), per_class=10)).test) == 1


def test_no_name_is_no_folder():
    with pytest.raises(ValueError, match="unknown data set ''"):
        load("")


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
    assert torch.equal(_in_one_order(splits.test), _in_one_order(other.test))
    assert not torch.equal(_in_one_order(splits.valid), _in_one_order(other.valid))
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


@pytest.mark.parametrize("left", [0, 1000])
def test_a_file_of_mnist_that_is_cut_short_is_named_with_the_way_out(empty_data, left):
    raw = empty_data / "MNIST" / "raw"
    _small_torchvision(raw)
    path = raw / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"a file in .*raw is damaged or only half there .*course data import FOLDER"):
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


# --------------------------------------------------------------------------------------- house numbers


@pytest.fixture
def few_drawn(empty_data, monkeypatch):
    monkeypatch.setitem(datasets.IMAGES, "street-digits", 200)
    return empty_data


def test_street_digits_are_drawn_once_and_split_evenly(few_drawn, monkeypatch, capsys):
    splits = load("street-digits")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [160, 20, 20]
    assert splits.train.images.shape[1:] == (3, 32, 32) and splits.train.images.dtype == torch.uint8
    assert splits.classes == tuple("0123456789")
    assert torch.bincount(splits.valid.labels).tolist() == [2] * 10
    assert "street-digits · 160 train, 20 valid, 20 test · 3×32×32, 10 classes" in capsys.readouterr().out
    monkeypatch.setattr(street_digits, "street_digits", lambda n: pytest.fail("drawn again"))
    other = load("street-digits", seed=1)
    assert not torch.equal(splits.train.images, other.train.images)
    assert torch.equal(_pixels(splits), _pixels(other))
    assert datasets.present()["street-digits"] == "200 crops, drawn on this machine"


def test_street_digits_in_order_belong_to_their_factors(few_drawn):
    images, labels, _ = street_digits.street_digits(200)
    splits = load("street-digits", test_from=150)
    parts = (splits.train, splits.valid, splits.test)
    assert [len(part) for part in parts] == [135, 15, 50]
    for part, cut in zip(parts, (slice(135), slice(135, 150), slice(150, 200)), strict=True):
        drawn = datasets.Split(torch.tensor(images[cut]), torch.tensor(labels[cut]))
        assert torch.equal(_in_one_order(part), _in_one_order(drawn))


def test_another_way_of_drawing_is_another_cache(few_drawn, monkeypatch, tmp_path):
    before = datasets._drawn_key()
    (tmp_path / "other.py").write_text("# drawn otherwise")
    monkeypatch.setattr(street_digits, "__file__", str(tmp_path / "other.py"))
    assert datasets._drawn_key() != before and before.startswith("street-digits-200-")


def test_svhn_is_split_in_order_and_ten_becomes_zero(empty_data, svhn_files):
    svhn_files(empty_data / "SVHN", (("train", 100), ("test", 30)))
    splits = load("svhn")
    order = [sorted(part.images[:, 0, 0, 0].tolist()) for part in (splits.train, splits.valid, splits.test)]
    assert order == [list(range(90)), list(range(90, 100)), list(range(30))]
    assert (
        torch.equal(splits.train.labels, splits.train.images[:, 0, 0, 0] % 10)
        and splits.train.labels.dtype == torch.int64
    )
    assert splits.train.images.shape == (90, 3, 32, 32) and splits.train.images.is_contiguous()
    assert splits.classes == tuple("0123456789")
    assert torch.equal(_in_one_order(load("svhn", seed=5).valid), _in_one_order(splits.valid))
    assert datasets.present()["svhn"] == "99,289 crops" and datasets.present()["svhn-extra"] == "missing"


def test_svhn_extra_adds_to_the_training_part_alone(empty_data, svhn_files):
    svhn_files(empty_data / "SVHN")
    plain, more = load("svhn"), load("svhn-extra")
    assert [len(s) for s in (more.train, more.valid, more.test)] == [130, 10, 30]
    rows = more.train.images.flatten(1).tolist()
    assert all(row in rows for row in plain.train.images.flatten(1).tolist())
    assert torch.equal(more.valid.images, plain.valid.images) and torch.equal(more.test.images, plain.test.images)
    (empty_data / "SVHN" / "test_32x32.mat").unlink()
    with pytest.raises(DataSetMissing, match="'svhn' is not on this machine"):
        load("svhn-extra")


def test_svhn_that_is_missing_names_three_ways_out(empty_data, svhn_files):
    with pytest.raises(DataSetMissing) as error:
        load("svhn")
    for way in ("course data fetch svhn`", "course data import FOLDER", "load('street-digits')"):
        assert way in str(error.value)
    svhn_files(empty_data / "SVHN", (("train", 100), ("test", 30)))
    with pytest.raises(DataSetMissing, match="course data fetch svhn-extra"):
        load("svhn-extra")


def test_a_truncated_mat_file_is_named_with_the_way_out(empty_data, svhn_files):
    path = svhn_files(empty_data / "SVHN") / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"SVHN/test_32x32.mat is damaged or only half there.*course data fetch svhn`"):
        load("svhn")


def test_real_crops_are_split_between_two_photographs(real_crops):
    splits = load(real_crops, test_from=7999)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [7200, 799, 2001]
    assert splits.train.images.shape[1:] == (3, 32, 32) and splits.classes == tuple("0123456789")
    counts = sum(torch.bincount(part.labels) for part in (splits.train, splits.valid, splits.test))
    assert counts.tolist() == [684, 1968, 1590, 1104, 964, 909, 773, 767, 621, 620]
    with np.load(real_crops) as arrays:
        first = datasets.Split(*(torch.tensor(arrays[name][:7200]) for name in ("images", "labels")))
    ours = datasets.Split(splits.train.images.permute(0, 2, 3, 1), splits.train.labels)
    assert torch.equal(_in_one_order(ours), _in_one_order(first))


def test_real_crops_come_back_from_a_mat_file(empty_data, real_crops, monkeypatch):
    with np.load(real_crops) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    split_list = {}
    for part, cut in (("train", slice(0, 1000)), ("test", slice(7999, 8300))):
        path = empty_data / "SVHN" / f"{part}_32x32.mat"
        split_list[part] = ["", path.name, write_svhn(path, images[cut], labels[cut])]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
    splits = load("svhn")
    ours = datasets.Split(splits.valid.images.permute(0, 2, 3, 1), splits.valid.labels)
    first = datasets.Split(torch.tensor(images[900:1000]), torch.tensor(labels[900:1000]))
    assert torch.equal(_in_one_order(ours), _in_one_order(first))
    assert sorted(splits.test.labels.tolist()) == sorted(labels[7999:8300].tolist())


def test_the_real_mnist(real_mnist):
    splits = load("mnist")
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [50_000, 10_000, 10_000]
    assert splits.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(splits.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    both = torch.bincount(splits.train.labels) + torch.bincount(splits.valid.labels)
    assert both.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (torch.bincount(splits.valid.labels) - both / 6).abs().max() <= 1
    assert float(splits.train.flat().mean()) == pytest.approx(0.1307, abs=5e-4)
