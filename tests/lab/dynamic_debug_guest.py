"""Runs in a kernel with dynamic debug: each query is predicted, given to the kernel, compared, and put back.

Prints a line for each query that went another way than predicted, then how many were asked.
"""

from __future__ import annotations

import os
import sys

from linscope.errors import UsageError
from linscope.sources.dynamic_debug import Change, find_control, parse_queries, parse_sites, plan, restoring_queries
from linscope.sys.tracefs import read_bytes, write_text

QUERIES = r"""
+p
=_
=pmflt
-p
file main.c +p
file kernel/module/main.c +p
file module/main.c +p
file */main.c +p
file k*ule/* =f
file main.c:1300-1400 +p
file main.c:load_* +p
file main.c:1300 +p
file main.c: +p
file main.c:9-1 +p
module main +p
module ma?n +p
module main* +p
module MAIN +p
func load_module +p
func *load* -p
func load +p
line 100 +p
line 100-200 +p
line -50 +p
line 4000- +p
line - +p
line 0 +p
line 0-0 +p
line 5-1 +p
line +5 +p
line x +p
line 99999999999 +p
line 1-2-3 +p
format loading +p
format ^loading +p
format ^load +p
format "loading %s" +p
format 'loading %s' +p
format loading\040%s +p
format %s\n +p
format \"%s\" +p
format '"%s"' +p
format \t +p
format "unclosed +p
format a"b +p
format "" +p
class DRM_UT_CORE +p
class NOSUCH +p
module main module main +p
file a file b +p
func a func b +p
format a format b +p
line 1 line 2 +p
line 0 line 2 +p
line - line 2 +p
file a:1 line 2 +p
file a:f func g +p
module
module main
main +p
modul main +p
module main p
module main +x
module main +pX
module main +
module main =
module main +_
module main =p_
module main *p
module main +p # comment
module main # comment +p
# comment
;
module main +p;
module main +p; file main.c +f
module main +p; nonsense; file main.c +f
file a func b line 1 module c +p
file a func b line 1 module c format d +p
file main.c module main func * format % +p
"module" "main" "+p"
module "main"+p
  module   main   +p
module main +ppp
""".strip("\n").split("\n")


def main() -> int:
    """Ask all; the exit code is 1 when one went another way."""
    control = find_control()

    def sites() -> list:
        return parse_sites(read_bytes(control).decode("utf-8", "replace"))

    original = sites()
    wrong = 0
    for text in QUERIES:
        try:
            queries = parse_queries(text)
            expected: list[Change] | None = plan(original, queries)
        except UsageError:
            expected = None
        try:
            write_text(control, text + "\n")
            taken = True
        except OSError:
            taken = False
        after = sites()
        found = [Change(old, new.flags) for old, new in zip(original, after, strict=True) if old.flags != new.flags]
        # a text of several queries of which one is wrong is applied in part; we refuse it whole
        agrees = (expected is not None) == taken and (expected is None or expected == found)
        if not agrees and text.strip("; ") and not text.startswith("#"):
            wrong += 1
            print(
                f"{text!r}: taken {taken}, {len(found)} changed; expected {None if expected is None else len(expected)}"
            )
        for query in restoring_queries(original, [change.site for change in found]):
            write_text(control, query + "\n")
        if sites() != original:
            print(f"{text!r}: not put back")
            return 1
    print(f"{len(QUERIES)} queries, {len(original)} sites, {os.uname().release}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
