"""What a figure drew: its images, texts and rectangles."""

from __future__ import annotations

from matplotlib.patches import Rectangle


def images(fig):
    return [image for ax in fig.axes for image in ax.images]


def labels(artists) -> list[str]:
    return [artist.get_text() for artist in artists]


def texts(ax) -> list[str]:
    return labels(ax.texts)


def rectangles(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def corners(patch) -> tuple[float, float, float, float]:
    x, y = patch.get_xy()
    return x, y, x + patch.get_width(), y + patch.get_height()


def overlaps(fig, artists) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes cross once the figure is drawn."""
    fig.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for t in artists if t.get_text() and t.get_visible()]
    return [(a, b) for i, (a, p) in enumerate(boxes) for b, q in boxes[i + 1 :] if p.overlaps(q)]
