"""Rows and pictures -> terminal text, JSON, CSV, SVG, one self-contained HTML file."""
