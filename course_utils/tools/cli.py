"""The command ``course``: check the machine, list and run chapters, fetch data, keep outputs, measure."""

from __future__ import annotations

import difflib
import os
import platform
import re
import shutil
import sys
import time
from pathlib import Path

import click

from course_utils.tools import ROOT, cores, read_course, read_results

#: What importing torchvision says if it was built for another torch.
BROKEN_PAIR = "torchvision::nms does not exist"
PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "ipykernel", "papermill", "nbconvert")

source_option = click.option(
    "--source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=ROOT / "notebooks",
    help="Folder with course.yml and the notebooks [default: notebooks].",
)
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "run",
    help="Folder for executed notebooks, results and report [default: build/run].",
)


class _Group(click.Group):
    """Turns the errors that a user can mend into a message and exit code 2."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except FileNotFoundError as error:
            raise click.UsageError(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="course-utils", message="%(version)s")
def main() -> None:
    """Run the course on autoencoders and generative models, and what it needs."""


# ---------------------------------------------------------------- doctor


@main.command()
def doctor() -> None:
    """Say what this machine has and what is broken.

    The exit code is 1 if something is broken; what is named then comes with its mend.
    """
    findings = [*_check_packages(), *_check_torch(), *_check_machine(), *_check_kernel(), *_check_data()]
    if os.environ.get("MPLBACKEND"):
        text = f"MPLBACKEND={os.environ['MPLBACKEND']} silently removes figures from notebooks: unset MPLBACKEND"
        findings.append(("warning", text))
    for level, text in findings:
        click.echo(f"{level:<8} {text}")
    broken = sum(level == "BROKEN" for level, _ in findings)
    click.echo(f"\n{broken} broken: mend what is named above." if broken else "\nThis machine can run the course.")
    sys.exit(1 if broken else 0)


def _check_packages() -> list[tuple[str, str]]:
    from importlib.metadata import PackageNotFoundError, version

    level = "ok" if sys.version_info >= (3, 11) else "BROKEN"
    findings = [(level, f"Python {platform.python_version()} at {sys.executable} (3.11 or newer is needed)")]
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    findings.append(("ok", "packages: " + ", ".join(versions)))
    if missing:
        text = f"not installed: {', '.join(missing)}; run `make run`, or `pip install -e .` in {ROOT}"
        findings.append(("BROKEN", text))
    return findings


def _check_torch() -> list[tuple[str, str]]:
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:  # whatever it raises is what there is to diagnose
        if BROKEN_PAIR in str(error):
            reason = f"torch and torchvision do not fit together ({error})"
        else:
            reason = f"importing torch and torchvision fails ({type(error).__name__}: {error})"
        mend = "delete .venv and run `make setup`; in an environment of your own, `pip install --force-reinstall -c "
        mend += "constraints.txt torch torchvision`, with --index-url for both of them or for neither"
        return [("BROKEN", f"{reason}. Reinstall both from one index: {mend}")]
    devices = ["cpu"] + [f"cuda: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    devices += ["mps"] * torch.backends.mps.is_available()
    return [("ok", "torch and torchvision fit together; devices: " + ", ".join(devices))]


def _check_machine() -> list[tuple[str, str]]:
    free = shutil.disk_usage(ROOT).free / 1e9
    findings = [("ok", f"{cores()} cores"), ("ok" if free > 2 else "warning", f"{free:.1f} GB of disk free at {ROOT}")]
    try:
        import psutil
    except ImportError as error:
        return [*findings, ("BROKEN", f"the memory cannot be read: {error}; run `pip install psutil`")]
    total = psutil.virtual_memory().total / 1e9
    return [*findings, ("ok" if total > 3 else "warning", f"{total:.1f} GB of memory (a chapter needs up to 3 GB)")]


def _check_kernel() -> list[tuple[str, str]]:
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        return [("BROKEN", f"the Jupyter kernel cannot be looked for: {error}; run `pip install ipykernel`")]
    try:
        python = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return [("BROKEN", "there is no Jupyter kernel python3; run `python -m ipykernel install --sys-prefix`")]
    own = Path(python).name == python or Path(python).parent == Path(sys.executable).parent
    if own:
        return [("ok", "the Jupyter kernel python3 is the one of this environment")]
    mend = "run `python -m ipykernel install --sys-prefix` and do not set JUPYTER_PREFER_ENV_PATH=0"
    return [("BROKEN", f"the Jupyter kernel python3 starts another Python, {python}; {mend}")]


def _check_data() -> list[tuple[str, str]]:
    try:
        from course_utils import datasets
    except Exception as error:  # without PyTorch there is nothing to look with; that is named above
        return [("warning", f"data sets not looked at: {type(error).__name__}")]
    fetch = "not here, which is no problem for the quick profile; `course data fetch {}` brings it"
    return [
        ("absent", f"data set {name}: {fetch.format(name)}")
        if words == "missing"
        else ("ok", f"data set {name}: {words}")
        for name, words in datasets.present().items()
    ]


# ---------------------------------------------------------------- chapters


def choose(names: tuple[str, ...], source: Path) -> list[dict]:
    """Return the chapters that were named, by number, name or file name, in the order of the course; all if none was.

    Raises
    ------
    click.UsageError
        If there is no such chapter; the message names the nearest.
    """
    chapters = read_course(source)
    known = {key: entry["name"] for entry in chapters for key in (entry["name"], entry["name"].split("_")[0])}
    wanted = set()
    for name in names:
        key = Path(name).name.removesuffix(".ipynb")
        key = key.zfill(2) if key.isdigit() else key
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
            every = ", ".join(entry["name"] for entry in chapters)
            raise click.UsageError(f"there is no chapter {name!r}; the nearest is {near!r}. The course has {every}")
        wanted.add(known[key])
    return [entry for entry in chapters if entry["name"] in wanted or not names]


def parse_parameters(pairs: tuple[tuple[str, str], ...]) -> dict:
    """Read the values of ``-p NAME VALUE`` as YAML literals; 1e-3 is a number as well."""
    import yaml

    parameters = {}
    for name, text in pairs:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise click.UsageError(f"-p {name} {text!r} is not a YAML literal: {reason}") from error
        is_number = isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value)
        parameters[name] = float(value) if is_number else value
    return parameters


def make_plans(entries: list[dict], source: Path, profile: str, overrides: dict) -> list:
    """Refuse a profile or parameter that no chapter has; else return one outcome-to-be per chapter.

    Raises
    ------
    click.UsageError
        The message names the nearest profile or parameter that exists.
    """
    from course_utils.tools.execute import plan

    profiles = {name for entry in entries for name in entry["profiles"]}
    if profile not in profiles:
        raise click.UsageError(f"there is no profile {profile!r}; {_nearest(profile, profiles)}")
    has = {entry["name"]: _parameters_of(source / f"{entry['name']}.ipynb") for entry in entries}
    everywhere = set().union(*has.values())
    for name in overrides:
        if name not in everywhere:
            where = "the chapters named" if len(entries) > 1 else entries[0]["name"]
            raise click.UsageError(f"no parameter {name!r} in {where}; {_nearest(name, everywhere)}")
    plans = []
    for entry in entries:
        own = {name: value for name, value in overrides.items() if name in has[entry["name"]]}
        plans.append(plan(entry, profile, own, source / f"{entry['name']}.ipynb"))
        unknown = set(plans[-1].parameters) - has[entry["name"]] if plans[-1].fingerprint else set()
        for name in sorted(unknown):
            text = f"the profile {profile!r} of course.yml gives {entry['name']} a parameter {name!r}, which it has not"
            raise click.UsageError(f"{text}; {_nearest(name, has[entry['name']])}")
    return plans


def _parameters_of(notebook: Path) -> set[str]:
    from papermill import inspect_notebook

    return set(inspect_notebook(str(notebook).replace("{", "{{").replace("}", "}}"))) if notebook.exists() else set()


def _nearest(name: str, known: set[str]) -> str:
    if not known:
        return "there are none"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
    return f"the nearest is {near!r} (there are {', '.join(sorted(known))})"


@main.command("list")
@click.option("--markdown", is_flag=True, help="Print the chapter table of the README instead.")
@source_option
@output_option
def list_chapters(markdown: bool, source: Path, output: Path) -> None:
    """List the chapters: minutes, prerequisites, executed or not."""
    if markdown:
        from course_utils.tools.table import chapter_table

        return click.echo(chapter_table(source), nl=False)
    entries, executed = read_course(source), read_results(output)
    width = max(len(entry["name"]) for entry in entries)
    click.echo(f"{'chapter':<{width}}  {'run':>8}  {'read':>8}  {'last run':<24}  title, prerequisites")
    for entry in entries:
        last = executed.get(entry["name"])
        state = f"{last['status']} ({last['profile']}, {last['minutes']:.1f} min)" if last else "not executed"
        needs = ", ".join(need.split("_")[0] for need in entry.get("needs") or [])
        minutes = f"{entry['profiles'].get('quick', {}).get('minutes', '?')} min"
        title = entry["title"] + (f" (needs {needs})" if needs else "")
        reading = f"{entry.get('read_minutes', '?')} min"
        click.echo(f"{entry['name']:<{width}}  {minutes:>8}  {reading:>8}  {state:<24}  {title}")


@main.command()
@click.option("--markdown", is_flag=True, help="Print the table as it stands in the README.")
@source_option
def scoreboard(markdown: bool, source: Path) -> None:
    """Show every model of the course judged by every metric, from the stored full run."""
    from course_utils.tools.table import scoreboard_table

    table = scoreboard_table(source)
    if markdown or not table.startswith("|"):
        return click.echo(table, nl=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "---" not in line]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{row[0]:<{widths[0]}}" if k == 0 else f"{c:>{widths[k]}}" for k, c in enumerate(row)))


class Screen:
    """Shows what happens: finished chapters in lines that stay, running ones in lines that are rewritten."""

    def __init__(self, every: float = 10.0):
        self.tty, self.every, self.drawn, self.last = sys.stdout.isatty(), every, 0, 0.0
        self.announced: set[str] = set()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._erase()
        click.echo(text)

    def refresh(self, workers: list, waiting: list) -> None:
        """Show every running chapter: on a terminal in place, elsewhere at its start and every ten seconds."""
        now, new = time.monotonic(), {worker.outcome.name for worker in workers} - self.announced
        due = now - self.last > (0.5 if self.tty else self.every)
        if not workers or not (due or new):
            return
        self._erase()
        self.last = now if due else self.last
        for worker in workers:
            if self.tty or due or worker.outcome.name in new:
                click.echo(_progress(worker)[: shutil.get_terminal_size().columns - 1 if self.tty else None])
        self.announced |= new
        if self.tty:
            self.drawn = len(workers)
            if waiting:
                click.echo(f"{len(waiting)} more, about {sum(o.expected_minutes for o in waiting):.0f} min after that")
                self.drawn += 1

    def _erase(self) -> None:
        if self.drawn:
            click.echo(f"\x1b[{self.drawn}F\x1b[J", nl=False)
        self.drawn = 0


def _progress(worker) -> str:
    left = 60 * worker.outcome.expected_minutes - worker.seconds()
    time_left = f"about {_clock(left)} left" if left > 0 else f"{_clock(-left)} longer than expected"
    cell = f"cell {worker.cell} of {worker.of}" if worker.cell else "starting"
    return f"{worker.outcome.name:<28} {cell:<14} {_clock(worker.seconds())} elapsed, {time_left}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}"


@main.command()
@click.argument("chapters", nargs=-1)
@click.option("--profile", default="quick", show_default=True, help="Which parameters of course.yml: quick or full.")
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="Override a parameter; repeatable.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Chapters at once.")
@click.option("--resume", is_flag=True, help="Skip chapters that succeeded and have not changed.")
@click.option("--cell-timeout", type=float, help="Limit per cell in seconds [default: from course.yml, at least 300].")
@source_option
@output_option
def run(chapters, profile, pairs, jobs, resume, cell_timeout, source: Path, output: Path) -> None:
    """Execute chapters (all, or those named) and write a report.

    CHAPTERS are numbers (02), names (02_autoencoder) or file names. Exit code 0 only if all of them ran and
    all numbers lie in their expected bands; 1 if not, 2 if the call was refused, 130 after Ctrl-C.
    """
    from course_utils.tools import execute, report

    overrides = parse_parameters(pairs)
    outcomes = make_plans(choose(chapters, source), source, profile, overrides)
    if not outcomes:
        raise click.UsageError(f"{source / 'course.yml'} lists no chapters")
    code = execute.run(
        outcomes, source=source, output=output, jobs=jobs, resume=resume, cell_seconds=cell_timeout, screen=Screen()
    )
    page = report.write(output, source)
    bad = [outcome for outcome in outcomes if outcome.status not in ("ok", "skipped")]
    click.echo(f"\n{len(outcomes) - len(bad)} of {len(outcomes)} chapters are fine · report: {page}")
    for outcome in bad:
        click.echo(f"  {outcome.name}: {outcome.status}" + (f" · {outcome.message}" if outcome.message else ""))
    sys.exit(code)


@main.command()
@click.argument("chapters", nargs=-1)
@click.option("--cell-timeout", type=float, help="Limit per cell in seconds.")
@source_option
def store(chapters, cell_timeout, source: Path) -> None:
    """Execute chapters and keep their outputs in notebooks/.

    In the quick profile. A notebook that fails, or whose numbers leave their bands, stays as it was.

    CHAPTERS are numbers, names, or paths of notebooks, such as notebooks/solutions/02_autoencoder.ipynb.
    """
    from course_utils.tools import execute, store

    course = {(source / f"{entry['name']}.ipynb").resolve() for entry in read_course(source)}
    paths = [Path(name) for name in chapters if name.endswith(".ipynb") and Path(name).resolve() not in course]
    for path in paths:
        if not path.exists():
            raise click.UsageError(f"there is no notebook {path}")
    named = tuple(name for name in chapters if Path(name) not in paths)
    entries = choose(named, source) if named or not paths else []
    jobs = [(entry, source / f"{entry['name']}.ipynb") for entry in entries]
    jobs += [({"name": path.stem, "title": path.stem, "profiles": {}, "numbers": {}}, path) for path in paths]
    screen = Screen()
    done = []
    for entry, path in jobs:
        outcome = execute.plan(entry, "quick", {}, path)
        done.append(store.store(outcome, path, cell_seconds=cell_timeout, screen=screen))
    sys.exit(0 if all(done) else 1)


# ---------------------------------------------------------------- lectures


@main.command()
@click.argument("chapters", nargs=-1)
@source_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "slides",
    help="Folder for the slides; it can be copied anywhere as a whole [default: build/slides].",
)
@click.option(
    "--executed",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "run",
    help="Folder with executed notebooks, whose sliders move on the slides [default: build/run].",
)
def slides(chapters, source: Path, output: Path, executed: Path) -> None:
    """Write lectures (all, or those of CHAPTERS) as reveal slides that need neither kernel nor network.

    Scripts are fetched once from npm into build/vendor. Sliders move where `course run` has executed the chapter;
    elsewhere a still figure stands for them.
    """
    from course_utils.tools import slides, vendor

    entries = choose(chapters, source)
    try:
        scripts = vendor.fetch(slides.SCRIPTS)
        for line in slides.write(entries, source, output, executed, scripts):
            click.echo(line)
    except (slides.LectureError, vendor.VendorMissing) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\nlectures: {output / 'index.html'}")


# ---------------------------------------------------------------- web site


@main.command("site")
@click.option("--stored", is_flag=True, help="Take the notebooks as they are stored, without sliders; execute nothing.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Chapters executed at once.")
@click.option(
    "--site",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "site",
    help="Folder for the pages [default: build/site].",
)
@source_option
@output_option
def make_site(stored, jobs, target: Path, source: Path, output: Path) -> None:
    """Build the web site: chapters, exercises, glossary, bibliography, the package.

    Stored notebooks hold no sliders, so chapters come from the last quick run; those that have changed since are
    executed first.
    """
    from course_utils.tools import execute, site

    executed = {}
    if not stored:
        outcomes = make_plans(read_course(source), source, "quick", {})
        execute.run(outcomes, source=source, output=output, jobs=jobs, resume=True, screen=Screen())
        executed = {o.name: output / f"{o.name}.ipynb" for o in outcomes if o.status in (*execute.RAN, "skipped")}
        failed = [outcome.name for outcome in outcomes if outcome.name not in executed]
        if failed:
            raise click.ClickException(f"{', '.join(failed)} failed; mend that, or take what is stored: --stored")
    try:
        page = site.build(source, target, executed)
    except (RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    size = sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file()) / 1e6
    click.echo(f"{page} · {size:.0f} MB in all")


@main.command("vendor")
def fetch_vendor() -> None:
    """Fetch the scripts that slides and web site load, once, into build/vendor."""
    from course_utils.tools import vendor

    try:
        for name, folder in vendor.fetch().items():
            click.echo(f"{name:<32} {folder}")
    except vendor.VendorMissing as error:
        raise click.ClickException(str(error)) from error


@main.command("launch")
@source_option
def write_launch(source: Path) -> None:
    """Write links to Colab and Binder into the chapters, or remove them.

    They are made from the address in [project.urls] of pyproject.toml; while it has none, they are removed.
    """
    from course_utils.tools import launch

    repository = launch.address()
    for entry in read_course(source):
        changed = launch.write(source / f"{entry['name']}.ipynb", repository)
        click.echo(f"{entry['name']:<28} {'changed' if changed else 'as it was'}")
    click.echo(f"address: {repository or 'none yet, so no links'}")


# ---------------------------------------------------------------- teaching and learning


@main.command()
@click.argument("chapter")
@click.option("-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="Override a parameter; repeatable.")
@click.option("--within", type=float, default=5.0, show_default=True, help="Seconds in which a cell should answer.")
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT / "build" / "checkpoints",
    help="Folder for the kept trainings [default: build/checkpoints].",
)
@click.option("--open", "open_lab", is_flag=True, help="Open it in JupyterLab with what was kept; prepare nothing.")
@source_option
def lecture(chapter, pairs, within, checkpoints: Path, open_lab: bool, source: Path) -> None:
    """Prepare a live session: train once, keep it, say which cells answer in time.

    The chapter is executed, so that data sets are warm and every training is kept, and then measured as it will run in
    the lecture. With -p the trainings of a variation that you mean to show are kept as well. Exit code 0 if
    every cell of the lecture answers in time, 1 if not, 2 if the call was refused.
    """
    from course_utils.tools import lecture as live

    (outcome,) = make_plans(choose((chapter,), source), source, "quick", parse_parameters(pairs))
    notebook = source / f"{outcome.name}.ipynb"
    if not outcome.fingerprint:
        raise click.UsageError(f"there is no notebook {notebook}")
    if open_lab:
        if not (checkpoints / notebook.name).exists():
            click.echo(f"not prepared: nothing of {outcome.name} is kept in {checkpoints}, so its cells will train")
        sys.exit(live.open_lab(notebook, checkpoints))
    findings = [*_check_packages(), *_check_torch(), *_check_machine(), *_check_kernel()]
    for level, text in findings:
        if level != "ok":
            click.echo(f"{level:<8} {text}")
    if any(level == "BROKEN" for level, _ in findings):
        click.echo("not ready: mend what is broken first; `course doctor` says more")
        sys.exit(1)
    click.echo("machine: ready")
    rehearsal = live.prepare(outcome, notebook, checkpoints, screen=Screen())
    if rehearsal is None:
        click.echo(f"not ready: {outcome.status} · {outcome.message}")
        sys.exit(1)
    click.echo(f"data sets and trainings: ready ({live.size(checkpoints)})")
    click.echo(live.describe(rehearsal, within))
    command, environment = live.lab_command(notebook, checkpoints)
    click.echo(f"open it with: course lecture {chapter} --open, or")
    click.echo(f"  COURSE_CHECKPOINTS={environment['COURSE_CHECKPOINTS']} {' '.join(command)}")
    sys.exit(1 if rehearsal.late(within) else 0)


@main.command()
@click.argument("chapters", nargs=-1)
@click.option(
    "--notebooks",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=ROOT / "notebooks",
    help="Folder with your notebooks [default: notebooks].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def progress(chapters, notebooks: Path, as_json: bool) -> None:
    """Say which exercises pass, from the outputs saved in your notebooks.

    Nothing is executed, and nothing leaves this machine. CHAPTERS are numbers or names; all if none is named.
    """
    from course_utils.tools import learner

    source = notebooks if (notebooks / "course.yml").exists() else ROOT / "notebooks"
    found = learner.progress(choose(chapters, source), notebooks)
    click.echo(learner.as_json(found) if as_json else learner.as_table(found))


# ---------------------------------------------------------------- data, measurements


@main.group()
def data() -> None:
    """List, download or take in data sets."""


@data.command("list")
def data_list() -> None:
    """Say of each data set whether it is here, and how to get it."""
    from course_utils.tools import data as store

    click.echo(store.listing())


@data.command("fetch")
@click.argument("names", nargs=-1, required=True)
def data_fetch(names) -> None:
    """Download data sets by name: mnist, fashion-mnist, svhn, svhn-extra."""
    from course_utils.tools import data as store

    failed = False
    for name in names:
        try:
            click.echo(store.fetch(name))
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except OSError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    sys.exit(1 if failed else 0)


@data.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
def data_import(folder: Path) -> None:
    """Take in the .gz files of MNIST or Fashion-MNIST, or the .mat files of SVHN, from a folder that is only read."""
    from course_utils.tools import data as store

    try:
        done, refused = store.import_folder(folder)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    for text in done:
        click.echo(text)
    for text in refused:
        click.echo(f"Error: {text}", err=True)
    sys.exit(1 if refused else 0)


@main.group()
def bench() -> None:
    """Measure the parts of the course whose speed matters."""


@bench.command("fit")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Interleaved repetitions.")
@click.option("--images", type=click.IntRange(min=1), help="Images per epoch (mlp: 60,000, conv: 8,000).")
@click.option(
    "--network", type=click.Choice(["mlp", "conv"]), default="mlp", show_default=True, help="What is trained."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Also write this file.")
def bench_fit(rounds: int, images: int | None, network: str, device: str, json_path: Path | None) -> None:
    """Time the training loop: a small VAE against a floor and the usual DataLoader loop, or convolutions with bf16."""
    from course_utils.tools import bench as measure

    try:
        measure.bench_fit(rounds, images, json_path, network=network, device=device)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@bench.command("parzen")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Repetitions.")
@click.option(
    "--points", type=click.IntRange(min=2), default=10_000, show_default=True, help="Samples, and test points."
)
@click.option("--naive-points", type=click.IntRange(min=1), default=200, show_default=True, help="Of the naive form.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Also write this file.")
def bench_parzen(rounds: int, points: int, naive_points: int, json_path: Path | None) -> None:
    """Time Parzen windows on digits, their memory, and a naive form beside them."""
    from course_utils.tools import bench_parzen as measure

    try:
        measure.bench_parzen(rounds, points, json_path, naive_points=naive_points)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
