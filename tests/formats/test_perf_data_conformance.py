"""Every recording in ../shared/conformance/perf-data: the same counts, samples, mappings, names as perf's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import perf_oracle
import pytest
from slow_reader import plain_records

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.binfmt.perf_records import KIND_MODE
from linscope.columns.profile import Profile
from linscope.formats.perf_data.reader import PerfDataFile, open_perf_data

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "perf-data"
FILES = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
# perf 6.1 cannot read these: no Intel PT decoder, feature bits and records of later versions
NOT_PERF = {name for name in FILES if name.startswith("sleep.")} | {"perf.data.piped.intel_pt-4.14"}
# perf record's own last words on stderr were caught behind the records
TRAILING_TEXT = {"sleep.compressed2.pipe.data": 31808}

pytestmark = pytest.mark.skipif(not FILES, reason="no ../shared/conformance beside the checkout; clone it there")
needs_perf = pytest.mark.skipif(perf_oracle.PERF is None, reason="apt-get install linux-perf")


def read(name: str) -> tuple[PerfDataFile, Profile]:
    with open_perf_data(str(FOLDER / name)) as opened:
        return opened, opened.read()


def signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


def shown_addresses(profile: Profile, stack: int, chained: bool) -> tuple[int, ...]:
    """Frames as perf script prints them: of chains, where in its file a user address lies."""
    found = []
    for frame in profile.stacks.frames_of(stack):
        if frame >= len(profile.frames):
            continue
        address, space = int(profile.frames.address[frame]), profile.spaces[int(profile.frames.space[frame])]
        user = int(profile.frames.kind[frame]) & KIND_MODE in (pe.PERF_RECORD_MISC_USER, 0)
        if chained and user:
            for mapping in space.mappings:
                in_file = not mapping.path.startswith(("//anon", "[stack", "[heap]", "/SYSV", "/dev/zero"))
                if mapping.start <= address < mapping.end and in_file:
                    address += mapping.page_offset - mapping.start
                    break
        found.append(address)
    return tuple(found)


def test_the_folder_is_whole() -> None:
    assert len(FILES) == 35


@pytest.mark.parametrize("name", FILES)
def test_opens_without_problems(name: str) -> None:
    _, profile = read(name)
    offsets = [problem.offset for problem in profile.problems]  # type: ignore[attr-defined]
    assert offsets == ([TRAILING_TEXT[name]] if name in TRAILING_TEXT else [])
    assert len(profile.samples) > 0


@pytest.mark.parametrize("name", FILES)
def test_counts_are_those_of_a_plain_walk(name: str) -> None:
    _, profile = read(name)
    counts: dict[int, int] = {}
    for record in plain_records((FOLDER / name).read_bytes()):
        counts[record.type] = counts.get(record.type, 0) + 1
    assert {k: v for k, v in profile.record_counts.items() if k not in (81, 83)} == counts


@needs_perf
@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in FILES if name not in NOT_PERF])
def test_perf_counts_the_same_records(name: str) -> None:
    _, profile = read(name)
    assert profile.record_counts == perf_oracle.record_counts(FOLDER / name)
    kinds = {"MMAP": 1, "MMAP2": 10, "COMM": 3, "FORK": 7, "EXIT": 4}
    counts = {k: profile.record_counts[n] for k, n in kinds.items() if n in profile.record_counts}
    assert dict(perf_oracle.side_events(FOLDER / name)) == counts


@needs_perf
@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in FILES if name not in NOT_PERF])
def test_perf_prints_the_same_samples(name: str) -> None:
    opened, profile = read(name)
    theirs = perf_oracle.samples(FOLDER / name, opened.attrs)
    samples = profile.samples
    chained = bool(opened.attrs[0].sample_type & pe.PERF_SAMPLE_CALLCHAIN)
    assert len(theirs) == len(samples)
    for row, expected in zip(np.argsort(samples.time_ns, kind="stable").tolist(), theirs, strict=True):
        ours = perf_oracle.Sample(
            signed(int(samples.pid[row])),
            signed(int(samples.tid[row])),
            None if expected.cpu is None else int(samples.cpu[row]),
            None if expected.time_ns is None else int(samples.time_ns[row]),
            profile.events[samples.event[row]].name,
            None if expected.period is None else int(samples.weight[row]),
            shown_addresses(profile, int(samples.stack[row]), chained),
        )
        assert ours == expected


@needs_perf
@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in FILES if name not in NOT_PERF and ".piped." not in name])
def test_perf_tells_the_same_names_and_header(name: str) -> None:
    path = FOLDER / name
    _, profile = read(name)
    assert [event.name for event in profile.events] == perf_oracle.event_names(path)
    features = profile.features
    for key, title in (
        ("HOSTNAME", "hostname"),
        ("OSRELEASE", "os release"),
        ("ARCH", "arch"),
        ("CPUDESC", "cpudesc"),
        ("CPUID", "cpuid"),
        ("VERSION", "perf version"),
    ):
        theirs = perf_oracle.header_value(path, title)
        assert features.get(key, "").strip() == ("" if theirs == "(null)" else theirs), title
    if "CPUDESC" not in features:  # perf 6.1 reads an empty section as the end of all that follow
        return
    if "NRCPUS" in features:
        assert str(features["NRCPUS"]["online"]) == perf_oracle.header_value(path, "nrcpus online")
        assert str(features["NRCPUS"]["available"]) == perf_oracle.header_value(path, "nrcpus avail")
    assert f"{features.get('TOTAL_MEM', 0)} kB" == (perf_oracle.header_value(path, "total memory") or "0 kB")
    assert " ".join(features.get("CMDLINE", [])) == perf_oracle.header_value(path, "cmdline").rstrip()


# What the kernel of the day wrote: (samples, mappings, names, records that the recorder added), by an own walk of
# each file (slow_reader.py), and cross-checked against the text that perf's authors keep with the compressed ones.
@pytest.mark.parametrize(
    ("name", "samples", "mappings", "comms", "event"),
    [
        ("perf.data.piped.intel_pt-4.14", 11, 66, 3, "cycles"),
        ("sleep.compressed.data", 8, 49, 2, "cycles:P"),
        ("sleep.compressed.pipe.data", 8, 49, 2, "cycles:P"),
        ("sleep.compressed2.data", 7, 4, 2, "cycles:Pu"),
        ("sleep.compressed2.pipe.data", 7, 169, 2, "cycles:P"),
        ("sleep.data", 7, 4, 2, "cycles:Pu"),
    ],
)
def test_what_perf_cannot_read(name: str, samples: int, mappings: int, comms: int, event: str) -> None:
    _, profile = read(name)
    counts = profile.record_counts
    assert len(profile.samples) == counts[pe.PERF_RECORD_SAMPLE] == samples
    assert counts.get(pe.PERF_RECORD_MMAP, 0) + counts[pe.PERF_RECORD_MMAP2] == mappings
    assert counts[pe.PERF_RECORD_COMM] == comms
    assert event in [e.name for e in profile.events]


def test_a_compressed_recording_has_the_records_of_the_plain_one() -> None:
    _, plain = read("sleep.data")
    _, packed = read("sleep.compressed2.data")
    assert plain.comms[0] == packed.comms[0]
    assert [e.name for e in plain.events] == [e.name for e in packed.events]
    assert plain.record_counts == packed.record_counts


def test_aux_data_are_passed_over() -> None:
    _, profile = read("perf.data.piped.intel_pt-4.14")
    counts = profile.record_counts
    assert counts[pf.PERF_RECORD_AUXTRACE] == 2 and counts[pe.PERF_RECORD_SWITCH_CPU_WIDE] == 552
    assert profile.events[0].name.startswith("intel_pt/")
