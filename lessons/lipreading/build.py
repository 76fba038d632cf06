"""Build a model from the configuration that a checkpoint stores."""

from __future__ import annotations

from typing import Any

from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.lipnet_small import SmallLipNet
from lessons.lipreading.lipnet_stranger import StrangerLipNet


def from_config(compact: bool = False, projection: int = 160, **config: Any) -> LipNet:
    """Return the untrained model that a ``config`` describes; ``compact`` and ``neck`` select its class.

    Raises:
        TypeError: an argument that this LipNet does not have.
        ValueError: a value that it refuses, or the configuration of a cascade, which is two models.
    """
    if "familiar" in config:
        raise ValueError("the model is a cascade: expected a single LipNet; take its parts one by one")
    if not compact:
        return LipNet(**config)
    kind = StrangerLipNet if "neck" in config else SmallLipNet
    return kind(projection=projection, **config)
