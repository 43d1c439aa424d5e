"""Bytes -> values: ELF, notes."""
