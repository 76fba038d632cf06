"""The CTC explorer computes what lessons.ctc computes, and its page does what it says."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lessons import ctc
from tools.browser import FLAGS, BrowserError, browser_path
from tools.site import SITE

EXPLORER = SITE / "live" / "explorer"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
ALL = 100_000  # a beam or a list that drops nothing
DRIVER = """
import { readFileSync } from "node:fs";
const ctc = await import("data:text/javascript;base64," + readFileSync(process.argv[1]).toString("base64"));
const numbers = (x) => Array.isArray(x) ? x.map(numbers) : x === null ? -Infinity : x;
const answers = JSON.parse(readFileSync(0)).map(([name, ...given]) => {
  try { return { value: ctc[name](...given.map(numbers)) }; }
  catch (error) { return { error: error.message }; }
});
console.log(JSON.stringify(answers, (_, x) => (Math.abs(x) === Infinity ? String(x) : x)));
"""


def answers(calls: list[tuple]) -> list[dict]:
    """What functions of ctc.js return, or the messages of their errors; a call is (name, arguments…)."""
    ready = json.dumps(calls).replace("-Infinity", "null")
    run = subprocess.run(
        [NODE, "--input-type=module", "-e", DRIVER, str(EXPLORER / "ctc.js")],
        input=ready,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def values(calls: list[tuple]) -> list:
    return [answer["value"] for answer in answers(calls)]


def array(x) -> np.ndarray:
    return np.array(x, dtype=float)  # reads "-Infinity", too


def case(probs, label) -> SimpleNamespace:
    probs = torch.tensor(probs, dtype=torch.float64)
    return SimpleNamespace(frames=probs.log(), label=label)


def random_cases(count: int) -> list[SimpleNamespace]:
    rng = np.random.default_rng(5)
    made = []
    for _ in range(count):
        frames, classes, length = rng.integers(1, 9), rng.integers(3, 6), rng.integers(0, 5)
        logits = torch.from_numpy(rng.normal(size=(frames, classes)) * rng.choice([0.3, 1, 3, 30]))
        label = rng.integers(1, classes, size=length).tolist()
        made.append(SimpleNamespace(frames=logits.log_softmax(1), label=label))
    return made


EDGES = [
    case([[0.5, 0.4, 0.1]] * 2, [1]),
    case([[0.1, 0.85, 0.05]] * 5, [1, 1]),
    case([[1 / 3] * 3] * 3, [1, 1, 2]),  # needs four frames
    case([[0.5, 0.5, 0]] * 4, [2]),  # a class of probability 0
    case([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]], [1, 1]),  # one path
    case([[0.2, 0.3, 0.5]], []),
    case([[1 / 3] * 3] * 8, [1, 2]),
]
CASES = random_cases(80) + EDGES


def given(cases=CASES):
    return [(one.frames.tolist(), one.label) for one in cases]


@needs_node
def test_trellis_loss_and_gradient():
    for one, found in zip(CASES, values([("forwardBackward", *g) for g in given()]), strict=True):
        wanted = ctc.forward_backward(one.frames, one.label)
        for name in ("alpha", "beta", "posteriors", "occupancy"):
            np.testing.assert_allclose(array(found[name]), getattr(wanted, name), rtol=0, atol=1e-9)
        logits = one.frames.clone().requires_grad_()
        target = torch.tensor([one.label], dtype=torch.long)
        lengths = [len(one.frames)], [len(one.label)]
        loss = ctc.ctc_loss(logits.log_softmax(1)[:, None], target, *lengths, reduction="sum")
        np.testing.assert_allclose(array(found["loss"]), loss.item(), rtol=0, atol=1e-9)
        if one.frames.isfinite().all():  # autograd's log_softmax knows no probability of exactly 0
            (gradient,) = torch.autograd.grad(loss, logits)
        else:
            gradient = (one.frames.exp() - wanted.occupancy) * (loss.item() < math.inf)
        np.testing.assert_allclose(array(found["gradient"]), gradient, rtol=0, atol=1e-9)


@needs_node
def test_flow_leaves_and_enters_each_state_as_often_as_it_is_visited():
    for found in values([("forwardBackward", *g) for g in given()]):
        posteriors = array(found["posteriors"])
        for t, moves in enumerate(found["flow"]):
            leaving, entering = np.zeros_like(posteriors[0]), np.zeros_like(posteriors[0])
            for move in moves:
                leaving[move["from"]] += move["p"]
                entering[move["to"]] += move["p"]
            np.testing.assert_allclose(leaving, posteriors[t], atol=1e-9)
            np.testing.assert_allclose(entering, posteriors[t + 1], atol=1e-9)


@needs_node
def test_paths_are_those_that_spell_the_target():
    small = [one for one in CASES if one.frames.shape[1] ** len(one.frames) < 5000]
    assert len(small) > 20
    ours = values([("pathsOf", *g, ALL) for g in given(small)])
    best = values([("likeliestPaths", frames, 6) for frames, _ in given(small)])
    counts = values([("countPaths", len(one.frames), one.label) for one in CASES])
    assert counts == [ctc.count_paths(len(one.frames), one.label) for one in CASES]
    for one, found, first in zip(small, ours, best, strict=True):
        every = itertools.product(range(one.frames.shape[1]), repeat=len(one.frames))
        scores = {path: sum(one.frames[t, k].item() for t, k in enumerate(path)) for path in every}
        spelling = {p for p, score in scores.items() if ctc.collapse(p) == one.label and score > -math.inf}
        assert {tuple(entry["path"]) for entry in found} == spelling
        listed = sorted((s for s in scores.values() if s > -math.inf), reverse=True)[:6]
        np.testing.assert_allclose([entry["score"] for entry in first], listed, atol=1e-9)
        assert all(math.isclose(scores[tuple(e["path"])], e["score"]) for e in found + first)
        assert all(a["score"] >= b["score"] - 1e-12 for a, b in itertools.pairwise(found))


@needs_node
def test_a_short_list_holds_the_best_of_a_long_one():
    calls = [("pathsOf", *g, count) for g in given() for count in (6, ALL)]
    found = values(calls)
    for short, long in zip(found[::2], found[1::2], strict=True):
        assert short == long[:6]


@needs_node
def test_greedy_decoding():
    for one, found in zip(CASES, values([("greedy", frames) for frames, _ in given()]), strict=True):
        assert [found["label"]] == ctc.greedy_decode(one.frames[:, None])
        assert ctc.collapse(found["path"]) == found["label"]


@needs_node
@pytest.mark.parametrize("width", [1, 3, 8, ALL])
def test_beam_after_each_frame(width):
    cases = [one for one in random_cases(80) if one.frames.shape[1] < 5 or width < ALL]
    cases = [one for one in cases if len(one.frames) < 7 or width < ALL]
    found = values([("beamSearch", frames, width) for frames, _ in given(cases)])
    for one, beams in zip(cases, found, strict=True):
        for t, beam in enumerate(beams, start=1):
            wanted = ctc.beam_search_decode(one.frames[:t], beam_width=width)
            assert [entry["label"] for entry in beam] == [label for label, _ in wanted]
            np.testing.assert_allclose([e["score"] for e in beam], [s for _, s in wanted], atol=1e-9)


@needs_node
def test_ties_go_to_the_smaller_classes():
    """An unpruned beam has the same labels and scores as lessons.ctc; their order is ours."""
    frames = case([[1 / 3] * 3] * 4, []).frames
    path, beams = values([("greedy", frames.tolist()), ("beamSearch", frames.tolist(), ALL)])
    assert path == {"path": [0] * 4, "label": []} and ctc.greedy_decode(frames[:, None]) == [[]]
    ours = [(entry["score"], entry["label"]) for entry in beams[-1]]
    wanted = {tuple(label): score for label, score in ctc.beam_search_decode(frames, beam_width=ALL)}
    assert {tuple(label) for _, label in ours} == set(wanted)
    assert all(math.isclose(score, wanted[tuple(label)], abs_tol=1e-9) for score, label in ours)
    assert ours == sorted(ours, key=lambda one: (-round(one[0], 9), one[1]))


@needs_node
def test_small_functions():
    paths = [[], [0, 0], [1, 1, 0, 1, 2, 2], [2, 0, 0, 2]]
    assert values([("collapse", path) for path in paths]) == [ctc.collapse(path) for path in paths]
    labels = [[], [1], [1, 1], [1, 2, 2, 2]]
    assert values([("extend", label) for label in labels]) == [ctc.extend(label) for label in labels]
    assert values([("minFrames", label) for label in labels]) == [ctc.min_frames(label) for label in labels]
    logits, gradient = torch.randn(2, 5, 3, dtype=torch.float64).log_softmax(2)
    (found,) = values([("descend", logits.tolist(), gradient.tolist(), 0.7)])
    np.testing.assert_allclose(array(found), (logits - 0.7 * gradient).log_softmax(1), atol=1e-12)


@needs_node
def test_bad_input_says_what_is_wrong():
    frames = EDGES[0].frames.tolist()
    found = answers(
        [
            ("forwardBackward", [], [1]),
            ("forwardBackward", [[0.5, 0.5, 0.5]], [1]),
            ("forwardBackward", frames, [0]),
            ("forwardBackward", frames, [3]),
            ("greedy", [[0.0, 0.1]]),
            ("beamSearch", frames, 0),
        ]
    )
    said = [
        "expected at least one frame",
        "sum to 1",
        "label 0 at position 0",
        "label 3",
        "found a sum of",
        "width is 0",
    ]
    for answer, words in zip(found, said, strict=True):
        assert words in answer["error"]


# The page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The explorer in a browser, without the book around it."""
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    from tools.site_check import served

    try:
        browser = browser_path()
    except BrowserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("explorer")
    shutil.copytree(EXPLORER, folder / "explorer")
    text = (SITE / "pages" / "ctc_explorer.md").read_text(encoding="utf-8")
    markup = "\n".join(line for line in text.splitlines() if line.startswith("<"))
    (folder / "index.html").write_text(f"<!doctype html><meta charset=utf-8>{markup}", encoding="utf-8")
    with served(folder) as address, sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=[*FLAGS, "--no-sandbox"])
        view = window.new_page(viewport={"width": 900, "height": 900})
        faults: list[str] = []
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.goto(f"{address}/index.html", wait_until="load")
        view.wait_for_selector("#ctc-loss p")
        yield view
        assert not faults
        window.close()


def text(page, name: str) -> str:
    return " ".join(page.locator(f"#ctc-{name}").inner_text().split())


def field(page, name: str):
    return page.get_by_label(name, exact=True)


def probability(page, letter: str, frame: int):
    return field(page, f"probability of {letter} in frame {frame}")


def choose(page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def test_each_example_shows_what_its_lesson_says(page):
    choose(page, "Greedy is wrong")
    probs = case([[0.5, 0.4, 0.1]] * 2, [1])
    loss = -ctc.forward_backward(probs.frames, [1]).log_likelihood.item()
    assert f"sum over 3 paths; loss −ln p = {loss:.3f}" in text(page, "loss")
    assert math.exp(-loss) > 2 * 0.5**2 and "The two differ" in text(page, "decoders")
    field(page, "beam width").fill("1")
    assert "The two agree" in text(page, "decoders")

    choose(page, "A repeated letter")
    assert "greedy “a”" in text(page, "decoders") and "beam search “a”" in text(page, "decoders")
    gradient = text(page, "gradient").split("-")[1].split()[:5]  # the blank's
    assert gradient[2].startswith("−")

    choose(page, "An impossible target")
    assert "it needs 4; loss ∞" in text(page, "loss")
    assert page.locator("#ctc-trellis .ctc-move").count() == 0
    assert set(re.findall(r"\d\.\d\d", text(page, "gradient"))) == {"0.00"}
    field(page, "frames").fill("4")
    assert "the sum over 1 path;" in text(page, "loss")

    choose(page, "The blank plateau")
    assert "Greedy's path is --------" in text(page, "decoders")
    before = float(re.search(r"ln p = ([\d.]+)", text(page, "loss"))[1])
    page.get_by_role("button", name="gradient steps").click()
    assert float(re.search(r"ln p = ([\d.]+)", text(page, "loss"))[1]) < before

    choose(page, "Peaks after training")
    assert float(re.search(r"(\d+) %", text(page, "paths"))[1]) > 50
    assert max(map(float, re.findall(r"\d\.\d\d", text(page, "gradient")))) < 0.1
    path = re.search(r"path is ([-ab]+)", text(page, "decoders"))[1]
    assert path.count("-") > path.count("a") and path.count("-") > path.count("b")


def test_typing_and_arrow_keys_change_a_probability_and_keep_the_others_ratio(page):
    choose(page, "Greedy is wrong")
    probability(page, "a", 0).fill("0.7")
    wanted = ctc.forward_backward(torch.tensor([[0.25, 0.7, 0.05], [0.5, 0.4, 0.1]]).double().log(), [1])
    assert f"loss −ln p = {-wanted.log_likelihood.item():.3f}" in text(page, "loss")
    assert probability(page, "blank", 0).input_value() == "0.25"
    probability(page, "a", 0).press("ArrowUp")
    assert (
        probability(page, "blank", 0).input_value() == "0.21"
        and probability(page, "b", 0).input_value() == "0.04"
    )
    shown = text(page, "loss")
    for nonsense in ("", "7", "-1"):
        probability(page, "a", 1).fill(nonsense)
        assert text(page, "loss") == shown
    probability(page, "a", 1).blur()
    assert probability(page, "a", 1).input_value() == "0.40"


def test_drawing_across_frames_sets_each(page):
    choose(page, "The blank plateau")
    bars = page.locator("#ctc-probabilities [data-class='1'] > .ctc-bar")
    boxes = [bars.nth(t).bounding_box() for t in range(8)]
    at = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    page.mouse.move(*at[1])
    page.mouse.down()
    for spot in at[2:5]:
        page.mouse.move(*spot)
    page.mouse.up()
    page.mouse.move(*at[6])
    drawn = [float(probability(page, "a", t).input_value()) for t in range(8)]
    assert drawn[1:5] == pytest.approx([0.5] * 4, abs=0.03) and max(drawn[5:]) < 0.1


def test_a_wrong_word_is_named_and_the_last_right_one_stays(page):
    choose(page, "Greedy is wrong")
    shown = text(page, "loss")
    field(page, "target").fill("ax")
    assert "“x” is not among the letters “ab”" in text(page, "fault") and text(page, "loss") == shown
    field(page, "letters").fill("aa")
    assert "2 to 4 different letters" in text(page, "fault")
    field(page, "letters").fill("abx")
    assert text(page, "fault") == "" and "p(“ax”)" in text(page, "loss")


def test_a_redraw_fits_into_a_frame_of_the_screen(page):
    choose(page, "The blank plateau")
    field(page, "letters").fill("abcd")
    field(page, "target").fill("abcdabcd")
    field(page, "beam width").fill("8")
    session = page.context.new_cdp_session(page)
    session.send(
        "Performance.enable", {"timeDomain": "threadTicks"}
    )  # processor time: others compute beside us

    def spent() -> float:
        """Of the page's thread: script, style, layout and painting."""
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    before = spent()
    page.evaluate(
        """async () => {
            const field = document.querySelector("[aria-label='probability of a in frame 3']");
            for (let i = 0; i < 30; i++) {
                field.value = 0.1 + i / 50;
                field.dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
            }
        }"""
    )
    assert probability(page, "a", 3).input_value() == "0.68"
    assert 0 < (spent() - before) / 30 < 0.016
