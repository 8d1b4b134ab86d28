"""Gradient ascent on one image, and the dream carried through a film."""
