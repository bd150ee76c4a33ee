"""Print the oldest versions that pyproject.toml allows, as constraints for pip: ``make test CONSTRAINTS=oldest``.

It needs nothing but Python, because it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def oldest(project: dict) -> list[str]:
    """Return ``name==version`` for the lower bound of each requirement, those of the extras included.

    Parameters
    ----------
    project
        The table ``[project]`` of a pyproject.toml.

    Raises
    ------
    ValueError
        If a requirement is not of the form ``name>=version``; the message names it.
    """
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    pins = []
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line)
        if match is None:
            raise ValueError(f"{line!r} has no lower bound of the form name>=version")
        pins.append(f"{match[1]}=={match[2]}")
    return sorted(pins)


if __name__ == "__main__":
    print("\n".join(oldest(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"])))
