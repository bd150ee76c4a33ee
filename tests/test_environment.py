"""The doors to the course agree: pyproject.toml, environment.yml, constraints.txt, Makefile, CI, README."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from helpers.processes import posix
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from course_utils.runtime import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = f"{PROJECT['name']}[tools]"  # what the extras for developers and the site build on
REQUIREMENTS = [line for part in (PROJECT["dependencies"], *EXTRAS.values()) for line in part if line != OWN]
CONTAINER = ".devcontainer/devcontainer.json"
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


@posix
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


@posix
def test_make_help_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M).group(1).split())
    answer = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    explained = {line.split()[1]: line.split(maxsplit=2)[2] for line in answer.splitlines()}
    assert set(explained) == phony
    assert all(len(words) > 10 for words in explained.values())


@posix
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


@posix
@pytest.mark.parametrize(
    ("choice", "pins"),
    [(None, "-c constraints.txt"), ("oldest", "--resolution lowest-direct"), ("newest", "install  -e")],
)
def test_setup_takes_the_versions_asked_for(choice, pins):
    done = dry_run(*([f"CONSTRAINTS={choice}"] if choice else []))
    (line,) = [line for line in done.stdout.splitlines() if '-e ".[dev,site]"' in line]
    assert pins in line and line.count("-c ") == (choice is None)


@posix
def test_setup_refuses_a_choice_that_is_none():
    done = dry_run("CONSTRAINTS=olddest")
    assert done.returncode != 0 and "olddest is none of tested, oldest, newest" in done.stderr


# ------------------------------------------------------------------------------------ continuous integration


WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def called(job: str) -> list[str]:
    """The command lines of a job."""
    return [line for step in JOBS[job]["steps"] for line in step.get("run", "").splitlines()]


def test_the_workflow_calls_make_targets_that_exist():
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M).group(1).split())
    words = [line.split() for job in JOBS if job != "windows" for line in called(job)]
    assert all(each[0] == "make" and each[1] in targets for each in words), words
    assert {each[1] for each in words} >= {"lint", "check", "test", "site"}
    tested = {entry["constraints"] for entry in JOBS["test"]["strategy"]["matrix"]["include"]}
    assert tested == {"oldest", "tested", "newest"}


def test_the_workflow_tests_three_systems():
    systems = {entry["system"] for entry in JOBS["test"]["strategy"]["matrix"]["include"]}
    assert {*systems, JOBS["windows"]["runs-on"]} == {"ubuntu-latest", "macos-latest", "windows-latest"}


def test_on_windows_the_lines_of_the_readme_are_called_and_they_are_what_make_does():
    lines = {line for block in re.findall(r"```powershell\n(.*?)```", README, re.DOTALL) for line in block.splitlines()}
    assert set(called("windows")) <= lines
    (test,) = [line for line in lines if " pytest " in line]
    nbval = re.search(r"^NBVAL := (.*)$", MAKEFILE, re.M)[1]
    jobs = re.search(r"^TEST_JOBS \?= (\d+)$", MAKEFILE, re.M)[1]
    assert test.endswith(f" -m pytest -n {jobs} --dist loadscope {nbval} tests notebooks")
    for setting in re.search(r"^TEST_ENV := .*?((?: [A-Z_]+=\d)+)$", MAKEFILE, re.M)[1].split():
        name, value = setting.split("=")
        assert any(f"$env:{name} = {value}" in line for line in lines)
    assert any(line.endswith('install -c constraints.txt -e ".[dev,site]"') for line in lines)


def test_the_workflow_lints_without_pytorch():
    assert called("lint") == ["make lint"]
    needs = re.search(r"^lint: (.*?)  ## ", MAKEFILE, re.M)[1]
    assert needs == "$(BIN)/ruff" and "$(BIN)/ruff:  #" in MAKEFILE


def test_the_weekly_run_is_not_ended_by_a_push():
    assert WORKFLOW[True]["schedule"]  # YAML reads the key `on` as true
    running = WORKFLOW["concurrency"]
    assert "github.event_name" in running["group"] and "schedule" not in running["cancel-in-progress"]
    assert running["cancel-in-progress"] is not True


def test_actions_are_pinned_and_packages_kept():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)$", text, re.M)
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line) for line in used), used
    for job in JOBS.values():
        assert job["timeout-minutes"] <= 90
        (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
        assert python.get("cache") == "pip" or job is JOBS["lint"]


# ------------------------------------------------------------------------------------ editors, other systems


def test_editor_and_container_agree_and_set_up_by_make():
    read = {path: json.loads((ROOT / path).read_text()) for path in (".vscode/extensions.json", CONTAINER)}
    editor = read[CONTAINER]["customizations"]["vscode"]
    assert editor["extensions"] == read[".vscode/extensions.json"]["recommendations"]
    assert read[CONTAINER]["postCreateCommand"] == "make setup"
    assert editor["settings"]["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    version = re.fullmatch(r"python:(3\.\d+)-\w+", read[CONTAINER]["image"])[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)


#: Imports everything, which brings the libraries; takes away what Windows lacks, as far as this can be done elsewhere;
#: then imports the package once more and lists the chapters.
LIKE_WINDOWS = """
import importlib, os, pathlib, signal, sys

def import_all():
    for path in sorted(pathlib.Path("course_utils").rglob("*.py")):
        name = ".".join(path.with_suffix("").parts)
        if path.stem not in ("__main__", "lecture_start"):
            importlib.import_module(name.removesuffix(".__init__"))

import_all()
for name in [name for name in sys.modules if name.split(".")[0] == "course_utils"]:
    del sys.modules[name]
lacking = "fcntl grp pwd resource termios tty pty syslog readline".split()
sys.modules |= dict.fromkeys(lacking)
for name in "SIGHUP SIGKILL SIGQUIT SIGALRM SIGUSR1 SIGCHLD SIGPIPE".split():
    delattr(signal, name)
for name in "sched_getaffinity fork getuid geteuid uname setsid killpg getpgid mkfifo sysconf".split():
    delattr(os, name)
import_all()
from course_utils.tools.cli import main
main(["list"])
"""


def test_no_module_needs_what_windows_lacks():
    done = subprocess.run([sys.executable, "-c", LIKE_WINDOWS], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "00_start_here" in done.stdout, done.stderr


@posix
def test_ci_goes_on_without_browser_and_scripts():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines() if line[:1] != "#"]
    assert lines[-1] == "exec make test" and "make check" in lines
    (vendor,) = [line for line in lines if "make vendor" in line]
    assert vendor.startswith("make vendor || echo")
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
