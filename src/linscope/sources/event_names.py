"""The events that have names in every kernel: hardware, software, hardware cache.

Names are perf's (tools/perf/util/parse-events.c and evsel.c; perf-list(1)), numbers the kernel's
(include/uapi/linux/perf_event.h).
"""

from __future__ import annotations

from linscope.abi import perf_event as pe

_HW, _SW = pe.PERF_TYPE_HARDWARE, pe.PERF_TYPE_SOFTWARE

# name -> (type, config); the first name of a pair of aliases is the canonical one
SYMBOLIC = {
    "cycles": (_HW, pe.PERF_COUNT_HW_CPU_CYCLES),
    "cpu-cycles": (_HW, pe.PERF_COUNT_HW_CPU_CYCLES),
    "instructions": (_HW, pe.PERF_COUNT_HW_INSTRUCTIONS),
    "cache-references": (_HW, pe.PERF_COUNT_HW_CACHE_REFERENCES),
    "cache-misses": (_HW, pe.PERF_COUNT_HW_CACHE_MISSES),
    "branches": (_HW, pe.PERF_COUNT_HW_BRANCH_INSTRUCTIONS),
    "branch-instructions": (_HW, pe.PERF_COUNT_HW_BRANCH_INSTRUCTIONS),
    "branch-misses": (_HW, pe.PERF_COUNT_HW_BRANCH_MISSES),
    "bus-cycles": (_HW, pe.PERF_COUNT_HW_BUS_CYCLES),
    "stalled-cycles-frontend": (_HW, pe.PERF_COUNT_HW_STALLED_CYCLES_FRONTEND),
    "idle-cycles-frontend": (_HW, pe.PERF_COUNT_HW_STALLED_CYCLES_FRONTEND),
    "stalled-cycles-backend": (_HW, pe.PERF_COUNT_HW_STALLED_CYCLES_BACKEND),
    "idle-cycles-backend": (_HW, pe.PERF_COUNT_HW_STALLED_CYCLES_BACKEND),
    "ref-cycles": (_HW, pe.PERF_COUNT_HW_REF_CPU_CYCLES),
    "cpu-clock": (_SW, pe.PERF_COUNT_SW_CPU_CLOCK),
    "task-clock": (_SW, pe.PERF_COUNT_SW_TASK_CLOCK),
    "page-faults": (_SW, pe.PERF_COUNT_SW_PAGE_FAULTS),
    "faults": (_SW, pe.PERF_COUNT_SW_PAGE_FAULTS),
    "context-switches": (_SW, pe.PERF_COUNT_SW_CONTEXT_SWITCHES),
    "cs": (_SW, pe.PERF_COUNT_SW_CONTEXT_SWITCHES),
    "cpu-migrations": (_SW, pe.PERF_COUNT_SW_CPU_MIGRATIONS),
    "migrations": (_SW, pe.PERF_COUNT_SW_CPU_MIGRATIONS),
    "minor-faults": (_SW, pe.PERF_COUNT_SW_PAGE_FAULTS_MIN),
    "major-faults": (_SW, pe.PERF_COUNT_SW_PAGE_FAULTS_MAJ),
    "alignment-faults": (_SW, pe.PERF_COUNT_SW_ALIGNMENT_FAULTS),
    "emulation-faults": (_SW, pe.PERF_COUNT_SW_EMULATION_FAULTS),
    "dummy": (_SW, pe.PERF_COUNT_SW_DUMMY),
    "bpf-output": (_SW, pe.PERF_COUNT_SW_BPF_OUTPUT),
    "cgroup-switches": (_SW, pe.PERF_COUNT_SW_CGROUP_SWITCHES),
}

_CACHES = (
    (pe.PERF_COUNT_HW_CACHE_L1D, ("L1-dcache", "l1-d", "l1d", "L1-data")),
    (pe.PERF_COUNT_HW_CACHE_L1I, ("L1-icache", "l1-i", "l1i", "L1-instruction")),
    (pe.PERF_COUNT_HW_CACHE_LL, ("LLC", "L2")),
    (pe.PERF_COUNT_HW_CACHE_DTLB, ("dTLB", "d-tlb", "Data-TLB")),
    (pe.PERF_COUNT_HW_CACHE_ITLB, ("iTLB", "i-tlb", "Instruction-TLB")),
    (pe.PERF_COUNT_HW_CACHE_BPU, ("branch", "branches", "bpu", "btb", "bpc")),
    (pe.PERF_COUNT_HW_CACHE_NODE, ("node",)),
)
_OPERATIONS = {
    "load": pe.PERF_COUNT_HW_CACHE_OP_READ,
    "loads": pe.PERF_COUNT_HW_CACHE_OP_READ,
    "read": pe.PERF_COUNT_HW_CACHE_OP_READ,
    "store": pe.PERF_COUNT_HW_CACHE_OP_WRITE,
    "stores": pe.PERF_COUNT_HW_CACHE_OP_WRITE,
    "write": pe.PERF_COUNT_HW_CACHE_OP_WRITE,
    "prefetch": pe.PERF_COUNT_HW_CACHE_OP_PREFETCH,
    "prefetches": pe.PERF_COUNT_HW_CACHE_OP_PREFETCH,
    "speculative-read": pe.PERF_COUNT_HW_CACHE_OP_PREFETCH,
    "speculative-load": pe.PERF_COUNT_HW_CACHE_OP_PREFETCH,
}
_RESULTS = {
    "refs": pe.PERF_COUNT_HW_CACHE_RESULT_ACCESS,
    "reference": pe.PERF_COUNT_HW_CACHE_RESULT_ACCESS,
    "ops": pe.PERF_COUNT_HW_CACHE_RESULT_ACCESS,
    "access": pe.PERF_COUNT_HW_CACHE_RESULT_ACCESS,
    "misses": pe.PERF_COUNT_HW_CACHE_RESULT_MISS,
    "miss": pe.PERF_COUNT_HW_CACHE_RESULT_MISS,
}
# operations that exist (parse-events.c, hw_cache_stat): the rest are refused as perf refuses them
_READ_ONLY = {pe.PERF_COUNT_HW_CACHE_ITLB, pe.PERF_COUNT_HW_CACHE_BPU}


def find_cache_event(name: str) -> int | None:
    """config (id | op << 8 | result << 16) of a hardware-cache event name, or None when it is none.

    name: "L1-dcache-load-misses", "LLC-loads", "dTLB-store-misses", "branch-loads"...; without an operation a
    read, without a result an access.
    """
    lowered = name.lower()
    for cache, aliases in _CACHES:
        for alias in sorted(aliases, key=len, reverse=True):
            rest = lowered.removeprefix(alias.lower())
            if rest == lowered or (rest and rest[0] != "-"):
                continue
            operation, result = _split_cache_suffix(rest[1:])
            if operation is None or not rest:
                continue
            if cache in _READ_ONLY and operation != pe.PERF_COUNT_HW_CACHE_OP_READ:
                return None
            if cache == pe.PERF_COUNT_HW_CACHE_L1I and operation == pe.PERF_COUNT_HW_CACHE_OP_WRITE:
                return None
            return cache | operation << 8 | result << 16
    return None


def _split_cache_suffix(suffix: str) -> tuple[int | None, int]:
    """(operation, result) of "load-misses", "misses", "loads"; operation None when a word is unknown."""
    for word, operation in _OPERATIONS.items():
        if suffix == word:
            return operation, pe.PERF_COUNT_HW_CACHE_RESULT_ACCESS
        if suffix.startswith(word + "-") and suffix[len(word) + 1 :] in _RESULTS:
            return operation, _RESULTS[suffix[len(word) + 1 :]]
    if suffix in _RESULTS:
        return pe.PERF_COUNT_HW_CACHE_OP_READ, _RESULTS[suffix]
    return None, 0


def cache_event_names() -> list[str]:
    """The hardware-cache events as perf-list(1) names them."""
    names = []
    for cache, aliases in _CACHES:
        writable = cache not in _READ_ONLY and cache != pe.PERF_COUNT_HW_CACHE_L1I
        for operation in ("load", "store", "prefetch"):
            if operation != "load" and not writable:
                continue
            plural = "prefetches" if operation == "prefetch" else operation + "s"
            names += [f"{aliases[0]}-{plural}", f"{aliases[0]}-{operation}-misses"]
    return names


# Intel's architectural performance events, which CPUID leaf 0AH enumerates, as event | umask << 8, and
# the layout of
# IA32_PERFEVTSELx.  Source: Intel SDM volume 3B, section 20.2 (tables 20-1 and figure 20-1).  Used for
# `cpu/.../`
# when the kernel shows no sysfs folder of the CPU's PMU that would say the same.
INTEL_ARCHITECTURAL_EVENTS = {
    "cpu-cycles": 0x003C,
    "instructions": 0x00C0,
    "ref-cycles": 0x013C,
    "bus-cycles": 0x013C,
    "cache-references": 0x4F2E,
    "cache-misses": 0x412E,
    "branch-instructions": 0x00C4,
    "branch-misses": 0x00C5,
    "topdown-slots": 0x01A4,
}
INTEL_ARCHITECTURAL_FORMAT = {
    "event": "config:0-7",
    "umask": "config:8-15",
    "edge": "config:18",
    "pc": "config:19",
    "any": "config:21",
    "inv": "config:23",
    "cmask": "config:24-31",
}
