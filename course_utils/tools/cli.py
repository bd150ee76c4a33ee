"""The command ``course``: reads arguments, refuses what cannot be done before anything runs, and calls the tools."""

from __future__ import annotations

import ast
import contextlib
import difflib
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from course_utils import __version__
from course_utils.runtime import ROOT, pick_device
from course_utils.tools import folders
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Chapter, NoCourse, Plan, plan, read_chapters, read_results
from course_utils.tools.doctor import INSTALL
from course_utils.tools.screen import Screen


def folder(flag: str, default: Path, words: str, *, exists: bool = False) -> Callable:
    """Return an option that takes a folder; the default stands in its help relative to the repository."""
    kind = click.Path(path_type=Path, file_okay=False, exists=exists)
    return click.option(
        *flag.split(), type=kind, default=default, help=f"{words} [default: {default.relative_to(ROOT)}]."
    )


def count(flag: str, default: int | None, words: str, *, least: int = 1) -> Callable:
    """Return an option that takes a whole number."""
    return click.option(flag, type=click.IntRange(min=least), default=default, show_default=True, help=words)


BUILD = ROOT / "build"
chapters_argument = click.argument("chapters", nargs=-1)
source_option = folder("--source", ROOT / "notebooks", "Folder with course.yml and the notebooks", exists=True)
output_option = folder("--output", BUILD / "run", "Folder for executed notebooks, results and report")
jobs_option = count("--jobs", 1, "Chapters executed at once.")
device_option = click.option(
    "--device", help="Where to compute: cpu, cuda or mps [default: COURSE_DEVICE, else the fastest found]."
)
timeout_option = count("--cell-timeout", None, "Limit per cell in seconds [default: from course.yml, at least 300].")
parameter_option = click.option(
    "-p", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="Override a parameter; repeatable."
)


def _measurement(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that is there and no measurement, for it would be replaced."""
    if path is not None and path.exists() and '"targets"' not in path.read_text(encoding="utf-8", errors="replace"):
        raise click.BadParameter(f"{path} is there and was not made by `course bench`; name another file")
    return path


json_file = click.Path(path_type=Path, dir_okay=False)
json_option = click.option("--json", "json_path", type=json_file, callback=_measurement, help="Also write this file.")


@contextlib.contextmanager
def told(*errors: type[Exception], refused: bool = False) -> Iterator[None]:
    """Turn errors whose text says all into one line and exit code 1, or 2 if the call is ``refused``."""
    try:
        yield
    except errors as error:
        way = f"; {INSTALL}" if isinstance(error, ModuleNotFoundError) else ""
        raise (click.UsageError if refused else click.ClickException)(f"{error}{way}") from error


class _Group(click.Group):
    """Turns what a person can mend into one sentence, an interruption into its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # an old code page has no minus sign
        try:
            with told(OSError, ImportError, notebooks.NotebookError), told(NoCourse, folders.NotOurs, refused=True):
                return super().invoke(ctx)
        except KeyboardInterrupt as error:  # Interrupted of run.py has the exit code of the signal
            click.echo(f"Interrupted. {error}", err=True)
            sys.exit(getattr(error, "code", 130))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Run the course on autoencoders and generative models, and what it needs."""


def _name_cleared(chapters: Iterable[Chapter]) -> None:
    """Say of stored chapters that their outputs are gone, as pages without a figure would not."""
    if cleared := [chapter.number for chapter in chapters if notebooks.is_cleared(notebooks.read(chapter.path))]:
        raise click.ClickException(
            f"without figures, for {', '.join(cleared)} hold no outputs; make them: course store"
        )


def choose(names: Sequence[str], source: Path) -> list[Chapter]:
    """Return the chapters that were named, by number, name or file name, in the order of the course; all if none was.

    One that does not exist is a ``click.UsageError`` that names the nearest.
    """
    chapters = read_chapters(source)
    known = {key: chapter.name for chapter in chapters for key in (chapter.name, chapter.number)}
    wanted = set()
    for name in names:
        key = Path(name).name.removesuffix(".ipynb")
        key = key.zfill(2) if key.isdigit() else key
        if key not in known:
            raise click.UsageError(f"there is no chapter {name!r}; {_nearest(key, known)}")
        wanted.add(known[key])
    return [chapter for chapter in chapters if chapter.name in wanted or not names]


def understood(name: str, text: str, default: Any) -> Any:
    """Return the value of ``-p NAME VALUE``, of the kind of the notebook's ``default``; ``click.UsageError`` if not.

    Where the default is text, text stays as it was typed; numbers, true, false, null and lists are read as in Python.
    """
    if isinstance(default, str):
        return text
    value: Any = None
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text.lower(), text.strip()))
    if isinstance(value, float) and isinstance(default, int) and value.is_integer():
        value = int(value)  # 1e3
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is None:
        return text if value is None else value
    finite = not isinstance(value, float) or math.isfinite(value)
    if not finite or type(value) is not type(default):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(default), "another kind")
        raise click.UsageError(f"-p {name} {text!r} is not understood; the notebook has {default!r}, {kind}")
    return value


def make_plans(chapters: Sequence[Chapter], profile: str, pairs: Sequence[tuple[str, str]] = ()) -> list[Plan]:
    """Return one plan per chapter; a profile or parameter that no chapter has is refused, naming the nearest."""
    profiles = {name for chapter in chapters for name in chapter.profiles}
    if profile not in profiles:
        raise click.UsageError(f"there is no profile {profile!r}; {_nearest(profile, profiles)}")
    has: dict[str, dict[str, Any]] = {}
    for chapter in chapters:
        with contextlib.suppress(OSError, notebooks.NotebookError):  # the chapter fails, alone and by name
            has[chapter.name] = _defaults(notebooks.read(chapter.path))
    everywhere = set().union(*has.values())
    for name, _ in pairs:
        if name not in everywhere:
            where = "the chapters named" if len(chapters) > 1 else chapters[0].name
            raise click.UsageError(f"no parameter {name!r} in {where}; {_nearest(name, everywhere)}")
    plans = []
    for chapter in chapters:
        known = has.get(chapter.name, {})
        own = {name: understood(name, text, known[name]) for name, text in pairs if name in known}
        plans.append(plan(chapter, profile, own))
        for name in sorted(set(plans[-1].parameters) - set(known) if chapter.name in has else ()):
            text = f"the profile {profile!r} of course.yml gives {chapter.name} a parameter {name!r}, which it has not"
            raise click.UsageError(f"{text}; {_nearest(name, known)}")
        if own:
            words = ", ".join(f"{name} = {value!r}" for name, value in own.items())
            click.echo(f"{chapter.name}: {words}")
    return plans


def _defaults(notebook: dict) -> dict[str, Any]:
    """Return the parameters of a notebook with their values, None for one that is no literal."""
    import nbformat
    from papermill import inspect_notebook

    found: dict[str, Any] = {}
    for name, facts in inspect_notebook(nbformat.from_dict(notebooks.copy(notebook))).items():
        found[name] = None
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(facts["default"])
    return found


def compute_on(device: str | None) -> None:
    """Let every kernel compute on a device; one that is not there is refused, naming those that are."""
    if device:
        with told(ValueError, refused=True):
            os.environ["COURSE_DEVICE"] = str(pick_device(device))  # the kernels take it over


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"the nearest is {near[0]!r} (there are {', '.join(known)})" if near else "there are none"


@main.command("list")
@click.option("--markdown", is_flag=True, help="Print the two tables of the README instead.")
@source_option
@output_option
def list_chapters(markdown: bool, source: Path, output: Path) -> None:
    """List the chapters: minutes, prerequisites, executed or not."""
    from course_utils.tools import tables

    if markdown:
        return click.echo(tables.chapter_table(source) + "\n" + tables.headline_table(source), nl=False)
    executed = {result.name: result for result in read_results(output)}
    rows = [["chapter", "run", "read", "last run", "title, prerequisites"]]
    for chapter in read_chapters(source):
        last = executed.get(chapter.name)
        state = f"{last.status} ({last.profile}, {last.minutes:.1f} min)" if last else "not executed"
        needs = ", ".join(need.split("_")[0] for need in chapter.needs)
        title = chapter.title + (f" (needs {needs})" if needs else "")
        minutes = [f"{value or '?'} min" for value in (chapter.minutes("quick"), chapter.read_minutes)]
        rows.append([chapter.name, *minutes, state, title])
    return click.echo(tables.as_text(rows, "<>><<"))


@main.command()
@click.option("--markdown", is_flag=True, help="Print the table as it stands in the README.")
@source_option
def scoreboard(markdown: bool, source: Path) -> None:
    """Show the models of the course judged by every metric, a table for each chapter, from the stored full runs."""
    from course_utils.tools import tables

    drawn = tables.as_markdown if markdown else tables.as_text
    texts = [f"{name}\n\n{drawn(rows)}".rstrip("\n") for name, rows in tables.scoreboards(source).items()]
    click.echo("\n\n".join(texts) or "No scoreboard is stored yet.")


@main.command()
@chapters_argument
@click.option("--profile", default="quick", show_default=True, help="Which parameters of course.yml: quick or full.")
@parameter_option
@jobs_option
@click.option("--resume", is_flag=True, help="Skip chapters that succeeded and have not changed.")
@device_option
@timeout_option
@source_option
@output_option
def run(chapters, profile, pairs, jobs, resume, device, cell_timeout, source: Path, output: Path) -> None:
    """Execute chapters (all, or those named) and write a report.

    CHAPTERS are numbers (02), names (02_autoencoder) or file names. Exit code 0 only if all of them ran and
    all numbers lie in their expected bands; 1 if not, 2 if the call was refused, 130 after Ctrl-C, 143 after SIGTERM,
    129 if the terminal is closed. A folder that holds files of yours is refused.
    """
    chosen = choose(chapters, source)
    if not chosen:
        raise click.UsageError(f"{source / 'course.yml'} lists no chapters")
    compute_on(device)
    plans = make_plans(chosen, profile, pairs)
    from course_utils.tools import report, run

    options = {"jobs": jobs, "resume": resume, "cell_seconds": cell_timeout}
    results, code = run.run(plans, source=source, output=output, screen=Screen(), **options)
    page = report.write(output, source)
    bad = [result for result in results if result.status not in ("ok", "skipped")]
    click.echo(f"\n{len(results) - len(bad)} of {len(results)} chapters are fine · report: {page}")
    for result in bad:
        click.echo(f"  {result.name}: {result.status}" + (f" · {result.message}" if result.message else ""))
    sys.exit(code)


@main.command()
@chapters_argument
@count("--seeds", 8, "Run with seeds 0, 1, ….")
@jobs_option
@device_option
@timeout_option
@click.option("--bands", is_flag=True, help="Run nothing: write the bands that follow from the runs kept so far.")
@click.option("--check", is_flag=True, help="Run and write nothing: exit code 1 if a band is not what its runs say.")
@source_option
@folder("--output", BUILD / "spread", "Folder for executed notebooks")
def spread(chapters, seeds, jobs, device, cell_timeout, bands, check, source: Path, output: Path) -> None:
    """Run the quick profile over seeds, keep every number, and write the bands that follow.

    Runs are kept in notebooks/spread; those already there are not repeated, and runs on another device add to them.
    The bands of course.yml follow from them by a rule (see tools/spread.py). Exit code as of `course run`, and 1 if a
    number has values in two groups or a band that excludes nothing.
    """
    chosen = choose(chapters, source)
    compute_on(device)
    from course_utils.tools import spread

    with told(ValueError):
        if check:
            found = spread.edited(chosen, source)
            click.echo("\n".join(found) or "every band is what its runs say")
            sys.exit(1 if found else 0)
        options = {"source": source, "output": output, "screen": Screen(), "jobs": jobs, "cell_seconds": cell_timeout}
        code = 0 if bands else spread.add_runs(chosen, seeds, **options)
        every = spread.write_bands(chosen, source) if code < 2 else []
    faults = [f"  {found.chapter}: {found.number}: {found.fault}" for found in every if found.fault]
    click.echo("\n".join([f"\n{len(every)} numbers, bands written to {source / 'course.yml'}", *faults]))
    sys.exit(code or int(bool(faults)))


@main.command()
@chapters_argument
@timeout_option
@source_option
def store(chapters, cell_timeout, source: Path) -> None:
    """Execute chapters and keep their outputs in notebooks/.

    In the quick profile. A notebook that fails, or whose numbers leave their bands, stays as it was.

    CHAPTERS are numbers, names, or paths of notebooks, such as notebooks/solutions/02_autoencoder.ipynb.
    """
    course = {chapter.path.resolve() for chapter in read_chapters(source)}
    paths = [Path(name) for name in chapters if name.endswith(".ipynb") and Path(name).resolve() not in course]
    named = [name for name in chapters if Path(name) not in paths]
    chosen = choose(named, source) if named or not paths else []
    chosen += [Chapter(path.stem, path.stem, path) for path in paths]
    plans = [plan(chapter, "quick") for chapter in chosen]
    for asked in plans:
        if asked.fault:
            raise click.UsageError(asked.fault)
    from course_utils.tools.store import store

    done = [store(asked, screen=Screen(), cell_seconds=cell_timeout) for asked in plans]
    sys.exit(0 if all(done) else 1)


@main.command()
@chapters_argument
@source_option
@folder("--output", BUILD / "slides", "Folder for the slides; it can be copied anywhere as a whole")
@folder("--executed", BUILD / "run", "Folder with executed notebooks, whose sliders move on the slides")
def slides(chapters, source: Path, output: Path, executed: Path) -> None:
    """Write lectures (all, or those of CHAPTERS) as reveal slides that need neither kernel nor network.

    Scripts are fetched once from npm into build/vendor. Sliders move where `course run` has executed the chapter;
    elsewhere a still figure stands for them.
    """
    from course_utils.tools import slides, vendor

    chosen = choose(chapters, source)
    with folders.taken(output, "slides"), told(slides.LectureError, vendor.VendorMissing):
        for line in slides.write(chosen, source, output, executed, vendor.fetch(slides.SCRIPTS)):
            click.echo(line)
    click.echo(f"\nlectures: {output / 'index.html'}")
    _name_cleared(chosen)


@main.command("site")
@click.option("--stored", is_flag=True, help="Take the notebooks as they are stored, without sliders; execute nothing.")
@jobs_option
@folder("--site target", BUILD / "site", "Folder for the pages")
@source_option
@output_option
def make_site(stored, jobs, target: Path, source: Path, output: Path) -> None:
    """Build the web site: chapters, exercises, glossary, bibliography, the package.

    Stored notebooks hold no sliders, so chapters come from the last quick run; those that have changed since are
    executed first.
    """
    from course_utils.tools import run, site

    for place in (target, site.sources(target)):
        folders.check(place, "site", "--site", whole=True)
    executed = {}
    if not stored:
        plans = make_plans(read_chapters(source), "quick")
        results, code = run.run(plans, source=source, output=output, screen=Screen(), jobs=jobs, resume=True)
        if code > 1:
            sys.exit(code)
        executed = {r.name: output / f"{r.name}.ipynb" for r in results if r.status in (*run.RAN, "skipped")}
        failed = [result.name for result in results if result.name not in executed]
        if failed:
            raise click.ClickException(f"{', '.join(failed)} failed; mend that, or take what is stored: --stored")
    with told(RuntimeError, ValueError):
        page = site.build(source, target, executed)
    size = sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file()) / 1e6
    click.echo(f"{page} · {size:.0f} MB in all")
    _name_cleared(read_chapters(source) if stored else [])


@main.command("vendor")
def fetch_vendor() -> None:
    """Fetch the scripts that slides and web site load, once, into build/vendor."""
    from course_utils.tools import vendor

    with told(vendor.VendorMissing):
        for name, place in vendor.fetch().items():
            click.echo(f"{name:<32} {place}")


@main.command()
def doctor() -> None:
    """Say what this machine has and what is broken.

    The exit code is 1 if something is broken; what is named then comes with its mend.
    """
    broken = _broken(everything=True)
    click.echo(f"\n{broken} broken: mend what is named above." if broken else "\nThis machine can run the course.")
    sys.exit(1 if broken else 0)


def _broken(*, everything: bool) -> int:
    """Print what ``course doctor`` finds, or what of it is not as it should be, and return how much is broken."""
    from course_utils.tools.doctor import findings

    found = findings(data=everything)
    for level, text in found:
        if everything or level != "ok":
            click.echo(f"{level:<8} {text}")
    return sum(level == "BROKEN" for level, _ in found)


@main.command()
@click.argument("chapter")
@parameter_option
@click.option("--within", type=float, default=5.0, show_default=True, help="Seconds in which a cell should answer.")
@folder("--checkpoints", BUILD / "checkpoints", "Folder for the kept trainings")
@click.option("--open", "open_lab", is_flag=True, help="Open it in JupyterLab with what was kept; prepare nothing.")
@source_option
def lecture(chapter, pairs, within, checkpoints: Path, open_lab: bool, source: Path) -> None:
    """Prepare a live session: train once, keep it, say which cells answer in time.

    The chapter is executed, so that data sets are warm and every training is kept, and then measured as it will run in
    the lecture. With -p the trainings of a variation that you mean to show are kept as well. Exit code 0 if
    every cell of the lecture answers in time, 1 if not, 2 if the call was refused.
    """
    from course_utils.tools import lecture as live

    (asked,) = make_plans(choose((chapter,), source), "quick", pairs)
    notebook = asked.chapter.path
    if asked.fault:
        raise click.UsageError(asked.fault)
    if open_lab:
        if not (checkpoints / notebook.name).exists():
            click.echo(f"not prepared: nothing of {asked.name} is kept in {checkpoints}, so its cells will train")
        sys.exit(live.open_lab(notebook, checkpoints))
    if _broken(everything=False):
        click.echo("not ready: mend what is broken first; `course doctor` says more")
        sys.exit(1)
    click.echo("machine: ready")
    sys.exit(live.prepare_and_tell(asked, checkpoints, within=within, screen=Screen(), name=chapter))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--no-solutions", is_flag=True, help="Leave the solutions out, to hand the folder to a class.")
@source_option
def start(folder: Path, no_solutions: bool, source: Path) -> None:
    """Copy the notebooks into a folder of your own, without outputs, to work in.

    Updates of the course, and its commands, leave this folder alone; notebooks that it has already are kept.
    """
    from course_utils.tools import workbook

    for line in workbook.start(read_chapters(source), folder, solutions=not no_solutions):
        click.echo(line)
    click.echo(f"your workbook: {folder.resolve()}\nopen it with: {sys.executable} -m jupyterlab {folder}")


@main.command()
@chapters_argument
@click.option(
    "--notebooks",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with your notebooks [default: the workbook of `course start`, else notebooks].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def progress(chapters, notebooks: Path | None, as_json: bool) -> None:
    """Say which exercises pass, from the outputs saved in your notebooks.

    Nothing is executed, and nothing leaves this machine. CHAPTERS are numbers or names; all if none is named.
    """
    from course_utils.tools import exercises, workbook

    notebooks = notebooks or workbook.last()
    source = notebooks if (notebooks / "course.yml").exists() else ROOT / "notebooks"
    found = exercises.progress(choose(chapters, source), notebooks)
    click.echo((exercises.as_json if as_json else exercises.in_words)(found, notebooks))


@main.group()
def data() -> None:
    """List, download or take in data sets."""


@data.command("list")
def data_list() -> None:
    """Say of each data set whether it is here, and how to get it."""
    from course_utils.tools import data

    click.echo(data.listing())


@data.command("fetch")
@click.argument("names", nargs=-1, required=True)
def data_fetch(names) -> None:
    """Download data sets by name: mnist, fashion-mnist, svhn, svhn-extra."""
    from course_utils.tools import data

    failed = False
    for name in names:
        try:
            with told(ValueError, refused=True):
                click.echo(data.fetch(name))
        except OSError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    sys.exit(1 if failed else 0)


@data.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
def data_import(folder: Path) -> None:
    """Take in the .gz files of MNIST or Fashion-MNIST, or the .mat files of SVHN, from a folder that is only read."""
    from course_utils.tools import data

    with told(OSError):
        done, refused = data.import_folder(folder)
    for text in done:
        click.echo(text)
    for text in refused:
        click.echo(f"Error: {text}", err=True)
    sys.exit(1 if refused else 0)


@main.group()
def bench() -> None:
    """Measure the parts of the course whose speed matters."""


@bench.command("fit")
@count("--rounds", 5, "Interleaved repetitions.")
@count("--images", None, "Images per epoch (mlp: 60,000, conv: 8,000).")
@click.option("--network", type=click.Choice(["mlp", "conv"]), default="mlp", show_default=True, help="What to train.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@json_option
def bench_fit(**options: Any) -> None:
    """Time the training loop: a small VAE against a floor and the usual DataLoader loop, or convolutions with bf16."""
    from course_utils.tools import bench

    with told(ValueError):
        bench.bench_fit(**options)


@bench.command("parzen")
@count("--rounds", 3, "Repetitions.")
@count("--points", 10_000, "Samples, and test points.", least=2)
@count("--naive-points", 200, "Of the naive form.")
@json_option
def bench_parzen(**options: Any) -> None:
    """Time Parzen windows on digits, their memory, and a naive form beside them."""
    from course_utils.tools import bench

    with told(ValueError):
        bench.bench_parzen(**options)
