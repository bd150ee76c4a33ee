"""An IPython extension: in a lecture, what ``fit`` trains and slow functions return is kept, and found again.

It is found under all that decides it: the cells run so far (comments and spaces do not count, and neighbouring cells of
plain assignments count by their values, so that parameters changed by hand are those that papermill injects), the place
among the calls of its cell, random generators, weights, data and other arguments, files that cells read, package,
versions, threads. When in doubt nothing is kept or loaded, and ``not_kept.txt`` says why. Cells run from the parameters
on once more are a new beginning, in which results are loaded, but no new ones kept. What a cell learns from the clock,
the network or another process is not seen.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import io
import os
import platform
import sys
import sysconfig
import time
import types
from collections.abc import Callable, Set
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

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


class Untold(Exception):
    """Something that decides a result cannot be told from its like; the message names it."""


class _Content(cloudpickle.Pickler):
    """Writes what values hold, to be hashed. Tensors count by their content, weights of ``model`` by their place.

    Without a model only data are written, alike in every process; with one also what functions and classes reach.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self.file, self.model = io.BytesIO(), model
        super().__init__(self.file)
        self.fast = model is None  # equal values are written alike, whether they are one object or two
        self.weights = {id(part) for part in model.state_dict(keep_vars=True).values()} if model else set()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.requires_grad and self.model is None:
                raise Untold("a tensor that takes part in a gradient")
            return tuple, (("weight" if id(value) in self.weights else _of_tensor(value.detach()),),)
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            return tuple, ((type(value).__name__, value.dtype.str, value.shape, value.tobytes()),)
        if isinstance(value, torch.Generator):
            return tuple, ((_of_tensor(value.get_state()),),)
        if self.model is not None:
            if isinstance(value, nn.Module) and any(value is part for part in self.model.modules()):
                state = {name: part for name, part in vars(value).items() if name != "training"}  # fit changes the mode
                return tuple, ((type(value),),), state
            return (tuple, ((value.__wrapped__,),)) if hasattr(value, "kept_by") else super().reducer_override(value)
        if isinstance(value, TensorDataset):
            return tuple, (value.tensors,)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return tuple, ([getattr(value, part.name) for part in dataclasses.fields(value)],)
        if isinstance(value, (type, Path, torch.dtype, torch.device, range)):
            return NotImplemented
        raise Untold(f"a {type(value).__name__}" + ", which may read files" * isinstance(value, Dataset))


def _of_tensor(value: Tensor) -> tuple:
    content = value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return (
        str(value.dtype),
        tuple(value.shape),
        value.stride(),
        str(value.device),
        hashlib.sha256(content.tobytes()).digest(),
    )


def digest(*values: Any, model: nn.Module | None = None) -> str:
    """Return a hash of values, see ``_Content``; ``Untold`` if one of them cannot be read."""
    content = _Content(model)
    try:
        content.dump((model, values))
    except Untold:
        raise
    except Exception as error:  # what can be pickled, and how it fails, is up to every class
        raise Untold(f"a value whose state cannot be read ({' '.join(str(error).split())})") from error
    return hashlib.sha256(content.file.getbuffer()).hexdigest()[:32]


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
    """The story of one kernel as far as it decides results, and the folder in which these are kept."""

    def __init__(self, shell: Any, folder: Path, names: Set[str] = frozenset()) -> None:
        self.shell, self.folder, self.names, self.began = shell, folder, names, time.time()
        self.known = (*INSTALLED, os.path.abspath(folder))
        self.steps: list[str | dict[str, str]] = []
        self.files: dict[str, tuple[int, int]] = {}
        self.doubt, self.fresh, self.call = "", True, 0
        self.running = self.inside = self.loading = False
        code = [path for path in (ROOT / "course_utils").rglob("*.py") if path.parent.name != "tools"]
        self.package = digest([path.read_bytes() for path in sorted([*code, Path(__file__)])])
        self.package += digest(platform.python_version(), platform.machine(), *map(version, LIBRARIES))
        self.names_of_python = set(shell.user_ns) & set(dir(builtins))

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
        elif values and self.steps and isinstance(self.steps[-1], dict):
            self.steps[-1] = self.steps[-1] | values
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

    def key(self, *values: Any) -> Path:
        """Return the file of a result; ``Untold`` if it could be another one next time."""
        if self.doubt or not self.running:
            raise Untold(self.doubt or "a call outside of a cell")
        machine = [torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()]
        machine += [
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cpu.get_cpu_capability(),
            pick_device(),
        ]
        machine += [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
        story = (self.package, machine, self.steps, sorted(self.files.items()), self.call, checkpoint.random_states())
        return self.folder / f"{digest(story, *values)}.pt"

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

        call.kept_by = self  # type: ignore[attr-defined]
        return call

    def _reuse(self, result: Result) -> Any:
        path, files = None, dict(self.files)
        try:
            path = self.key(result.told())
            with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged file is written anew
                return result.load(checkpoint.read(path, device=None))
            path, before = (path, result.reached()) if self.fresh else (None, "")
        except Untold as reason:
            path = None
            self.refuse(result.name, f"it depends on {reason}")
        began = time.perf_counter()
        value = result.compute()
        if not result.complete(value):
            self.doubt = "a training that was stopped by hand; run from the parameters on"
        elif path is not None and time.perf_counter() - began > QUICK:
            try:
                if result.reached() != before or files != self.files:
                    raise Untold("it changes more than it returns, or reads files")
                checkpoint.write(path, result.state(value) | {"random": checkpoint.random_states()})
            except (Untold, OSError, TypeError) as reason:
                self.refuse(result.name, reason)
        return value


class Result:
    """A call of a slow function: what decides its value, how it is computed, and how it is loaded."""

    def __init__(self, function: Callable, args: tuple, options: dict[str, Any]) -> None:
        self.function, self.args, self.options = function, args, options
        self.name = f"a result of {function.__name__}"

    def told(self) -> Any:
        return self.function.__qualname__, self.args, self.options

    def reached(self) -> str:
        """Return a hash of what the call must leave as it was; functions of the package leave everything."""
        own = self.function.__module__.startswith("course_utils.")
        return "" if own else digest(self.function, self.args, self.options, model=nn.Module())

    def compute(self) -> Any:
        return self.function(*self.args, **self.options)

    def complete(self, value: Any) -> bool:  # noqa: ARG002 - a training asks its history
        return True

    def state(self, value: Any) -> dict[str, Any]:
        digest(value)  # Untold if it is more than data
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

    def told(self) -> Any:
        parts = ("model", "objective", "on_epoch_end", "progress")
        plain = [value for name, value in self.given.items() if name not in parts]
        tensors = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        weights = {name: value.detach() for name, value in tensors.items()}
        return "fit", weights, plain, [self.given[name] is None for name in parts]

    def reached(self) -> str:
        return digest(self.given["objective"], model=self.model) + digest(self.given["train"], self.given["valid"])

    def compute(self) -> Any:
        def watch(model: nn.Module, history: loop.History) -> None:
            self.epochs.append({"model": checkpoint.copy_weights(model), "random": checkpoint.random_states()})
            self.hook(model, history)

        return self.function(**self.given | {"on_epoch_end": watch if self.hook else None})

    def complete(self, value: Any) -> bool:
        return len(value) >= self.given["epochs"]

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
