"""The cache of npm packages: complete or absent, never half; errors that name the way out. Nothing is fetched here."""

import tarfile

import pytest
from helpers.processes import posix

from course_utils.tools import site, slides, vendor


def packer(calls, *, folder="package"):
    """Return a stand-in for npm that packs one file and notes what it was asked for."""

    def pack(specification, scratch):
        calls.append(specification)
        inside = scratch / "inside" / folder
        inside.mkdir(parents=True)
        (inside / "index.js").write_text(f"// {specification}")
        with tarfile.open(scratch / "x.tgz", "w:gz") as file:
            file.add(inside, arcname=folder)
        return scratch / "x.tgz"

    return pack


def test_fetches_once_the_pinned_version_and_leaves_nothing_else(tmp_path):
    calls = []
    for _ in range(2):
        found = vendor.fetch(["mathjax-3", "@jupyter-widgets/html-manager"], tmp_path, pack=packer(calls))
    versions = [vendor.PACKAGES["mathjax-3"], vendor.PACKAGES["@jupyter-widgets/html-manager"]]
    assert calls == [f"mathjax@{versions[0]}", f"@jupyter-widgets/html-manager@{versions[1]}"]
    assert (found["mathjax-3"] / "index.js").read_text() == f"// mathjax@{versions[0]}"
    assert sorted(tmp_path.iterdir()) == sorted(found.values())


def test_of_two_that_fetch_at_once_the_quicker_one_counts(tmp_path):
    def slower(specification, scratch):
        vendor.fetch(["requirejs"], tmp_path, pack=packer([]))
        return packer([])(specification, scratch)

    (found,) = vendor.fetch(["requirejs"], tmp_path, pack=slower).values()
    assert list(tmp_path.iterdir()) == [found] and (found / "index.js").exists()


def test_versions_of_one_package_lie_apart(tmp_path):
    assert vendor.cached("mathjax", tmp_path) != vendor.cached("mathjax-3", tmp_path)


def test_an_interruption_leaves_no_half_package(tmp_path):
    def interrupted(specification, scratch):
        (scratch / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vendor.fetch(["requirejs"], tmp_path, pack=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_another_shape_is_refused(tmp_path):
    with pytest.raises(vendor.VendorMissing, match="requirejs.*no folder 'package'"):
        vendor.fetch(["requirejs"], tmp_path, pack=packer([], folder="other"))
    assert list(tmp_path.iterdir()) == []


def test_unknown_name_and_missing_npm(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'left-pad'"):
        vendor.fetch(["left-pad"], tmp_path)
    monkeypatch.setattr(vendor.shutil, "which", lambda name, path: None)
    monkeypatch.setattr(vendor.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(vendor.VendorMissing, match="npm was not found"):
        vendor.fetch(["requirejs"], tmp_path / "cache")


@posix
def test_npm_is_looked_for_beside_python_as_well(tmp_path, monkeypatch):
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'this one' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(vendor.sys, "executable", str(npm.with_name("python")))
    with pytest.raises(vendor.VendorMissing, match="this one"):
        vendor.npm_pack("requirejs@1", tmp_path)


def test_only_what_is_named_is_copied(tmp_path):
    package = tmp_path / "package"
    for name in ("require.js", "bin/r.js", "fonts/deep/a.woff", "LICENSE"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x")
    for _ in range(2):  # over what is there already
        vendor.copy({"@a/b": package}, {"@a/b": ("*.js", "fonts", "missing")}, tmp_path / "out")
    copied = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert copied == {"@a/b/require.js", "@a/b/fonts/deep/a.woff"}


def test_every_package_is_loaded_by_a_page():
    assert set(vendor.PACKAGES) == {*slides.SCRIPTS, *site.SCRIPTS}


@posix
def test_a_failure_of_npm_is_told(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(vendor.shutil, "which", lambda name, path: str(npm))
    with pytest.raises(vendor.VendorMissing, match="requirejs@.*no route to host.*needs the network once"):
        vendor.fetch(["requirejs"], tmp_path / "cache")
