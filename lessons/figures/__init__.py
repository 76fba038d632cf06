"""Figures of the course. Each function takes arrays or tensors and returns a matplotlib ``Figure``."""

from lessons.figures.basics import (
    confusion_matrix,
    count_bars,
    curves,
    distance_matrix,
    dot_plot,
    error_rate_bars,
    seed_spread,
    strip_plot,
)
from lessons.figures.clips import (
    boxed_clip_rows,
    boxed_frames,
    clip_rows,
    filmstrip,
    frame_posterior,
    live_transcript,
    saliency_overlay,
    word_timeline,
)
from lessons.figures.cost import (
    Layer,
    break_even,
    layer_costs,
    roofline,
    shape_ladder,
    weight_bars,
    width_trade_off,
)
from lessons.figures.ctc import (
    alignment,
    ctc_gradient,
    posterior_curves,
    trellis,
    trellis_flow,
    trellis_steps,
)
from lessons.figures.decoding import beam_search, edit_table, hypotheses, path_probabilities
from lessons.figures.detection import (
    boolean_timeline,
    box_overlaps,
    center_maps,
    precision_recall,
    scores_with_intervals,
)
from lessons.figures.diagrams import bottleneck_lstm_diagram, course_map, lstm_gru_diagram, pipeline_diagram
from lessons.figures.recurrent import bidirectional_order, gate_activations, sigmoid_saturation, state_maps
from lessons.figures.strangers import intervals, measure_courses, mouth_points, stranger_diagram
from lessons.figures.style import describe
from lessons.figures.training import (
    gantt_chart,
    number_bits,
    number_range,
    posterior_maps,
    ring_all_reduce,
    throughput,
    training_run,
)
from lessons.figures.volumes import (
    direction_tuning,
    kernels,
    memory_layout,
    space_time,
    space_time_cube,
    space_time_slices,
)

__all__ = [
    "Layer", "alignment", "beam_search", "bidirectional_order", "boolean_timeline",
    "bottleneck_lstm_diagram", "box_overlaps", "boxed_clip_rows", "boxed_frames", "break_even",
    "center_maps", "clip_rows", "confusion_matrix", "count_bars", "course_map", "ctc_gradient",
    "curves", "describe", "direction_tuning", "distance_matrix", "dot_plot", "edit_table",
    "error_rate_bars", "filmstrip", "frame_posterior", "gantt_chart", "gate_activations",
    "hypotheses", "intervals", "kernels", "layer_costs", "live_transcript", "lstm_gru_diagram",
    "measure_courses", "memory_layout", "mouth_points", "number_bits", "number_range",
    "path_probabilities", "pipeline_diagram", "posterior_curves", "posterior_maps",
    "precision_recall", "ring_all_reduce", "roofline", "saliency_overlay", "scores_with_intervals",
    "seed_spread", "shape_ladder", "sigmoid_saturation", "space_time", "space_time_cube",
    "space_time_slices", "state_maps", "stranger_diagram", "strip_plot", "throughput",
    "training_run", "trellis", "trellis_flow", "trellis_steps", "weight_bars", "width_trade_off",
    "word_timeline",
]  # fmt: skip
