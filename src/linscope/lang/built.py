"""What the code generator gives: maps and programs, and the names of the maps that are not the script's."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.program import Map, Program

EVENTS, LOST, STOP, PACKETS = "events", "lost", "stop", "packets"
EXITING, ENDED = 1, 2  # what STOP holds when exit() was called, when the script has ended
UNSTOPPED = ("begin", "end", "self", "iter")  # kinds of probes that run also when the script has ended


class Built:
    """The result: maps by name and place, and the programs, parallel to Unit.programs."""

    def __init__(self, maps: list[Map], programs: list[Program], script_maps: list[int]) -> None:
        """script_maps: place of each of Unit.maps among the maps."""
        self.maps = maps
        self.programs = programs
        self.script_maps = script_maps

    def place(self, name: str) -> int | None:
        """Place of one of our own maps (EVENTS, LOST, STOP, ``stk_16_1``); None: no program needs it."""
        return next((place for place, one in enumerate(self.maps) if one.name == name), None)
