"""eBPF in the running kernel: maps, programs and links as objects that own their descriptors.

``maps`` and ``programs`` load, ``attach_*`` attaches, ``listing`` and ``dump`` look at what is there.  Each file is
imported by who uses it: a counter on a raw tracepoint is attached some milliseconds after Python has started.
"""
