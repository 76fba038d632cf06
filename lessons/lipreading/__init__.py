"""Reading lips: LipNet, its small form, streams, what a prediction depends on."""

from lessons.lipreading.cascade import Cascade
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.lipnet_small import SmallLipNet
from lessons.lipreading.lipnet_stranger import StrangerLipNet

__all__ = ["Cascade", "LipNet", "SmallLipNet", "StrangerLipNet"]
