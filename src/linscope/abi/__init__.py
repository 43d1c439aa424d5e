"""Kernel and file-format constants and layouts, one file per header, cited; no logic."""
