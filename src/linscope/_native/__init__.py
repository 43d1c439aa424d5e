"""The measured hot loops in C++: buffers in, numpy arrays out.  Only columns, binfmt, symbols, bpf and formats import it."""
