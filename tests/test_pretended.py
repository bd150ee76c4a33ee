"""Every chapter and its solutions on a pretended device, as strict as CUDA and, like MPS, without float64."""

import pytest
from helpers import pretend, pretended
from notebook_files import NAMES

pytestmark = pytest.mark.skipif(bool(pretend.missing()), reason=pretend.missing())


def case(name: str) -> type:
    """Return a class with one test: tests of one class stay on one worker, these are to be shared among all."""

    class Case:
        def test_chapter(self):
            pretended.hold(name)

    return Case


globals().update({f"Test_{name}": case(name) for name in NAMES})
