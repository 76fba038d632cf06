"""A small video object detector with memory, its boxes, its loss and its scores."""
