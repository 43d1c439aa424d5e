"""Tracing languages: text -> typed syntax -> eBPF."""
