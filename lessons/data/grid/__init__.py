"""Real clips: the GRID corpus, from its archive to mouth crops with word timings."""

from lessons.data.grid.align import read_align
from lessons.data.grid.loading import find_mouth_set, load
from lessons.data.grid.people import load_people

__all__ = ["find_mouth_set", "load", "load_people", "read_align"]
