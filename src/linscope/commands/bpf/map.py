"""linscope bpf map"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linscope.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows

_WITH_KEY = ("lookup", "update", "delete")
_ACTIONS = ("dump", *_WITH_KEY, "push", "pop", "peek")


class MapCommand:
    """The subcommand; see linscope.contracts.Command."""

    summary = "the entries of a map that is in the kernel: show, look up, change"
    examples = (
        "linscope bpf map dump counts",
        "linscope bpf map lookup 17 '01 00 00 00'",
        "linscope bpf map update settings 0 '{\"threshold_ns\": 1000000}'",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("action", choices=_ACTIONS, help="push, pop and peek are of queues and stacks")
        add("map", metavar="MAP", help="id, name, or path where it is pinned")
        add("key", nargs="?", default="", help="JSON by the map's type; hexadecimal bytes where it has none")
        add("value", nargs="?", default="", help="likewise")
        add("-n", "--most", type=int, default=0, metavar="N", help="of dump: so many entries at most")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Ask or change the map."""
        from linscope.views.bpf_dump import change_map, map_rows

        action, key, value = arguments.action, arguments.key, arguments.value
        if action == "dump":
            return map_rows(arguments.map, most=arguments.most)
        if action == "push":
            key, value = "", key
        if action in _WITH_KEY and not key:
            raise UsageError(f"{action} which entry?", next_step=f"linscope bpf map {action} {arguments.map} KEY")
        if action in ("update", "push") and not value:
            raise UsageError("no value", next_step=f"linscope bpf map {action} {arguments.map} ... VALUE")
        return change_map(action, arguments.map, key, value)


MAP = MapCommand()
