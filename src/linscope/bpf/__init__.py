"""eBPF without a compiler: assemble, read, check, run, load."""
