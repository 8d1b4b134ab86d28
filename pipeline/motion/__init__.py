"""Optical flow, occlusion and cuts, followed from frame to frame."""
