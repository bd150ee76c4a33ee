"""Every chapter and its solutions on a pretended device that refuses what CUDA refuses: tensors of two devices."""

import pytest
from helpers import pretend, pretended
from notebook_files import NAMES

pytestmark = pytest.mark.skipif(bool(pretend.missing()), reason=pretend.missing())


@pytest.mark.parametrize("name", NAMES)
def test_chapter(name):
    pretended.hold(name, float64=True)
