"""The synthetic talker: clips of drawn mouths that say GRID sentences, made in an instant, with no download.

sentence -> phonemes -> visemes -> borders in time -> mouth shapes (T, 8) -> frames (T, H, W)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lessons.ctc.grammar import random_sentence
from lessons.data.clips import ClipSet
from lessons.data.motions import Motion, mouth_measures
from lessons.data.synthetic.error_floor import error_floor
from lessons.data.synthetic.mouth_drawing import mouth_points, render
from lessons.data.synthetic.speaker import Speaker
from lessons.data.synthetic.visemes import SILENCE, VISEMES, articulate, shape_of, word_visemes

__all__ = [
    "Segments",
    "Speaker",
    "error_floor",
    "render",
    "say",
    "shape_of",
    "synthetic_clips",
    "synthetic_people",
    "talk",
]

TALKER = "talker"  # the name of everybody who is drawn; numbered where there is a list of them
Segments = tuple[tuple[float, float, str], ...]

# Speech lasts about from frame 14 to frame 50 of 75, as in GRID's speaker 1, and a letter 4.5 frames.
ONSET = 14.0  # frames
VOWEL = 2.0  # frames of a viseme of length 1
STRESSED = 1.6  # times longer is a viseme that is a whole word, the letters e and r: it is stressed
SHORTEST = 1.2  # frames: the mean VOWEL when a sentence has to be spoken as fast as it goes, to fit in
PAUSE = 2.0  # frames of silence at least, before and after


def timing(
    words: Sequence[Sequence[str]], rate: float, rng: np.random.Generator, n_frames: int = 75
) -> np.ndarray:
    """Return (K + 1,) float64: the borders in frames between the K visemes of words, random as speech is.

    The lengths depend on the visemes and on chance, never on the phonemes behind them: if a /b/ were longer
    than a /p/, a network could tell the two by a clock.

    Raises:
        ValueError: when the visemes do not fit into ``n_frames``, or a rate that is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"rate: {rate}, expected a speaking rate above 0; 1 is usual")
    lengths = np.array(
        [VISEMES[v].length * (STRESSED if len(word) == 1 else 1) for word in words for v in word]
    )  # (K,)
    fewest = SHORTEST * lengths.sum() + 2 * PAUSE
    if fewest > n_frames:
        least = int(np.ceil(fewest))
        raise ValueError(
            f"n_frames: {n_frames}, too few for {len(lengths)} visemes; expected {least} or more"
        )
    onset = max(PAUSE, rng.normal(ONSET, 2.5))
    lengths = lengths * np.exp(rng.normal(0, 0.12, len(lengths)))
    wanted = VOWEL / rate * np.exp(rng.normal(0, 0.06)) * lengths.sum()  # frames of speech
    spoken = min(wanted, n_frames - 2 * PAUSE)
    onset = min(onset, n_frames - PAUSE - spoken)
    return onset + spoken * np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])


def say(
    sentence: str, rate: float, rng: np.random.Generator, n_frames: int = 75
) -> tuple[np.ndarray, Segments]:
    """Return the mouth's shapes (n_frames, 8) for a sentence, and when each word is said.

    Frame i shows the mouth at time i + 0.5, the middle of its exposure.

    Raises:
        ValueError: an empty sentence, a word outside the lexicon, or too few frames.
    """
    words = sentence.split()
    if not words:
        raise ValueError("sentence: empty, expected words of GRID such as 'bin blue at f two now'")
    spoken = [word_visemes(word) for word in words]
    visemes = [viseme for word in spoken for viseme in word]
    borders = timing(spoken, rate, rng, n_frames)  # (K + 1,)
    starts = borders[np.cumsum([0, *map(len, spoken)])].tolist()  # where words begin, and where the last ends
    segments = (
        (0.0, starts[0], SILENCE),
        *zip(starts[:-1], starts[1:], words, strict=True),
        (starts[-1], float(n_frames), SILENCE),
    )
    all_borders = np.concatenate([[0.0], borders, [n_frames]])
    times = np.arange(n_frames) + 0.5
    return articulate([SILENCE, *visemes, SILENCE], all_borders, times), segments


def talk(
    sentence: str,
    speaker: Speaker,
    rng: np.random.Generator,
    size: tuple[int, int] = (32, 64),
    n_frames: int = 75,
    color: bool = False,
) -> tuple[np.ndarray, Segments]:
    """Render a speaker saying a sentence.

    The same speaker, sentence and generator state give the same clip. Chance decides timing first, head
    motion next, noise last, so that clips of two sizes from equal states show the same speech.

    Args:
        sentence: words of GRID; they need not make a sentence of its grammar.
        speaker: who says it.
        rng: chance.
        size: (height, width) of a frame, from 12 by 24 upwards.
        n_frames: length of the clip, at 25 frames per second.
        color: RGB instead of gray.

    Returns:
        frames (T, H, W) uint8, or (T, H, W, 3) with ``color``; and the words in time, ``(start, end, word)``
        in frames, end exclusive, with ``sil`` before and after.

    Raises:
        ValueError: a word outside the lexicon, a sentence too long for ``n_frames``, a size out of range.
    """
    shapes, segments = say(sentence, speaker.rate, rng, n_frames)  # (T, 8)
    return render(shapes, speaker, size, color, rng), segments


def synthetic_clips(
    n: int, seed: int, size: tuple[int, int] = (32, 64), speakers: Sequence[Speaker] | None = None
) -> ClipSet:
    """Return ``n`` gray clips of random sentences: those of :func:`synthetic_people`."""
    return synthetic_people(n, seed, size, speakers)[0]


def synthetic_people(
    n: int, seed: int, size: tuple[int, int] = (32, 64), speakers: Sequence[Speaker] | None = None
) -> tuple[ClipSet, dict[str, Motion]]:
    """Return ``n`` gray clips of random sentences, 75 frames each, and how each mouth moves, by clip id.

    Clip i depends on ``seed`` and i only, so a larger set begins with the smaller one. Sentences are drawn
    from the 64,000 with replacement, so sets of two seeds share some sentences by chance (of 200 clips, about
    6 are sentences that a set of 2,000 has as well), said by other people.

    Args:
        n: number of clips.
        seed: 0 or more; another seed, other clips.
        size: (height, width) of a frame.
        speakers: one of them says each clip; by default every clip has somebody new.

    Raises:
        ValueError: n or seed below 0, an empty list of speakers, a size out of range.
    """
    if n < 0 or seed < 0:
        raise ValueError(f"n: {n}, seed: {seed}; expected both 0 or more")
    if speakers is not None and not len(speakers):
        raise ValueError("speakers: empty, expected at least one Speaker, or None for a new one each clip")
    frames = np.empty((n, 75, *size), np.uint8)  # (N, T, H, W)
    ids = tuple(f"talker_{seed}_{i:05d}" for i in range(n))
    transcripts, segments, names, motions = [], [], [], {}
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        who = None if speakers is None else int(rng.integers(len(speakers)))
        speaker = Speaker.random(rng) if who is None else speakers[who]
        names.append(TALKER if who is None else f"{TALKER} {who}")
        sentence = random_sentence(rng)
        shapes, words = say(sentence, speaker.rate, rng)  # (75, 8)
        frames[i] = render(shapes, speaker, size, rng=rng)
        transcripts.append(sentence)
        segments.append(words)
        spoken = slice(round(words[0][1]), round(words[-1][0]))
        measures = mouth_measures(mouth_points(shapes[spoken], speaker))  # (N, 9)
        motions[ids[i]] = Motion(ids[i], names[i], sentence, words, spoken.start, measures)
    clips = ClipSet(
        frames=frames,
        lengths=np.full(n, 75, np.int64),
        ids=ids,
        transcripts=tuple(transcripts),
        segments=tuple(segments),
        speakers=tuple(names),
    )
    return clips, motions
