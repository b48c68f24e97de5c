"""Figures of speed, memory and size; run them as modules, such as `python -m benchmarks.ticket`."""
