"""The grammar of -e against a made-up sysfs and tracefs, and against the attrs that perf itself opens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.abi import perf_event as pe
from linscope.errors import UnknownNameError, UsageError
from linscope.session.configure import sampling_attr
from linscope.session.options import RecordOptions
from linscope.sources.event_names import SYMBOLIC, cache_event_names, find_cache_event
from linscope.sources.events import Catalog, list_events, parse_events
from linscope.sources.pmus import parse_cpu_list


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A machine with a CPU PMU, two uncore units and three tracepoints."""
    files = {
        "devices/cpu/type": "4",
        "devices/cpu/format/event": "config:0-7,32-35",
        "devices/cpu/format/umask": "config:8-15",
        "devices/cpu/format/cmask": "config:24-31",
        "devices/cpu/format/offcore_rsp": "config1:0-63",
        "devices/cpu/events/cpu-cycles": "event=0x3c",
        "devices/cpu/events/mem-loads": "event=0xcd,umask=0x1,ldlat=3",
        "devices/cpu/format/ldlat": "config1:0-15",
        "devices/uncore_imc_0/type": "17",
        "devices/uncore_imc_0/cpumask": "0",
        "devices/uncore_imc_0/format/event": "config:0-7",
        "devices/uncore_imc_0/events/reads": "event=0x4",
        "devices/uncore_imc_0/events/reads.scale": "6.103515625e-5",
        "devices/uncore_imc_0/events/reads.unit": "MiB",
        "devices/uncore_imc_1/type": "18",
        "devices/uncore_imc_1/cpumask": "1",
        "devices/uncore_imc_1/format/event": "config:0-7",
        "devices/uncore_imc_1/events/reads": "event=0x4",
        "tracing/events/sched/sched_switch/id": "372",
        "tracing/events/sched/sched_wakeup/id": "371",
        "tracing/events/irq/irq_handler_entry/id": "99",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return Catalog(str(tmp_path / "devices"), str(tmp_path / "tracing"))


@pytest.mark.parametrize(
    ("text", "type_", "config", "config1"),
    [
        ("cycles", 0, 0, 0),
        ("branch-misses", 0, 5, 0),
        ("cs", 1, 3, 0),
        ("migrations", 1, 4, 0),
        ("r1a8", 4, 0x1A8, 0),
        ("L1-dcache-load-misses", 3, 0x10000, 0),
        ("LLC-store-misses", 3, 0x10102, 0),
        ("branch-loads", 3, 5, 0),
        ("cpu/event=0x3c,umask=0/", 4, 0x3C, 0),
        ("cpu/event=0x12c,umask=0x41,cmask=2/", 4, 0x10200412C, 0),
        ("cpu/offcore_rsp=0xffff,config=1/", 4, 1, 0xFFFF),
        ("cpu/cpu-cycles/", 4, 0x3C, 0),
        ("cpu/mem-loads/", 4, 0x1CD, 3),
        ("cpu/r1c2/", 4, 0x1C2, 0),
        ("mem-loads", 4, 0x1CD, 3),
        ("sched:sched_switch", 2, 372, 0),
        ("mem:0x1000/8:w", 5, 0, 0x1000),
    ],
)
def test_encoding(catalog: Catalog, text: str, type_: int, config: int, config1: int) -> None:
    (event,) = parse_events(text, catalog)
    assert (event.attr.type, event.attr.config, event.attr.config1) == (type_, config, config1)
    assert event.name == text


def test_lists_groups_globs_and_units(catalog: Catalog) -> None:
    events = parse_events("cycles,cpu/event=1,umask=2/u,{cs,faults}:S,sched:*,uncore_imc/reads/", catalog)
    assert [event.name for event in events] == [
        "cycles",
        "cpu/event=1,umask=2/u",
        "cs",
        "faults",
        "sched:sched_switch",
        "sched:sched_wakeup",
        "uncore_imc/reads/",
        "uncore_imc/reads/",
    ]
    assert events[3].leader is events[2] and events[3].sample_read
    assert [event.cpus for event in events[6:]] == [[0], [1]]
    assert (events[6].unit, events[6].scale) == ("MiB", 6.103515625e-5)
    assert [event.attr.type for event in events[6:]] == [17, 18]


def test_architectural_encodings_without_a_pmu(tmp_path: Path) -> None:
    events = parse_events("cpu/event=0x3c,umask=1/,cpu/cache-misses/", Catalog(str(tmp_path), str(tmp_path)))
    assert [(event.attr.type, event.attr.config) for event in events] == [(4, 0x13C), (4, 0x412E)]


def test_general_terms(catalog: Catalog) -> None:
    (event,) = parse_events("cpu-clock/period=1000,name=tick,call-graph=fp/", catalog)
    attr = sampling_attr(event, RecordOptions(), 4000)
    assert event.name == "tick"
    assert attr.sample_period == 1000 and not attr.flags & pe.ATTR_FREQ
    assert attr.sample_type & pe.PERF_SAMPLE_CALLCHAIN


@pytest.mark.parametrize(
    ("text", "near"),
    [("cycels", "cycles"), ("sched:sched_swich", "sched:sched_switch"), ("cpu/cpu-cycle/", "cpu-cycles")],
)
def test_unknown_names_offer_near_ones(catalog: Catalog, text: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_events(text, catalog)
    assert near in caught.value.near
    assert caught.value.next_step


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{cs",
        "cpu/event=1",
        "cycles:z",
        "cycles:pppp",
        "cpu/event=0x1fff/",
        "mem:zz",
        "mem:0x10:wx",
        "cpu/event=x/",
    ],
)
def test_bad_syntax(catalog: Catalog, text: str) -> None:
    with pytest.raises(UsageError):
        parse_events(text, catalog)


def test_every_listed_name_parses(catalog: Catalog) -> None:
    for name in list_events("", catalog):
        assert parse_events(name, catalog)
    assert list_events("SCHED:*", catalog) == ["sched:sched_switch", "sched:sched_wakeup"]
    assert all(find_cache_event(name) is not None for name in cache_event_names())


def test_cpu_lists() -> None:
    assert parse_cpu_list("0-2,5") == [0, 1, 2, 5]
    with pytest.raises(UsageError):
        parse_cpu_list("a-b")


_PEER_EVENTS = [
    *[name for name in SYMBOLIC if name not in ("bpf-output", "dummy")],
    "cpu-clock:u",
    "cpu-clock:k",
    "page-faults:uk",
    "cpu-clock:H",
    "cpu-clock:G",
    "cpu-clock:pp",
    "task-clock:P",
    "cpu-clock:D",
    "cpu-clock:I",
    "r1a8",
    "mem:0x1000:rw",
    "mem:0x1000/8:w",
    "mem:0x1000:x",
    "cpu-clock/period=1000/",
    "cpu-clock/freq=77/",
    "msr/tsc/",
    "L1-dcache-load-misses",
    "LLC-loads",
    "dTLB-store-misses",
    "iTLB-load-misses",
    "branch-load-misses",
    "node-prefetches",
]


@pytest.mark.peer
@pytest.mark.kernel
@pytest.mark.parametrize("text", _PEER_EVENTS)
def test_attr_equals_perfs(text: str, tmp_path: Path) -> None:
    """What perf record -vv says of its attr; TIME, CPU, identifiers and side-band bits are ours to choose."""
    if shutil.which("perf") is None:
        pytest.skip("needs perf: apt-get install linux-perf")
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo make test")
    run = subprocess.run(
        ["perf", "record", "-vv", "-e", text, "-o", str(tmp_path / "perf.data"), "--", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    block = run.stderr.partition("perf_event_attr:\n")[2].partition("----")[0]
    if not block:
        pytest.skip(f"this perf has no event {text}")
    theirs: dict[str, str] = dict(re.findall(r"^  (.+?) {2,}(\S+)$", block, re.M))
    (event,) = parse_events(text)
    attr = sampling_attr(event, RecordOptions(), 4000)
    number = {name: int(theirs.get(name, "0"), 0) for name in ("type", "config", "bp_type", "precise_ip")}
    number["config1"] = int(theirs.get("{ bp_addr, config1 }", "0"), 0)
    number["config2"] = int(theirs.get("{ bp_len, config2 }", "0"), 0)
    number["sample_period"] = int(theirs["{ sample_period, sample_freq }"])
    assert {name: getattr(attr, name) for name in number} == number
    chosen = {"IDENTIFIER", "CPU", "ID", "TIME"}
    ours = {
        n
        for n in ("IP", "TID", "PERIOD", "RAW", "READ")
        if attr.sample_type & getattr(pe, f"PERF_SAMPLE_{n}")
    }
    assert ours == set(theirs["sample_type"].split("|")) - chosen
    side_band = {"mmap", "comm", "task", "mmap2", "comm_exec", "ksymbol", "bpf_event", "watermark"}
    for name, width in pe.PERF_ATTR_FLAG_BITS:
        if width == 1 and name not in side_band | {"enable_on_exec"}:
            assert bool(attr.flags & getattr(pe, f"ATTR_{name.upper()}")) == (theirs.get(name) == "1"), name
