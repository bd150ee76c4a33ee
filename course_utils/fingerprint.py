"""A name for values: two collections share it only if nothing that Python or torch can show differs.

The name is a hash of what the values hold, and of the code that they reach. It decides whether a training that was
kept for a lecture (``kept``) is the one that is asked for; where it cannot be sure, it refuses.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import itertools
import os
import random
import sys
import sysconfig
import types
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, Path, type(...), itertools.count)
_PLAIN += (torch.dtype, torch.device, torch.Size, torch.memory_format, torch.layout)
#: Attributes of classes that Python or a tool adds and that decide nothing.
_BESIDE = {"__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__firstlineno__", "_abc_impl"}
_BESIDE |= {"__static_attributes__", "__annotate__", "__annotate_func__", "__annotations_cache__"}


class Unkeepable(TypeError):
    """A training depends on something that cannot be told from its like; the message names it."""


def fingerprint(*values, ignoring_weights_of: nn.Module | None = None) -> str:
    """Return a name that two collections of values share only if nothing that Python or torch can show differs.

    Functions and classes count by their compiled code and by what it reaches: default values, closures, globals.
    What is installed counts by name; ``surroundings`` holds its versions. Not seen are files that a function reads, and
    names that it looks up by a string.

    Parameters
    ----------
    values
        Anything: tensors, arrays, modules, functions, data sets, containers of them.
    ignoring_weights_of
        A model whose parameters and saved buffers count by their place, not their values, and whose training mode
        does not count.

    Raises
    ------
    Unkeepable
        If a value is of a kind whose state cannot be read, such as a generator or an open file.
    """
    digest = _Digest(ignoring_weights_of)
    for value in values:
        digest.add(value)
    return digest.hash.hexdigest()


@functools.cache
def _is_installed(module: str) -> bool:
    """Tell whether a module is Python's, an installed package's, or this package's: it then counts by its name."""
    if module == "__main__" or module.partition(".")[0] in {"course_utils", *sys.builtin_module_names}:
        return module != "__main__"
    file = getattr(sys.modules.get(module), "__file__", None)
    homes = {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return file is not None and any(str(Path(file).resolve()).startswith(home + os.sep) for home in homes)


def _names_used(code: types.CodeType, *kinds: str) -> list[str]:
    """Return the names that steps of these kinds use, in a code object and in those inside it."""
    names = [step.argval for step in dis.get_instructions(code) if step.opname in kinds]
    inner = [name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names_used(part, *kinds)]
    return sorted({*names, *inner})


class _Digest:
    """Walks through values and hashes what they hold; an object met again counts as the same object."""

    def __init__(self, model: nn.Module | None = None):
        self.hash = hashlib.blake2b(digest_size=16)
        self.seen: dict[int, tuple] = {}
        self.weights: dict[int, str] = {}
        self.modules = {id(module) for module in model.modules()} if model is not None else set()
        if model is not None:
            self.weights = {id(value): name for name, value in model.state_dict(keep_vars=True).items()}

    def write(self, *words) -> None:
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            self.hash.update(b"%d:" % len(data) + data)

    def add(self, value) -> None:
        kind = type(value)
        self.write(kind.__module__, kind.__qualname__)
        if isinstance(value, _PLAIN):
            return self.write(repr(value))
        if isinstance(value, (tuple, frozenset, types.CodeType)):  # Python may share equal ones or not, as it likes
            return self.inside(value)
        if id(value) in self.seen:
            return self.write("again", self.seen[id(value)][0])
        self.seen[id(value)] = len(self.seen), value  # held, so that no other object gets its id
        self.inside(value)

    def inside(self, value) -> None:
        for kinds, method in _METHODS:
            if isinstance(value, kinds):
                return method(self, value)
        self.instance(value)

    def items(self, values) -> None:
        self.write(len(values))
        for value in values:
            self.add(value)

    def mapping(self, values) -> None:
        self.items([part for pair in values.items() for part in pair])
        if hasattr(values, "__dict__"):  # a subclass with attributes of its own
            self.mapping(vars(values))

    def unordered(self, values) -> None:
        self.write(*sorted(fingerprint(value) for value in values))

    def tensor(self, value: Tensor) -> None:
        if id(value) in self.weights:
            return self.write("weight", self.weights[id(value)], tuple(value.shape))
        if value.layout is not torch.strided:
            raise Unkeepable(f"a tensor of layout {value.layout}")
        self.write(value.dtype, tuple(value.shape), value.stride(), value.device, value.requires_grad)
        self.write(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())

    def array(self, value: np.ndarray) -> None:
        if value.dtype.hasobject:
            raise Unkeepable("an array of objects")
        self.write(value.dtype.str, value.shape, value.strides, value.tobytes())

    def module(self, value: nn.Module) -> None:
        self.add(type(value))
        beside = {"training"} if id(value) in self.modules else set()
        self.mapping({name: part for name, part in vars(value).items() if name not in beside})

    def function(self, value: types.FunctionType) -> None:
        scope = value.__globals__
        if _is_installed(scope.get("__name__", "")):
            self.write(scope["__name__"], value.__qualname__)
        else:
            self.add(value.__code__)
            names = [name for name in _names_used(value.__code__, "LOAD_GLOBAL", "LOAD_NAME") if name in scope]
            self.mapping({name: scope[name] for name in names})
            for name in _names_used(value.__code__, "IMPORT_NAME"):
                if name not in sys.modules:
                    raise Unkeepable(f"{name}, which {value.__qualname__} imports later")
                self.add(sys.modules[name])
        self.items([value.__defaults__, value.__kwdefaults__, value.__closure__ or ()])
        self.mapping(vars(value))

    def code(self, value: types.CodeType) -> None:
        self.write(value.co_code, value.co_exceptiontable, value.co_flags, value.co_argcount, value.co_kwonlyargcount)
        self.items([value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars, value.co_consts])

    def cell(self, value: types.CellType) -> None:
        try:
            self.add(value.cell_contents)
        except ValueError:  # a variable that has no value yet
            self.write("empty")

    def python_class(self, value: type) -> None:
        self.write(value.__module__, value.__qualname__)
        if not _is_installed(value.__module__):
            self.items(value.__bases__)
            self.mapping({name: part for name, part in vars(value).items() if name not in _BESIDE})

    def library(self, value: types.ModuleType) -> None:
        self.write(value.__name__, getattr(value, "__version__", ""))
        if not _is_installed(value.__name__):
            self.mapping({name: part for name, part in vars(value).items() if not name.startswith("__")})

    def builtin(self, value) -> None:
        owner = value.__self__
        self.write(value.__module__, value.__qualname__)
        if owner is not None and not isinstance(owner, types.ModuleType):
            self.add(owner)

    def method(self, value: types.MethodType) -> None:
        self.items([value.__func__, value.__self__])

    def partial(self, value: functools.partial) -> None:
        self.items([value.func, value.args, value.keywords])

    def generator(self, value: torch.Generator) -> None:
        self.add(value.get_state())

    def numpy_generator(self, value) -> None:
        self.mapping(value.bit_generator.state)

    def numpy_state(self, value: np.random.RandomState) -> None:
        self.add(value.get_state())

    def python_random(self, value: random.Random) -> None:
        self.add(value.getstate())

    def number(self, value: np.generic) -> None:
        self.write(value.dtype.str, value.tobytes())

    def descriptor(self, value) -> None:
        parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value.__func__,)
        self.items(parts)

    def wrapped(self, value) -> None:
        self.add(value.__wrapped__)

    def named(self, value) -> None:
        self.write(value.__qualname__)

    def instance(self, value) -> None:
        """Hash any other object by its class and attributes; refuse one that keeps its state out of sight."""
        kind = type(value)
        slots = [name for base in kind.__mro__ for name in _slots(base)]
        hidden = kind.__basicsize__ > object.__basicsize__ + 8 * len(slots) + 16  # 16: for attributes and weak links
        if hidden or not (hasattr(value, "__dict__") or slots or kind is object):
            raise Unkeepable(f"a value of the type {kind.__module__}.{kind.__qualname__}, whose state cannot be read")
        self.add(kind)
        filled = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        self.mapping(filled | dict(getattr(value, "__dict__", {})))


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


_METHODS = (
    (Tensor, _Digest.tensor),
    (nn.Module, _Digest.module),
    (np.ndarray, _Digest.array),
    (np.generic, _Digest.number),
    ((dict, types.MappingProxyType), _Digest.mapping),
    ((list, tuple), _Digest.items),
    ((set, frozenset), _Digest.unordered),
    (types.FunctionType, _Digest.function),
    (types.MethodType, _Digest.method),
    (types.CodeType, _Digest.code),
    (types.CellType, _Digest.cell),
    (type, _Digest.python_class),
    (types.ModuleType, _Digest.library),
    (types.BuiltinFunctionType, _Digest.builtin),
    ((types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType), _Digest.named),
    ((types.MemberDescriptorType, types.ClassMethodDescriptorType), _Digest.named),
    ((property, staticmethod, classmethod), _Digest.descriptor),
    (functools._lru_cache_wrapper, _Digest.wrapped),
    (functools.partial, _Digest.partial),
    (torch.Generator, _Digest.generator),
    (np.random.Generator, _Digest.numpy_generator),
    (np.random.RandomState, _Digest.numpy_state),
    (random.Random, _Digest.python_random),
)
