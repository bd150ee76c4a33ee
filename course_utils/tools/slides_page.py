"""The frame of a lecture: nbconvert's template for reveal with local scripts only, its style, and the index."""

#: Extends nbconvert's own template. Mathematics is set before reveal starts, while every slide has its full size.
TEMPLATE = r"""
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}
<script src="{{ resources.reveal.url_prefix }}/dist/reveal.js"></script>
<script src="{{ resources.reveal.url_prefix }}/plugin/notes/notes.js"></script>
{%- if "widgets" in nb.metadata %}
<script src="{{ resources.require_js_url }}"></script>
{%- endif %}
{%- endblock html_head_js -%}
{%- block notebook_css -%}{%- endblock notebook_css -%}
{%- block html_head_js_mathjax -%}
<script type="text/x-mathjax-config">
MathJax.Hub.Config({
  tex2jax: {inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]], processEscapes: true, processEnvironments: true,
    ignoreClass: "notes"},
  TeX: {equationNumbers: {autoNumber: "none"}},
  SVG: {font: "TeX", scale: 100, minScaleAdjust: 100, blacker: 4},
  messageStyle: "none", showMathMenu: false, menuSettings: {assistiveMML: false}, AssistiveMML: {disabled: true}
});
</script>
<script src="{{ resources.mathjax_url }}"></script>
{%- endblock html_head_js_mathjax -%}
{%- block html_head_css -%}{%- endblock html_head_css -%}
{%- block body_header -%}
<style>
{{ resources.lecture_style }}
</style>
<body>
<main>
<div class="reveal">
<div class="slides">
{%- endblock body_header -%}
{%- block any_cell scoped -%}
{%- if cell.metadata.get('frame_start') %}<div class="frame {{ cell.metadata.frame_start }}">{% endif -%}
{%- if cell.metadata.get('step') %}<div class="fragment">{% endif -%}
{{ super() }}
{%- if cell.metadata.get('step') %}</div>{% endif -%}
{%- if cell.metadata.get('frame_end') %}</div>{% endif -%}
{%- endblock any_cell -%}
{%- block footer_js -%}
<script>
MathJax.Hub.Queue(function () {
  document.documentElement.classList.add("set");
  Reveal.initialize({width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none",
    navigationMode: "linear", slideNumber: "c/t", pdfSeparateFragments: false, plugins: [RevealNotes],
    keyboardCondition: function (event) {  // arrows belong to a slider while it has the focus
      return !(event.key.startsWith("Arrow") && document.activeElement.closest(".jupyter-widgets")) } });
  Reveal.on("slidechanged", function () { document.activeElement.blur() });
});
</script>
{%- endblock footer_js -%}
"""

STYLE = """
/* nbconvert wraps every text, code and figure in several boxes; without them they are parts of one flexible slide */
.jp-Cell, .jp-Cell-inputWrapper, .jp-Cell-outputWrapper, .jp-InputArea, .jp-OutputArea, .jp-OutputArea-child,
.jp-CodeMirrorEditor, .jp-Editor, .cm-editor, .jp-InputArea-editor, .jp-RenderedImage, .fragment { display: contents }
.jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser, .anchor-link { display: none }
html:not(.set) .reveal .slides section { display: block !important }
html:not(.set) body::after { content: "Setting the mathematics …"; position: fixed; inset: 0; background: #fff;
  font: 28px system-ui, sans-serif; padding: 40vh 0 0 40vw; z-index: 9 }
main { height: 100% }
.reveal .slides { text-align: left }
.reveal .slides section { width: 1280px; height: 720px; padding: 0; box-sizing: border-box }
.reveal .slides section > section { padding: 30px 56px 44px; top: 0 !important }
.set .reveal .slides section > section[style*="block"] { display: flex !important; flex-direction: column }
.reveal { font: 28px/1.4 "Source Sans Pro", "DejaVu Sans", system-ui, sans-serif; color: #1d2127 }
.reveal h2 { font: 600 42px/1.18 "Source Sans Pro", "DejaVu Sans", system-ui, sans-serif; color: #10405f;
  margin: 0 0 20px; text-transform: none; letter-spacing: 0 }
.frame { flex: 1 1 0; min-height: 0; display: flex; flex-direction: column; gap: 16px; justify-content: flex-start }
.frame > .jp-RenderedMarkdown, .jp-RenderedMarkdown { flex: none }
.reveal .jp-RenderedMarkdown p { margin: 0 0 12px }
.reveal .jp-RenderedMarkdown p:last-child { margin-bottom: 0 }
.reveal .jp-RenderedMarkdown ul, .reveal .jp-RenderedMarkdown ol { display: block; margin: 0 0 8px 1.1em }
.reveal .jp-RenderedMarkdown li { margin-bottom: 8px }
.reveal table { font-size: 25px; margin: 4px 0 }
.reveal table th, .reveal table td { padding: 5px 18px 5px 0; text-align: left; border-bottom: 1px solid #cdd3d8 }
.reveal img { margin: 0; flex: 0 1 auto; min-height: 0; max-width: 100%; object-fit: contain; object-position: center;
  align-self: center }
.frame.beside { display: grid; grid-template-columns: minmax(0, 39fr) minmax(0, 61fr); column-gap: 36px;
  grid-template-rows: minmax(0, 1fr) }
.frame.beside .jp-RenderedMarkdown { grid-column: 1; align-self: center }
.frame.beside img { grid-column: 2; grid-row: 1 / span 6; max-height: 100%; align-self: center; justify-self: center }
.frame.words { font-size: 35px; justify-content: center; padding-bottom: 110px; gap: 26px }
.frame.words .jp-RenderedMarkdown p { margin-bottom: 20px }
.frame.title { justify-content: center; font-size: 36px; padding-bottom: 60px; margin-top: 8px;
  border-top: 4px solid #10405f }
.reveal section > section[data-kind="title"] h2 { font-size: 58px; margin-top: 60px }
.reveal section > section[data-kind="pause"] { background: #fff7e0; border-left: 18px solid #e69f00 }
.highlight { background: none !important; flex: none }
.reveal .highlight .err { border: none; color: #8a949c }
.reveal pre { width: auto; margin: 0; box-shadow: none; font-size: 23px; line-height: 1.36; white-space: pre;
  font-family: "DejaVu Sans Mono", ui-monospace, monospace }
.reveal .highlight pre { background: #f3f5f6; border-radius: 6px; padding: 14px 18px }
.reveal .jp-OutputArea-output pre { border-left: 4px solid #9fb4c2; padding: 2px 0 2px 18px }
.reveal .frame.wide .jp-OutputArea-output pre { font-size: 20px }
.reveal .jp-OutputArea-output { flex: none }
.reveal .jp-OutputArea-output.jp-RenderedImage { flex: 0 1 auto }
.reveal code { font-family: "DejaVu Sans Mono", ui-monospace, monospace; font-size: .86em }
.reveal pre code { font-size: inherit }
.reveal .MathJax_SVG_Display { margin: 10px 0 }
.reveal .MathJax_SVG, .reveal .MathJax_SVG svg { max-width: none; max-height: none }
.reveal .slide-number { font-size: 16px; color: #5c6570; background: none }
.reveal .controls { display: none !important }
.reveal .jupyter-widgets { --jp-widgets-font-size: 22px; --jp-widgets-inline-height: 40px;
  --jp-widgets-inline-width: 560px; --jp-widgets-inline-label-width: auto; font-size: 22px; overflow: visible }
.reveal .jupyter-widgets.widget-vbox, .reveal .widget-vbox .widget-stack { align-items: center }
.reveal .jupyter-widgets img, .reveal img.jupyter-widgets { height: 430px !important; width: auto !important;
  max-width: 1160px; max-height: none; object-fit: contain; align-self: center }
"""

INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lectures</title>
<style>body { font: 20px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem;
  color: #1d2127 }
a { color: #005a9c; font-weight: 600; text-decoration: none } li { margin-bottom: .8rem; list-style: none }
ul { padding: 0 } kbd { border: 1px solid #99a; border-radius: 4px; padding: 0 .4em }</style></head>
<body><h1>Lectures</h1>
<p>One lecture per chapter. <kbd>Space</kbd> next, <kbd>Shift Space</kbd> back, <kbd>S</kbd> speaker notes with the
clock, <kbd>F</kbd> full screen, <kbd>Esc</kbd> overview, <kbd>B</kbd> dark screen.</p>
<ul>
ROWS
</ul></body></html>
"""
