"""A kernel: its memory, symbols, types, modules and stacks behind one object, without debugging information."""
