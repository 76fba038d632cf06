"""The notebooks keep the rules of notebook_guard, and the guard catches each way to break one."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
from collections.abc import Callable

import nbformat
import notebook_guard as guard
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lessons.course import COURSE, find
from tools import notebooks
from tools.tests import MACHINES

NAMES = notebooks.names()

# The notebooks in the repository


def written(name: str) -> NotebookNode:
    path = notebooks.notebook_path(name)
    assert path.exists(), f"{path.name} is missing: run make notebooks"
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def test_the_course_lists_exactly_what_is_written():
    listed = [entry.name for entry in COURSE if entry.written]
    assert listed == NAMES, "written= in lessons/course.py and notebooks/src differ"
    files = sorted(path.stem for path in (notebooks.ROOT / "notebooks").glob("*.ipynb"))
    assert files == NAMES, "notebooks/*.ipynb and notebooks/src differ"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_keeps_the_rules(name):
    assert guard.violations(name, written(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_made_from_its_source(name):
    source = notebooks.source_path(name).read_text(encoding="utf-8")
    assert guard.differences(written(name), notebooks.assemble(name, source)) == []


@pytest.mark.parametrize("name", NAMES)
def test_file_is_as_make_notebooks_writes_it(name):
    text = notebooks.notebook_path(name).read_text(encoding="utf-8")
    assert text == notebooks.dumps(written(name))


@pytest.mark.parametrize("name", NAMES)
def test_setup_cell_differs_in_the_name_only(name):
    entry = COURSE[0]
    cell = written(name).cells[1]
    assert cell.source.replace(name, entry.name) == notebooks.setup_source(entry.name)
    assert len(cell.outputs) == 1 and cell.outputs[0].text.startswith("torch ")
    assert cell.outputs[0].text.count("\n") == 1


def test_readme_and_citation_have_the_address_and_the_table():
    for file in ("README.md", "CITATION.cff"):
        text = (notebooks.ROOT / file).read_text(encoding="utf-8")
        assert notebooks.repository() in text
        assert notebooks.with_address(text) == text, f"{file}: run python -m tools.notebooks address"
    assert notebooks.course_table() in (notebooks.ROOT / "README.md").read_text(encoding="utf-8")


def test_a_cell_is_folded_or_a_predictions_answer():
    answer = notebooks.assemble(NAME, SOURCE + '\n# %% tags=["predict"]\n1 + 1\n').cells[-1]
    assert answer.metadata["jupyter"] == {"outputs_hidden": True} and answer.metadata["collapsed"]
    with pytest.raises(notebooks.NotebookError, match="hide-input and predict, expected one of them"):
        notebooks.assemble(NAME, SOURCE.replace('"hide-input"', '"hide-input", "predict"'))


# The guard: a good notebook, broken in one way at a time

NAME = "02_stcnn"
SOURCE = f"""# %% [markdown]
{find(NAME).heading.replace("#", "# #", 1)}
# A promise.

# %%
import torch

# %%
torch.arange(3)

# %%
plt.show()

# %% tags=["raises-exception"]
raise ValueError("shown on purpose")

# %% tags=["nbval-ignore-output"]
# output not compared: a timing
print(1.2)

# %% tags=["hide-input"]
# @title Solution {{ display-mode: "form" }}
answer = 42
"""


def png(width: int = 640, height: int = 480, padding: int = 2000) -> str:
    """The beginning of a PNG file, which is all that the guard reads, in base64."""
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return base64.b64encode(header + bytes(padding)).decode()


def good() -> NotebookNode:
    """An executed notebook without a fault, made by hand."""
    notebook = notebooks.assemble(NAME, SOURCE)
    figure = {"image/png": png(), "text/plain": "<Figure size 640x480 with 1 Axes>"}
    outputs = {
        1: [new_output("stream", name="stdout", text="torch 2.13.0 · device cpu · about 1 minute\n")],
        3: [new_output("execute_result", data={"text/plain": "tensor([0, 1, 2])"}, execution_count=3)],
        4: [new_output("display_data", data=figure, metadata={"image/png": {"alt": "A line that rises."}})],
        5: [new_output("error", ename="ValueError", evalue="shown on purpose", traceback=["..."])],
        6: [new_output("stream", name="stdout", text="1.2\n")],
    }
    for count, (i, cell) in enumerate(guard.code_cells(notebook), start=1):
        cell.execution_count = count
        cell.outputs = outputs.get(i, [])
    return notebook


def print_in(cell: NotebookNode, text: str, stream: str = "stdout") -> None:
    cell.outputs.append(new_output("stream", name=stream, text=text))


def never_run(nb: NotebookNode) -> None:
    for _, cell in guard.code_cells(nb):
        cell.execution_count, cell.outputs = None, []


def run_out_of_order(nb: NotebookNode) -> None:
    nb.cells[2].execution_count = 7


def one_cell_blanked(nb: NotebookNode) -> None:
    nb.cells[3].execution_count, nb.cells[3].outputs = None, []


def result_of_another_run(nb: NotebookNode) -> None:
    nb.cells[3].outputs[0].execution_count = 9


def semicolon(nb: NotebookNode) -> None:
    nb.cells[2].source += ";\n"


def stderr(nb: NotebookNode) -> None:
    print_in(nb.cells[2], "UserWarning", stream="stderr")


def unannounced_error(nb: NotebookNode) -> None:
    nb.cells[2].outputs = nb.cells[5].outputs


def announced_error_that_never_came(nb: NotebookNode) -> None:
    nb.cells[5].outputs = []


def figure_without_picture(nb: NotebookNode) -> None:
    nb.cells[3].outputs[0].data["text/plain"] = "<Figure size 640x480 with 1 Axes>"


def show_without_figure(nb: NotebookNode) -> None:
    nb.cells[4].outputs = []


def two_sources_in_one_cell(nb: NotebookNode) -> None:
    nb.cells[3].source = "show(one)\nshow(another)"


def figure_above_a_print(nb: NotebookNode) -> None:
    nb.cells[3].source = "figures.curves({})\nprint(1)"


def figure_beside_an_answer(nb: NotebookNode) -> None:
    nb.cells[3].metadata.tags = ["predict"]


def tiny_picture(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].data["image/png"] = png(8, 8)


def huge_picture(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].data["image/png"] = png(9000, 400)


def empty_picture(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].data["image/png"] = png(padding=10)


def picture_without_alt_text(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].metadata = nbformat.from_dict({"needs_background": "light"})


def empty_alt_text(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].metadata["image/png"]["alt"] = ""


def measured_without_picture(nb: NotebookNode) -> None:
    nb.cells[2].metadata.tags = ["measured"]


def picture_that_is_none(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].data["image/png"] = base64.b64encode(b"GIF89a" + bytes(2000)).decode()


def skip_tag(nb: NotebookNode) -> None:
    nb.cells[2].metadata.tags = ["nbval-skip"]


def skip_comment(nb: NotebookNode) -> None:
    nb.cells[2].source = "# NBVAL_SKIP\n" + nb.cells[2].source


def too_many_ignored(nb: NotebookNode) -> None:
    nb.cells[2].metadata.tags = ["nbval-ignore-output"]
    nb.cells[2].source = "# output not compared: a timing\nimport torch"


def ignored_without_reason(nb: NotebookNode) -> None:
    nb.cells[6].source = "print(1.2)"


def ignored_with_empty_reason(nb: NotebookNode) -> None:
    nb.cells[6].source = "# output not compared: \nprint(1.2)"


def path_in_output(nb: NotebookNode) -> None:
    print_in(nb.cells[2], "saved to /home/ada/clip.mp4")


def path_in_traceback(nb: NotebookNode) -> None:
    nb.cells[5].outputs[0].traceback = ["File /usr/lib/python3/x.py:3"]


def path_in_source(nb: NotebookNode) -> None:
    nb.cells[2].source = 'open("/Users/ada/clip.mp4")'


def windows_path(nb: NotebookNode) -> None:
    print_in(nb.cells[2], r"saved to C:\Users\ada.mp4")


def memory_address(nb: NotebookNode) -> None:
    nb.cells[3].outputs[0].data["text/plain"] = "<torch._C.Generator at 0x7f2b3c4d5e6f>"


def unfolded_solution(nb: NotebookNode) -> None:
    nb.cells[7].metadata = nbformat.from_dict({})


def solution_unfolded_in_lab(nb: NotebookNode) -> None:
    del nb.cells[7].metadata["jupyter"]


def solution_unfolded_in_colab(nb: NotebookNode) -> None:
    del nb.cells[7].metadata["cellView"]


def folded_lesson(nb: NotebookNode) -> None:
    nb.cells[7].source = "answer = 42"


def old_format(nb: NotebookNode) -> None:
    nb.nbformat_minor = 4
    for cell in nb.cells:
        del cell["id"]


def python_version_kept(nb: NotebookNode) -> None:
    nb.metadata.language_info = {"name": "python", "version": "3.11.7"}


def widget_state_kept(nb: NotebookNode) -> None:
    nb.metadata.widgets = {}


def times_kept(nb: NotebookNode) -> None:
    nb.cells[2].metadata.execution = {"iopub.status.busy": "2026-01-01T00:00:00Z"}


def random_id(nb: NotebookNode) -> None:
    nb.cells[2].id = "0badcafe"


def stream_in_pieces(nb: NotebookNode) -> None:
    print_in(nb.cells[2], "a")
    print_in(nb.cells[2], "b")


def widget_model(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].data["application/vnd.jupyter.widget-view+json"] = {"model_id": "f00"}


def too_big(nb: NotebookNode) -> None:
    nb.cells[4].outputs[0].data["image/png"] = png(padding=guard.MAX_BYTES)


BROKEN: dict[Callable[[NotebookNode], None], guard.Rule] = {
    never_run: guard.executed_in_order,
    run_out_of_order: guard.executed_in_order,
    one_cell_blanked: guard.executed_in_order,
    result_of_another_run: guard.executed_in_order,
    semicolon: guard.no_trailing_semicolon,
    stderr: guard.no_stderr,
    unannounced_error: guard.errors_are_announced,
    announced_error_that_never_came: guard.errors_are_announced,
    figure_without_picture: guard.figures_have_pictures,
    show_without_figure: guard.figures_have_pictures,
    two_sources_in_one_cell: guard.no_value_is_lost,
    figure_above_a_print: guard.no_value_is_lost,
    figure_beside_an_answer: guard.answers_stay_hidden,
    tiny_picture: guard.figures_have_pictures,
    huge_picture: guard.figures_have_pictures,
    empty_picture: guard.figures_have_pictures,
    picture_that_is_none: guard.figures_have_pictures,
    measured_without_picture: guard.figures_have_pictures,
    picture_without_alt_text: guard.images_have_alt_texts,
    empty_alt_text: guard.images_have_alt_texts,
    skip_tag: guard.only_known_tags,
    skip_comment: guard.only_known_tags,
    too_many_ignored: guard.few_ignored_outputs,
    ignored_without_reason: guard.few_ignored_outputs,
    ignored_with_empty_reason: guard.few_ignored_outputs,
    path_in_output: guard.no_trace_of_the_machine,
    path_in_traceback: guard.no_trace_of_the_machine,
    path_in_source: guard.no_trace_of_the_machine,
    windows_path: guard.no_trace_of_the_machine,
    memory_address: guard.no_trace_of_the_machine,
    unfolded_solution: guard.titled_cells_are_folded,
    solution_unfolded_in_lab: guard.titled_cells_are_folded,
    solution_unfolded_in_colab: guard.titled_cells_are_folded,
    folded_lesson: guard.titled_cells_are_folded,
    old_format: guard.canonical,
    python_version_kept: guard.canonical,
    widget_state_kept: guard.canonical,
    times_kept: guard.canonical,
    random_id: guard.canonical,
    stream_in_pieces: guard.canonical,
    widget_model: guard.canonical,
    too_big: guard.size,
}


def test_a_good_notebook_passes():
    assert guard.violations(NAME, good()) == []


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)
def test_guard_catches(breaks):
    notebook = good()
    breaks(notebook)
    found = guard.violations(NAME, notebook)
    rule = BROKEN[breaks].__name__
    assert any(sentence.startswith(f"{rule}: ") for sentence in found), found


def test_every_rule_is_broken_once():
    assert set(BROKEN.values()) == set(guard.RULES)


# Source and notebook


def change_code(nb: NotebookNode) -> None:
    nb.cells[2].source += "\nprint(1)"


def change_prose(nb: NotebookNode) -> None:
    nb.cells[0].source += " More."


def change_tags(nb: NotebookNode) -> None:
    nb.cells[6].metadata = nbformat.from_dict({})


def change_kind(nb: NotebookNode) -> None:
    nb.cells[3] = new_markdown_cell(nb.cells[3].source)


def add_cell(nb: NotebookNode) -> None:
    nb.cells.append(new_code_cell("print(2)"))


def take_badge(nb: NotebookNode) -> None:
    nb.cells[0].source = nb.cells[0].source.replace(notebooks.badge(NAME), "")


CHANGES = (change_code, change_prose, change_tags, change_kind, add_cell, take_badge)


@pytest.mark.parametrize("change", CHANGES)
def test_a_notebook_edited_by_hand_is_caught(change):
    notebook = good()
    assert guard.differences(notebook, notebooks.assemble(NAME, SOURCE)) == []
    change(notebook)
    assert guard.differences(notebook, notebooks.assemble(NAME, SOURCE)) != []


# The machinery


def test_assemble_adds_badge_setup_and_fold():
    cells = notebooks.assemble(NAME, SOURCE).cells
    top = [find(NAME).heading, notebooks.badge(NAME), notebooks.REFERENCE]
    assert cells[0].source.split("\n\n")[:3] == top
    assert cells[1].source == notebooks.setup_source(NAME)
    assert cells[7].metadata.cellView == "form" and cells[7].metadata.jupyter.source_hidden
    assert len({cell.id for cell in cells}) == len(cells)


@pytest.mark.parametrize("source", ["", "# %%\nx = 1\n", SOURCE.replace("· STCNN", "· CNN")])
def test_a_source_without_its_title_is_refused(source):
    with pytest.raises(notebooks.NotebookError, match=r"02_stcnn\.py, first line: found .* expected"):
        notebooks.assemble(NAME, source)


def test_unknown_cell_metadata_is_refused():
    with pytest.raises(notebooks.NotebookError, match=r"cell 3: found metadata \['editable'\]"):
        notebooks.assemble(NAME, SOURCE.replace("# %%\ntorch", "# %% editable=false\ntorch"))


RUN = f"""# %% [markdown]
{find(NAME).heading.replace("#", "# #", 1)}

# %%
import os, sys
_ = sys.stdout.write("one "), sys.stdout.flush(), print("two")
print(os.environ["OMP_NUM_THREADS"])

# %%
from ipywidgets import interact
interact(lambda x: print(x), x=(1, 3));

# %% tags=["nbval-ignore-output"]
# output not compared: a timing
print(os.urandom(8))

# %% tags=["measured"]
import io
from IPython.display import Image as Shown
from PIL import Image
Image.frombytes("L", (60, 60), os.urandom(3600)).save(file := io.BytesIO(), "PNG")
Shown(file.getvalue(), alt=os.urandom(3).hex())
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty house with one notebook to build."""
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        (notebooks.ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "notebooks" / "src" / f"{NAME}.py").write_text(RUN, encoding="utf-8")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def quick_setup(monkeypatch):
    """A set-up cell that does not import torch, which takes seconds."""
    monkeypatch.setattr(notebooks, "setup_source", lambda name: "import sys")


def test_second_run_changes_nothing(house, quick_setup, capsys):
    assert notebooks.main(["build", "02"]) == 0
    assert "written" in capsys.readouterr().out
    first = notebooks.notebook_path(NAME).read_bytes()
    assert b"one two\\n" in first and b"model_id" not in first
    assert notebooks.main(["build"]) == 0
    assert "same" in capsys.readouterr().out
    assert notebooks.notebook_path(NAME).read_bytes() == first


def test_pictures_are_packed_and_look_the_same():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 1), np.uint8).repeat(3, axis=2)  # a video
    pixels[:50], pixels[50:60] = 255, (213, 94, 0)  # a white border, a vermilion line
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    packed = notebooks.lighter(base64.b64encode(file.getvalue()).decode())
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed))).convert("RGB"))
    assert np.abs(found.astype(int) - pixels).max() < 5 and (found[:50] == 255).all()
    assert len(packed) < 0.8 * len(base64.b64encode(file.getvalue()))
    assert notebooks.lighter(packed) == packed


@pytest.mark.parametrize("tag", ["measured", "nbval-ignore-output"])
@pytest.mark.parametrize("alt", ["", "The old picture."])
def test_a_measured_picture_stays_if_it_has_an_alt_text(tmp_path, tag, alt):
    def measured(picture, text):
        shown = new_output("display_data", {"image/png": picture}, metadata={"image/png": {"alt": text}})
        cell = new_code_cell("draw()", outputs=[shown], execution_count=1, metadata={"tags": [tag]})
        return new_notebook(cells=[cell])

    nbformat.write(measured("old", alt), tmp_path / "held.ipynb")
    new = measured("new", "The new picture.")
    notebooks.keep_measured(new, tmp_path / "held.ipynb")
    (output,) = new.cells[0].outputs
    expected = ("old", alt) if alt else ("new", "The new picture.")
    assert (output.data["image/png"], notebooks.alt_text(output)) == expected


def test_a_failing_cell_leaves_the_file_as_it_was(house, quick_setup, capsys):
    path = notebooks.notebook_path(NAME)
    path.write_text("old", encoding="utf-8")
    notebooks.source_path(NAME).write_text(RUN.replace("import os, sys", "1 / 0"), encoding="utf-8")
    assert notebooks.main(["build"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("machine", [name for name, variables in MACHINES.items() if variables])
def test_a_text_that_depends_on_the_machine_is_not_written(house, quick_setup, capsys, machine):
    variable, value = next(iter(MACHINES[machine].items()))
    cell = f"import os\n\nprint('same')\nprint(os.environ.get('{variable}'))\n"
    notebooks.source_path(NAME).write_text(RUN + "\n# %%\n" + cell, encoding="utf-8")
    path = notebooks.notebook_path(NAME)
    path.write_text("old", encoding="utf-8")
    assert notebooks.main(["build", "--machines", "native", machine]) == 1
    message = capsys.readouterr().err
    assert f"notebooks/src/{NAME}.py does not print the same" in message
    assert f"+++ {machine}" in message and "-None" in message and f"+{value}" in message
    assert "same\n" not in message.split("+++")[1] and path.read_text(encoding="utf-8") == "old"


def test_what_nbval_does_not_compare_may_differ(house, quick_setup, capsys):
    ignored = (
        "\n# %% tags=[\"nbval-ignore-output\"]\nimport os\n\nprint(os.environ.get('ATEN_CPU_CAPABILITY'))\n"
    )
    line = "\n# %%\nprint('torch', os.environ.get('ATEN_CPU_CAPABILITY'), '· device cpu')\n"
    notebooks.source_path(NAME).write_text(RUN + ignored + line, encoding="utf-8")
    assert notebooks.main(["build", "--machines", "native", "avx2", "--python", sys.executable]) == 0
    assert "same text on 3 machines" in capsys.readouterr().out


def test_a_notebook_that_fails_on_another_machine_is_not_written(house, quick_setup, capsys):
    cell = "\n# %%\nimport os\n\nassert 'LESSONS_THREADS' not in os.environ\n"
    notebooks.source_path(NAME).write_text(RUN + cell, encoding="utf-8")
    assert notebooks.main(["build", "--machines", "threads"]) == 1
    assert "on threads: a cell failed" in capsys.readouterr().err
    assert not notebooks.notebook_path(NAME).exists()


def test_a_prefix_without_a_notebook_is_an_error(house, capsys):
    assert notebooks.main(["build", "99"]) == 1
    assert "found no notebooks/src/99" in capsys.readouterr().err


def test_a_new_address_is_written_everywhere(house):
    path = notebooks.notebook_path(NAME)
    path.write_text(notebooks.dumps(good()), encoding="utf-8")
    notebooks.source_path(NAME).write_text(SOURCE, encoding="utf-8")
    old = notebooks.repository()
    (house / "README.md").write_text(
        f"{notebooks.badge(NAME)}\ngit clone https://github.com/{old} course\n"
        f"https://github.com/{old}-fork https://github.com/other/work\n"
        "\n| # | old table |\n|---|\n| 1 |\n\nend\n",
        encoding="utf-8",
    )
    (house / "CITATION.cff").write_text(f'repository-code: "https://github.com/{old}"\n', encoding="utf-8")
    pyproject = house / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text(encoding="utf-8").replace(f"github.com/{old}", "github.com/ada/reading"),
        encoding="utf-8",
    )

    assert notebooks.main(["address"]) == 0

    notebook = nbformat.read(path, as_version=4)
    assert guard.differences(notebook, notebooks.assemble(NAME, SOURCE)) == []
    assert guard.violations(NAME, notebook) == []
    assert f"github.com/{old}" not in path.read_text(encoding="utf-8")
    assert 'git+https://github.com/ada/reading"' in notebook.cells[1].source
    readme = (house / "README.md").read_text(encoding="utf-8")
    assert "github.com/ada/reading course\n" in readme and notebooks.badge(NAME) in readme
    assert f"github.com/{old}-fork https://github.com/other/work" in readme
    assert f"\n\n{notebooks.course_table()}\n\nend" in readme
    assert (house / "CITATION.cff").read_text(
        encoding="utf-8"
    ) == 'repository-code: "https://github.com/ada/reading"\n'


def pyproject_with(house, address: str):
    path = house / "pyproject.toml"
    text = path.read_text(encoding="utf-8").replace(notebooks.repository(), address)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("ours", "origin", "given", "wanted"),
    [
        ("OWNER/course", "https://github.com/ada/reading.git", None, "ada/reading"),
        ("OWNER/course", "git@github.com:ada/reading.git", None, "ada/reading"),
        ("OWNER/course", "https://example.org/ada/reading", None, "OWNER/course"),
        ("OWNER/course", None, None, "OWNER/course"),
        ("eve/course", "https://github.com/ada/reading", None, "eve/course"),  # a fork keeps what is written
        ("eve/course", "https://github.com/ada/reading", "https://github.com/bob/course", "bob/course"),
        ("OWNER/course", None, "bob/course", "bob/course"),
    ],
)
def test_the_address_is_the_given_one_or_the_remote_s(house, capsys, ours, origin, given, wanted):
    pyproject_with(house, ours)
    if origin:
        subprocess.run(["git", "init", "-q", str(house)], check=True)
        subprocess.run(["git", "-C", str(house), "config", "remote.origin.url", origin], check=True)
    notebooks.settle(given)
    assert notebooks.repository() == wanted
    assert ("still the placeholder" in capsys.readouterr().out) == wanted.startswith("OWNER/")


def test_an_address_in_another_form_is_refused(house):
    with pytest.raises(notebooks.NotebookError, match="found 'ada', expected OWNER/NAME"):
        notebooks.settle("ada")


@pytest.mark.parametrize("url", ["http://github.com/a/b", "https://github.com/a", "https://example.org/a/b"])
def test_an_address_that_is_none_is_refused(house, url):
    pyproject = house / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text(encoding="utf-8").replace(f"https://github.com/{notebooks.repository()}", url),
        encoding="utf-8",
    )
    with pytest.raises(notebooks.NotebookError, match=r"project\.urls\.Repository: found"):
        notebooks.repository()
