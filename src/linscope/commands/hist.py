"""`linscope hist`: let the kernel count, with its hist triggers, and show the tables."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linscope.commands.events import add_target_arguments, exit_code, target_options, tell
from linscope.errors import UsageError

if TYPE_CHECKING:
    from linscope.picture.rows import Rows


class Hist:
    """The subcommand; see linscope.contracts.Command."""

    summary = "histograms that the kernel itself counts, as tables with bars"
    examples = (
        "linscope hist 'sched:sched_switch:keys=next_comm' -- make",
        "linscope hist 'kmem:kmalloc:keys=bytes_req.log2' -- ls -R /usr",
        "linscope hist 'raw_syscalls:sys_enter:keys=id.syscall' -- ls",
        "linscope hist --latency sched_waking..sched_switch -- make",
    )
    formats = True
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("histogram", nargs="*", metavar="HIST", help="SYS:EVENT:keys=...:values=...:sort=... [if FILTER]")
        add("--synthetic", action="append", metavar="DEF", help="a synthetic event: 'NAME u64 lat; pid_t pid'")
        add("--latency", metavar="A..B", help="microseconds from event A to event B with the same key")
        add("--key", metavar="A=B", help="of --latency: field of A = field of B (known pairs have theirs)")
        add("--if", dest="condition", default="", metavar="EXPR", help="of --latency: filter of A")
        add("--by-key", action="store_true", help="of --latency: also by key")
        add_target_arguments(parser)

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Count while the command runs, then show."""
        from linscope.session.tracing.histogram import count, count_latency
        from linscope.views.histograms import histogram_rows

        options = target_options(arguments)
        if bool(arguments.histogram) == bool(arguments.latency):
            raise UsageError("count what?", next_step="'sched:sched_switch:keys=next_comm', or --latency A..B")
        if arguments.latency:
            first, dots, second = arguments.latency.partition("..")
            if not dots:
                raise UsageError(f"not two events: {arguments.latency}", next_step="--latency A..B")
            keys = None
            if arguments.key:
                one, _, other = arguments.key.partition("=")
                keys = (one, other or one)
            condition, by_key = arguments.condition, arguments.by_key
            events = (first, second)
            result = count_latency(arguments.command, events, options, keys=keys, condition=condition, by_key=by_key)
        else:
            result = count(arguments.command, arguments.histogram, options, synthetic=arguments.synthetic or ())
        rows = histogram_rows(result.histograms)
        tell("hist", (*result.notes, *rows.notes))
        rows.exit_code = lambda: exit_code(result)
        return rows


HIST = Hist()
