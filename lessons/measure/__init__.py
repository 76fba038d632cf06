"""Counting weights and operations, the clock, the profiler, and the benchmark."""
