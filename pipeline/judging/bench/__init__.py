"""The benchmark: Dreamreel's speed and memory on this machine, as text, JSON and a picture."""

USUAL_SIZES = "360p,720p"  # of films; with them, a benchmark takes a few minutes on two cores
USUAL_REPEATS = 5  # of each measurement
