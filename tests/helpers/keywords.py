"""Which keywords a module documents, so that a test can tell that it tries every one of them."""

import inspect
from types import ModuleType


def optional(module: ModuleType) -> set[tuple[str, str]]:
    """(function, keyword) of every keyword of a module's public functions that has a default."""
    functions = [f for name, f in vars(module).items() if inspect.isfunction(f) and not name.startswith("_")]
    return {
        (function.__name__, parameter.name)
        for function in functions
        if function.__module__ == module.__name__
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is not parameter.empty
    }
