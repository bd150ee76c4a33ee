"""Pages: the templates of this package filled, formulas as MathML, files written whole."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

import jinja2
from math_core import LatexError, LatexToMathML
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, markdown2html_mistune
from pygments.formatters import HtmlFormatter

from course_utils import __version__
from course_utils.runtime import replacing

TEMPLATES = Path(__file__).with_name("templates")
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=jinja2.select_autoescape(), trim_blocks=True
)
_CONVERTER = LatexToMathML(fancy_error=False)


def fill(template: str, **values: Any) -> str:
    """Fill a template, which knows the ``version``; what is filled into HTML is escaped unless it is called safe."""
    return _ENVIRONMENT.get_template(template).render(values, version=__version__)


def write_page(path: Path, text: str) -> None:
    """Write a page whole: a reader sees the old one or the new one."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def highlighting(style: str = "default") -> str:
    """Return the rules of CSS that colour code."""
    return str(HtmlFormatter(style=style).get_style_defs(".highlight"))


# ---------------------------------------------------------------- mathematics


def to_mathml(tex: str, *, block: bool) -> str:
    r"""Convert TeX without ``\tag``; ``math_core.LatexError`` says what cannot be converted.

    Equations are numbered by ``\tag`` alone, so that environments are taken as their starred forms.
    """
    tex = re.sub(r"\\(begin|end)\{(align|equation|gather)\}", r"\\\1{\2*}", tex).replace("{split}", "{aligned}")
    html = _CONVERTER.convert_with_local_state(tex, displaystyle=block)
    return html.replace("<mo minsize", '<mo stretchy="true" minsize')  # Chromium forgets it where an exponent follows


def render_math(tex: str, *, block: bool) -> str:
    r"""Return a formula as MathML, the number of its ``\tag`` at the right margin; as code if that fails."""
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


class _Renderer(IPythonRenderer):
    """nbconvert's renderer of Markdown, which leaves mathematics to a script, but with MathML."""

    def inline_math(self, body: str) -> str:
        return render_math(body, block=False)

    def block_math(self, body: str) -> str:
        return render_math(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        return render_math(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)

    def block_html(self, html: str) -> str:
        return html  # looking for pictures in it, nbconvert closes every tag, also that of <details>


def markdown_to_html(text: str, pictures: str = "") -> str:
    """Return Markdown as HTML that needs no script; pictures from the folder ``pictures`` become data URIs."""
    return MarkdownWithMath(renderer=_Renderer(escape=False, embed_images=True, path=pictures)).render(text)


_ENVIRONMENT.filters |= {
    "highlight": Highlight2HTML(pygments_lexer="ipython3"),
    "highlighting": highlighting,
    "markdown": markdown2html_mistune,
    "markdown_with_mathml": markdown_to_html,
}
