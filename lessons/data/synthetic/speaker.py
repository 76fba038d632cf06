"""Who speaks: a face, its light, and a way of speaking, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Speaker:
    """A face and a way of speaking. Lengths in half crop widths, colors in red, green, blue 0 .. 255.

    half_width, upper_lip, lower_lip: size of the mouth at rest.
    bow: depth of the dip in the middle of the upper lip; 0 none.
    corners: how far the corners of the mouth hang; below 0 they rise.
    jaw: how far the mouth opens, 1 is usual.
    place: (x, y) of the mouth against the middle of the crop; roll: tilt of the head, in radians.
    face_width: of the cheeks at the height of the mouth; chin: from the mouth to the end of the chin.
    skin, lips, teeth, background: colors under white light of strength 1.
    light: strength; light_x, light_y: how much stronger it is at the right edge, at the lower edge.
    warmth: of the light; above 0 orange, below 0 blue.
    rate: of speech, 1 is usual, more is faster.
    sway: how far the head drifts.
    noise: standard deviation of the camera's noise, in gray levels.
    """

    half_width: float
    upper_lip: float
    lower_lip: float
    bow: float
    corners: float
    jaw: float
    place: tuple[float, float]
    roll: float
    face_width: float
    chin: float
    skin: Color
    lips: Color
    teeth: Color
    background: Color
    light: float
    light_x: float
    light_y: float
    warmth: float
    rate: float
    sway: float
    noise: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Speaker:
        """Return somebody: the same generator state gives the same person."""
        tone = rng.uniform(0, 1)  # 0 pale .. 1 dark
        skin = (1 - tone) * np.array([228, 190, 163]) + tone * np.array([128, 86, 64])
        red = rng.uniform(0.7, 1.0)  # of the lips
        lips = skin * (1 - red * np.array([0.14, 0.42, 0.34]))
        yellow = rng.uniform(0, 1)  # of the teeth
        teeth = np.array([240, 236, 226]) - yellow * np.array([12, 18, 40])
        return cls(
            half_width=rng.uniform(0.42, 0.53),
            upper_lip=rng.uniform(0.095, 0.145),
            lower_lip=rng.uniform(0.14, 0.195),
            bow=rng.uniform(0.1, 0.35),
            corners=rng.uniform(-0.01, 0.03),
            jaw=rng.uniform(0.85, 1.15),
            place=(rng.uniform(-0.05, 0.05), rng.uniform(-0.02, 0.06)),
            roll=rng.uniform(-0.06, 0.06),
            face_width=rng.uniform(0.92, 1.3),
            chin=rng.uniform(0.62, 0.9),
            skin=tuple(skin.tolist()),
            lips=tuple(lips.tolist()),
            teeth=tuple(teeth.tolist()),
            background=tuple((rng.uniform(40, 170) + rng.uniform(-35, 35, 3)).tolist()),
            light=rng.uniform(0.72, 0.94),
            light_x=rng.uniform(-0.16, 0.16),
            light_y=rng.uniform(-0.12, 0.08),
            warmth=rng.uniform(-0.05, 0.06),
            rate=rng.uniform(0.85, 1.15),
            sway=rng.uniform(0.2, 1.0),
            noise=rng.uniform(1.0, 4.0),
        )
