"""Files in, files out: probe, decode, encode, mux, analyse sound. Without torch."""
