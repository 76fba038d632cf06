"""Reading lips: LipNet, its small form, streams, what a prediction depends on."""

from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.lipnet_small import SmallLipNet

__all__ = ["LipNet", "SmallLipNet"]
