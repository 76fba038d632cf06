"""Pictures of the course. Each function takes arrays or tensors and returns a matplotlib ``Figure``."""

from lessons.figures.alignment import alignment, trellis
from lessons.figures.beams import beams, path_shares
from lessons.figures.box_rows import box_rows
from lessons.figures.boxed import boxed
from lessons.figures.break_even import break_even
from lessons.figures.cell_diagram import cell_diagram
from lessons.figures.center_maps import center_maps
from lessons.figures.confusion import confusion
from lessons.figures.counts import counts
from lessons.figures.course_map import course_map
from lessons.figures.ctc_gradient import ctc_gradient
from lessons.figures.curves import curves
from lessons.figures.cuts import cuts
from lessons.figures.distances import distances
from lessons.figures.dots import dots
from lessons.figures.edit_table import edit_table
from lessons.figures.film_rows import film_rows
from lessons.figures.filmstrip import filmstrip
from lessons.figures.flow import trellis_flow, trellis_steps
from lessons.figures.gates import gates
from lessons.figures.kernels import kernels
from lessons.figures.lanes import lanes
from lessons.figures.layer_shares import layer_shares
from lessons.figures.live_strip import live_strip
from lessons.figures.memory_cells import memory_cells
from lessons.figures.memory_film import memory_film
from lessons.figures.memory_walk import memory_walk
from lessons.figures.number_formats import number_bits, number_range
from lessons.figures.overlaps import overlaps
from lessons.figures.peaks import peaks
from lessons.figures.plateau import plateau
from lessons.figures.precision_recall import precision_recall
from lessons.figures.rates import rates
from lessons.figures.reading_order import reading_order
from lessons.figures.ring import ring
from lessons.figures.saliency import saliency
from lessons.figures.saturation import saturation
from lessons.figures.score import score
from lessons.figures.shape_ladder import Layer, shape_ladder
from lessons.figures.space_time import space_time, space_time_cube
from lessons.figures.spread import spread
from lessons.figures.stream_diagram import stream_diagram
from lessons.figures.strip import strip
from lessons.figures.throughput import throughput
from lessons.figures.weight_bars import weight_bars
from lessons.figures.work_lanes import work_lanes

__all__ = [
    "Layer",
    "alignment",
    "beams",
    "box_rows",
    "boxed",
    "break_even",
    "cell_diagram",
    "center_maps",
    "confusion",
    "counts",
    "course_map",
    "ctc_gradient",
    "curves",
    "cuts",
    "distances",
    "dots",
    "edit_table",
    "film_rows",
    "filmstrip",
    "gates",
    "kernels",
    "lanes",
    "layer_shares",
    "live_strip",
    "memory_cells",
    "memory_film",
    "memory_walk",
    "number_bits",
    "number_range",
    "overlaps",
    "path_shares",
    "peaks",
    "plateau",
    "precision_recall",
    "rates",
    "reading_order",
    "ring",
    "saliency",
    "saturation",
    "score",
    "shape_ladder",
    "space_time",
    "space_time_cube",
    "spread",
    "stream_diagram",
    "strip",
    "throughput",
    "trellis",
    "trellis_flow",
    "trellis_steps",
    "weight_bars",
    "work_lanes",
]
