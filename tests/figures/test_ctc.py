"""CTC figures draw the probabilities, moves and edits that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lessons import ctc, figures
from lessons.figures import style
from tests.figures.artists import texts


def test_alignment_draws_posteriors_path_and_words_at_their_frames():
    p = np.full((4, 3), 0.05)
    p[[0, 1, 2, 3], [0, 2, 2, 0]] = 0.9
    fig = figures.alignment(p, ["–", " ", "a"], [0, 2, 2, 0], [(0, 1, "sil"), (1, 3, "a")])
    heat, lane = fig.axes[0], fig.axes[1]
    np.testing.assert_allclose(heat.images[0].get_array(), p[:, [0, 2]].T)  # the space is never used
    assert [t.get_text() for t in heat.get_yticklabels()] == ["–", "a"]
    dots = next(line for line in heat.lines if line.get_label() == "path")
    np.testing.assert_array_equal(dots.get_ydata(), [0, 1, 1, 0])
    bars = [tuple(path.get_extents().intervalx) for c in lane.collections for path in c.get_paths()]
    assert bars == [(-0.5, 0.5), (0.5, 2.5)]  # frame t spans t - 0.5 to t + 0.5
    assert texts(lane) == ["sil", "a"]


def test_alignment_can_show_every_class():
    fig = figures.alignment(np.eye(3), ["–", " ", "a"], only_used=False)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["–", "␣", "a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.log(np.full((4, 3), 0.3)), "abc"), "exp of log_probs"),
        ((np.eye(3), "ab"), "2 names for 3"),
        ((np.eye(3), "abc", [0, 1]), "2 entries for 3"),
    ],
)
def test_alignment_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.alignment(*arguments)
    with pytest.raises(ValueError, match=message):
        figures.trellis(*arguments[:2], [False] * 3, *arguments[2:])


def test_trellis_dots_have_areas_in_proportion_and_only_legal_moves():
    p = np.array([[1.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]])
    fig = figures.trellis(p, ["–", "a", "–", "a", "–"], ctc.may_skip([0, 1, 0, 1, 0]), [0, 1])
    ax = fig.axes[0]
    area = ax.collections[0].get_sizes().reshape(2, 5)
    np.testing.assert_allclose(area / area.max(), p)
    moves = {tuple(int(v) for v in line.get_ydata()) for line in ax.lines if line.get_label() != "best path"}
    stay, step = {(s, s) for s in range(5)}, {(s, s + 1) for s in range(4)}
    assert moves == stay | step  # a to a may not skip the blank between them
    fig = figures.trellis(p, ["–", "a", "–", "b", "–"], SKIPS)
    moves = {tuple(int(v) for v in line.get_ydata()) for line in fig.axes[0].lines}
    assert moves == stay | step | {(1, 3)}


def drawn_moves(ax) -> dict[tuple, tuple[float, str]]:
    """(frame, from, to) -> width and color of each flow; the hairlines under them are left out."""
    _, flows = ax.collections[:2]
    ends = [tuple(map(tuple, path.vertices.astype(int))) for path in flows.get_paths()]
    colors = [to_hex(c).upper() for c in flows.get_edgecolor()]
    return {
        (t, s, to): (width, color)
        for ((t, s), (_, to)), width, color in zip(ends, flows.get_linewidth(), colors, strict=True)
    }


STATES = "-a-b-"
SKIPS = ctc.may_skip([0, 1, 0, 2, 0])  # (5,)


def shares(frames: int = 4, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    nodes, edges = rng.random((frames, count)), rng.random((frames - 1, count, 3))
    return nodes / nodes.sum(1, keepdims=True), edges / edges.sum((1, 2), keepdims=True)


def test_flows_are_as_wide_as_what_passes_and_only_where_ctc_allows():
    nodes, edges = shares()
    fig = figures.trellis_flow({"one": (nodes, edges), "two": (nodes, edges)}, STATES, SKIPS, columns=2)
    for ax in fig.axes:
        moves = drawn_moves(ax)
        allowed = {(s, s) for s in range(5)} | {(s, s + 1) for s in range(4)} | {(1, 3)}
        assert {(s, to) for _, s, to in moves} == allowed
        for (t, s, to), (width, color) in moves.items():
            assert width / figures.ctc.WIDEST == pytest.approx(edges[t, s, to - s])
            assert color == style.BLUE
        area = ax.collections[2].get_sizes().reshape(nodes.shape)
        np.testing.assert_allclose(area / area.sum(1, keepdims=True), nodes)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["one", "two"]


def test_no_flow_jumps_between_equal_letters():
    nodes, edges = shares()
    moves = drawn_moves(
        figures.trellis_flow({"": (nodes, edges)}, "-a-a-", ctc.may_skip([0, 1, 0, 1, 0])).axes[0]
    )
    assert not any(to - s == 2 for _, s, to in moves)


def test_a_step_shows_the_past_and_its_newest_moves():
    nodes, edges = shares()
    fig = figures.trellis_steps(nodes, edges, STATES, SKIPS, [0, 2])
    first, third = fig.axes[:2]
    assert drawn_moves(first) == {}
    colors = {t: {c for (u, _, _), (_, c) in drawn_moves(third).items() if u == t} for t in range(3)}
    assert colors == {0: {style.BLUE}, 1: {style.VERMILION}, 2: set()}
    area = third.collections[2].get_sizes().reshape(nodes.shape)
    assert (area[3] == 0).all() and (area[:3] > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, e: (n, e[:1], STATES), "edges .* expected \\(3, 5, 3\\)"),
        (lambda n, e: (n, e, "-a-"), "3 names for 5 states"),
        (lambda n, e: (np.log(n), e, STATES), "expected 0 to 1"),
    ],
)
def test_a_trellis_that_cannot_be_drawn_says_why(change, message):
    nodes, edges, states = change(*shares())
    with pytest.raises(ValueError, match=message):
        figures.trellis_flow({"x": (nodes, edges)}, states, SKIPS)
    with pytest.raises(ValueError, match=message):
        figures.trellis_steps(nodes, edges, states, SKIPS, [0])


def test_trellises_need_a_panel_and_frames_that_exist():
    with pytest.raises(ValueError, match="panels: empty"):
        figures.trellis_flow({}, STATES, SKIPS)
    with pytest.raises(ValueError, match="frames: found 4, expected 0 to 3"):
        figures.trellis_steps(*shares(), STATES, SKIPS, [4])


def test_the_gradient_is_drawn_as_the_difference():
    given, asked = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.2, 0.8], [0.5, 0.5]])
    fig = figures.ctc_gradient(given, asked, "-a")
    maps = [ax.images[0] for ax in fig.axes if ax.images]
    for image, values in zip(maps, (given, asked, given - asked), strict=True):
        np.testing.assert_allclose(image.get_array(), values.T)
    assert maps[2].get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="occupancy: shape"):
        figures.ctc_gradient(given, asked[:1], "-a")
    with pytest.raises(ValueError, match="3 names for 2"):
        figures.ctc_gradient(given, asked, "-ab")


def test_posterior_curves_draw_every_class_that_is_ever_probable():
    early, late = np.full((6, 4), 0.25), np.tile([0.02, 0.9, 0.04, 0.04], (6, 1))
    early[:, 2:], early[:, 0] = 0.05, 0.65
    fig = figures.posterior_curves({"early": early, "late": late}, "- ab")
    for ax, p in zip(fig.axes, (early, late), strict=False):
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_ydata(), p[:, 1])
        assert line.get_label() == "␣"
    for arguments, message in [
        (({}, "-"), "empty"),
        (({"x": early}, "-a"), "2 names for the 4"),
        (({"x": np.log(early)}, "- ab"), "expected 0 to 1"),
        (({"x": np.full((2, 9), 0.11)}, "-abcdefgh"), "8 classes above"),
    ]:
        with pytest.raises(ValueError, match=message):
            figures.posterior_curves(*arguments)


@pytest.mark.parametrize("skips", [SKIPS[:4], [0, 0, 0, 1, 0], [[True]]])
def test_moves_that_are_not_given_per_state_are_refused(skips):
    with pytest.raises(ValueError, match="may_skip: "):
        figures.trellis(np.full((2, 5), 0.2), STATES, skips)
