"""Typed columnar tables: schema with units, interning, folding, grouping."""
