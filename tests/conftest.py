"""What the tests share: small data, a data folder of their own, one thread, the CPU."""

import gzip
import os
import shutil

import matplotlib
import numpy as np
import pytest
import torch
import torchvision.datasets
from helpers.svhn import write_svhn

from course_utils.datasets import Split, Splits, stratified
from course_utils.runtime import ROOT

matplotlib.use("Agg")  # in this process only: the environment variable would remove figures from notebooks
torch.set_num_threads(1)
# No test depends on a GPU being there, nor does a fixture that lives longer than one test.
os.environ["COURSE_DEVICE"] = "cpu"

SHARED_SVHN = ROOT.parent / "shared" / "data" / "SVHN" / "svhn_test_first10000.npz"
SHARED_MNIST = ROOT.parent / "shared" / "data" / "MNIST" / "raw"


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A data folder for the whole session: the cache of mnist-5k is made in it once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _away_from_home(monkeypatch, data_folder):
    """No test reads or writes data/ of the repository, or depends on a GPU being there."""
    monkeypatch.setenv("COURSE_DATA", str(data_folder))
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.delenv("COURSE_STRICT", raising=False)


@pytest.fixture
def svhn_files(monkeypatch):
    """Write small stand-ins for SVHN's files into a folder, and make torchvision take them for the real ones."""

    def write(folder, sizes=(("train", 100), ("test", 30), ("extra", 40))):
        rng = np.random.default_rng(0)
        split_list = {}
        for part, n in sizes:
            images, labels = rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8), np.arange(n) % 10
            images[:, 0, 0, 0] = np.arange(n)  # so that the order can be read from the pictures
            md5 = write_svhn(folder / f"{part}_32x32.mat", images, labels)
            split_list[part] = [f"http://127.0.0.1:9/{part}_32x32.mat", f"{part}_32x32.mat", md5]
        monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
        return folder

    return write


@pytest.fixture
def real_crops():
    """The path of 10,000 real crops of SVHN; skipped where the file is not there."""
    if not SHARED_SVHN.exists():
        pytest.skip(f"the real crops of SVHN are not in {SHARED_SVHN}")
    return SHARED_SVHN


@pytest.fixture
def empty_data(monkeypatch, tmp_path):
    """A data folder with nothing in it."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="session")
def digits() -> Splits:
    """Like a data set of digits, but 120 images of 8×8 in four classes: a bright row per class, and noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4
    images = rng.integers(0, 60, (120, 1, 8, 8))
    images[np.arange(120), 0, 2 * labels] += 180
    whole = Split(torch.tensor(images, dtype=torch.uint8), torch.tensor(labels))
    train, valid, test = (whole[index] for index in stratified(whole.labels, (0.5, 0.25, 0.25), seed=0))
    return Splits("tiny", train, valid, test, ("0", "1", "2", "3"))


@pytest.fixture(scope="session")
def real_mnist_folder(tmp_path_factory):
    """A data folder with the real MNIST, copied from the read-only shared folder and unpacked."""
    if not (SHARED_MNIST / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"the real MNIST is not in {SHARED_MNIST}")
    folder = tmp_path_factory.mktemp("real")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in SHARED_MNIST.glob("*.gz"):
        shutil.copyfile(archive, raw / archive.name)
        with gzip.open(archive) as packed, (raw / archive.stem).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    return folder


@pytest.fixture
def real_mnist(real_mnist_folder, monkeypatch):
    """The same folder, made the data folder of this test; skipped where the files are not there."""
    monkeypatch.setenv("COURSE_DATA", str(real_mnist_folder))
    return real_mnist_folder
