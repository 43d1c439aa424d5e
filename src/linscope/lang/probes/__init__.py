"""Attach points: what is written, the places that it stands for, and what there is to be attached to.

``parse_attach_point(text)`` tells the parts apart and looks nothing up; ``expand(point)`` gives the probes, with the
names that ``probe`` prints; ``listing.list_probes(pattern)`` is -l; ``explanation.explain(probe)`` says why the kernel
would not take one.
"""

from __future__ import annotations

from linscope.lang.probes.attach_points import AttachPoint, parse_attach_point
from linscope.lang.probes.expansion import expand

__all__ = ["AttachPoint", "expand", "parse_attach_point"]
