"""Addresses <-> names: kallsyms, ELF, JIT maps, inlined frames and source lines, demangling."""
