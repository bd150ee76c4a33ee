"""Kernels within the test's process: IPython shells in which cells run, with the cache of a lecture or without."""

import sys

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils import datasets
from course_utils import fit as loop
from course_utils.runtime import set_seed
from course_utils.tools import lecture_cache


class Kernels:
    """Starts kernels one after another, each with the package as it is before anything is wrapped."""

    def __init__(self, monkeypatch, folder):
        self.monkeypatch, self.folder, self.shells = monkeypatch, folder, []
        every = {loop: ("fit",), datasets: ("load",), **lecture_cache.SLOW}
        self.wrapped = {(module, name): getattr(module, name) for module, names in every.items() for name in names}
        monkeypatch.setattr(sys, "addaudithook", lambda hook: None)  # it could never be removed again

    def start(self, keeping=True):
        self.close()
        self.monkeypatch.setenv(lecture_cache.VARIABLE, str(self.folder) if keeping else "")
        shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
        self.shells.append(shell)
        lecture_cache.load_ipython_extension(shell)
        return shell

    def run(self, *cells, keeping=True):
        """Run cells in a fresh kernel; return its names."""
        shell = self.start(keeping)
        if not keeping:
            set_seed(0)  # as a kernel with the cache begins
        for cell in cells:
            run(shell, cell)
        return shell.user_ns

    def close(self):
        for (module, name), function in self.wrapped.items():
            setattr(module, name, function)
        while self.shells:
            self.shells.pop().restore_sys_module_state()

    def files(self):
        return sorted(self.folder.glob("*.pt"))

    def refusals(self):
        return (self.folder / lecture_cache.NOT_KEPT).read_text()


def run(shell, cell):
    result = shell.run_cell(cell)
    result.raise_error()


def cache_of(shell):
    """The cache of a kernel."""
    return shell.user_ns["__keep__"].__self__
