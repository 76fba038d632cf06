"""Pictures of the course. Each function takes arrays or tensors and returns a matplotlib ``Figure``."""

from lessons.figures.basics import confusion, counts, curves, distances, dots, rates, spread, strip
from lessons.figures.clips import box_rows, boxed, film_rows, filmstrip, live_strip, saliency, score
from lessons.figures.cost import Layer, break_even, layer_shares, shape_ladder, weight_bars
from lessons.figures.ctc import (
    alignment,
    beams,
    ctc_gradient,
    edit_table,
    path_shares,
    peaks,
    trellis,
    trellis_flow,
    trellis_steps,
)
from lessons.figures.detection import center_maps, lanes, overlaps, precision_recall
from lessons.figures.diagrams import cell_diagram, course_map, memory_cells, stream_diagram
from lessons.figures.recurrent import gates, memory_film, reading_order, saturation
from lessons.figures.training import number_bits, number_range, plateau, ring, throughput, work_lanes
from lessons.figures.volumes import cuts, kernels, memory_walk, space_time, space_time_cube

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
