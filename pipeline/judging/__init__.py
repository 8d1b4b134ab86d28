"""Figures of films and zooms, their charts, and the benchmark."""
