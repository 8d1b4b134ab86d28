"""Files in, files out: probe, decode, encode, mux, hear. Without torch."""
