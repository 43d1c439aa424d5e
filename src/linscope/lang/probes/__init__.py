"""Attach points: what is written, the places that it stands for, and what there is to be attached to."""

from __future__ import annotations

from linscope.lang.probes.attach_points import AttachPoint, parse_attach_point
from linscope.lang.probes.expansion import expand

__all__ = ["AttachPoint", "expand", "parse_attach_point"]
