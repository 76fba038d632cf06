"""Pairs in turn, ratios of pairs, and memory counted to the byte."""

from __future__ import annotations

import itertools
import time

import pytest
import torch

from lessons.measure import timing
from lessons.measure.timing import compare, peak_bytes

CPU = torch.device("cpu")


def test_work_that_is_the_same_has_ratio_1_and_three_times_the_work_3(monkeypatch):
    """With a clock that counts calls, so that no busy machine can fail this test."""
    now = 0.0

    def work(cost: float):
        def run() -> None:
            nonlocal now
            now += cost

        return run

    for clock in ("process_time", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: now)
    same = compare(work(0.5), work(0.5), CPU, pairs=4)
    assert same.ratio == pytest.approx(1) and same.spread == pytest.approx((1, 1))
    slower = compare(work(0.3), work(0.1), CPU, pairs=5)
    assert slower.ratio == pytest.approx(3)
    assert slower.ours_ms == pytest.approx(300) and slower.theirs_ms == pytest.approx(100)


def test_they_take_turns():
    order = []
    compare(lambda: order.append("ours"), lambda: order.append("theirs"), CPU, pairs=2)
    runs = [order[0], *(b for a, b in itertools.pairwise(order) if a != b)]
    assert runs[:2] == ["ours", "theirs"]  # warm-up
    assert "".join(name[0] for name in runs).count("ot") >= 3


def test_short_work_is_repeated(monkeypatch):
    calls = []
    monkeypatch.setattr(timing, "SHORTEST", 0.005)
    compare(lambda: calls.append(0), lambda: None, CPU, pairs=2)
    assert len(calls) > 100


def test_memory_is_the_most_held_at_once():
    def work():
        a = torch.empty(2**20)  # 4 MiB
        del a
        b, c = torch.empty(2**18), torch.empty(2**19)  # 1 + 2 MiB
        del b, c

    assert peak_bytes(work, CPU) == pytest.approx(4 * 2**20, abs=4096)


def test_a_spread_needs_two_pairs():
    with pytest.raises(ValueError, match="pairs=1"):
        compare(lambda: None, lambda: None, CPU, pairs=1)
