"""A pretended accelerator on a machine without one: what fails on a card, or on Apple's MPS, fails here too.

A ``Pretended`` tensor keeps its values on the CPU, in ``raw``, but says that it lies on the device ``pretend:0``. As on
CUDA an operation refuses to mix it with CPU tensors of one or more dimensions, and NumPy cannot read it; with
``float64=False`` it also cannot hold float64, as on MPS. It rests on the Python backend that newer versions of PyTorch
have for devices of one's own (``torch.utils.backend_registration``, experimental), so it is for tests only.

``install()`` once in a process, before anything is on the device. It cannot be taken back.

Not seen: what a card alone does (CUDA graphs and streams, fused optimisers, memory, other rounding), operations that
MPS lacks, autocast (nothing is rounded to bfloat16), and mistakes in cells that are not reached.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map

NAME = "pretend"
#: Operations that take indices from the CPU as well; the tensors are their first argument, indices their second.
INDEXING = ("aten.index", "aten.index_put", "aten._index_put_impl", "aten._unsafe_index")
#: Operations that refuse even a CPU tensor without dimensions.
JOINING = ("aten.cat", "aten.stack", "aten._stack")
#: How a wish for device and storage is named among the arguments of an operation that makes a tensor.
PLACE = ("device", "pin_memory")


class DeviceMistake(RuntimeError):
    """Tensors of two devices in one operation, or float64 where there is none."""


class State:
    """What ``install`` decided, and how many operations the device has carried out since."""

    float64 = True
    operations = 0
    libraries: tuple = ()  # what is registered lives as long as these objects


def missing() -> str:
    """Return what this version of PyTorch lacks for a pretended device, in words; "" if nothing."""
    name = "_setup_privateuseone_for_python_backend"
    return "" if hasattr(backend_registration, name) else f"torch {torch.__version__} has no {name}"


def install(float64: bool = True) -> torch.device:
    """Register the device, on which float64 exists or not, and return it."""
    if not State.libraries:
        backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
        torch.__future__.set_swap_module_params_on_conversion(True)  # nn.Module.to then swaps whole parameters
        State.libraries = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
        State.libraries[0].fallback(lambda func, *args, **kwargs: carry_out(func, args, kwargs), "PrivateUse1")
        State.libraries[1].impl("_copy_from", _copy_from, "PrivateUse1")
        State.libraries[0].fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    State.float64 = float64
    return torch.device(NAME, 0)


class Module:
    """What PyTorch asks the module of a backend, as it asks ``torch.cuda``."""

    def is_initialized(self) -> bool:
        return True

    is_available = is_initialized

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16, torch.float32]

    def get_rng_state(self, device: Any = 0) -> torch.Tensor:
        return torch.get_rng_state()  # draws come from the CPU's generator

    def set_rng_state(self, state: torch.Tensor, device: Any = 0) -> None:
        torch.set_rng_state(state)

    def manual_seed_all(self, seed: int) -> None:
        pass

    def synchronize(self, device: Any = None) -> None:
        pass


class Pretended(torch.Tensor):
    """A tensor on the pretended device, with its values in ``raw``."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Pretended:
        if raw.dtype in (torch.float64, torch.complex128) and not State.float64:
            raise DeviceMistake(
                f"Cannot convert a {NAME} Tensor to float64 dtype as this device doesn't support float64"
            )
        form = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, raw.size(), device=torch.device(NAME, 0), **form)
        made.raw = raw
        return made

    def __init__(self, raw: torch.Tensor) -> None:
        pass

    def __repr__(self) -> str:
        return f"pretended({self.raw})"

    def __format__(self, spec: str) -> str:
        return format(self.raw, spec)

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy it first.")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.raw.tolist()  # a card answers too; torch refuses it to subclasses

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return carry_out(func, args, kwargs or {})


def carry_out(func: Any, args: tuple, kwargs: dict) -> Any:
    """Carry out one operation of PyTorch on the CPU, if a real device would have done so."""
    State.operations += 1
    name = str(func)
    if name == "aten._to_copy.default":
        return _copied(func, args[0], kwargs)
    if name == "aten.copy_.default":
        func(_raw(args[0]), _raw(args[1]), *args[2:])
        return args[0]
    if name == "aten._local_scalar_dense.default":  # what item() asks
        return func(_raw(args[0]))
    flat, _ = tree_flatten((args, kwargs))
    here = [value for value in flat if isinstance(value, Pretended)]
    there = _is_there(kwargs["device"]) if kwargs.get("device") is not None else bool(here)
    if here:
        _refuse_mixture(func, name, args, kwargs, flat)
    if there and any(isinstance(value, torch.Generator) for value in flat):
        raise DeviceMistake(f"Expected a '{NAME}' device type for generator but found 'cpu' (in {name})")
    raw_kwargs = {key: value for key, value in tree_map(_raw, kwargs).items() if key not in PLACE}
    if kwargs.get("device") is not None:
        raw_kwargs["device"] = torch.device("cpu")
    out = func(*tree_map(_raw, args), **raw_kwargs)
    if func._schema.is_mutable:  # an operation in place hands back the objects that came in
        own = {id(value.raw): value for value in here}
        return tree_map(lambda value: own.get(id(value), _wrapped(value) if there else value), out)
    return tree_map(_wrapped, out) if there else out


def _copied(func: Any, tensor: torch.Tensor, kwargs: dict) -> torch.Tensor:
    """Carry out what ``to``, ``cpu``, ``double`` and the like come down to."""
    device = kwargs.get("device")
    out = func(_raw(tensor), **{key: value for key, value in kwargs.items() if key not in PLACE})
    there = _is_there(device) if device is not None else isinstance(tensor, Pretended)
    return Pretended(out) if there else out


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """Copy between the devices; ``torch.tensor`` and lists of indices come to this past every other way in."""
    _raw(target).copy_(_raw(source))
    return target


def _refuse_mixture(func: Any, name: str, args: tuple, kwargs: dict, flat: list) -> None:
    """Raise if some of an operation's tensors lie on the CPU where those of a card must not."""
    least = 0 if name.startswith(JOINING) else 1
    if name.rsplit(".", 1)[0] in INDEXING and isinstance(args[0], Pretended):
        flat = [args[0], *args[2:], *kwargs.values()]
    changed = {id(kwargs.get(form.name, args[k] if k < len(args) else None)) for k, form in _written(func)}
    if any(_is_foreign(value) and (value.dim() >= least or id(value) in changed) for value in flat):
        raise DeviceMistake(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu (in {name})")


@cache
def _written(func: Any) -> list[tuple[int, Any]]:
    """Return place and form of the arguments that an operation writes to."""
    forms = enumerate(func._schema.arguments)
    return [(k, form) for k, form in forms if form.alias_info is not None and form.alias_info.is_write]


def _is_foreign(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, Pretended)


def _is_there(device: Any) -> bool:
    return torch.device(device).type == NAME


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, Pretended) else value


def _wrapped(value: Any) -> Any:
    return Pretended(value) if _is_foreign(value) else value
