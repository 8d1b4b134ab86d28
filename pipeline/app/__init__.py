"""What the command line is made of: options, help, completion, terminal."""
