"""Files that decoders trip over, and files that end too early."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from lessons.data import video
from lessons.data.video import VideoError, read_video, write_gif
from lessons.data.video_cuts import check_end
from lessons.data.video_stream import display_matrix, upright


def noise(n: int = 12) -> np.ndarray:
    """(T, H, W, 3): frames that no codec makes small."""
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


def encoded(path: Path, codec: str, clip: np.ndarray, pipe: bool = False, **metadata: str) -> Path:
    """A video of 25 frames per second; into a pipe, a writer cannot go back to note how long it became."""
    with path.open("wb") as file:
        out = SimpleNamespace(write=file.write, writable=lambda: True) if pipe else file
        with av.open(out, "w", format={".mkv": "matroska"}.get(path.suffix, path.suffix[1:])) as target:
            target.metadata.update(metadata)
            stream = target.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb8" if codec == "gif" else "yuv420p"
            for frame in clip:
                target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            target.mux(stream.encode(None))
    return path


# ---- what PyAV does not know -------------------------------------------------------------------------------


def with_exif(path: Path, clip: np.ndarray, orientation: int) -> Path:
    """JPEG frames as Pillow and many cameras write them, each with an EXIF block."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", orientation
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = clip.shape[2], clip.shape[1], "yuvj420p"
        for n, frame in enumerate(clip):
            jpeg = io.BytesIO()
            Image.fromarray(frame).save(jpeg, "JPEG", exif=exif, quality=95)
            packet = av.Packet(jpeg.getvalue())
            packet.pts, packet.dts, packet.time_base, packet.stream = n, n, Fraction(1, 25), stream
            packet.is_keyframe = True
            target.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mov"])
def test_frames_with_an_exif_block_are_read(tmp_path: Path, suffix: str) -> None:
    clip = np.full((5, 48, 64, 3), (200, 120, 40), np.uint8)
    back = read_video(with_exif(tmp_path / f"a.{suffix}", clip, orientation=1))
    assert back.shape == clip.shape and np.abs(back.astype(int) - clip).max() < 8


@pytest.mark.parametrize("angle", [0, 90, 180, -90, -180])
def test_the_rotation_stands_in_for_a_display_matrix_that_cannot_be_read(angle: int) -> None:
    class Picture(SimpleNamespace):
        @property
        def side_data(self) -> None:
            raise ValueError("31 is not a valid Type")

    rgb = noise(1)[0]
    turned = np.rot90(rgb, angle // 90)  # anticlockwise
    np.testing.assert_array_equal(upright(rgb, display_matrix(Picture(rotation=angle))), turned)
    np.testing.assert_array_equal(upright(rgb, display_matrix(Picture())), rgb)  # older PyAV


def test_a_title_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.avi", "mpeg4", noise(), title="Zurich")
    content = path.read_bytes()
    assert b"Zurich" in content
    path.write_bytes(content.replace(b"Zurich", b"Z\xfcrich"))  # Latin-1
    assert len(read_video(path)) == 12


def test_whatever_the_decoder_raises_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoded(tmp_path / "a.mkv", "mpeg4", noise())

    def fail(picture: av.VideoFrame) -> None:
        raise ValueError("99 is not a valid Type")

    monkeypatch.setattr(video, "display_matrix", fail)
    with pytest.raises(VideoError, match=r"a\.mkv: the decoder failed .*ValueError: 99 is .* re-encode"):
        read_video(path)


# ---- cut short ---------------------------------------------------------------------------------------------

KINDS = {"mkv": "mpeg4", "webm": "libvpx", "avi": "mpeg4", "gif": "gif"}  # and their codecs


@pytest.mark.parametrize("suffix", KINDS)
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = encoded(tmp_path / f"whole.{suffix}", KINDS[suffix], noise())
    assert len(read_video(whole)) == 12
    content = whole.read_bytes()
    path = tmp_path / f"a.{suffix}"
    for kept in (0.02, 0.1, 0.34, 0.5, 2 / 3, 0.9):
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(
            VideoError, match=rf"a\.{suffix}: .*truncated or damaged: copy or download it again"
        ):
            read_video(path)


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_missing_last_byte_is_told_in_bytes(tmp_path: Path, suffix: str) -> None:
    path = encoded(tmp_path / f"a.{suffix}", KINDS[suffix], noise())
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        VideoError, match=rf"its header tells of {size} bytes, it has {size - 1}; the file is"
    ):
        read_video(path)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_file_that_leaves_its_length_open_is_read(tmp_path: Path, suffix: str) -> None:
    path = encoded(tmp_path / f"a.{suffix}", KINDS[suffix], noise(), pipe=True)
    assert len(read_video(path)) == 12


@pytest.mark.parametrize("suffix", KINDS)
def test_what_stands_behind_the_last_frame_is_no_cut(tmp_path: Path, suffix: str) -> None:
    path = encoded(tmp_path / f"a.{suffix}", KINDS[suffix], noise())
    content = path.read_bytes()
    for more in (bytes(1), bytes(100_000), b"a note that a program appended"):
        path.write_bytes(content + more)
        check_end(path)
    if suffix == "avi":  # its index
        path.write_bytes(content[: content.rindex(b"idx1") + 20])
        assert len(read_video(path)) == 12


def test_a_gif_without_its_end_mark_is_read(tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", noise(3))
    content = (tmp_path / "a.gif").read_bytes()
    assert content[-2:] == b"\0;"  # the end of the last frame, the end mark
    (tmp_path / "a.gif").write_bytes(content[:-1])
    assert len(read_video(tmp_path / "a.gif")) == 3
    (tmp_path / "a.gif").write_bytes(content[:-2])
    with pytest.raises(
        VideoError, match=r"a\.gif: the GIF ends in the middle of a frame; the file is truncated"
    ):
        read_video(tmp_path / "a.gif")


def avi(*lists: tuple[bytes, int]) -> bytes:
    """A RIFF per list: the list's name, and the size that it claims; its content is 8 bytes long.

    Before the list stands a chunk of 5 bytes, which takes 6.
    """
    content = b""
    for n, (name, size) in enumerate(lists):
        content += b"RIFF" + struct.pack("<I", 38) + (b"AVIX" if n else b"AVI ")
        content += b"JUNK\5\0\0\0" + bytes(6)
        content += b"LIST" + struct.pack("<I", size) + name + bytes(8)
    return content


@pytest.mark.parametrize(
    "lists, needed",
    [
        ([(b"movi", 12)], None),
        ([(b"movi", 13)], 47),
        ([(b"movi", 0)], None),  # a recorder that was switched off
        ([(b"movi", 0xFFFFFFFF)], None),
        ([(b"hdrl", 13)], None),
        ([(b"movi", 12), (b"movi", 12)], None),  # more than 1 GB
        ([(b"movi", 12), (b"movi", 16)], 96),
    ],
)
def test_the_lists_of_an_avi(tmp_path: Path, lists: list[tuple[bytes, int]], needed: int | None) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(avi(*lists))
    if needed is None:
        check_end(path)
    else:
        with pytest.raises(VideoError, match=rf"a\.avi: its header tells of {needed} bytes, it has"):
            check_end(path)


@pytest.mark.parametrize("head", [b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"GIF89a"])
def test_any_bytes_behind_a_magic_number_are_judged(tmp_path: Path, head: bytes) -> None:
    rng = np.random.default_rng(0)
    for n in range(200):
        tail = rng.integers(0, 256 if n % 2 else 4, rng.integers(0, 60), dtype=np.uint8)
        (tmp_path / "a").write_bytes(head + tail.tobytes())
        try:
            check_end(tmp_path / "a")
        except VideoError as error:
            assert str(error).startswith(str(tmp_path / "a: ")), error
