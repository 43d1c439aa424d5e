"""The bpftrace language: text -> syntax tree (parser) -> typed intermediate form (compiler)."""
