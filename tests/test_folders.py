"""No command empties or overwrites what a person put into a folder, and no two fill one folder at once."""

import json
import threading

import pytest
from helpers.toys import course, write_course, write_notebook

from course_utils.tools import folders, site
from course_utils.tools.folders import MARK, NotOurs

#: Every command that writes into a folder: its arguments, and the folders that it fills under the one that is named.
WRITE = {
    "run": (["run", "--output"], [""]),
    "spread": (["spread", "--seeds", 1, "--output"], ["seed_0"]),
    "slides": (["slides", "--output"], [""]),
    "lecture": (["lecture", "01", "--checkpoints"], [""]),
    "site": (["site", "--stored", "--site"], ["", "../place-source"]),
}


@pytest.fixture
def source(tmp_path):
    write_notebook(tmp_path / "chapters" / "01_a.ipynb", "1")
    return write_course(tmp_path / "chapters", **{"01_a": {}})


@pytest.mark.parametrize(("name", "below"), [(name, below) for name, (_, all_) in WRITE.items() for below in all_])
@pytest.mark.parametrize("own", ["thesis.tex", "01_a.ipynb", "photos/cat.jpg"])
def test_a_folder_with_a_persons_file_is_refused_before_anything_runs(source, tmp_path, name, below, own):
    place = tmp_path / "place"
    file = (place / below / own).resolve()
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    result = course(*WRITE[name][0], place, "--source", source)
    assert result.exit_code == 2 and own in result.output and "new or empty" in result.output, result.output
    assert file.read_text() == "mine" and sorted(tmp_path.rglob("*")) == before


def test_the_folder_of_the_notebooks_is_no_output(source):
    before = {path: path.read_bytes() for path in source.iterdir()}
    for words, below in WRITE.values():
        if below == ["seed_0"]:
            continue  # that folder is new, and nothing else is touched
        assert course(*words, source, "--source", source).exit_code == 2
    assert before == {path: path.read_bytes() for path in source.iterdir()}


def test_every_command_that_fills_a_folder_is_tried():
    from course_utils.tools.cli import main

    fill = {"--output", "--site", "--checkpoints"}
    own = {name: {flag for option in command.params for flag in option.opts} for name, command in main.commands.items()}
    reads = {"list"}  # its --output says where results lie
    assert {name for name, flags in own.items() if flags & fill} - reads == set(WRITE)


def test_a_measurement_replaces_no_other_file(tmp_path):
    (tmp_path / "own.json").write_text('{"mine": 1}')
    result = course("bench", "parzen", "--json", tmp_path / "own.json")
    assert result.exit_code == 2 and "own.json" in result.output
    assert (tmp_path / "own.json").read_text() == '{"mine": 1}'


def test_a_folder_is_taken_if_it_is_new_empty_or_marked_by_the_same_command(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "new" / "deep", tmp_path / "empty"):
        for _ in range(2):
            with folders.taken(place, "run") as held:
                (held / "a.txt").write_text("ours")
        (place / "note.txt").write_text("a person's, which no run replaces")
        with folders.taken(place, "run"):
            pass
        with pytest.raises(NotOurs, match="made by `course run`; give --site"), folders.taken(place, "site", "--site"):
            pass


def test_of_a_folder_that_is_replaced_every_file_is_known(tmp_path):
    for _ in range(2):
        with folders.taken(tmp_path, "site", "--site", whole=True):
            folders.empty(tmp_path)
            (tmp_path / "sub").mkdir()
            (tmp_path / "sub" / "page.html").write_text("ours")
    assert json.loads((tmp_path / MARK).read_text())["files"] == ["sub/page.html"]
    (tmp_path / "CNAME").write_text("a person's")
    with pytest.raises(NotOurs, match="CNAME"), folders.taken(tmp_path, "site", "--site", whole=True):
        pass


def test_what_fails_in_a_folder_leaves_it_marked_and_free(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), folders.taken(tmp_path / "x", "site", whole=True) as held:
            (held / "half.html").write_text("")
            raise ZeroDivisionError


def test_two_commands_do_not_fill_one_folder(tmp_path):
    found = []

    def second():
        try:
            with folders.taken(tmp_path / "run", "run"):
                found.append("taken")
        except NotOurs as error:
            found.append(str(error))

    with folders.taken(tmp_path / "run", "run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(found) == 1 and "another command is filling" in found[0]
    second()
    assert found[1] == "taken"


def test_a_file_and_a_folder_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotOurs, match="file is a file"), folders.taken(tmp_path / "file", "run"):
        pass
    with pytest.raises(NotOurs, match="cannot be written"), folders.taken(tmp_path / "file" / "below", "run"):
        pass


def test_unmarked_folders_below_build_are_those_of_earlier_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "BUILD", tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text("{}")
    with folders.taken(tmp_path / "run", "run"):
        pass
    with pytest.raises(NotOurs, match="holds run"), folders.taken(tmp_path, "site", whole=True):
        pass


def test_a_build_that_fails_leaves_the_site_of_before(tmp_path, monkeypatch, source):
    monkeypatch.setattr(site, "write_sources", lambda source, folder, executed: (folder / "conf.py").write_text("1/0"))
    monkeypatch.setattr(site.vendor, "fetch", lambda *_: {})
    monkeypatch.setattr(site.vendor, "copy", lambda *_: None)
    with folders.taken(tmp_path / "web", "site", whole=True) as held:
        (held / "index.html").write_text("before")
    with pytest.raises(RuntimeError, match="Sphinx did not accept"):
        site.build(source, tmp_path / "web")
    assert (tmp_path / "web" / "index.html").read_text() == "before"
