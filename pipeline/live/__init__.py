"""Dreams of what is seen just now: a camera, or a clip in a loop, dreamed as it plays."""
