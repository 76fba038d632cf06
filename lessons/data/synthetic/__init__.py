"""Clips that the course draws: a talker and his mouth, moving objects, talking heads."""
