"""Explorers: sheets and films that show what layers, settings, channels and classes do."""
