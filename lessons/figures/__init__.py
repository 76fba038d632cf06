"""Pictures of the course. Each function takes arrays or tensors and returns a matplotlib ``Figure``."""

from lessons.figures.alignment import alignment, trellis
from lessons.figures.confusion import confusion
from lessons.figures.course_map import course_map
from lessons.figures.ctc_gradient import ctc_gradient
from lessons.figures.curves import curves
from lessons.figures.dots import dots
from lessons.figures.filmstrip import filmstrip
from lessons.figures.flow import trellis_flow, trellis_steps
from lessons.figures.kernels import kernels
from lessons.figures.layer_shares import layer_shares
from lessons.figures.peaks import peaks
from lessons.figures.plateau import plateau
from lessons.figures.saliency import saliency
from lessons.figures.shape_ladder import Layer, shape_ladder
from lessons.figures.space_time import space_time, space_time_cube

__all__ = [
    "Layer",
    "alignment",
    "confusion",
    "course_map",
    "ctc_gradient",
    "curves",
    "dots",
    "filmstrip",
    "kernels",
    "layer_shares",
    "peaks",
    "plateau",
    "saliency",
    "shape_ladder",
    "space_time",
    "space_time_cube",
    "trellis",
    "trellis_flow",
    "trellis_steps",
]
