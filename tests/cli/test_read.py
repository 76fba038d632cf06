"""The reading command: what goes to standard output, what to standard error, and what is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lessons.__main__ import main
from lessons.cli import read
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.grammar import sentence_from_id
from lessons.ctc.metrics import wer
from lessons.data.grid import find_mouth_set
from lessons.data.grid.mouth_video import MouthVideo
from lessons.data.synthetic.drawn_face import draw_face, talk
from lessons.data.synthetic.talker import synthetic_clips
from lessons.data.video import write_video
from lessons.figures.clips import add_subtitles
from lessons.lipreading import SmallLipNet, reading
from lessons.training import checkpoint


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = SmallLipNet(1, (16, 32), (2, 3, 4), hidden_size=5, projection=6)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    checkpoint.save(model, path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A film of the shape of a mouth crop; its top half brightens."""
    frames = np.full((40, 64, 128, 3), 90, dtype=np.uint8)
    frames[:, :32] += np.arange(40, dtype=np.uint8)[:, None, None, None] // 2
    path = tmp_path_factory.mktemp("clips") / "mouth.mp4"
    write_video(path, frames)
    return path


def say(monkeypatch, text: str) -> None:
    """Make the network sure of ``text``: three frames a character, from frame 4 on."""
    labels = Alphabet().encode(text)

    def sure(_model, mouth):
        path = torch.zeros(len(mouth), dtype=torch.long)
        path[4 : 4 + 3 * len(labels)] = labels.repeat_interleave(3)
        return (torch.nn.functional.one_hot(path, 28) * 12.0).log_softmax(-1)

    monkeypatch.setattr(reading, "log_probabilities", sure)


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
def test_the_sentence_stands_alone_on_its_line(weights, clip, monkeypatch, capsys, decoder):
    say(monkeypatch, "now at two")
    assert read.main([str(clip), "--model", str(weights), "--decoder", decoder]) == 0
    out, err = capsys.readouterr()
    assert out == "now at two\n"
    assert "real-time factor" in err and "now 100%" in err


def test_json_tells_all(weights, clip, monkeypatch, capsys):
    say(monkeypatch, "now at two")
    assert read.main([str(clip), str(clip), "--model", str(weights), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    assert lines[0]["sentence"] == "now at two" and lines[0]["clip"] == str(clip)
    words = [(w["text"], w["start"], w["end"]) for w in lines[0]["words"]]
    assert words == [("now", 4, 13), ("at", 16, 22), ("two", 25, 34)]
    assert all(0.99 < w["confidence"] <= 1 for w in lines[0]["words"])
    assert lines[0]["video_seconds"] == 1.6


def test_the_grammar_reads_only_its_sentences(tmp_path, weights, monkeypatch, capsys):
    say(monkeypatch, "bin bue at")
    write_video(tmp_path / "a.mp4", np.full((75, 64, 128, 3), 90, dtype=np.uint8))
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights), "--decoder", "grammar"]) == 0
    assert capsys.readouterr().out.startswith("bin blue at ")


def test_a_film_with_its_words(weights, clip, monkeypatch, tmp_path, capsys):
    say(monkeypatch, "now")
    out = tmp_path / "film.gif"
    assert read.main([str(clip), "--model", str(weights), "--out", str(out)]) == 0
    assert capsys.readouterr().out == "now\n"
    with Image.open(out) as picture:
        assert picture.is_animated and picture.size[0] == 384
    with pytest.raises(SystemExit):
        read.main([str(clip), str(clip), "--out", str(out)])
    with pytest.raises(SystemExit):
        read.main([str(clip), "--out", "film.avi"])


def test_what_cannot_be_written_is_known_before_the_work(weights, clip, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(read, "read", lambda *_, **__: pytest.fail("read before the outputs were tried"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder.gif").mkdir()
    for option, out in (("--out", "file/a.gif"), ("--out", "folder.gif"), ("--srt", "file/a.srt")):
        assert read.main([str(clip), "--model", str(weights), option, str(tmp_path / out)]) == 1
        err = capsys.readouterr().err
        assert str(tmp_path / out) in err
        assert out[:5] != "file/" or f"{tmp_path / 'file'} is a file, expected a folder" in err
    for bad in (["--srt", "a.txt"], ["--face", "0"], [str(clip), "--srt", "a.srt"]):
        with pytest.raises(SystemExit):
            read.main([str(clip), *bad])


def test_subtitles(weights, clip, monkeypatch, tmp_path, capsys):
    say(monkeypatch, "now at two")
    assert read.main([str(clip), "--model", str(weights), "--srt", str(tmp_path / "a.srt")]) == 0
    assert capsys.readouterr().out == "now at two\n"
    written = (tmp_path / "a.srt").read_text(encoding="utf-8")
    assert written == "1\n00:00:00,160 --> 00:00:01,360\nnow at two\n"
    at = {"bin": 0, "lay": 3599, "at": 3601}  # seconds
    words = [reading.Word(text, 25 * start, 25 * start + 20, 1.0) for text, start in at.items()]
    several = read.Reading("a", "", tuple(words), 1, 1, sentences=(1, 0, 2))
    assert read.srt(several).split("\n\n")[1] == "2\n00:59:59,000 --> 01:00:01,800\nlay at\n"


def test_several_sentences_come_on_lines_of_their_own(tmp_path, capsys):
    clips = synthetic_clips(3, seed=3)
    write_video(tmp_path / "a.mp4", np.concatenate(clips.frames))
    model = ["--model", checkpoint.TRAINED[1], "--decoder", "grammar"]
    assert read.main([str(tmp_path / "a.mp4"), *model, "--srt", str(tmp_path / "a.srt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and wer(clips.transcripts, lines) <= 2 / 18
    assert (tmp_path / "a.srt").read_text(encoding="utf-8").count("-->") == 3


def test_two_people(weights, monkeypatch, tmp_path, capsys):
    say(monkeypatch, "now")
    frames = talk(20, width=640, x=480, y=150, size=130)
    frames[:, :, :320] = draw_face(288, 320, x=140, y=150, size=150)
    write_video(tmp_path / "a.mp4", frames)
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights)]) == 0
    assert "several faces in 2 of 2 pictures" in capsys.readouterr().err
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights), "--face", "2"]) == 0
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights), "--face", "3"]) == 1
    assert "a.mp4: face 3 of 2: no picture (640x288) shows more" in capsys.readouterr().err


def test_seconds_without_a_face_are_told(weights, monkeypatch, tmp_path, capsys):
    say(monkeypatch, "now")
    frames = np.full((300, 288, 360, 3), 90, np.uint8)
    frames[:50] = talk(50)
    write_video(tmp_path / "a.mp4", frames)
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights)]) == 0
    assert "no face in 3.6-12.0 s; nothing is read there" in capsys.readouterr().err


CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "films"
ODD = {path.name: path for path in sorted(CASES.glob("*")) if path.suffix in (".mp4", ".mkv")}


@pytest.mark.parametrize("name", ODD or [pytest.param("", marks=pytest.mark.skip("no odd videos here"))])
def test_odd_videos_are_read_like_the_plain_one(name, capsys):
    assert read.main([str(ODD[name])]) == 0
    assert wer(["bin blue in l two now"], [capsys.readouterr().out.strip()]) <= 1 / 6


def test_words_darken_when_they_are_spoken():
    frames = add_subtitles(np.full((4, 8, 16, 3), 90, dtype=np.uint8), [(2, 4, "bin")], width=200)
    strip = frames[:, 100:].astype(int)
    assert frames.shape == (4, 124, 200, 3)
    assert (strip[1] == strip[0]).all() and strip[2].min() < 60 < strip[1].min()
    assert (frames[:, :100] == 90).all()
    with pytest.raises(ValueError, match="uint8"):
        add_subtitles(np.zeros((2, 8, 16)), [])


def test_nothing_read_is_an_empty_line(weights, clip, monkeypatch, capsys):
    say(monkeypatch, "")
    assert read.main([str(clip), "--model", str(weights)]) == 0
    assert capsys.readouterr().out == "\n"


@pytest.mark.parametrize("decoder", ["greedy", "beam", "grammar"])
def test_silence_is_no_sentence(weights, clip, monkeypatch, tmp_path, capsys, decoder):
    say(monkeypatch, "")
    srt = tmp_path / "a.srt"
    args = ["--model", str(weights), "--decoder", decoder]
    assert read.main([str(clip), *args, "--srt", str(srt)]) == 0
    out, err = capsys.readouterr()
    assert out == "\n" and srt.read_text(encoding="utf-8") == ""
    assert f"{clip}: nothing was read (1.6 s; a sentence takes about 2 s)\n" in err
    assert read.main([str(clip), *args, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["sentence"], result["sentences"]) == ("", [])


def test_letters_on_too_few_frames_for_the_grammar_are_told(tmp_path, weights, monkeypatch, capsys):
    say(monkeypatch, "b")
    write_video(tmp_path / "a.mp4", np.full((10, 64, 128, 3), 90, dtype=np.uint8))
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights), "--decoder", "grammar"]) == 0
    out, err = capsys.readouterr()
    assert out == "\n" and f"warning: {tmp_path / 'a.mp4'}: nothing is read in 0.0-0.4 s: no text" in err


def pushed(monkeypatch, sentences: list[str]) -> None:
    """Make each sentence last 40 frames, whatever the network says."""
    rows = []
    for text in sentences:
        labels = Alphabet().encode(text)
        path = torch.zeros(40, dtype=torch.long)
        path[4 : 4 + len(labels)] = labels
        rows.append((torch.nn.functional.one_hot(path, 28) * 12.0).log_softmax(-1))
    found = [(40 * i, part) for i, part in enumerate(rows)]

    def push(self, log_probs, last=False):
        if log_probs is not None and found:
            yield found.pop(0)

    monkeypatch.setattr(read.SentenceSplitter, "push", push)
    monkeypatch.setattr(read.WindowReader, "again", lambda self, start, end: rows[start // 40])


def test_a_silent_stretch_between_sentences_has_no_line(weights, tmp_path, monkeypatch, capsys):
    write_video(tmp_path / "a.mp4", np.full((400, 64, 128, 3), 90, dtype=np.uint8))
    pushed(monkeypatch, ["now", "", "again"])
    assert read.main([str(tmp_path / "a.mp4"), "--model", str(weights)]) == 0
    out, err = capsys.readouterr()
    assert out == "now\nagain\n" and "nothing was read" not in err


@pytest.mark.parametrize("error", [ValueError("a.mp4: broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("options", [["--srt"], ["--json", "--srt"]])
def test_what_was_read_before_the_end_is_kept(weights, tmp_path, monkeypatch, capsys, error, options):
    path, srt = tmp_path / "a.mp4", tmp_path / "a.srt"
    write_video(path, np.full((300, 64, 128, 3), 90, dtype=np.uint8))
    pushed(monkeypatch, ["now", "again"])

    def breaks(self):
        mouths = np.full((200, 64, 128, 3), 90, dtype=np.uint8)
        yield mouths, np.ones(200, bool)
        raise error

    monkeypatch.setattr(read.MouthVideo, "__iter__", breaks)
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    assert main(["read", str(path), "--model", str(weights), *options, str(srt)]) == code
    out, err = capsys.readouterr()
    assert srt.read_text(encoding="utf-8").count("-->") == 2
    warning = f"{path}: partial, 2 sentences in the first 8.0 s"
    last = "stopped" if code == 130 else "error: a.mp4: broken"
    assert err.splitlines() == [f"warning: {warning}; written to {srt}", last]
    if "--json" in options:
        result = json.loads(out)
        assert (result["sentence"], result["warning"]) == ("now again", warning)
    else:
        assert out == "now\nagain\n"


def test_nothing_is_written_over_when_a_video_breaks_before_the_first_sentence(
    weights, clip, monkeypatch, tmp_path, capsys
):
    srt, cut = tmp_path / "a.srt", tmp_path / "cut.mp4"
    srt.write_bytes(b"kept")
    cut.write_bytes(clip.read_bytes()[:900])
    assert read.main([str(cut), "--model", str(weights), "--srt", str(srt)]) == 1
    assert srt.read_bytes() == b"kept" and "partial" not in capsys.readouterr().err


def test_an_output_that_is_read_is_refused(weights, clip, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(read, "read", lambda *_, **__: pytest.fail("read before the outputs were tried"))
    for name in ("a.gif", "a.srt"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    os.link(tmp_path / "a.gif", tmp_path / "same.gif")
    os.link(tmp_path / "a.gif", tmp_path / "same.srt")
    monkeypatch.chdir(tmp_path)
    for args, told in (
        (["a.gif", "--out", "a.gif"], "--out a.gif: the same file is read"),
        ([str(tmp_path / "a.gif"), "--out", "same.gif"], "--out same.gif: the same file is read"),
        (["a.srt", "--srt", "./a.srt"], "--srt a.srt: the same file is read"),
        ([str(clip), "--out", "a.gif", "--srt", "same.srt"], "--srt same.srt: the same file as --out a.gif"),
    ):
        with pytest.raises(SystemExit):
            read.main([*args, "--model", str(weights)])
        assert told in capsys.readouterr().err
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "a.srt").read_bytes() == clip.read_bytes()


def test_a_gif_of_a_part_is_announced(weights, clip, monkeypatch, tmp_path, capsys):
    say(monkeypatch, "now")
    args = [str(clip), "--model", str(weights), "--out", str(tmp_path / "a.gif")]
    assert read.main(args) == 0 and "--out" not in capsys.readouterr().err
    monkeypatch.setattr(read, "MAX_SHOWN", 25)
    assert read.main(args) == 0
    assert f"warning: {clip}: --out shows the first 1 of 1.6 s" in capsys.readouterr().err
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames <= 25


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_what_is_no_file_is_told_by_its_kind(weights, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    told = {
        str(tmp_path / "folder"): f"is a folder; give its files, such as {tmp_path / 'folder' / '*.mp4'}",
        str(tmp_path / "pipe"): "is a pipe; write the video to a file first",
        str(tmp_path / "loop.mp4"): "is a link that leads to itself; give the path of a video",
        "": "the name is empty; give the path of a video",
        "file:///tmp/a%20b.mp4": "is a URL, expected a path; give /tmp/a b.mp4",
        "https://a.org/b.mp4": "is a URL, expected a path; download the video first",
    }
    assert read.main([*told, "--model", str(weights)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert errors == [f"error: {path or repr('')}: {what}" for path, what in told.items()]


def test_other_frame_rates_become_25(tmp_path):
    path = tmp_path / "fast.mp4"
    gray = np.arange(100, 124, 0.4).astype(np.uint8)
    write_video(path, np.repeat(gray, 64 * 128 * 3).reshape(60, 64, 128, 3), fps=50)
    video = MouthVideo(path)
    mouth = np.concatenate([mouths for mouths, _ in video])
    assert len(mouth) == 30 and not video.warnings
    assert np.abs(mouth[:, 32, 64, 0].astype(int) - gray[::2]).max() <= 2


def test_what_cannot_be_read_is_named_and_the_rest_is_read(weights, clip, monkeypatch, tmp_path, capsys):
    say(monkeypatch, "now")
    empty, text, cut = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "cut.mp4"
    empty.write_bytes(b"")
    text.write_text("no video", encoding="utf-8")
    cut.write_bytes(clip.read_bytes()[:900])
    faceless = tmp_path / "wall.mp4"
    write_video(faceless, np.full((10, 96, 96, 3), 120, dtype=np.uint8))
    bad = [tmp_path / "missing.mp4", empty, text, cut, faceless]
    assert read.main([*map(str, bad), str(clip), "--model", str(weights)]) == 1
    out, err = capsys.readouterr()
    assert out == "now\n"
    errors = [line for line in err.splitlines() if line.startswith("error")]
    assert len(errors) == len(bad)
    assert all(str(path) in line for path, line in zip(bad, errors, strict=True))


def test_a_missing_model_is_named(clip, capsys, tmp_path):
    assert read.main([str(clip), "--model", str(tmp_path / "none.safetensors")]) == 1
    out, err = capsys.readouterr()
    assert not out and "none.safetensors" in err


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """Films of the synthetic talker, at 25 and at 50 pictures a second, and what he says."""
    clips, folder = synthetic_clips(2, seed=3), tmp_path_factory.mktemp("talker")
    for name, frames, fps in (("a", clips.frames[0], 25), ("b", np.repeat(clips.frames[1], 2, axis=0), 50)):
        write_video(folder / f"{name}.mp4", frames, fps)
    return [str(folder / "a.mp4"), str(folder / "b.mp4")], clips.transcripts


@pytest.mark.parametrize("decoder", ["greedy", "grammar"])
def test_a_stream_ends_with_the_sentence_of_the_whole_clip(talker, capsys, decoder):
    films, said = talker
    model = ["--model", checkpoint.TRAINED[1], "--decoder", decoder]
    assert read.main([*films, *model]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert wer(said, plain) <= 2 / 12
    assert read.main([*films, *model, "--stream"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for sentence in plain:
        end = lines.index(sentence)
        emitted, lines = [line.split() for line in lines[:end]], lines[end + 1 :]
        if decoder == "greedy":  # as the words on the way are read
            assert [word for _, word in emitted] == sentence.split()
        at = [int(frame) for frame, _ in emitted]
        assert at == sorted(at) and at[-1] == 75 and at[2] < 60  # words come while the clip goes on
    assert not lines


def test_a_stream_in_json(talker, capsys):
    films, _ = talker
    assert read.main([films[0], "--model", checkpoint.TRAINED[1], "--stream", "--json"]) == 0
    *emitted, reading = map(json.loads, capsys.readouterr().out.splitlines())
    assert [word["text"] for word in emitted] == reading["sentence"].split()
    assert all(0 <= word["start"] < word["end"] <= word["emitted_at"] <= 75 for word in emitted)
    assert reading["video_seconds"] == 3.0


def test_words_that_were_taken_back_are_told(weights, clip, monkeypatch, capsys):
    say(monkeypatch, "now at two")  # what the whole clip reads
    monkeypatch.setattr(read.Stream, "push", lambda self, _, last: [read.StableWord("no", 3, 5, 9)] * last)
    assert read.main([str(clip), "--model", str(weights), "--stream"]) == 0
    out, err = capsys.readouterr()
    assert out == "   9  no\nnow at two\n"
    assert "on the way it read 'no'" in err


def test_what_cannot_be_streamed_is_named(weights, tmp_path, capsys):
    wall = tmp_path / "wall.mp4"
    write_video(wall, np.full((10, 96, 96, 3), 120, dtype=np.uint8))
    assert read.main([str(wall), str(tmp_path / "none.mp4"), "--model", str(weights), "--stream"]) == 1
    out, err = capsys.readouterr()
    assert not out and f"error: {wall}: a face in 0 of" in err and "none.mp4: no such file" in err


@pytest.mark.parametrize(
    ("code", "exit_code", "told"),
    [(errno.EPIPE, 141, ""), (errno.ENOSPC, 1, "error: standard output: No space left on device\n")],
)
def test_an_output_that_takes_no_more_ends_the_command(
    weights, clip, monkeypatch, capsys, code, exit_code, told
):
    def broken(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(read.tqdm, "write", broken)
    assert main(["read", str(clip), str(clip), "--model", str(weights)]) == exit_code
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("name", ["folder.gif", "file/below.gif"])
def test_an_output_that_cannot_be_written_is_found_before_the_reading(weights, clip, tmp_path, capsys, name):
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder.gif").mkdir()
    assert read.main([str(clip), "--model", str(weights), "--out", str(tmp_path / name)]) == 1
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "could not write" in err and name in err


GRID = find_mouth_set()


@pytest.mark.skipif(GRID is None or not (GRID / "raw" / "s1").is_dir(), reason="needs the raw GRID samples")
def test_raw_films_of_a_face_are_read(capsys):
    faulty = {"lrae3s", "lgbf8n", "pbio7a"}
    clips = sorted(p for p in (GRID / "raw" / "s1").glob("*.mpg") if p.stem not in faulty)[:4]
    assert read.main([*map(str, clips), "--decoder", "grammar"]) == 0
    sentences = capsys.readouterr().out.splitlines()
    assert wer([sentence_from_id(p.stem) for p in clips], sentences) <= 3 / 24


@pytest.mark.skipif(GRID is None or not (GRID / "raw" / "s1").is_dir(), reason="needs the raw GRID samples")
def test_raw_films_are_streamed(capsys):
    clip = GRID / "raw" / "s1" / "bbwt1a.mpg"
    assert read.main([str(clip)]) == read.main([str(clip), "--stream"]) == 0
    plain, *words, sentence = capsys.readouterr().out.splitlines()
    assert plain == sentence
    assert wer([sentence], [" ".join(word.split()[1] for word in words)]) <= 1 / 6
    assert int(words[2].split()[0]) < 75


@pytest.mark.skipif(GRID is None or not (GRID / "raw" / "s1").is_dir(), reason="needs the raw GRID samples")
def test_faulty_films(capsys):
    raw = GRID / "raw" / "s1"
    assert read.main([str(raw / "pbio7a.mpg"), str(raw / "lgbf8n.mpg"), str(raw / "lrae3s.mpg")]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2  # rubbish throughout is refused; a gray start and 74 frames are read
    assert [line for line in err.splitlines() if line.startswith("error") and "pbio7a.mpg" in line]
    assert "the first 12 frames are damaged" in err
