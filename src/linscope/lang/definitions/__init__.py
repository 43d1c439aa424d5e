"""Where a script's named types and constants come from: its own C, headers, BTF, tracepoints, debug information."""

from __future__ import annotations

from linscope.lang.definitions.definitions import Definitions, Function, Macro

__all__ = ["Definitions", "Function", "Macro"]
