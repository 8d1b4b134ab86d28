"""Networks with named layers: architectures, weights, tiles, devices."""
