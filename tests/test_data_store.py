"""Data sets arrive whole or not at all, and a good copy is never touched."""

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import shutil
import socket
import struct
import threading
from pathlib import Path

import pytest
import torchvision.datasets
from click.testing import CliRunner
from helpers.processes import posix

from course_utils.tools import data
from course_utils.tools.cli import main

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


def course(*arguments):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def idx(name: str, seed: int) -> bytes:
    """Three images of 28 × 28, or their three labels, in the format of MNIST."""
    first = int(name.startswith("t10k"))
    if "images" in name:
        return struct.pack(">iiii", 2051, 3, 28, 28) + bytes((first + i * seed) % 256 for i in range(3 * 784))
    return struct.pack(">ii", 2049, 3) + bytes([first, seed % 10, 2])


def make_set(folder: Path, seed: int) -> list[tuple[str, str]]:
    """Write the four archives of a small data set; return their names and checksums."""
    folder.mkdir(parents=True)
    resources = []
    for name in FILES:
        packed = gzip.compress(idx(name, seed), mtime=0)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    return resources


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder, and small stand-ins for MNIST and Fashion-MNIST in tmp/source."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    for name, seed in (("MNIST", 3), ("FashionMNIST", 5)):
        resources = make_set(tmp_path / "source" / name, seed)
        monkeypatch.setattr(getattr(torchvision.datasets, name), "resources", resources)
    return tmp_path / "data"


@pytest.fixture
def source(tmp_path, home):
    return tmp_path / "source"


def state(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_import_takes_both_sets_told_apart_by_checksum(home, source):
    result = course("import", source)
    assert result.exit_code == 0, result.output
    for name, seed in (("MNIST", 3), ("FashionMNIST", 5)):
        images = getattr(torchvision.datasets, name)(home, download=False).data
        assert images.shape == (3, 28, 28) and int(images.flatten()[1]) == seed
        assert sorted(path.name for path in (home / name / "raw").iterdir()) == sorted(
            FILES + [f + ".gz" for f in FILES]
        )
    assert sorted(path.name for path in home.iterdir()) == ["FashionMNIST", "MNIST"]


def test_import_goes_by_content_not_by_name(home, source):
    os.rename(source / "MNIST" / f"{FILES[0]}.gz", source / "MNIST" / "whatever.gz")
    assert course("import", source / "MNIST").exit_code == 0
    assert (home / "MNIST" / "raw" / f"{FILES[0]}.gz").exists()


@posix
def test_import_from_a_folder_that_cannot_be_written(home, source):
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    result = course("import", source)
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755)
    assert result.exit_code == 0, result.output
    assert all(os.stat(path).st_mode & 0o200 for path in home.rglob("*"))


@pytest.mark.parametrize("damage", ["half", "corrupt", "foreign"])
def test_import_refuses_and_names_a_bad_file(home, source, damage):
    bad = source / "MNIST" / f"{FILES[2]}.gz"
    content = bad.read_bytes()
    middle = len(content) // 2
    bad.write_bytes(
        {
            "half": content[:middle],
            "corrupt": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "foreign": gzip.compress(b"of another data set"),
        }[damage]
    )
    result = course("import", source)
    assert result.exit_code == 1 and str(bad) in result.output
    assert ("neither MNIST's" if damage == "foreign" else "damaged or only half") in result.output
    assert f"mnist is not complete in {source}: {FILES[2]}.gz missing" in result.output
    assert not (home / "MNIST").exists() and (home / "FashionMNIST" / "raw" / FILES[2]).exists()


def test_import_refuses_an_incomplete_set(home, source):
    (source / "MNIST" / f"{FILES[1]}.gz").unlink()
    result = course("import", source / "MNIST")
    assert result.exit_code == 1 and f"{FILES[1]}.gz missing" in result.output
    assert not (home / "MNIST").exists()


def test_good_copy_is_neither_lost_nor_rewritten(home, source):
    assert course("import", source).exit_code == 0
    before = state(home)
    result = course("import", source)
    assert result.exit_code == 0 and "already there, unchanged" in result.output
    (source / "MNIST" / f"{FILES[0]}.gz").write_bytes(b"broken")
    assert course("import", source / "MNIST").exit_code == 1
    assert state(home) == before


def test_only_the_damaged_file_of_a_copy_is_replaced(home, source):
    assert course("import", source / "MNIST").exit_code == 0
    before = state(home)
    (home / "MNIST" / "raw" / FILES[0]).write_bytes(b"damaged")
    result = course("import", source / "MNIST")
    assert result.exit_code == 0 and "1 files written" in result.output
    after = state(home)
    assert {name for name in after if after[name] != before[name]} == {f"MNIST/raw/{FILES[0]}"}
    assert (home / "MNIST" / "raw" / FILES[0]).read_bytes() == idx(FILES[0], 3)


def test_unknown_files_are_listed_and_left(home, source):
    (source / "faces.npz").write_bytes(b"1")
    result = course("import", source)
    assert result.exit_code == 0 and "ignored: faces.npz" in result.output and "datasets.load(" in result.output


def test_folder_without_any_and_folder_that_is_not_there(home, tmp_path):
    (tmp_path / "empty").mkdir()
    assert course("import", tmp_path / "empty").exit_code == 1
    result = course("import", tmp_path / "nowhere")
    assert result.exit_code == 1 and "there is no folder" in result.output


def test_list_names_state_and_way(home, source):
    result = course("list")
    assert "mnist-5k        present" in result.output and "mnist           missing" in result.output
    assert "course data fetch mnist" in result.output
    course("import", source / "MNIST")
    assert "mnist           present" in course("list").output


# ---------------------------------------------------------------- import of SVHN

CROPS = ["test_32x32.mat", "train_32x32.mat"]


def test_import_takes_svhn_and_its_extra_part(home, source, svhn_files):
    svhn_files(source / "SVHN")
    result = course("import", source / "SVHN")
    assert result.exit_code == 0, result.output
    assert "svhn: 2 files written" in result.output and "svhn-extra: 1 files written" in result.output
    assert torchvision.datasets.SVHN(home / "SVHN", split="extra").data.shape == (40, 3, 32, 32)
    assert [path.name for path in home.iterdir()] == ["SVHN"]
    assert sorted(path.name for path in (home / "SVHN").iterdir()) == ["extra_32x32.mat", *CROPS]
    before = state(home)
    assert course("import", source / "SVHN").output.count("already there, unchanged") == 2
    assert state(home) == before


def test_import_needs_no_extra_part(home, source, svhn_files):
    folder = svhn_files(source / "SVHN")
    (folder / "extra_32x32.mat").unlink()
    result = course("import", folder)
    assert result.exit_code == 0 and "2 files written" in result.output, result.output
    assert "svhn-extra" not in result.output and "extra_32x32" not in result.output
    assert "svhn            present" in course("list").output
    assert "svhn-extra      missing" in course("list").output


@pytest.mark.parametrize("damage", ["half", "foreign"])
def test_import_refuses_and_names_a_bad_mat_file(home, source, svhn_files, damage):
    folder = svhn_files(source / "SVHN")
    bad = folder / CROPS[0]
    bad.write_bytes(bad.read_bytes()[:5000] if damage == "half" else b"of another data set")
    result = course("import", folder)
    assert result.exit_code == 1 and f"{bad} is refused" in result.output and "only half there" in result.output
    assert f"svhn is not complete in {folder}: {CROPS[0]} missing; nothing of it was taken" in result.output
    assert not (home / "SVHN" / CROPS[1]).exists()


def test_list_names_every_set(home):
    output = course("list").output
    assert all(re.search(rf"^{name} +(present|missing) ", output, re.M) for name in data.SPACE)
    assert "course data fetch svhn, or" in output and "street-digits   present" in output


# ---------------------------------------------------------------- fetch


@pytest.fixture
def crops_mirror(source, svhn_files, monkeypatch):
    """A server on this machine that stands in for that of SVHN."""
    svhn_files(source / "SVHN")
    with serve(source / "SVHN", monkeypatch) as address:
        for entry in torchvision.datasets.SVHN.split_list.values():
            entry[0] = address + entry[1]
        yield source / "SVHN"


def test_fetch_downloads_of_svhn_what_is_not_here(home, crops_mirror):
    result = course("fetch", "svhn")
    assert result.exit_code == 0 and "2 files written" in result.output, result.output
    assert sorted(path.name for path in (home / "SVHN").iterdir()) == CROPS
    assert torchvision.datasets.SVHN(home / "SVHN", split="test").data.shape == (30, 3, 32, 32)
    before = state(home)
    assert "nothing to download" in course("fetch", "svhn").output
    (crops_mirror / CROPS[0]).unlink()
    (home / "SVHN" / CROPS[1]).write_bytes(b"damaged")
    assert "1 files written" in course("fetch", "svhn").output  # the other one was not asked for again
    assert "1 files written" in course("fetch", "svhn-extra").output
    after = state(home)
    assert {name for name in after if after[name] != before.get(name)} == {f"SVHN/{CROPS[1]}", "SVHN/extra_32x32.mat"}


@pytest.mark.parametrize("damage", ["gone", "half"])
def test_failed_fetch_of_svhn_leaves_no_trace_and_says_the_other_ways(home, crops_mirror, damage):
    path = crops_mirror / CROPS[0]
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:3000])
    result = course("fetch", "svhn")
    assert result.exit_code == 1 and list(home.iterdir()) == []
    for words in ("could not be downloaded", "train_32x32.mat, test_32x32.mat", "course data import", "street-digits"):
        assert words in result.output


@contextlib.contextmanager
def serve(folder: Path, monkeypatch):
    """Serve a folder on this machine; gives the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror(source, monkeypatch):
    """A server on this machine that stands in for the mirrors of MNIST."""
    with serve(source / "MNIST", monkeypatch) as address:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])
        yield source / "MNIST"


def test_fetch_downloads_once(home, mirror):
    result = course("fetch", "mnist")
    assert result.exit_code == 0 and "8 files written" in result.output, result.output
    assert torchvision.datasets.MNIST(home, download=False).data.shape == (3, 28, 28)
    assert [path.name for path in home.iterdir()] == ["MNIST"]
    before = state(home)
    assert "nothing to download" in course("fetch", "mnist").output
    assert state(home) == before


@pytest.mark.parametrize("damage", ["gone", "half", "wrong"])
def test_failed_fetch_leaves_no_trace_and_says_the_other_ways(home, mirror, damage):
    last = mirror / f"{FILES[3]}.gz"
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:9] if damage == "half" else gzip.compress(b"other"))
    result = course("fetch", "mnist")
    assert result.exit_code == 1
    assert "could not be downloaded" in result.output and "course data import" in result.output
    assert "mnist-5k" in result.output
    assert list(home.iterdir()) == []


def test_failed_fetch_leaves_a_partial_copy_as_it_was(home, mirror):
    assert course("import", mirror).exit_code == 0
    (home / "MNIST" / "raw" / FILES[1]).unlink()
    before = state(home)
    (mirror / f"{FILES[1]}.gz").write_bytes(b"")
    assert course("fetch", "mnist").exit_code == 1
    assert state(home) == before


def test_fetch_refuses_names_it_does_not_know(home):
    result = course("fetch", "fashion")
    assert result.exit_code == 2 and "'fashion-mnist'" in result.output
    assert "embedded" in course("fetch", "mnist-5k").output
    assert "is drawn on this machine" in course("fetch", "street-digits").output
    assert "did you mean 'svhn'" in course("fetch", "svnh").output


def test_nothing_on_the_network_is_needed_for_the_embedded_set(home):
    assert data.fetch("mnist-5k") == "mnist-5k is embedded: nothing to download"


@pytest.mark.skipif(not (REAL / "MNIST").is_dir(), reason=f"real MNIST files are not in {REAL}")
def test_real_mnist_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    result = course("import", REAL)
    assert result.exit_code == 0 and "mnist: 8 files written" in result.output, result.output
    assert torchvision.datasets.MNIST(tmp_path / "data", train=True, download=False).data.shape == (60_000, 28, 28)
    shutil.rmtree(tmp_path / "data")


def test_a_server_that_says_nothing_is_given_up(home, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        monkeypatch.setattr(data, "SILENCE", 0.2)
        result = course("fetch", "mnist")
    assert result.exit_code == 1 and "mnist could not be downloaded" in result.output
    assert socket.getdefaulttimeout() is None and list(home.iterdir()) == []


def test_archives_that_a_browser_renamed_are_taken_and_unpacked_ones_named(home, source):
    for number, path in enumerate(sorted((source / "MNIST").iterdir())):
        path.rename(path.with_name(f"{path.stem}.gz.{number}" if number % 2 else f"{path.stem}.gz (1).GZ"))
    assert "mnist: 8 files written" in course("import", source / "MNIST").output
    unpacked = source / "unpacked"
    unpacked.mkdir()
    (unpacked / "train-images.idx3-ubyte").write_bytes(b"1")
    assert f"unpacked ones work in {home / 'MNIST' / 'raw'}" in course("import", unpacked).output
