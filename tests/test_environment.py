"""The doors to the course agree: pyproject.toml, environment.yml, constraints.txt, Makefile, CI, README."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from course_utils.runtime import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = f"{PROJECT['name']}[tools]"  # what the extras for developers and the site build on
REQUIREMENTS = [line for part in (PROJECT["dependencies"], *EXTRAS.values()) for line in part if line != OWN]
CONSTRAINTS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_environment_yml_installs_what_make_installs():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    assert pip == ["-c constraints.txt", "-e .[dev,site]"]
    assert set(EXTRAS) == {"tools", "dev", "site"} and OWN in EXTRAS["dev"] and OWN in EXTRAS["site"]
    python = next(entry for entry in entries if isinstance(entry, str) and entry.startswith("python"))
    assert python.removeprefix("python") == PROJECT["requires-python"]


def test_constraints_pin_every_requirement_inside_its_range():
    pinned = {canonical(Requirement(line).name): Requirement(line) for line in CONSTRAINTS}
    for line in REQUIREMENTS:
        wanted = Requirement(line)
        pin = pinned.get(canonical(wanted.name))
        assert pin is not None, f"constraints.txt does not pin {wanted.name}; run `make lock`"
        (version,) = (s.version for s in pin.specifier)
        assert SpecifierSet(str(wanted.specifier)).contains(version), f"{line} against {pin}"


@pytest.mark.parametrize("line", CONSTRAINTS)
def test_constraints_hold_exact_versions_and_no_hosts(line):
    assert re.fullmatch(r'[A-Za-z0-9._-]+==[A-Za-z0-9.!]+( ; python_full_version [<>]=? "[0-9.]+")?', line), line


def test_what_needs_a_newer_python_has_a_pin_for_older_ones():
    """Debian 12 has 3.11.2, and soupsieve 4 asks for 3.11.5; ``make lock`` writes both lines."""
    pins = [Requirement(line) for line in CONSTRAINTS if line.startswith("soupsieve")]
    for python in ("3.11.2", "3.11.5", "3.13.0"):
        environment = {"python_full_version": python}
        (pin,) = [pin for pin in pins if pin.marker and pin.marker.evaluate(environment)]
        assert (pin.specifier == SpecifierSet("==2.10")) == (python == "3.11.2")
    lock = (ROOT / "Makefile").read_text().partition("\nlock:")[2]
    command = re.search(r"awk '(.*?)';", lock, re.DOTALL)[1].replace("$$", "$").replace("\\\n", "")
    printed = subprocess.run(["awk", command], input="a==1\nsoupsieve==5\n", capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == [
        "a==1",
        'soupsieve==5 ; python_full_version >= "3.11.5"',
        'soupsieve==2.10 ; python_full_version < "3.11.5"',
    ]


def test_ci_calls_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^make run\b", readme, re.M) and re.search(r"^make test\b", readme, re.M)


def test_make_help_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split())
    answer = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    explained = {line.split()[1]: line.split(maxsplit=2)[2] for line in answer.splitlines()}
    assert set(explained) == phony
    assert all(len(words) > 10 for words in explained.values())


def test_makefile_names_the_way_out_without_python():
    answer = subprocess.run(
        ["make", "-s", "setup", "PYTHON=", "VENV=build/no-such"], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode != 0
    assert "PYTHON=/path/to/python" in answer.stdout


# ------------------------------------------------------------------------------------ oldest and newest versions


def dry_run(*arguments: str):
    """What make would do to set up an environment that is not there."""
    command = ["make", "-n", "setup", "VENV=build/no-such", *arguments]
    given = {"CONSTRAINTS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}  # to the make that runs these tests
    environment = {name: value for name, value in os.environ.items() if name not in given}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_every_requirement_has_a_plain_lower_bound():
    """So that lowest-direct, with which the oldest versions are installed, knows which they are."""
    for line in REQUIREMENTS:
        (bound,) = Requirement(line).specifier
        assert bound.operator == ">=", line


@pytest.mark.parametrize(
    ("choice", "pins"),
    [(None, "-c constraints.txt"), ("oldest", "--resolution lowest-direct"), ("newest", "install  -e")],
)
def test_setup_takes_the_versions_asked_for(choice, pins):
    done = dry_run(*([f"CONSTRAINTS={choice}"] if choice else []))
    (line,) = [line for line in done.stdout.splitlines() if '-e ".[dev,site]"' in line]
    assert pins in line and line.count("-c ") == (choice is None)


def test_setup_refuses_a_choice_that_is_none():
    done = dry_run("CONSTRAINTS=olddest")
    assert done.returncode != 0 and "olddest is none of tested, oldest, newest" in done.stderr


# ------------------------------------------------------------------------------------ continuous integration


def test_the_workflow_calls_make_targets_that_exist_and_runs_weekly():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split())
    assert workflow[True]["schedule"]  # YAML reads the key `on` as true
    called = [step["run"].split() for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert all(words[0] == "make" and words[1] in targets for words in called), called
    assert {words[1] for words in called} >= {"check", "test", "site"}
    tested = {entry["constraints"] for entry in workflow["jobs"]["test"]["strategy"]["matrix"]["include"]}
    assert tested == {"oldest", "tested", "newest"}


def test_ci_goes_on_without_browser_and_scripts():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines() if line[:1] != "#"]
    assert lines[-1] == "exec make test" and "make check" in lines
    (vendor,) = [line for line in lines if "make vendor" in line]
    assert vendor.startswith("make vendor || echo")
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
