"""Dynamic debug's control file and queries: parsed, refused with the place, predicted, put back.

tests/session/test_dynamic_debug.py asks a real kernel the same.
"""

from __future__ import annotations

import os

import pytest

from linscope.errors import ExpressionError, FormatError, LinscopeError
from linscope.sources.dynamic_debug import (
    Query,
    Site,
    boot_parameters,
    find_control,
    parse_queries,
    parse_sites,
    plan,
    restoring_queries,
    split_queries,
    unescape,
)

# lines of Linux 6.1 (Debian) and, with octal escapes, of 5.10; the last two have classes
CONTROL = r"""# filename:lineno [module]function flags format
init/main.c:1152 [main]initcall_blacklist =p "blacklisting initcall %s\n"
kernel/module/main.c:1310 [main]simplify_symbols =_ "Common symbol: %s\n"
kernel/module/main.c:1469 [main]layout_sections =_ "\t%s\n"
net/ipv4/tcp_input.c:100 [tcp_input]tcp_enter =pmf "say \042hi\042 to: %s\012"
net/ipv4/tcp_input.c:200 [tcp_input]tcp_enter =_ "a "quoted" word"
net/ipv4/tcp_input.c:200 [tcp_input]tcp_enter =p "another; word"
drivers/gpu/drm/drm.c:7 [drm]core =_ "core %d\n" class:DRM_UT_CORE
lib/test_dynamic_debug.c:107 [test_dynamic_debug]do_cats =_ "HI msg\n" class unknown, _id:13
"""
SITES = parse_sites(CONTROL)


def lines(text: str) -> list[int]:
    """Line numbers of the sites that a query (without flags) takes."""
    (query,) = parse_queries(text, select=True)
    return [site.line for site in SITES if query.matches(site)]


def test_lines_of_the_control_file() -> None:
    assert len(SITES) == 8
    assert SITES[0] == Site("init/main.c", 1152, "main", "initcall_blacklist", "p", "blacklisting initcall %s\n")
    assert SITES[2].format == "\t%s\n" and SITES[2].flags == ""
    assert SITES[3].format == 'say "hi" to: %s\n' and SITES[3].flags == "pmf"
    assert SITES[4].format == 'a "quoted" word'
    assert [site.class_ for site in SITES[6:]] == ["DRM_UT_CORE", "#13"]
    with pytest.raises(FormatError, match="offset 48"):
        parse_sites(CONTROL[:48] + "nonsense\n")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("file main.c", [1152, 1310, 1469]),
        ("file kernel/module/main.c", [1310, 1469]),
        ("file module/main.c", []),
        ("file kernel/*", [1310, 1469]),
        ("file tcp_inpu?.c", [100, 200, 200]),
        ("file tcp_input.c:1-150", [100]),
        ("file tcp_input.c:tcp_*", [100, 200, 200]),
        ("file tcp_input.c:none", []),
        ("module main line 1200-", [1310, 1469]),
        ("module main line -1310", [1152, 1310]),
        ("module main line 1310", [1310]),
        ("line 0", [1152, 1310, 1469, 100, 200, 200]),
        ("line -", [1152, 1310, 1469, 100, 200, 200]),
        ("func *symbols", [1310]),
        ("func symbols", []),
        ("format symbol", [1310]),
        ("format ^symbol", []),
        ('format "^Common symbol"', [1310]),
        ("format 'Common symbol'", [1310]),
        (r"format Common\040symbol", [1310]),
        (r"format \t%s\n", [1469]),
        (r"format \042hi", [100]),
        ("format [", []),
        ("module ???n", [1152, 1310, 1469]),
        ("module drm", []),  # sites of a class are for queries that name it
        ("class DRM_UT_CORE", [7]),
        ("class DRM_UT_KMS", []),
        ("func layout_sections # a comment", [1469]),
    ],
)
def test_what_a_query_takes(query: str, expected: list[int]) -> None:
    assert lines(query) == expected


@pytest.mark.parametrize(
    ("query", "place", "words"),
    [
        ("", 0, "no query"),
        ("# only a comment", 0, "no query"),
        ("module", 0, "is not flags"),
        ("module main", 7, "is not flags"),
        ("module +p", 6, "has no value"),
        ("modul main +p", 0, "no keyword 'modul'"),
        ("module main module foo +p", 12, "module is given twice"),
        ("file a.c:1-5 line 3 +p", 18, "line is given twice"),
        ("file a.c:f func g +p", 11, "func is given twice"),
        ("line x +p", 5, "not a line number"),
        ("line 5-x +p", 5, "not a line number"),
        ("line 9-5 +p", 5, "go backwards"),
        ("line 99999999999 +p", 5, "not a line number"),
        ("module main +px", 14, "no flag 'x'"),
        ("module main p", 12, "is not flags"),
        ("file a func b line 1 module c format d +p", 37, "11 words"),
        ('format "open +p', 7, "not closed"),
        ('format "a;b" +p', 7, "write ; as"),
        ("module a +p; module b", 20, "is not flags"),
    ],
)
def test_errors_point_at_their_place(query: str, place: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_queries(query)
    assert (caught.value.position, words in str(caught.value)) == (place, True), str(caught.value)


def test_flags_are_predicted() -> None:
    def after(text: str, flags: str) -> str:
        return parse_queries(text)[0].apply(flags)

    assert after("+p", "") == "p" and after("+p", "mf") == "pmf"
    assert after("-pm", "pmf") == "f" and after("=lt", "pmf") == "lt"
    assert after("=_", "pmf") == "" and after("=", "p") == "" and after("+_", "p") == "p"
    assert Query().apply("pl") == "pl"
    changes = plan(SITES, parse_queries("file tcp_input.c +p; line 200 +l\nmodule main -p # last"))
    assert [(change.site.line, change.site.flags, change.flags) for change in changes] == [
        (1152, "p", ""), (200, "", "pl"), (200, "p", "pl"),
    ]  # fmt: skip
    assert split_queries("a b +p ; ;# c\n d e -p # f") == ["a b +p", "d e -p"]


@pytest.mark.parametrize(
    "text", ["+p", "=_", "module main =p", "line 200 =lt", "line 100-200 -p", "class DRM_UT_CORE +p; format word =f"]
)
def test_the_way_back_touches_what_was_changed(text: str) -> None:
    changes = plan(SITES, parse_queries(text))
    assert changes
    flags = {change.site: change.flags for change in changes}
    changed = [site._replace(flags=flags.get(site, site.flags)) for site in SITES]
    back = restoring_queries(SITES, [change.site for change in changes])
    queries = parse_queries("; ".join(back))
    touched = {site.line for site in changed if any(query.matches(site) for query in queries)}
    assert touched == {change.site.line for change in changes}
    restored = {change.site: change.flags for change in plan(changed, queries)}
    assert [site._replace(flags=restored.get(site, site.flags)) for site in changed] == SITES


def test_escapes_are_undone_as_the_kernel_does() -> None:
    assert unescape(r"a\040b\n\\n\"\x\9\7") == 'a b\n\\n"\\x\\9\x07'


def test_boot_parameters() -> None:
    assert [pair[0] for pair in boot_parameters("module nvme func 'a b' +p # all")] == [
        "dyndbg=\"module nvme func 'a b' +p\"",
        "nvme.dyndbg=\"func 'a b' +p\"",
    ]
    assert [pair[0] for pair in boot_parameters("file a.c +p; module x* +p")] == ['dyndbg="file a.c +p; module x* +p"']
    with pytest.raises(ExpressionError, match="double quotes"):
        boot_parameters('format "a b" +p')


def test_without_dynamic_debug_its_option_is_named() -> None:
    try:
        assert os.path.exists(find_control())
    except LinscopeError as error:
        assert "CONFIG_DYNAMIC_DEBUG" in str(error) or "root" in str(error)
