"""Files that decoders trip over, and files that end too early."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from lessons.data import video
from lessons.data.video import VideoError, read_video
from lessons.data.video_stream import display_matrix, upright


def noise(n: int = 12) -> np.ndarray:
    """(T, H, W, 3): frames that no codec makes small."""
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


def encoded(path: Path, codec: str, clip: np.ndarray, **metadata: str) -> Path:
    with av.open(str(path), "w") as target:
        target.metadata.update(metadata)
        stream = target.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
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
