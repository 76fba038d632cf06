"""A film with the words that are being spoken written under it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PAPER = (20, 20, 20), (190, 190, 190), (255, 255, 255)


def film(frames: np.ndarray, words: Sequence[tuple[int, int, str]], width: int = 384) -> np.ndarray:
    """Write a sentence under every frame; a word darkens when it is spoken.

    Args:
        frames: (T, H, W, 3) or (T, H, W) uint8.
        words: (first frame, one past the last, word), in the order of the sentence.
        width: of the film in pixels; an even number, so that it can become a video too.

    Returns:
        (T, H', width, 3) uint8, H' even.

    Raises:
        ValueError: frames of another dtype or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4):
        raise ValueError(f"frames: {frames.dtype} {frames.shape}, expected uint8 (T, H, W) or (T, H, W, 3)")
    picture_height = round(frames.shape[1] * width / frames.shape[2] / 2) * 2
    strip = max(24, width // 16 * 2)
    sentence = " ".join(word for _, _, word in words)
    size = strip * 0.6
    while ImageFont.load_default(size).getlength(sentence) > width * 0.96 and size > 6:
        size -= 1  # a long sentence is written smaller rather than cut
    font = ImageFont.load_default(size)
    shown = []
    for t, frame in enumerate(frames):
        page = Image.new("RGB", (width, picture_height + strip), PAPER)
        picture = Image.fromarray(frame).convert("RGB")
        page.paste(picture.resize((width, picture_height), Image.Resampling.BICUBIC))
        draw = ImageDraw.Draw(page)
        x = (width - font.getlength(sentence)) / 2
        for start, _, word in words:
            color = INK if t >= start else FAINT
            draw.text((x, picture_height + strip / 2), word, fill=color, font=font, anchor="lm")
            x += font.getlength(word + " ")
        shown.append(np.asarray(page))
    return np.stack(shown)  # (T, H', width, 3)
