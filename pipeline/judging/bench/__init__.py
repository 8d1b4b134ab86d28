"""The benchmark: Dreamreel's speed and memory on this machine, as text, JSON and a picture."""
