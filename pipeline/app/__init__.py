"""What the command line is made of: options and the terminal."""
