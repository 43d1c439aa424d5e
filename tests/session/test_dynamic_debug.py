"""Switching debug prints, in a made-up control file; tests/lab has the same in a real kernel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linscope.errors import UnknownNameError, UsageError
from linscope.session.dynamic_debug import DynamicDebug, prefix_of, recognize, wait, watch
from linscope.session.journal import Journal
from linscope.sources.dynamic_debug import Site, parse_queries, plan
from linscope.sys.kmsg import KmsgRecord, parse_kmsg

LONG = "a_function_with_a_name_of_" + "many" * 10 + "_letters"
SITES = [
    Site("lib/kobject.c", 10, "kobject", "add", "", "one %d\n"),
    Site("lib/kobject.c", 20, "kobject", LONG, "p", "two %s\n"),
    Site("net/core/dev.c", 30, "dev", "send", "", "three\n"),
]


class Kernel(DynamicDebug):
    """The control file of a kernel that does what is written; everything written is kept."""

    def __init__(self, folder: Path, greedy: bool = False) -> None:
        (folder / "control").write_text("")
        super().__init__(str(folder / "control"), Journal(str(folder / "journal")))
        self.journal = self._journal
        self.written: list[str] = []
        self.greedy = greedy  # also switches what was not asked for
        self.store(SITES)

    def store(self, sites: list[Site]) -> None:
        """Write the file as the kernel does."""
        lines = ["# filename:lineno [module]function flags format"]
        for one in sites:
            text = one.format.replace("\n", "\\n")
            lines.append(f'{one.file}:{one.line} [{one.module}]{one.function} ={one.flags or "_"} "{text}"')
        Path(self.control).write_text("\n".join(lines) + "\n")

    def _write(self, text: str) -> None:
        assert len(text.encode()) < 4096
        self.written.append(text)
        sites = self.sites()
        flags = {change.site: change.flags for change in plan(sites, parse_queries(text))}
        if self.greedy:
            flags[sites[2]] = "p"
        self.store([site._replace(flags=flags.get(site, site.flags)) for site in sites])

    def undo(self) -> None:
        """What the journal would write at the end."""
        assert self.journal is not None
        for entry in reversed(self.journal.entries):
            for line in entry["lines"]:
                self.greedy = False
                self._write(line)
        self.journal.keep()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    yield made
    made.keep()
    made.close()


def test_what_changes_is_noted_first_and_put_back(kernel: Kernel) -> None:
    assert [(change.site.line, change.flags) for change in kernel.plan(["file kobject.c +pm"])] == [
        (10, "pm"),
        (20, "pm"),
    ]
    assert kernel.written == []
    changes = kernel.set(["file kobject.c +pm # comment", "func send =l"])
    assert [(change.site.line, change.site.flags, change.flags) for change in changes] == [
        (10, "", "pm"), (20, "p", "pm"), (30, "", "l"),
    ]  # fmt: skip
    assert kernel.written == ["file kobject.c +pm; func send =l"]
    kernel.undo()
    assert kernel.sites() == SITES


def test_nothing_changes_when_one_query_is_wrong(kernel: Kernel) -> None:
    with pytest.raises(UsageError):
        kernel.set(["file kobject.c +p", "file +p"])
    with pytest.raises(UnknownNameError, match="did you mean kobject"):
        kernel.set(["file kobject.c +p; module kobjct +p"])
    with pytest.raises(UsageError, match="not together"):
        kernel.plan(["module dev func add +p"])
    assert kernel.written == [] and kernel.journal is not None and kernel.journal.entries == []


def test_more_than_expected_is_put_back_too(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, greedy=True)
    changes = kernel.set(["func add +p"])
    assert [change.site.line for change in changes] == [10, 30]
    assert "1 sites more than expected" in kernel.notes[0]
    kernel.undo()
    assert kernel.sites() == SITES
    kernel.close()


def test_sites_are_selected(kernel: Kernel) -> None:
    assert [site.line for site in kernel.select([])] == [10, 20, 30]
    assert [site.line for site in kernel.select(["line 30", "func add"])] == [10, 30]


def test_records_of_the_log() -> None:
    text = "7,160,424069,-,caller=T1;a\\x0ab\\x5c c\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n"
    assert parse_kmsg(text) == KmsgRecord(7, 0, 160, 424_069_000, "a\nb\\ c")
    assert parse_kmsg("30,339,5140900,-;NET: text; more\n")[:2] == (6, 3)


def test_what_sites_print_is_told_from_the_rest() -> None:
    by_prefix = {prefix_of(site): site for site in SITES}
    cut = f"kobject:{LONG}:20: "[:63]  # the kernel has no more room
    assert cut in by_prefix and not cut.endswith(": ")
    found = recognize(KmsgRecord(7, 0, 1, 5000, "kobject:add:10: one: 1"), by_prefix)
    assert found is not None and (found.site.line, found.text, found.time_ns) == (10, "one: 1", 5000)
    found = recognize(KmsgRecord(7, 0, 1, 5000, f"{cut}two x"), by_prefix)
    assert found is not None and (found.site.line, found.text) == (20, "two x")
    for text in ("kobject: not ours", "kobject:add:11: other", "", "add:10: one"):
        assert recognize(KmsgRecord(7, 0, 1, 5000, text), by_prefix) is None


def test_a_log_that_cannot_be_read_changes_nothing(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(watch(kernel, ["file kobject.c"], kmsg=str(tmp_path / "kmsg")))
    assert kernel.written == []


def test_waiting_ends_with_the_command_or_the_time() -> None:
    assert wait(0, [sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert wait(10_000_000) == 0
    assert wait(10_000_000, ["sleep", "60"]) == 128 + 15
    with pytest.raises(UsageError, match="no such command"):
        wait(0, ["no-such-command-of-linscope"])
