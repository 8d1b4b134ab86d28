"""The parts of the command line: options, help, completion, terminal; and the Python API."""
