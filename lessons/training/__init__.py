"""Loops, checkpoints, several processes, export, and the tables of what was trained."""
