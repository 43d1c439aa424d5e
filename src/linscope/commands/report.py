"""linscope report"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linscope.commands import _options

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Report:
    """Where the time went, as a table; with -g, who calls whom under each entry."""

    summary = "Where the time went, as a table by task, object and symbol."
    examples = (
        "linscope report perf.data",
        "linscope report perf.data --no-children -g callee --comm python",
        "linscope report perf.data --sort dso --json",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _options.add_recording(parser)
        parser.add_argument(
            "--sort", metavar="KEYS", default="comm,dso,sym", help="comm,pid,tid,cpu,dso,sym,srcline"
        )
        parser.add_argument(
            "--children",
            action="store_true",
            default=None,
            help="weigh with all that a function calls (default with stacks)",
        )
        parser.add_argument(
            "--no-children", action="store_false", dest="children", help="weigh only where the samples fell"
        )
        parser.add_argument(
            "-g",
            "--call-graph",
            nargs="?",
            const="auto",
            default="none",
            metavar="ORDER",
            help="caller (what it calls), callee (who calls it), none",
        )
        parser.add_argument(
            "--percent-limit", type=float, default=0.0, metavar="P", help="leave out entries below P percent"
        )
        parser.add_argument(
            "--graph-limit",
            type=float,
            default=0.5,
            metavar="P",
            help="leave out call graph branches below P percent (0.5)",
        )
        parser.add_argument(
            "--weight", choices=("period", "samples"), default="period", help="what a sample counts"
        )
        parser.add_argument("--stats", action="store_true", help="only count the records by type")
        _options.add_filters(parser)
        _options.add_symbols(parser)

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Read the recording and make the table."""
        from linscope.analysis.report import ReportOptions, parse_sort
        from linscope.errors import UsageError

        graph = arguments.call_graph.split(",")
        orders = [word for word in graph if word in ("caller", "callee", "none", "auto")]
        if not orders and arguments.file == "perf.data":  # -g FILE: the order is optional
            arguments.file, orders = arguments.call_graph, ["auto"]
        if not orders:
            raise UsageError(
                f"not an order of call graphs: {arguments.call_graph!r}", next_step="caller, callee or none"
            )
        sort = parse_sort(arguments.sort)
        recording = _options.open_file(arguments)
        if arguments.stats:
            from linscope.views.stats import stats_rows

            return stats_rows(recording.profile)
        children = arguments.children
        if children is None:
            children = recording.has_stacks()
        order = orders[0] if orders[0] != "auto" else "caller" if children else "callee"
        options = ReportOptions(
            sort=sort,
            children=children,
            call_graph=order,
            percent_limit=arguments.percent_limit,
            graph_limit=arguments.graph_limit,
            weight=arguments.weight,
        )
        rows = recording.report(options, _options.filter_of(arguments, recording))
        _options.tell_symbol_notes(recording)
        return rows


REPORT = Report()
