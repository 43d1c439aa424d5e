"""The typed intermediate form -> eBPF programs and maps; see generator.py."""

from __future__ import annotations

from linscope.lang.built import Built
from linscope.lang.codegen.generator import Options, generate

__all__ = ["Built", "Options", "generate"]
