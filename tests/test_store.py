"""Stored outputs are clean and small, and a notebook that fails or strays is left alone."""

import base64
import io

import nbformat
import numpy as np
import pytest
from helpers.toys import code_cells, course, record, write_course, write_notebook
from PIL import Image

from course_utils.tools import store
from course_utils.tools.notebook import WIDGET_TEXT


def test_store_puts_clean_outputs_into_the_notebook(tmp_path):
    source = write_course(tmp_path, a={"psnr": {"quick": [10, 20]}})
    view = '{"text/plain": "IntSlider(value=0)", "application/vnd.jupyter.widget-view+json": {"model_id": "x"}}'
    both = '{"image/png": "iVBORw0KGgo=", "image/svg+xml": "<svg/>"}'
    cell = f"from IPython.display import display\ndisplay({view}, raw=True)\ndisplay({both}, raw=True)\n6 * 7"
    path = write_notebook(source / "a.ipynb", "print('one')\nprint('two')", cell, record('{"psnr": 11.0}'))
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"] = {"input_path": "/home/someone"}
    notebook.metadata["widgets"] = {"state": {}}
    notebook.cells[2].metadata |= {"papermill": {"duration": 1}, "execution": {"iopub": "now"}, "tags": ["keep"]}
    nbformat.write(notebook, path)
    ids = [cell["id"] for cell in notebook.cells]

    result = course("store", "--source", source)
    assert result.exit_code == 0, result.output
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert [cell["id"] for cell in stored.cells] == ids
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2, 3, 4]
    assert set(stored.metadata) == {"kernelspec", "language_info"} and stored.metadata.language_info == {
        "name": "python"
    }
    assert stored.metadata.kernelspec == {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert stored.cells[2].metadata == {"tags": ["keep"]} and stored.cells[3].metadata == {}
    assert stored.cells[2].outputs[0].text == "one\ntwo\n"
    data = [output.data for output in stored.cells[3].outputs]
    assert data[0] == {"text/plain": WIDGET_TEXT}
    assert list(data[1]) == ["image/png"] and data[2] == {"text/plain": "42"}
    assert stored.cells[3].outputs[2].execution_count == 3


def test_store_leaves_a_notebook_alone_that_fails_or_strays(tmp_path):
    source = write_course(tmp_path, a={}, b={"psnr": {"quick": [10, 20]}})
    write_notebook(source / "a.ipynb", "raise KeyError('no')")
    write_notebook(source / "b.ipynb", record('{"psnr": 30}'))
    extra = write_notebook(source / "solutions" / "a.ipynb", "print('solved')", parameters=None)
    before = [(source / name).read_bytes() for name in ("a.ipynb", "b.ipynb")]
    result = course("store", "a", "b", extra, "--source", source)
    assert result.exit_code == 1 and "KeyError" in result.output and "psnr = 30" in result.output
    assert [(source / name).read_bytes() for name in ("a.ipynb", "b.ipynb")] == before
    assert code_cells(extra)[0]["outputs"][0]["text"] == ["solved\n"]


def test_carriage_returns_of_progress_bars_are_resolved():
    pieces = [
        {"output_type": "stream", "name": "stderr", "text": text} for text in ("10 %\r50 %", "\r100 %\n", "done\n")
    ]
    assert store.clean_outputs(pieces, 1) == [pieces[0] | {"text": "100 %\ndone\n"}]


def few_colours() -> np.ndarray:
    """Dots between blue and white, in 256 colours and some neighbouring ones, so just more than a palette holds."""
    shade = np.random.default_rng(0).permutation(64 * 256).reshape(64, 256, 1) % 256
    picture = shade + (255 - shade) * np.array([0, 114, 178]) / 255
    picture[:2, :90:10] -= 1
    return picture


def photograph(seed: int = 0) -> np.ndarray:
    """Smooth colours in every direction: far more than a palette holds."""
    y, x = np.mgrid[:96, :128]
    return np.stack([2 * x, 2.6 * y, 255 - x - y], -1) + np.random.default_rng(seed).normal(0, 3, (96, 128, 3))


def grey_steps() -> np.ndarray:
    return np.repeat(np.add.outer(np.arange(64), 2 * np.arange(96))[..., None], 3, axis=-1)


def as_png(values: np.ndarray) -> str:
    """Encode as matplotlib does: with full opacity, 100 dots per inch, and base64 with the kernel's line end."""
    picture = Image.fromarray(values.clip(0, 255).astype("uint8")).convert("RGBA")
    picture.save(buffer := io.BytesIO(), "PNG", dpi=(100, 100))
    return base64.b64encode(buffer.getvalue()).decode() + "\n"


@pytest.mark.parametrize(
    ("values", "mode", "most"),
    [(grey_steps(), "L", 0), (few_colours(), "P", 8), (photograph(), "RGB", 0)],
    ids=("grey", "few colours", "photograph"),
)
def test_figures_are_stored_in_fewer_bytes_and_look_the_same(values, mode, most):
    text = as_png(values)
    (kept,) = store.clean_outputs([{"output_type": "display_data", "data": {"image/png": text}}], None)
    small = kept["data"]["image/png"]
    old, new = (Image.open(io.BytesIO(base64.b64decode(png))) for png in (text, small))
    error = np.abs(np.asarray(old.convert("RGB")).astype(int) - np.asarray(new.convert("RGB")))
    assert len(small) < len(text) and new.mode == mode and error.max() <= most
    assert new.size == old.size and new.info["dpi"] == pytest.approx((100, 100), abs=0.1)
    assert store.small_png(small) == small, "storing once more changes nothing"


def test_pictures_with_transparent_places_and_broken_ones_stay_as_they_are():
    Image.new("RGBA", (40, 30), (0, 114, 178, 128)).save(glass := io.BytesIO(), "PNG")
    for text in (base64.b64encode(glass.getvalue()).decode(), "iVBORw0KGgo=", "no base64"):
        assert store.small_png(text) == text
