"""Word timings: what the corpus holds, what it must not, and anything else a file may contain."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lessons.data.grid.align import (
    CLIP_UNITS,
    SILENCES,
    WORDS,
    AlignError,
    parse_align,
    read_align,
    to_frames,
    transcript,
)

WANT = (
    (0, 23750, "sil"),
    (23750, 29500, "bin"),
    (29500, 34000, "blue"),
    (34000, 35500, "at"),
    (35500, 41000, "f"),
    (41000, 47250, "two"),
    (47250, 74500, "sil"),
)
TEXT = "".join(f"{start} {end} {word}\n" for start, end, word in WANT)


def test_both_line_ends_read_the_same() -> None:
    assert parse_align(TEXT) == WANT
    assert parse_align(TEXT.replace("\n", "\r\n")) == WANT
    assert parse_align("\n" + TEXT.replace(" ", "\t") + "\n\n") == WANT


def test_a_short_pause_is_a_silence() -> None:
    segments = parse_align(TEXT.replace("34000 35500 at", "34000 34500 sp\n34500 35500 at"))
    assert segments[3] == (34000, 34500, "sp")
    assert transcript(segments) == "bin blue at f two"


def test_units_become_frames() -> None:
    assert to_frames(WANT[:2]) == ((0.0, 23.75, "sil"), (23.75, 29.5, "bin"))


def test_the_corpus_has_51_words() -> None:
    assert len(WORDS) == 51 and "w" not in WORDS and not WORDS & set(SILENCES)


@pytest.mark.parametrize(
    "line, said",
    [
        ("29500 34000 purple", "line 3: unknown word 'purple'"),
        ("29500 34000 Blue", "line 3: unknown word 'Blue'"),
        ("29500 34000", "line 3: .*three fields"),
        ("29500 34000 blue blue", "line 3: .*three fields"),
        ("29500 thirty blue", r"line 3: times \['29500', 'thirty'\]; expected two integers"),
        ("29500.5 34000 blue", "line 3: .*two integers"),
        ("-5 34000 blue", "line 3: .*two integers"),
        ("29500 ³4 blue", "line 3: .*two integers"),
        ("29500 99999999999999999999 blue", "line 3: .*two integers"),
        ("29500 74501 blue", "line 3: times 29500 to 74501; expected 0 <= start < end <= 74500"),
        ("34000 29500 blue", "line 3: times 34000 to 29500"),
        ("29500 29500 blue", "line 3: times 29500 to 29500"),
        ("29499 34000 blue", "line 3: 'blue' starts at 29499, before 'bin' ends at 29500"),
    ],
)
def test_a_bad_line_is_named(line: str, said: str) -> None:
    text = TEXT.replace("29500 34000 blue", line)
    with pytest.raises(AlignError, match=rf"^x\.align, {said}"):
        parse_align(text, "x.align")


@pytest.mark.parametrize(
    "text, said", [("", "no line"), ("\r\n \n", "no line"), ("0 74500 sil", "no spoken word")]
)
def test_an_empty_sentence_is_an_error(text: str, said: str) -> None:
    with pytest.raises(AlignError, match=rf"^x\.align: {said}"):
        parse_align(text, "x.align")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.align").write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert read_align(tmp_path / "a.align") == WANT
    with pytest.raises(AlignError, match=r"none\.align: no such file"):
        read_align(tmp_path / "none.align")
    (tmp_path / "b.align").write_bytes(b"0 23750 sil\n\xff\xfe")
    with pytest.raises(AlignError, match=r"b\.align: byte 12 is no ASCII"):
        read_align(tmp_path / "b.align")
    (tmp_path / "b.align").write_bytes(b"1 2\n")
    with pytest.raises(AlignError, match=r"b\.align, line 1"):
        read_align(tmp_path / "b.align")


TIME = st.one_of(st.integers(-10, CLIP_UNITS + 10).map(str), st.text(max_size=4))
WORD = st.one_of(st.sampled_from([*sorted(WORDS), *SILENCES]), st.text(max_size=4))
LINE = st.one_of(st.tuples(TIME, TIME, WORD).map(" ".join), st.text(max_size=12))


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.text(), st.lists(LINE, max_size=9).map("\n".join)))
@example("1 2 bin\x1c3 4 blue")
def test_any_text_parses_or_is_an_error_that_names_the_file(text: str) -> None:
    try:
        segments = parse_align(text, "some.align")
    except AlignError as error:
        assert str(error).startswith("some.align")
        return
    assert transcript(segments)
    edges = [edge for start, end, _ in segments for edge in (start, end)]
    assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= CLIP_UNITS
    assert all(start < end and word in WORDS.union(SILENCES) for start, end, word in segments)


@st.composite
def sentences(draw: st.DrawFn) -> list[tuple[int, int, str]]:
    words = draw(st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=8))
    size = 2 * len(words)
    edges = draw(st.lists(st.integers(0, CLIP_UNITS), min_size=size, max_size=size, unique=True))
    edges.sort()
    return list(zip(edges[::2], edges[1::2], words, strict=True))


@settings(deadline=None, max_examples=50)
@given(sentences(), st.sampled_from(["\n", "\r\n"]))
def test_any_sound_file_comes_back_as_it_was(segments: list[tuple[int, int, str]], end: str) -> None:
    text = "".join(f"{start} {stop} {word}{end}" for start, stop, word in segments)
    assert list(parse_align(text)) == segments
    assert transcript(segments).split() == [word for _, _, word in segments]


@settings(deadline=None, max_examples=50)
@given(st.binary())
def test_any_bytes_read_or_are_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.align"
    path.write_bytes(content)
    with pytest.raises(AlignError, match=r"any\.align"):  # random bytes never hold a sentence
        read_align(path)


def test_a_byte_order_mark_utf_16_and_capitals_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.align"
    for content in (
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.upper().encode(),
        TEXT.replace("\n", "\r").encode(),
    ):
        path.write_bytes(content)
        assert read_align(path) == WANT
    path.write_bytes(TEXT.encode("utf-16")[:-1])
    with pytest.raises(AlignError, match=r"a\.align: byte \d+ is no"):
        read_align(path)


@pytest.mark.parametrize(
    "per_frame, unit",
    [
        (1, "video frames"),
        (40, "milliseconds"),
        (0.04, "seconds"),
        (640, "16 kHz"),
        (400_000, "100 ns"),
        (700, "another"),
    ],
)
def test_another_unit_is_refused_by_name(tmp_path: Path, per_frame: float, unit: str) -> None:
    times = [
        (f"{start * per_frame / 1000:g}", f"{end * per_frame / 1000:g}", word) for start, end, word in WANT
    ]
    (tmp_path / "a.align").write_text("\n".join(map(" ".join, times)), encoding="utf-8")
    with pytest.raises(AlignError, match=rf"a\.align: the last line ends at .*74500.*{unit}"):
        read_align(tmp_path / "a.align")


def test_a_last_end_of_74_frames_is_no_other_unit(tmp_path: Path) -> None:
    (tmp_path / "a.align").write_text(TEXT.replace("74500", "74000"), encoding="utf-8")
    assert read_align(tmp_path / "a.align")[-1] == (47250, 74000, "sil")
