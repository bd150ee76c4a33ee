"""Every chapter and its solutions on a pretended device that has no float64 either, as Apple's MPS has none."""

import pytest
from helpers import pretend, pretended
from notebook_files import NAMES

pytestmark = pytest.mark.skipif(bool(pretend.missing()), reason=pretend.missing())


@pytest.mark.parametrize("name", NAMES)
def test_chapter(name):
    pretended.hold(name, float64=False)
