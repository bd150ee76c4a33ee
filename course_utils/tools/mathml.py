"""Formulas of Markdown texts as MathML, which browsers show by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from math_core import LatexToMathML

#: A formula that was set aside, also as it stands in an anchor.
MARK = "(?:\ue000|%EE%80%80)(\\d+)(?:\ue001|%EE%80%81)"
#: Code (fences, spans, elements) first, so that a dollar inside it is left alone; then formulas.
PIECES = re.compile(
    r"(?P<code>^ {0,3}(?P<fence>`{3,}|~{3,}).*?^ {0,3}(?P=fence)[`~]*\s*?$"
    r"|(?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)"
    r"|<(?P<tag>pre|code)\b.*?</(?P=tag)>|\\\$)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?P<bare>\\begin\{(?P<environment>align|equation|gather)\*?\}.+?\\end\{(?P=environment)\*?\})"
    r"|\$(?P<inline>(?!\s)(?:\\.|[^$\\\n]|\n(?!\s*\n))+?(?<!\s))\$(?!\d)",
    flags=re.DOTALL | re.MULTILINE,
)


def formulas_in(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each formula of a Markdown text as TeX, and whether it is displayed."""
    yield from (_formula(match) for match in PIECES.finditer(text) if not match["code"])


def set_aside_math(text: str, formulas: list[str]) -> str:
    r"""Replace each formula of a Markdown text by a mark (U+E000 number U+E001) that Markdown leaves alone.

    Formulas stand in ``$…$``, ``$$…$$`` and bare ``\begin{align}``. As HTML they are appended to ``formulas``; the
    number in a mark is an index into that list.
    """

    def mark(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        tex, block = _formula(match)
        formulas.append(render_math(tex, block=block))
        return f"\ue000{len(formulas) - 1}\ue001"

    return PIECES.sub(mark, text)


def render_math(tex: str, *, block: bool) -> str:
    r"""Return a formula as MathML, the number of its ``\tag`` at the right margin; as code if that fails."""
    from math_core import LatexError

    tags = re.findall(r"\\tag\*?\{([^}]*)\}", tex)
    formula = re.sub(r"\\tag\*?\{[^}]*\}", "", tex).strip()
    try:
        html = to_mathml(formula, block=block)
    except LatexError:
        html = f"<code>{escape(formula)}</code>"
    if not block:
        return html
    number = "".join(f"<span class='tag'>({escape(tag)})</span>" for tag in tags)
    return f"<span class='equation'><span class='formula'>{html}</span>{number}</span>"


def to_mathml(tex: str, *, block: bool) -> str:
    r"""Convert TeX without ``\tag``; ``math_core.LatexError`` says what cannot be converted.

    Equations are numbered by ``\tag`` alone, so that environments are taken as their starred forms.
    """
    tex = re.sub(r"\\(begin|end)\{(align|equation|gather)\}", r"\\\1{\2*}", tex).replace("{split}", "{aligned}")
    html = _converter().convert_with_local_state(tex, displaystyle=block)
    return html.replace("<mo minsize", '<mo stretchy="true" minsize')  # Chromium forgets it where an exponent follows


def _formula(match: re.Match[str]) -> tuple[str, bool]:
    return match["block"] or match["bare"] or match["inline"], match["inline"] is None


@cache
def _converter() -> LatexToMathML:
    from math_core import LatexToMathML

    return LatexToMathML(fancy_error=False)
