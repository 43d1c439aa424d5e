"""A run from start to stop: open, enable, read, write, close; owns the file descriptors."""
