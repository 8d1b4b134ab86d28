"""Dreamreel's rooms. A module imports only from the floors below its own:

0 errors, durable, kernels, layers, architectures, objectives, expressions
1 schedule, opening
2 images, devices, weights, settings, music, ffmpeg, tiles, paths
3 flow, decoding, encoding, pictures, networks, presets, camera, spectrum, look
4 clips, shots, dream, unfinished, exports, journey, record, curves, grain
5 mux, motion, files, arrival
6 animate, measure, preview, jobs
7 zoom
8 render, zooms
9 bench, reproduce, zoom_figures, and above all of them cli.py
"""

import os
import warnings

# Decoders answer through exceptions and results; on the terminal only the command line speaks.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
warnings.filterwarnings("ignore", module=r"PIL\.")  # on tags that make no sense
# An idle thread of torch's spins for a while before it sleeps, which decoding, flow and encoding
# pay for. Spinning less costs the network nothing; not spinning at all, a quarter of its speed.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
