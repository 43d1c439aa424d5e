"""The measured hot loops in C++: buffers in, numpy arrays out.  Only columns, binfmt, symbols and bpf import it."""
