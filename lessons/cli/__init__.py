"""The commands of ``python -m lessons``, one file each."""
