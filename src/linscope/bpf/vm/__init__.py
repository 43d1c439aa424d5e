"""The user-space eBPF machine: interpreter (the reference), x86-64 JIT, maps and helpers over recorded events."""
