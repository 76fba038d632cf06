"""Clips of mouths, real and synthetic, from a video file to a batch of tensors."""
