"""Sphinx's settings for the web site; ``course site`` copies this file beside the pages' sources and calls Sphinx."""

from pathlib import Path

from course_utils import __version__

project = "Autoencoders and generative models"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_doctrees", "_extra", "_static"]

# Chapters come with their outputs: nothing is executed here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]

# Every script and font is a local file, so that the site opens without a network.
mathjax_path = "vendor/mathjax-3/es5/tex-chtml.js"
mathjax3_config = {"chtml": {"matchFontHeight": False, "scale": 1.06}}
VENDOR = 'document.documentElement.dataset.content_root + "_static/vendor"'
nb_ipywidgets_js = {
    "": {"body": f"var require = {{baseUrl: {VENDOR}}}"},
    "vendor/requirejs/require.js": {},
    "vendor/@jupyter-widgets/html-manager/dist/embed-amd.js": {},
}

napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["formulas.js"]
html_extra_path = ["_extra"] if Path(__file__).with_name("_extra").exists() else []
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_show_search_summary = False  # it would show formulas as they are typed, and needs a server
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "footer_content_items": ["extra-footer.html"],
    "extra_footer": f"<p>Version {release} · code: BSD 3-Clause, text and figures: CC BY 4.0</p>",
}


def setup(app):
    """Let MathJax number formulas by their own \\tag: without Sphinx's wrapping, which knows nothing of it."""
    from docutils import nodes

    def keep_tags(_app, doctree):
        for node in doctree.findall(nodes.math_block):
            node["classes"].append("amsmath")
            node["number"] = None

    app.connect("doctree-read", keep_tags)
