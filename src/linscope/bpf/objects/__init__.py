"""``.bpf.o`` files as clang writes them: ELF with eBPF code, maps and types, made into programs that can be loaded.

``reader.read_object`` is the way in; it does what libbpf does before it calls bpf(2), and no kernel call itself.
"""
