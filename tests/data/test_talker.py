"""The synthetic talker: its words, its timing, its drawing, and the error that nobody gets below."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc.grammar import LETTERS, SLOTS, random_sentence
from lessons.ctc.metrics import cer, edit_distance, wer
from lessons.data.image import resize_area, to_gray
from lessons.data.synthetic.error_floor import error_floor, homophemes
from lessons.data.synthetic.mouth_drawing import render
from lessons.data.synthetic.talker import PAUSE, Speaker, say, synthetic_clips, talk, timing
from lessons.data.synthetic.visemes import (
    LEXICON,
    PHONEME_TO_VISEMES,
    REACH,
    SHAPE,
    SILENCE,
    VISEMES,
    articulate,
    shape_of,
    word_visemes,
)

SENTENCES = st.tuples(*map(st.sampled_from, SLOTS)).map(" ".join)
SEEDS = st.integers(0, 2**32 - 1)
LONGEST = "place green with h seven again"  # 24 visemes, the most


def somebody(seed: int = 0) -> Speaker:
    return Speaker.random(np.random.default_rng(seed))


def picture(viseme: str, speaker: Speaker, size=(32, 64), color=False) -> np.ndarray:
    return render(shape_of(viseme)[None], speaker, size, color)[0].astype(float)


# Words and visemes


def test_the_lexicon_is_the_vocabulary_of_grid():
    assert set(LEXICON) == set(itertools.chain(*SLOTS))
    assert len(LEXICON) == 51


def test_every_phoneme_is_used_and_shown_and_every_viseme_is_reached():
    assert {p for phonemes in LEXICON.values() for p in phonemes.split()} == set(PHONEME_TO_VISEMES)
    reached = {v for visemes in PHONEME_TO_VISEMES.values() for v in visemes}
    assert reached | {SILENCE} == set(VISEMES)


def test_longest_sentence():
    most = sum(max(len(word_visemes(word)) for word in slot) for slot in SLOTS)
    assert sum(len(word_visemes(word)) for word in LONGEST.split()) == most == 24


# Coarticulation


def test_articulate_is_the_equation_written_with_loops():
    rng = np.random.default_rng(0)
    visemes = [SILENCE, "p", "ah", "t", "oo", SILENCE]
    borders = np.array([0.0, 5.0, 6.8, 9.0, 11.2, 13.5, 20.0])
    times = rng.uniform(0, 20, 30)
    ours = articulate(visemes, borders, times)
    for i, t in enumerate(times):
        for j, part in enumerate(SHAPE):
            above = below = 0.0
            for k, name in enumerate(visemes):
                v = VISEMES[name]
                d = max(borders[k] - t, t - borders[k + 1], 0.0)
                firmness = v.firm_lips if part in ("width", "rounding") else v.firm
                pull = firmness * np.exp(-((d / REACH) ** 2))
                above, below = above + pull * getattr(v, part), below + pull
            assert ours[i, j] == pytest.approx(above / below, abs=1e-12)


def test_outside_the_borders_the_nearest_viseme_holds():
    shapes = articulate(["ah", "p"], np.array([0.0, 3.0, 6.0]), np.array([-1e3, 1e3]))
    np.testing.assert_allclose(shapes, [shape_of("ah"), shape_of("p")])


def test_a_t_takes_the_lips_of_its_neighbors():
    borders = np.array([0.0, 3.0, 5.0, 8.0])
    width = {
        v: articulate([v, "t", v], borders, np.array([4.0]))[0, SHAPE.index("width")] for v in ("oo", "ee")
    }
    assert width["oo"] < 0.9 < 1.02 < width["ee"]


@settings(deadline=None, max_examples=25)
@given(SENTENCES, SEEDS)
def test_lips_that_must_close_do_close(sentence, seed):
    # "by", "m" and their like hold a /p b m/ with open mouth on both sides.
    rng = np.random.default_rng(seed)
    visemes = [v for word in sentence.split() for v in word_visemes(word)]
    borders = timing(
        [word_visemes(w) for w in sentence.split()], somebody(seed).rate, np.random.default_rng(seed)
    )
    shapes, _ = say(sentence, somebody(seed).rate, rng)
    for k, viseme in enumerate(visemes):
        if viseme == "p":
            frames = [i for i in range(75) if borders[k] <= i + 0.5 < borders[k + 1]]
            assert frames
            assert shapes[frames, SHAPE.index("opening")].min() <= 0


# Timing


@settings(deadline=None, max_examples=25)
@given(SENTENCES, SEEDS, st.sampled_from([60, 75, 100]))
def test_segments_cover_the_film_and_spell_the_sentence(sentence, seed, n_frames):
    shapes, segments = say(sentence, somebody(seed).rate, np.random.default_rng(seed), n_frames)
    assert shapes.shape == (n_frames, len(SHAPE))
    starts, ends, words = zip(*segments, strict=True)
    assert words == (SILENCE, *sentence.split(), SILENCE)
    assert starts == (0.0, *ends[:-1]) and ends[-1] == n_frames
    assert all(a < b for a, b in zip(starts, ends, strict=True))
    assert ends[0] >= PAUSE and n_frames - starts[-1] >= PAUSE - 1e-9
    silent = [i for i in range(n_frames) if i + 0.5 < ends[0] - 3 or i + 0.5 > starts[-1] + 3]
    np.testing.assert_allclose(shapes[silent], np.tile(shape_of(SILENCE), (len(silent), 1)), atol=1e-4)


def test_the_mouth_moves_when_the_word_is_said():
    # Lips, wide open, lips: frame i is the moment i + 0.5.
    for seed in range(20):
        shapes, segments = say("m r b", 1.0, np.random.default_rng(seed))
        opening = shapes[:, SHAPE.index("opening")]
        start, end, _ = segments[2]
        assert start <= opening.argmax() + 0.5 < end
        assert opening.max() > 0.6  # "ah" aims at 1, and has few frames to get there and back
        closed = np.flatnonzero(opening < -0.2) + 0.5
        assert start - 1.5 < closed[closed < start].max() and closed[closed >= end].min() < end + 1.5
        assert not ((closed > start + 0.7) & (closed < end - 0.7)).any()


def test_timing_is_that_of_grid():
    # Speaker 1 of GRID, medians: speech from frame 14 to frame 50, a letter lasts 4.5 frames.
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        _, segments = say(random_sentence(rng), Speaker.random(rng).rate, rng)
        found.append((segments[1][0], segments[-1][0], segments[4][1] - segments[4][0]))
    onset, end, letter = np.median(found, axis=0)
    assert onset == pytest.approx(14, abs=1)
    assert end == pytest.approx(50, abs=2)
    assert letter == pytest.approx(4.5, abs=0.5)


def test_a_fast_speaker_is_faster():
    slow, fast = (say(LONGEST, rate, np.random.default_rng(3))[1] for rate in (0.8, 1.2))
    assert slow[-1][0] - slow[1][0] == pytest.approx(1.5 * (fast[-1][0] - fast[1][0]))


def test_the_longest_sentence_is_hurried_to_fit():
    with pytest.raises(
        ValueError, match=r"n_frames: 10, too few for 24 visemes; expected (\d+) or more"
    ) as error:
        say(LONGEST, 1.0, np.random.default_rng(0), n_frames=10)
    least = int(str(error.value).split()[-3])
    _, segments = say(LONGEST, 0.5, np.random.default_rng(0), n_frames=least)
    assert segments[-1][1] == least
    with pytest.raises(ValueError, match="too few"):
        say(LONGEST, 1.0, np.random.default_rng(0), n_frames=least - 1)


# What is drawn


def dark(image: np.ndarray, speaker: Speaker) -> int:
    """Pixels of the open mouth: darker than half the lips."""
    return int((image < 0.5 * picture("p", speaker, image.shape).min()).sum())


@pytest.mark.parametrize("seed", range(6))
def test_a_reader_can_see_the_visemes(seed):
    # The same even light on everybody, and a face that fills the crop.
    speaker = dataclasses.replace(
        somebody(seed), light_x=0.0, light_y=0.0, roll=0.0, face_width=9.0, chin=9.0
    )
    drawn = {v: picture(v, speaker, (64, 128)) for v in VISEMES}
    inside = {v: dark(image, speaker) for v, image in drawn.items()}
    assert inside["p"] == inside["f"] == 0
    assert inside["ah"] > inside["eh"] > inside["ee"] > inside["t"]
    assert inside["aw"] > inside["oo"] > inside["w"] > 0

    skin = picture(SILENCE, speaker, (64, 128))[0, 0]
    columns = {v: int((np.abs(image - skin) > 0.2 * skin).any(axis=0).sum()) for v, image in drawn.items()}
    assert columns["w"] < 0.7 * columns[SILENCE] < columns[SILENCE] < columns["ee"]

    teeth = {v: int((image > 1.15 * np.median(skin)).sum()) for v, image in drawn.items()}
    if speaker.teeth[1] > 1.5 * speaker.skin[1]:  # teeth brighter than the face: on a dark face
        assert teeth["f"] > teeth["t"] > teeth["p"] == 0


def test_pressed_lips_are_thinner_than_lips_at_rest():
    speaker = dataclasses.replace(somebody(), face_width=9.0, chin=9.0, light_y=0.0)
    middle = {v: picture(v, speaker, (64, 128))[:, 64] for v in ("p", SILENCE)}
    lips = {v: int((column < 0.8 * column[0]).sum()) for v, column in middle.items()}
    assert 0 < lips["p"] < 0.8 * lips[SILENCE]


def test_visemes_differ_by_far_more_than_the_noise():
    for seed in range(8):
        speaker = somebody(seed)
        drawn = render(np.stack([shape_of(v) for v in VISEMES]), speaker).astype(float)  # (16, 32, 64)
        gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(drawn, 2)]
        assert min(gaps) > 20 * speaker.noise  # in one frame, for an eye that knows the two pictures


def test_gray_is_the_luma_of_color():
    shapes, _ = say("place red at q seven again", 1.0, np.random.default_rng(1))
    gray = render(shapes, somebody(3), (32, 64), rng=np.random.default_rng(5))
    rgb = render(shapes, somebody(3), (32, 64), color=True, rng=np.random.default_rng(5))
    assert rgb.shape == (75, 32, 64, 3)
    exposed = rgb.max(axis=-1) < 255  # a channel that is cut off at white takes its share of luma with it
    assert exposed.mean() > 0.9
    assert np.abs(to_gray(rgb).astype(int) - gray)[exposed].max() <= 1


def test_a_large_picture_made_smaller_is_the_small_picture():
    shapes, _ = say("bin blue at f two now", 1.0, np.random.default_rng(1))
    small = render(shapes, somebody(4), (32, 64)).astype(float)
    large = resize_area(render(shapes, somebody(4), (128, 256)), (32, 64))
    assert np.abs(small - large).mean() < 1.0
    assert np.percentile(np.abs(small - large), 99) < 15


def test_the_head_moves_only_by_chance():
    shapes = np.tile(shape_of("eh"), (75, 1))
    calm = dataclasses.replace(somebody(), noise=0.0)
    still, moving = render(shapes, calm), render(shapes, calm, rng=np.random.default_rng(0))
    assert (still == still[0]).all()
    steps = np.abs(np.diff(moving.astype(int), axis=0)).mean(axis=(1, 2))  # (74,)
    assert 0 < steps.mean() < 3 and (moving[0] != moving[40]).any()


def test_noise_has_its_deviation():
    speaker = dataclasses.replace(somebody(), noise=3.0, sway=0.0)
    shapes = np.tile(shape_of(SILENCE), (200, 1))
    assert render(shapes, speaker, rng=np.random.default_rng(0)).std(axis=0).mean() == pytest.approx(
        3, rel=0.02
    )


def test_speakers_differ_and_do_not_change():
    people = {somebody(seed) for seed in range(50)}
    assert len(people) == 50 and somebody(0) == somebody(0)
    for field in dataclasses.fields(Speaker):
        assert len({getattr(person, field.name) for person in people}) == 50, field.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        somebody().rate = 2.0


@pytest.mark.parametrize("size", [(12, 24), (50, 100), (37, 61), (64, 64)])
def test_any_size(size):
    frames, segments = talk("set white in z nine soon", somebody(), np.random.default_rng(2), size)
    assert frames.shape == (75, *size) and frames.dtype == np.uint8 and frames.flags.c_contiguous
    assert segments == talk("set white in z nine soon", somebody(), np.random.default_rng(2))[1]


# Letters that look alike


GROUPS = [group for group in homophemes(LETTERS) if len(group) > 1]


@pytest.mark.parametrize("group", GROUPS, ids="".join)
@pytest.mark.parametrize("color", [False, True])
def test_letters_that_look_alike_give_the_same_film(group, color):
    films = []
    for letter in group:
        rng = np.random.default_rng(11)
        frames, segments = talk(f"lay green by {letter} four please", Speaker.random(rng), rng, color=color)
        films.append((frames, [(start, end) for start, end, _ in segments], rng.bit_generator.state))
    for frames, times, state in films[1:]:
        np.testing.assert_array_equal(frames, films[0][0])
        assert times == films[0][1] and state == films[0][2]


def test_letters_that_do_not_look_alike_give_other_films():
    films = {}
    for group in homophemes(LETTERS):
        frames, _ = talk(f"lay green by {group[0]} four please", somebody(), np.random.default_rng(11))
        films[frames.tobytes()] = group
    assert len(films) == len(homophemes(LETTERS)) == 21


def test_the_groups():
    assert GROUPS == [("b", "p"), ("c", "d", "t"), ("n", "s")]
    assert [group for group in error_floor().groups if len(group) > 1] == GROUPS
    assert Counter(itertools.chain(*error_floor().groups)) == Counter(itertools.chain(*SLOTS))


def distance(a: str, b: str) -> int:
    """Edit distance, quicker: what two texts begin and end with alike costs nothing."""
    head = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[head:], b[head:]
    tail = next(
        (i for i, (x, y) in enumerate(zip(a[::-1], b[::-1], strict=False)) if x != y), min(len(a), len(b))
    )
    return edit_distance(a[: len(a) - tail], b[: len(b) - tail])


def test_error_floor_against_all_64000_sentences():
    # Brute force, blind to slots and to where words end: what is seen is one string of visemes.
    seen = defaultdict(list)
    shown = {word: " ".join(word_visemes(word)) for word in LEXICON}
    for words in itertools.product(*SLOTS):
        seen[" ".join([shown[word] for word in words])].append(words)
    word_errors = edits = characters = 0
    for sentences in seen.values():
        texts = [" ".join(words) for words in sentences]
        characters += sum(map(len, texts))
        if len(sentences) > 1:
            for said in zip(*sentences, strict=True):  # word by word, the commonest is the best guess
                word_errors += len(said) - Counter(said).most_common(1)[0][1]
            edits += min(sum(distance(text, guess) for text in texts) for guess in texts)
    floor = error_floor()
    assert floor.wer == pytest.approx(word_errors / (6 * 64_000), rel=1e-12)
    assert floor.cer == pytest.approx(edits / characters, rel=1e-12)
    assert floor.wer == pytest.approx(4 / 25 / 6)  # 25 letters in 21 groups: 4 of 25 are guessed wrong


def test_a_perfect_eye_reaches_the_floor():
    rng = np.random.default_rng(0)
    alike = {
        word: group for slot in SLOTS for group in homophemes(slot) for word in group
    }  # no word is in two
    said = [random_sentence(rng) for _ in range(1000)]
    read = [" ".join(rng.choice(alike[word]) for word in sentence.split()) for sentence in said]
    # 1,000 letters, 16 % of them wrong: three standard errors are 3.5 % of the letters, 0.58 % of the words
    assert wer(said, read) == pytest.approx(error_floor().wer, abs=0.0058)
    assert cer(said, read) == pytest.approx(error_floor().cer, abs=0.0014)


# Sets of clips


def test_a_set_of_clips():
    clips = synthetic_clips(6, seed=4)
    assert clips.frames.shape == (6, 75, 32, 64) and clips.frames.dtype == np.uint8
    assert clips.lengths.tolist() == [75] * 6 and clips.lengths.dtype == np.int64
    assert len(set(clips.ids)) == len(set(clips.transcripts)) == 6
    for transcript, segments in zip(clips.transcripts, clips.segments, strict=True):
        assert " ".join(word for _, _, word in segments[1:-1]) == transcript
        assert all(type(start) is type(end) is float for start, end, _ in segments)


def test_a_larger_set_begins_with_the_smaller_one_and_seeds_differ():
    few, many, other = synthetic_clips(2, seed=4), synthetic_clips(4, seed=4), synthetic_clips(2, seed=5)
    np.testing.assert_array_equal(few.frames, many.frames[:2])
    assert few.transcripts == many.transcripts[:2] and few.segments == many.segments[:2]
    assert few.transcripts != other.transcripts and not set(few.ids) & set(other.ids)


def test_clips_of_given_speakers():
    alone = dataclasses.replace(somebody(9), noise=0.0, sway=0.0)
    clips = synthetic_clips(3, seed=0, size=(24, 48), speakers=[alone])
    expected = render(shape_of(SILENCE)[None], alone, (24, 48))[0]
    for frames in clips.frames:  # before the first word the mouth is at rest
        np.testing.assert_array_equal(frames[0], expected)


def test_an_empty_set():
    assert len(synthetic_clips(0, seed=0)) == 0


def test_fast_enough_to_make_clips_as_they_are_needed():
    best = 0.0
    for seed in range(3):
        started = time.process_time()
        synthetic_clips(10, seed)
        best = max(best, 10 / (time.process_time() - started))
    print(f"{best:.0f} clips/s of CPU time")
    assert best >= 30  # above 100 on one quiet core; the bound leaves room for a busy or an old one


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: talk("bin blue at w two now", somebody(), np.random.default_rng(0)), "word 'w': not in"),
        (lambda: talk("Bin", somebody(), np.random.default_rng(0)), "word 'Bin': not in"),
        (lambda: talk(" ", somebody(), np.random.default_rng(0)), "sentence: empty"),
        (lambda: talk(LONGEST, somebody(), np.random.default_rng(0), n_frames=0), "n_frames: 0, too few"),
        (lambda: talk("bin", somebody(), np.random.default_rng(0), size=(11, 64)), "size: .* at least"),
        (lambda: talk("bin", somebody(), np.random.default_rng(0), size=(16, 20)), "size: .* at least"),
        (lambda: talk("bin", somebody(), np.random.default_rng(0), size=(64, 32)), "no higher than wide"),
        (lambda: say("bin", 0.0, np.random.default_rng(0)), "rate: 0.0"),
        (lambda: say("bin", float("nan"), np.random.default_rng(0)), "rate: nan"),
        (lambda: render(np.zeros((3, 5)), somebody()), r"shapes: \(3, 5\), expected \(T, 8\)"),
        (lambda: render(np.zeros(8), somebody()), r"shapes: \(8,\)"),
        (lambda: render(np.zeros((0, 8)), somebody()), r"shapes: \(0, 8\), expected \(T, 8\), T from 1"),
        (lambda: render(np.full((1, 8), np.nan), somebody()), "NaN"),
        (lambda: shape_of("zz"), "viseme 'zz' is unknown"),
        (lambda: word_visemes("hello"), "word 'hello': not in"),
        (lambda: synthetic_clips(-1, 0), "n: -1"),
        (lambda: synthetic_clips(1, -1), "seed: -1"),
        (lambda: synthetic_clips(1, 0, speakers=[]), "speakers: empty"),
    ],
)
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
