"""Reading and writing video, and the way from color frames to small gray ones."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from lessons.data import video
from lessons.data.image import area_weights, resize_area, to_gray
from lessons.data.video import (
    VideoError,
    frames,
    read_video,
    write_gif,
    write_video,
)
from lessons.data.video_times import at_25, with_times


def ramp(n: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """(T, H, W, 3): a colored slope that moves, gentle enough for a lossy codec."""
    t, y, x = np.ogrid[:n, :height, :width]
    channels = [40 + 2 * x + t + 0 * y, 60 + 2 * y + t + 0 * x, 90 + x + y + t]
    return np.stack(np.broadcast_arrays(*channels), axis=-1).astype(np.uint8)


def test_frames_survive_the_way_to_disk_and_back(tmp_path: Path) -> None:
    clip = ramp()
    write_video(tmp_path / "a.mp4", clip)
    back = read_video(tmp_path / "a.mp4")
    assert back.shape == clip.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - clip).mean() < 2.0
    # Red, green and blue are told apart: swapping two of them is far off.
    assert np.abs(back[..., ::-1].astype(int) - clip).mean() > 10


def test_frames_keep_their_order(tmp_path: Path) -> None:
    frames = np.repeat(np.arange(20, 220, 10, dtype=np.uint8), 32 * 32 * 3).reshape(-1, 32, 32, 3)
    write_video(tmp_path / "a.mp4", frames)
    assert np.abs(read_video(tmp_path / "a.mp4").mean(axis=(1, 2, 3)) - np.arange(20, 220, 10)).max() < 3


def test_frames_come_one_by_one_before_the_last_is_decoded(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", ramp(20))
    whole = read_video(tmp_path / "a.mp4")
    for frame, expected in zip(frames(tmp_path / "a.mp4"), whole, strict=True):
        assert (frame == expected).all()
    (tmp_path / "cut.mpg").write_bytes(b"")
    with pytest.raises(VideoError, match="the file is empty"):
        next(frames(tmp_path / "cut.mpg"))


# ---- 25 frames per second ----------------------------------------------------------------------------------


def shade(t: float) -> int:
    """The gray value that a picture of time t shows in these tests: 10 more per 1/25 s."""
    return round(20 + 250 * t)


def filmed(path: Path, times: list[float], codec: str = "libx264", **header: object) -> Path:
    """A video whose pictures stand at these times (in seconds) and show them as gray values."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=header.get("rate", 25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if "sar" in header:
            stream.codec_context.sample_aspect_ratio = header["sar"]
        for time in times:
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade(time), np.uint8), format="rgb24")
            picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


def shades(path: Path) -> list[int]:
    return [int(np.median(frame)) for frame in frames(path)]


@pytest.mark.parametrize("rate", [10, 12.5, 24, 25, 29.97, 30, 50, 60, 240])
def test_other_rates_become_25(tmp_path: Path, rate: float) -> None:
    found = shades(filmed(tmp_path / "a.mkv", [n / rate for n in range(round(0.8 * rate))]))
    assert len(found) == 20
    assert np.abs(np.array(found) - [shade(n / 25) for n in range(20)]).max() <= 125 / rate + 5


@pytest.mark.parametrize("rate", [1, 25, 600])
def test_pictures_stand_where_their_times_say_whatever_the_header_says(tmp_path: Path, rate: int) -> None:
    kept = [*range(4), *range(14, 20)]  # a stall of 0.4 s
    found = shades(filmed(tmp_path / "a.mkv", [n / 25 for n in kept], rate=rate))
    nearest = [n if n in kept else 3 if n <= 8 else 14 for n in range(20)]
    assert np.abs(np.array(found) - [shade(n / 25) for n in nearest]).max() <= 3


def test_each_25th_of_a_second_shows_the_nearest_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = np.cumsum(rng.exponential(rng.uniform(0.005, 0.1), 40))
        ours = list(at_25(zip(times, range(40), strict=True)))
        for k, picture in enumerate(ours):
            off = np.abs(times - times[0] - k / 25)
            assert off[picture] <= off.min() + 1e-6
        assert len(ours) >= round((times[-1] - times[0]) * 25)
    assert list(at_25([])) == [] and list(at_25([(7.0, "a")])) == ["a"]
    assert "".join(at_25(zip(np.arange(6) / 50, "abcdef", strict=True))) == "ace"
    assert "".join(at_25(zip(np.arange(3) / 12.5, "abc", strict=True))) == "aabbcc"


def test_a_clock_that_jumps_is_no_stall(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, None, 5, 90_000, 90_001, 4, 5]
    pictures = [(None if t is None else t / 25, n) for n, t in enumerate(times)]
    stream = types.SimpleNamespace(codec_context=None, average_rate=Fraction(25))
    now = [time for time, _ in with_times(tmp_path, iter(pictures), stream, pytest.fail)]
    np.testing.assert_allclose(now, np.arange(10) / 25, atol=1e-9)


def test_a_file_without_times_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.h264"), "w") as target:
        stream = target.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(20):
            picture = np.full((48, 64, 3), shade(n / 50), np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode(None))
    with pytest.warns(UserWarning, match=r"a\.h264: the file has no usable times; taken as (25|50) frames"):
        assert len(read_video(tmp_path / "a.h264")) in (10, 20)


# ---- the right stream, upright, of square pixels -----------------------------------------------------------


@pytest.mark.parametrize("sar, shape", [((2, 1), (48, 128)), ((1, 2), (96, 64)), ((1000, 1), (48, 64))])
def test_pixels_become_square(tmp_path: Path, sar: tuple[int, int], shape: tuple[int, int]) -> None:
    path = filmed(tmp_path / "a.mkv", [0, 0.04, 0.08], sar=Fraction(*sar))
    assert {frame.shape for frame in frames(path)} == {(*shape, 3)}
    assert {min(frame.shape[:2]) for frame in frames(path, shorter_side=24)} == {24}


MATRICES = {  # a, b, c, d of the display matrix, and what it does to (H, W)
    "nothing": ((1, 0, 0, 1), lambda x: x),
    "left to right": ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda x: x[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda x: x[::-1, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda x: x.T),
    "clockwise": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "anticlockwise": ((0, -1, 1, 0), lambda x: np.rot90(x)),
    "other diagonal": ((0, -1, -1, 0), lambda x: x[::-1, ::-1].T),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_display_matrix_turns_and_mirrors(tmp_path: Path, name: str) -> None:
    matrix, expected = MATRICES[name]
    clip = ramp(3)
    write_video(tmp_path / "a.mp4", clip)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: where its matrix stands
    a, b, c, d = (entry << 16 for entry in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "b.mp4").write_bytes(content)
    whole, turned = read_video(tmp_path / "a.mp4"), read_video(tmp_path / "b.mp4")
    for channel in range(3):
        np.testing.assert_array_equal(turned[0, ..., channel], expected(whole[0, ..., channel]))


def two_streams(path: Path, first: int, second: int) -> Path:
    """A file with two video streams of so many pictures; the second one's are smaller and black."""
    with av.open(str(path), "w") as target:
        streams = []
        for width in (128, 64):
            streams.append(target.add_stream("mpeg4", rate=25))
            streams[-1].width, streams[-1].height, streams[-1].pix_fmt = width, 48, "yuv420p"
        for stream, n in zip(streams, (first, second), strict=True):
            for _ in range(n):
                picture = np.zeros((48, stream.width, 3), np.uint8)
                target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            target.mux(stream.encode(None))
    return path


def test_the_largest_stream_that_moves_is_read(tmp_path: Path) -> None:
    assert read_video(two_streams(tmp_path / "still.mkv", 1, 20)).shape == (20, 48, 64, 3)
    assert read_video(two_streams(tmp_path / "both.mkv", 20, 20)).shape == (20, 48, 128, 3)


def test_a_single_frame_is_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", ramp(1))
    Image.fromarray(ramp(1)[0]).save(tmp_path / "a.png")
    for name in ("a.mp4", "a.png"):
        with pytest.raises(VideoError, match=f"{name}: a single frame"):
            read_video(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="no colon in a name on Windows")
def test_a_colon_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "C:clip.mp4", "file:a.mp4", "a b#%20?.mp4", "%03d.mp4"):
        write_video(name, ramp(3))
        assert read_video(name).shape == (3, 48, 64, 3)


def test_too_large_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", ramp(2))
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 47)
    with pytest.raises(VideoError, match=r"a.mp4: frames of 64x48; shrink them first: ffmpeg -i a.mp4"):
        read_video(tmp_path / "a.mp4")


def test_gray_frames_are_written_gray(tmp_path: Path) -> None:
    frames = ramp()[..., 0]
    write_video(tmp_path / "a.mp4", frames)
    back = read_video(tmp_path / "a.mp4").astype(int)
    assert np.ptp(back, axis=-1).max() <= 2 and np.abs(back[..., 0] - frames).mean() < 2


@pytest.mark.parametrize("width", [64, 70, 360])
def test_the_same_frames_give_the_same_bytes_whatever_lies_in_memory(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(width)
    noise = rng.normal(0, 6, (12, 48, width, 3))
    frames = np.clip(ramp(12, 48, width).astype(int) + noise, 0, 255).astype(np.uint8)
    files = set()
    for _ in range(6):
        dirt = [rng.integers(0, 256, n, dtype=np.uint8) for n in rng.integers(1000, 200_000, 12)]
        del dirt[::2]  # what is free again, and will be given to the encoder, is full of noise
        write_video(tmp_path / "a.mp4", frames)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_a_film_that_says_how_it_was_held_is_turned_upright(tmp_path: Path) -> None:
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot note a rotation")
    upright = ramp(6, 64, 48)
    lying = np.ascontiguousarray(np.rot90(upright, -1, axes=(1, 2)))  # a quarter turn clockwise
    write_video(tmp_path / "a.mp4", lying)
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "b.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)  # to be shown a quarter turn anticlockwise
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert read_video(tmp_path / "b.mp4").shape == upright.shape
    assert np.abs(read_video(tmp_path / "b.mp4").astype(int) - upright).mean() < 2


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["index at the end", "index at the start", "no index"])
def test_a_truncated_file_is_an_error(tmp_path: Path, kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / ("a.mpg" if kind == "no index" else "a.mp4")
    options = {"movflags": "faststart"} if kind == "index at the start" else {}
    with av.open(str(path), "w", options=options) as target:
        stream = target.add_stream("mpeg1video" if kind == "no index" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in noise:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode(None))
    assert len(read_video(path)) == 12
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(VideoError, match=rf"{path.name}: .*(again|damaged|truncated)"):
        read_video(path)


def test_a_file_cut_between_two_pictures_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream(
            "mpeg4", rate=25
        )  # every packet decodes by itself: nothing else shows the cut
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 1
        for frame in ramp():
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.mp4")) as source:
        if not hasattr(source.streams.video[0], "index_entries"):
            pytest.skip("this PyAV does not show the index")
        seventh = source.streams.video[0].index_entries[6].pos
    (tmp_path / "a.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:seventh])
    with pytest.raises(VideoError, match=rf"its index tells of \d+ bytes, it has {seventh}; .*truncated"):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "empty"),
        (b"not a video at all", "does not decode as a video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "does not decode as a video|without a single frame"),
        (bytes(100_000), "does not decode as a video"),
        (b"id,speaker\n" * 1000, "does not decode as a video"),
    ],
)
def test_what_is_no_video_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=rf"a\.mp4: .*({said})"):
        read_video(tmp_path / "a.mp4")


def test_missing_files_and_folders_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(VideoError, match="no such file"):
            read_video(path)


def test_sound_alone_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video stream"):
        read_video(tmp_path / "a.wav")


def test_a_video_without_pictures_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as target:
        stream = target.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        target.start_encoding()
    with pytest.raises(VideoError, match="without a single frame"):
        read_video(tmp_path / "a.avi")


def test_a_film_too_large_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", ramp())
    monkeypatch.setattr(video, "MAX_BYTES", 5 * 48 * 64 * 3)
    with pytest.raises(VideoError, match=r"of 64x48; cut or shrink it first: ffmpeg -i a.mp4 -t 10 "):
        read_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "frames, said",
    [
        (ramp().astype(np.float32), "dtype float32"),
        (ramp()[:0], r"shape \(0, 48, 64, 3\)"),
        (ramp()[0, :, :, 0], r"expected \(T, H, W\)"),
        (ramp()[..., :2], r"shape \(12, 48, 64, 2\)"),
        (ramp(2, 47, 64), "64x47; H.264 needs even sizes"),
    ],
)
def test_frames_of_another_kind_are_refused(tmp_path: Path, frames: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_video(tmp_path / "a.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_and_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.mp4"):
        write_video(tmp_path / "a.avi", ramp())
    with pytest.raises(ValueError, match=r"ends in \.gif"):
        write_gif(tmp_path / "a.mp4", ramp())
    with pytest.raises(ValueError, match="fps: 0"):
        write_video(tmp_path / "a.mp4", ramp(), fps=0)
    with pytest.raises(ValueError, match="at most 50"):
        write_gif(tmp_path / "a.gif", ramp(), fps=60)
    assert list(tmp_path.iterdir()) == []


def test_a_lower_bit_rate_gives_a_smaller_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (25, 96, 96, 3), dtype=np.uint8)
    sizes = []
    for bit_rate in (None, 400_000, 100_000):
        write_video(tmp_path / "a.mp4", noise, bit_rate=bit_rate)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
        assert read_video(tmp_path / "a.mp4").shape == noise.shape
    assert sizes[0] > 2 * sizes[1] > 3 * sizes[2]
    with pytest.raises(ValueError, match="bit_rate=0: expected bits per second"):
        write_video(tmp_path / "b.mp4", noise, bit_rate=0)
    assert not (tmp_path / "b.mp4").exists()


def test_a_gif_shows_every_frame_at_its_rate(tmp_path: Path) -> None:
    frames = ramp()
    write_gif(tmp_path / "a.gif", frames, fps=25)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == len(frames) and gif.info["duration"] == 40 and gif.info["loop"] == 0
        gif.seek(11)
        shown = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(shown - frames[11]).mean() < 8  # 256 colors


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
@pytest.mark.parametrize("writer, name", [("write_video", "a.mp4"), ("write_gif", "a.gif")])
def test_a_full_disk_leaves_no_partial_file(tmp_path: Path, writer: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"the old one")
    # A limit of 20 kB on the size of any file stands for the full disk.
    script = (
        "import resource, sys, numpy as np\n"
        f"from lessons.data.video import {writer} as write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)\n"
        "try:\n    write(sys.argv[1], noise)\nexcept OSError as error:\n    print('OSError:', error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, encoding="utf-8")
    assert done.stdout.startswith("OSError:"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"the old one"


def test_gray_is_the_luma_of_bt601() -> None:
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [90, 90, 90]])
    gray = to_gray(colors.astype(np.uint8).reshape(1, 1, 6, 3))
    assert gray.shape == (1, 1, 6) and gray.dtype == np.uint8
    assert np.abs(gray[0, 0] - colors @ [0.299, 0.587, 0.114]).max() <= 1.0
    assert gray[0, 0, 3:].tolist() == [255, 0, 90]


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 3)] + [st.integers(1, 4)] * 2)), st.integers(1, 4))
def test_a_whole_factor_is_the_mean_of_a_block(small: np.ndarray, factor: int) -> None:
    n, height, width = small.shape
    rng = np.random.default_rng(factor)
    frames = rng.integers(0, 256, (n, height * factor, width * factor), dtype=np.uint8)
    blocks = frames.reshape(n, height, factor, width, factor).mean(axis=(2, 4))
    assert np.abs(resize_area(frames, (height, width)) - blocks).max() <= 0.5 + 1e-4
    repeated = small.repeat(factor, axis=1).repeat(factor, axis=2)
    assert np.array_equal(resize_area(repeated, (height, width)), small)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 200), st.integers(1, 200))
def test_area_weights_share_every_pixel_out(n_in: int, n_out: int) -> None:
    weights = area_weights(n_in, n_out)
    assert weights.shape == (n_out, n_in) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=0), n_out / n_in, rtol=1e-4)


def test_shrinking_by_areas_agrees_with_torch() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 288, 360), dtype=np.uint8)
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(frames).double(), (9, 6))
    assert np.abs(resize_area(frames, (32, 60)) - pooled.numpy()).max() <= 0.5 + 1e-3


def test_wrong_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="dtype float64"):
        to_gray(np.zeros((1, 2, 2, 3)))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
        to_gray(np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(ValueError, match="gray"):
        resize_area(np.zeros((1, 2, 2, 3), np.uint8), (1, 1))
    with pytest.raises(ValueError, match="at least one pixel"):
        resize_area(np.zeros((1, 2, 2), np.uint8), (0, 1))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e12])
def test_an_absurd_rate_is_refused(tmp_path, fps):
    for write, name in ((write_video, "a.mp4"), (write_gif, "a.gif")):
        with pytest.raises(ValueError, match="fps: "):
            write(tmp_path / name, np.zeros((2, 16, 16, 3), np.uint8), fps)
    assert list(tmp_path.iterdir()) == []


def test_an_absurd_width_is_refused(tmp_path):
    with pytest.raises(ValueError, match="100000x16, expected sides of at most 16384"):
        write_video(tmp_path / "a.mp4", np.zeros((1, 16, 100_000, 3), np.uint8))
