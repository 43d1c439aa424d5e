"""The bpftrace language."""
