"""An IPython extension: in a lecture, what ``fit`` trains and slow functions return is kept, and found again.

A result is found by the story of its kernel: the cells run so far, in their order (comments and spaces do not count,
and neighbouring cells of plain assignments count by their values, so that parameters changed by hand are those that
papermill injects), its place among the calls of its cell, and what no cell tells: the data that ``datasets.load`` gave,
files that cells read, random generators, package, versions, device, threads. First weights and arguments follow from
these. When in doubt nothing is kept or loaded, and ``not_kept.txt`` says why. Cells run from the parameters on once
more are a new beginning, in which results are loaded, but no new ones kept. What a cell learns from the clock, the
network, another process or a control that was moved is not seen.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import io
import json
import os
import platform
import sys
import sysconfig
import time
import types
from collections.abc import Callable, Iterable, Set
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor

from course_utils import checkpoint, datasets, metrics, results, samples
from course_utils import fit as loop
from course_utils.progress import Line, in_words
from course_utils.runtime import ROOT, pick_device, set_seed

#: Names the folder of kept results; a relative path counts from the root of the repository.
VARIABLE = "COURSE_CHECKPOINTS"
NOT_KEPT = "not_kept.txt"
SLOW: dict[types.ModuleType, tuple[str, ...]] = {
    metrics: ("two_nn_dimension", "probe_accuracy"),
    samples: ("parzen_log_likelihood", "select_bandwidth", "mmd_test", "precision_recall", "classifier_two_sample"),
}
#: A result computed in less, in seconds, is not worth a file.
QUICK = 0.02
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-image")
#: What lies here is told by versions or by the hash of the package.
INSTALLED = (*sysconfig.get_paths().values(), sys.prefix, str(ROOT / "course_utils"), "/proc", "/sys", "/dev")
#: Called without arguments, they draw from the system.
UNSEEDED = {"default_rng", "RandomState", "SeedSequence", "Random", "seed", "uuid4"}


class Doubt(Exception):
    """A result cannot be kept; the message says why."""


def digest(*values: Any) -> str:
    """Return a hash of plain data; tensors and arrays count by their content. ``Doubt`` if one could be trained."""
    return hashlib.sha256(json.dumps(_in_lists(values), default=_content).encode()).hexdigest()[:32]


def _in_lists(value: Any) -> Any:
    """Put pairs of key and value for dicts, whose keys JSON takes if they are words only."""
    if isinstance(value, dict):
        return [[_in_lists(key), _in_lists(part)] for key, part in value.items()]
    return [_in_lists(part) for part in value] if isinstance(value, (list, tuple)) else value


def _content(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise Doubt("it holds a tensor that takes part in a gradient")
        content = value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, (np.ndarray, np.generic)):
        content = value.tobytes()
    else:
        return vars(value) if isinstance(value, (datasets.Splits, datasets.Split)) else str(value)
    return str(value.dtype), tuple(value.shape), hashlib.sha256(content).hexdigest()


class _Pickler(cloudpickle.Pickler):
    """Writes functions with all that they reach; of tensors a hash, or nothing if they may change."""

    def __init__(self, file: io.BytesIO, weights: Iterable[Tensor]) -> None:
        super().__init__(file)
        self.weights = set(map(id, weights))

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return "weight" if id(value) in self.weights else _content(value.detach())
        return None


def reached(*values: Any, weights: Iterable[Tensor] = ()) -> str:
    """Return a hash of functions and other values with all that they reach except weights: did a call change it?"""
    file = io.BytesIO()
    try:
        _Pickler(file, weights).dump(values)
    except Exception as error:  # what can be pickled, and how it fails, is up to every class
        raise Doubt(f"it reaches a value whose state cannot be read ({' '.join(str(error).split())})") from error
    return hashlib.sha256(file.getbuffer()).hexdigest()


def literals(tree: ast.Module) -> dict[str, str] | None:
    """Return name → value of a cell that only assigns plain values to names, else None."""
    found = {}
    for line in tree.body:
        if not (isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name)):
            return None
        try:
            found[line.targets[0].id] = repr(ast.literal_eval(line.value))
        except ValueError:
            return None
    return found


class Cache(ast.NodeTransformer):
    """The story of one kernel, and the folder in which results are kept."""

    def __init__(self, shell: Any, folder: Path, names: Set[str] = frozenset()) -> None:
        self.shell, self.folder, self.names, self.began = shell, folder, names, time.time()
        self.known = (*INSTALLED, os.path.abspath(folder))
        self.steps: list[str | dict[str, str]] = []
        self.files: dict[str, tuple[int, int]] = {}
        self.doubt, self.fresh, self.call = "", True, 0
        self.running = self.inside = self.loading = False
        code = [path for path in (ROOT / "course_utils").rglob("*.py") if path.parent.name != "tools"]
        sources = [path.read_text(encoding="utf-8") for path in sorted([*code, Path(__file__)])]
        self.package = digest(sources, platform.python_version(), platform.machine(), *map(version, LIBRARIES))
        self.names_of_python = set(shell.user_ns) & set(dir(builtins))

    def __reduce__(self) -> Any:
        return tuple, ()  # kept functions reach it, but none changes by it

    def begin(self, info: Any) -> None:
        """Before a cell: add it to the story."""
        self.call, self.running = 0, True
        if not self.steps and self.fresh:  # what no cell seeds begins alike in every kernel
            set_seed(0)
        try:
            tree = ast.parse(self.shell.transform_cell(info.raw_cell))
        except SyntaxError:  # nothing of it will run
            return
        values, first = literals(tree), self.steps[0] if self.steps else None
        if values and len(self.steps) > 1 and isinstance(first, dict) and first.keys() <= values.keys():
            self.steps, self.files, self.fresh = [], {}, False
            shadows = set(self.shell.user_ns) & set(dir(builtins)) - self.names_of_python
            self.doubt = f"Python's {', '.join(shadows)} was given another meaning" if shadows else ""
        if values is None:
            self.steps.append(digest(ast.dump(tree)))
        elif self.steps and isinstance(self.steps[-1], dict):
            self.steps[-1] |= values
        elif values:
            self.steps.append(values)
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and not node.args + node.keywords):
            if (name := getattr(node.func, "attr", getattr(node.func, "id", ""))) in UNSEEDED:
                self.doubt = f"{name}(), which draws anew in every kernel"

    def end(self, result: Any) -> None:
        """After a cell: one that did not run to its end leaves nobody knows what."""
        self.running = False
        if result.error_in_exec is not None:
            self.doubt = "a cell that failed or was interrupted; run from the parameters on"

    def opened(self, event: str, args: tuple) -> None:
        """Take note of a file that a cell reads (an audit hook), unless it was written since the kernel began."""
        if event == "open" and self.running and not self.loading and isinstance(args[0], str):
            with contextlib.suppress(OSError, ValueError):
                path = Path(os.path.abspath(args[0]))
                path = Path(importlib.util.source_from_cache(path)) if path.parent.name == "__pycache__" else path
                known = str(path).startswith(self.known) or any(part.startswith(".") for part in path.parts)
                if set(args[1] or "w") <= set("rbtU") and not known and (facts := path.stat()).st_ctime < self.began:
                    self.files[str(path)] = facts.st_size, facts.st_mtime_ns

    def loaded(self, load: Callable) -> Callable:
        """Return ``datasets.load`` so that what it gives is part of the story, not the files it reads."""

        @functools.wraps(load)
        def call(*args: Any, **options: Any) -> datasets.Splits:
            self.loading = True
            try:
                splits = load(*args, **options)
            finally:
                self.loading = False
            self.steps.append(digest(splits))
            return splits

        return call

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Decorate a function that ``course.yml`` names, wherever a cell defines it."""
        if node.name in self.names:
            node.decorator_list.insert(0, ast.Name("__keep__", ast.Load()))
        return ast.fix_missing_locations(node)

    def key(self) -> Path:
        """Return the file of the next result; ``Doubt`` if the story does not tell it."""
        if self.doubt or not self.running:
            raise Doubt(f"it depends on {self.doubt or 'a call outside of a cell'}")
        machine = [torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), pick_device()]
        machine += [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
        story = (self.package, machine, self.steps, sorted(self.files.items()), self.call, checkpoint.random_states())
        return self.folder / f"{digest(*story)}.pt"

    def refuse(self, what: str, reason: object) -> None:
        """Write down why something was not kept; a folder that cannot be written costs nothing else."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / NOT_KEPT, "a", encoding="utf-8") as file:
                file.write(f"{what} is not kept: {' '.join(str(reason).split())}\n")

    def keep(self, function: Callable, kind: type[Result] | None = None) -> Callable:
        """Return the function, or ``fit``, with its results kept; what runs inside of it is not kept by itself."""

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if self.inside or options.get("checkpoint") or options.get("resume"):
                return function(*args, **options)
            self.call += 1
            self.inside = True
            try:
                return self._reuse((kind or Result)(function, args, options))
            finally:
                self.inside = False

        return call

    def _reuse(self, result: Result) -> Any:
        before, files = None, dict(self.files)
        try:
            path = self.key()
            with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged file is written anew
                return result.load(checkpoint.read(path, device=None))
            before = result.reached() if self.fresh else None
        except Doubt as reason:
            self.refuse(result.name, reason)
        began = time.perf_counter()
        value = result.compute()
        if result.stopped:
            self.doubt = "a training that was stopped by hand; run from the parameters on"
        elif before is not None and time.perf_counter() - began > QUICK:
            try:
                if result.reached() != before or files != self.files:
                    raise Doubt("it changes more than it returns, or reads files")
                checkpoint.write(path, result.state(value) | {"random": checkpoint.random_states()})
            except (Doubt, OSError, TypeError) as reason:
                self.refuse(result.name, reason)
        return value


class Result:
    """A call of a slow function: how it is computed, what of it is kept, how that is loaded."""

    stopped = False  # by hand, before its end

    def __init__(self, function: Callable, args: tuple, options: dict[str, Any]) -> None:
        self.function, self.args, self.options = function, args, options
        self.name = f"a result of {function.__name__}"

    def reached(self) -> str:
        """Return a hash of what the call must leave as it was; functions of the package leave everything."""
        own = self.function.__module__.startswith("course_utils.")
        return "" if own else reached(self.function, self.args, self.options)

    def compute(self) -> Any:
        return self.function(*self.args, **self.options)

    def state(self, value: Any) -> dict[str, Any]:
        digest(value)  # Doubt if a part of it could be trained
        return {"value": value}

    def load(self, state: dict[str, Any]) -> Any:
        checkpoint.set_random_states(state["random"])
        return state["value"]


class Training(Result):
    """A call of ``fit``: loading gives weights, gradients, history, and the hook called with every epoch's weights."""

    def __init__(self, function: Callable, args: tuple, options: dict[str, Any]) -> None:
        super().__init__(function, args, options)
        bound = inspect.signature(function).bind(*args, **options)
        bound.apply_defaults()
        self.given, self.epochs = bound.arguments, []  # type: dict[str, Any], list[dict[str, Any]]
        self.model, self.hook = self.given["model"], self.given["on_epoch_end"]
        self.name = f"a training of {type(self.model).__name__}"

    def reached(self) -> str:
        parts = [self.given[name] for name in ("objective", "train", "valid")]
        return reached(self.model.train(), parts, weights=self.model.state_dict(keep_vars=True).values())

    def compute(self) -> Any:
        def watch(model: Any, history: loop.History) -> None:
            self.epochs.append({"model": checkpoint.copy_weights(model), "random": checkpoint.random_states()})
            self.hook(model, history)

        history = self.function(**self.given | {"on_epoch_end": watch if self.hook else None})
        self.stopped = len(history) < self.given["epochs"]
        return history

    def state(self, value: Any) -> dict[str, Any]:
        gradients = {name: part.grad for name, part in self.model.named_parameters() if part.grad is not None}
        return {"model": self.model.state_dict(), "gradients": gradients, "history": value, "epochs": self.epochs}

    def load(self, state: dict[str, Any]) -> Any:
        self.model.to(pick_device(self.given["device"]))
        if self.given["channels_last"]:
            self.model.to(memory_format=torch.channels_last)
        self.model.train()
        history: loop.History = []
        for row, epoch in zip(state["history"], state["epochs"] or [None] * len(state["history"]), strict=True):
            history.append(row)
            if epoch is not None:
                checkpoint.put(epoch["model"], self.model, "what was kept")
                checkpoint.set_random_states(epoch["random"])
                self.hook(self.model, history)
        self.model.load_state_dict(state["model"])
        for name, part in self.model.named_parameters():
            part.grad = state["gradients"].get(name)
        checkpoint.set_random_states(state["random"])
        took = f"loaded: trained before in {sum(row['seconds'] for row in history):.0f} s"
        Line(self.given["progress"]).show(f"{in_words(history[-1], self.given['epochs'])} · {took}", last=True)
        return history


def load_ipython_extension(shell: Any) -> None:
    """Keep results of this kernel, if the environment names a folder."""
    if not os.environ.get(VARIABLE):
        return
    course = next((path for path in (Path("course.yml"), results.COURSE_FILE) if path.exists()), None)
    chapters = results.read_course(course) if course else []
    names = {name for chapter in chapters for name in chapter.get("lecture", {}).get("keep", [])}
    cache = Cache(shell, ROOT / Path(os.environ[VARIABLE]).expanduser(), names)
    for module, functions in {loop: ("fit",), **SLOW}.items():
        for name in functions:
            setattr(module, name, cache.keep(getattr(module, name), Training if name == "fit" else Result))
    datasets.load = cache.loaded(datasets.load)
    shell.user_ns["__keep__"] = cache.keep
    shell.events.register("pre_run_cell", cache.begin)
    shell.events.register("post_run_cell", cache.end)
    shell.ast_transformers.append(cache)
    sys.addaudithook(cache.opened)
    if os.environ.get("COURSE_STARTUP"):  # a startup file of one's own, which this one has taken the place of
        shell.safe_execfile(os.environ["COURSE_STARTUP"], shell.user_ns)
