"""Constants and layouts of perf_event_open(2): include/uapi/linux/perf_event.h.

Names and values are the header's: Linux 6.1, plus what later kernels added (PERF_SAMPLE_BRANCH_COUNTERS,
config3, config4, aux_action, defer_callchain, defer_output, PERF_RECORD_CALLCHAIN_DEFERRED and
PERF_CONTEXT_USER_DEFERRED).
Plain integers only; nothing here asks the running kernel.
"""

from __future__ import annotations

# enum perf_type_id; a dynamic PMU has the number in its sysfs file `type`
PERF_TYPE_HARDWARE = 0
PERF_TYPE_SOFTWARE = 1
PERF_TYPE_TRACEPOINT = 2
PERF_TYPE_HW_CACHE = 3
PERF_TYPE_RAW = 4
PERF_TYPE_BREAKPOINT = 5
PERF_PMU_TYPE_SHIFT = 32  # config of HARDWARE and HW_CACHE on hybrid machines: PMU type in the upper half
PERF_HW_EVENT_MASK = 0xFFFFFFFF

# enum perf_hw_id
PERF_COUNT_HW_CPU_CYCLES = 0
PERF_COUNT_HW_INSTRUCTIONS = 1
PERF_COUNT_HW_CACHE_REFERENCES = 2
PERF_COUNT_HW_CACHE_MISSES = 3
PERF_COUNT_HW_BRANCH_INSTRUCTIONS = 4
PERF_COUNT_HW_BRANCH_MISSES = 5
PERF_COUNT_HW_BUS_CYCLES = 6
PERF_COUNT_HW_STALLED_CYCLES_FRONTEND = 7
PERF_COUNT_HW_STALLED_CYCLES_BACKEND = 8
PERF_COUNT_HW_REF_CPU_CYCLES = 9

# enum perf_hw_cache_id; config of PERF_TYPE_HW_CACHE is id | op << 8 | result << 16
PERF_COUNT_HW_CACHE_L1D = 0
PERF_COUNT_HW_CACHE_L1I = 1
PERF_COUNT_HW_CACHE_LL = 2
PERF_COUNT_HW_CACHE_DTLB = 3
PERF_COUNT_HW_CACHE_ITLB = 4
PERF_COUNT_HW_CACHE_BPU = 5
PERF_COUNT_HW_CACHE_NODE = 6

# enum perf_hw_cache_op_id
PERF_COUNT_HW_CACHE_OP_READ = 0
PERF_COUNT_HW_CACHE_OP_WRITE = 1
PERF_COUNT_HW_CACHE_OP_PREFETCH = 2

# enum perf_hw_cache_op_result_id
PERF_COUNT_HW_CACHE_RESULT_ACCESS = 0
PERF_COUNT_HW_CACHE_RESULT_MISS = 1

# enum perf_sw_ids
PERF_COUNT_SW_CPU_CLOCK = 0
PERF_COUNT_SW_TASK_CLOCK = 1
PERF_COUNT_SW_PAGE_FAULTS = 2
PERF_COUNT_SW_CONTEXT_SWITCHES = 3
PERF_COUNT_SW_CPU_MIGRATIONS = 4
PERF_COUNT_SW_PAGE_FAULTS_MIN = 5
PERF_COUNT_SW_PAGE_FAULTS_MAJ = 6
PERF_COUNT_SW_ALIGNMENT_FAULTS = 7
PERF_COUNT_SW_EMULATION_FAULTS = 8
PERF_COUNT_SW_DUMMY = 9
PERF_COUNT_SW_BPF_OUTPUT = 10
PERF_COUNT_SW_CGROUP_SWITCHES = 11

# enum perf_event_sample_format: the fields of a sample, in the order of sample_layout
PERF_SAMPLE_IP = 1 << 0
PERF_SAMPLE_TID = 1 << 1
PERF_SAMPLE_TIME = 1 << 2
PERF_SAMPLE_ADDR = 1 << 3
PERF_SAMPLE_READ = 1 << 4
PERF_SAMPLE_CALLCHAIN = 1 << 5
PERF_SAMPLE_ID = 1 << 6
PERF_SAMPLE_CPU = 1 << 7
PERF_SAMPLE_PERIOD = 1 << 8
PERF_SAMPLE_STREAM_ID = 1 << 9
PERF_SAMPLE_RAW = 1 << 10
PERF_SAMPLE_BRANCH_STACK = 1 << 11
PERF_SAMPLE_REGS_USER = 1 << 12
PERF_SAMPLE_STACK_USER = 1 << 13
PERF_SAMPLE_WEIGHT = 1 << 14
PERF_SAMPLE_DATA_SRC = 1 << 15
PERF_SAMPLE_IDENTIFIER = 1 << 16
PERF_SAMPLE_TRANSACTION = 1 << 17
PERF_SAMPLE_REGS_INTR = 1 << 18
PERF_SAMPLE_PHYS_ADDR = 1 << 19
PERF_SAMPLE_AUX = 1 << 20
PERF_SAMPLE_CGROUP = 1 << 21
PERF_SAMPLE_DATA_PAGE_SIZE = 1 << 22
PERF_SAMPLE_CODE_PAGE_SIZE = 1 << 23
PERF_SAMPLE_WEIGHT_STRUCT = 1 << 24
PERF_SAMPLE_WEIGHT_TYPE = PERF_SAMPLE_WEIGHT | PERF_SAMPLE_WEIGHT_STRUCT

# enum perf_branch_sample_type
PERF_SAMPLE_BRANCH_USER = 1 << 0
PERF_SAMPLE_BRANCH_KERNEL = 1 << 1
PERF_SAMPLE_BRANCH_HV = 1 << 2
PERF_SAMPLE_BRANCH_ANY = 1 << 3
PERF_SAMPLE_BRANCH_ANY_CALL = 1 << 4
PERF_SAMPLE_BRANCH_ANY_RETURN = 1 << 5
PERF_SAMPLE_BRANCH_IND_CALL = 1 << 6
PERF_SAMPLE_BRANCH_ABORT_TX = 1 << 7
PERF_SAMPLE_BRANCH_IN_TX = 1 << 8
PERF_SAMPLE_BRANCH_NO_TX = 1 << 9
PERF_SAMPLE_BRANCH_COND = 1 << 10
PERF_SAMPLE_BRANCH_CALL_STACK = 1 << 11
PERF_SAMPLE_BRANCH_IND_JUMP = 1 << 12
PERF_SAMPLE_BRANCH_CALL = 1 << 13
PERF_SAMPLE_BRANCH_NO_FLAGS = 1 << 14
PERF_SAMPLE_BRANCH_NO_CYCLES = 1 << 15
PERF_SAMPLE_BRANCH_TYPE_SAVE = 1 << 16
PERF_SAMPLE_BRANCH_HW_INDEX = 1 << 17
PERF_SAMPLE_BRANCH_PRIV_SAVE = 1 << 18
PERF_SAMPLE_BRANCH_COUNTERS = 1 << 19
PERF_SAMPLE_BRANCH_PLM_ALL = PERF_SAMPLE_BRANCH_USER | PERF_SAMPLE_BRANCH_KERNEL | PERF_SAMPLE_BRANCH_HV

# enum perf_sample_regs_abi
PERF_SAMPLE_REGS_ABI_NONE = 0
PERF_SAMPLE_REGS_ABI_32 = 1
PERF_SAMPLE_REGS_ABI_64 = 2

# enum perf_event_read_format
PERF_FORMAT_TOTAL_TIME_ENABLED = 1 << 0
PERF_FORMAT_TOTAL_TIME_RUNNING = 1 << 1
PERF_FORMAT_ID = 1 << 2
PERF_FORMAT_GROUP = 1 << 3
PERF_FORMAT_LOST = 1 << 4

# Sizes of struct perf_event_attr, as published
PERF_ATTR_SIZE_VER0 = 64
PERF_ATTR_SIZE_VER1 = 72  # config2
PERF_ATTR_SIZE_VER2 = 80  # branch_sample_type
PERF_ATTR_SIZE_VER3 = 96  # sample_regs_user, sample_stack_user, clockid
PERF_ATTR_SIZE_VER4 = 104  # sample_regs_intr
PERF_ATTR_SIZE_VER5 = 112  # aux_watermark, sample_max_stack
PERF_ATTR_SIZE_VER6 = 120  # aux_sample_size, aux_action
PERF_ATTR_SIZE_VER7 = 128  # sig_data
PERF_ATTR_SIZE_VER8 = 136  # config3
PERF_ATTR_SIZE_VER9 = 144  # config4

# struct perf_event_attr, whole: names in order, and the code for the struct module
PERF_ATTR_FORMAT = "IIQQQQQIIQQQQIiQIHHIIQQQ"
PERF_ATTR_FIELDS = (
    "type",
    "size",
    "config",
    "sample_period",  # union with sample_freq (attr bit `freq`)
    "sample_type",
    "read_format",
    "flags",  # the bit-field, ATTR_* below
    "wakeup_events",  # union with wakeup_watermark (attr bit `watermark`)
    "bp_type",
    "config1",  # union with bp_addr, kprobe_func, uprobe_path
    "config2",  # union with bp_len, kprobe_addr, probe_offset
    "branch_sample_type",
    "sample_regs_user",
    "sample_stack_user",
    "clockid",
    "sample_regs_intr",
    "aux_watermark",
    "sample_max_stack",
    "reserved_2",
    "aux_sample_size",
    "aux_action",
    "sig_data",
    "config3",
    "config4",
)

# The bit-field of struct perf_event_attr, (name, width) from bit 0 up (little-endian order of allocation; on
# big-endian machines the first name takes the top bit of the 64-bit word)
PERF_ATTR_FLAG_BITS = (
    ("disabled", 1),
    ("inherit", 1),
    ("pinned", 1),
    ("exclusive", 1),
    ("exclude_user", 1),
    ("exclude_kernel", 1),
    ("exclude_hv", 1),
    ("exclude_idle", 1),
    ("mmap", 1),
    ("comm", 1),
    ("freq", 1),
    ("inherit_stat", 1),
    ("enable_on_exec", 1),
    ("task", 1),
    ("watermark", 1),
    ("precise_ip", 2),
    ("mmap_data", 1),
    ("sample_id_all", 1),
    ("exclude_host", 1),
    ("exclude_guest", 1),
    ("exclude_callchain_kernel", 1),
    ("exclude_callchain_user", 1),
    ("mmap2", 1),
    ("comm_exec", 1),
    ("use_clockid", 1),
    ("context_switch", 1),
    ("write_backward", 1),
    ("namespaces", 1),
    ("ksymbol", 1),
    ("bpf_event", 1),
    ("aux_output", 1),
    ("cgroup", 1),
    ("text_poke", 1),
    ("build_id", 1),
    ("inherit_thread", 1),
    ("remove_on_exec", 1),
    ("sigtrap", 1),
    ("defer_callchain", 1),
    ("defer_output", 1),
)

# The same bits as masks for a little-endian machine
ATTR_DISABLED = 1 << 0
ATTR_INHERIT = 1 << 1
ATTR_PINNED = 1 << 2
ATTR_EXCLUSIVE = 1 << 3
ATTR_EXCLUDE_USER = 1 << 4
ATTR_EXCLUDE_KERNEL = 1 << 5
ATTR_EXCLUDE_HV = 1 << 6
ATTR_EXCLUDE_IDLE = 1 << 7
ATTR_MMAP = 1 << 8
ATTR_COMM = 1 << 9
ATTR_FREQ = 1 << 10
ATTR_INHERIT_STAT = 1 << 11
ATTR_ENABLE_ON_EXEC = 1 << 12
ATTR_TASK = 1 << 13
ATTR_WATERMARK = 1 << 14
ATTR_PRECISE_IP_SHIFT = 15  # two bits: 0 skid, 1 constant skid, 2 asked for zero skid, 3 must be zero
ATTR_MMAP_DATA = 1 << 17
ATTR_SAMPLE_ID_ALL = 1 << 18
ATTR_EXCLUDE_HOST = 1 << 19
ATTR_EXCLUDE_GUEST = 1 << 20
ATTR_EXCLUDE_CALLCHAIN_KERNEL = 1 << 21
ATTR_EXCLUDE_CALLCHAIN_USER = 1 << 22
ATTR_MMAP2 = 1 << 23
ATTR_COMM_EXEC = 1 << 24
ATTR_USE_CLOCKID = 1 << 25
ATTR_CONTEXT_SWITCH = 1 << 26
ATTR_WRITE_BACKWARD = 1 << 27
ATTR_NAMESPACES = 1 << 28
ATTR_KSYMBOL = 1 << 29
ATTR_BPF_EVENT = 1 << 30
ATTR_AUX_OUTPUT = 1 << 31
ATTR_CGROUP = 1 << 32
ATTR_TEXT_POKE = 1 << 33
ATTR_BUILD_ID = 1 << 34
ATTR_INHERIT_THREAD = 1 << 35
ATTR_REMOVE_ON_EXEC = 1 << 36
ATTR_SIGTRAP = 1 << 37
ATTR_DEFER_CALLCHAIN = 1 << 38
ATTR_DEFER_OUTPUT = 1 << 39

# ioctl requests on an event's descriptor (_IO('$', n) and kin; other on mips, powerpc, sparc)
PERF_EVENT_IOC_ENABLE = 0x2400
PERF_EVENT_IOC_DISABLE = 0x2401
PERF_EVENT_IOC_REFRESH = 0x2402
PERF_EVENT_IOC_RESET = 0x2403
PERF_EVENT_IOC_PERIOD = 0x40082404  # __u64 *
PERF_EVENT_IOC_SET_OUTPUT = 0x2405
PERF_EVENT_IOC_SET_FILTER = 0x40082406  # char *
PERF_EVENT_IOC_ID = 0x80082407  # __u64 *
PERF_EVENT_IOC_SET_BPF = 0x40042408
PERF_EVENT_IOC_PAUSE_OUTPUT = 0x40042409
PERF_EVENT_IOC_QUERY_BPF = 0xC008240A
PERF_EVENT_IOC_MODIFY_ATTRIBUTES = 0x4008240B
PERF_IOC_FLAG_GROUP = 1 << 0

# struct perf_event_mmap_page: byte offsets
MMAP_PAGE_CAPABILITIES = 40
MMAP_PAGE_TIME_SHIFT = 50  # u16
MMAP_PAGE_TIME_MULT = 52  # u32
MMAP_PAGE_TIME_OFFSET = 56
MMAP_PAGE_TIME_ZERO = 64
MMAP_PAGE_DATA_HEAD = 1024  # u64, written by the kernel, never wrapped
MMAP_PAGE_DATA_TAIL = 1032  # u64, written by user space
MMAP_PAGE_DATA_OFFSET = 1040
MMAP_PAGE_DATA_SIZE = 1048
MMAP_PAGE_AUX_HEAD = 1056
MMAP_PAGE_AUX_TAIL = 1064
MMAP_PAGE_AUX_OFFSET = 1072
MMAP_PAGE_AUX_SIZE = 1080

# perf_event_header.misc
PERF_RECORD_MISC_CPUMODE_MASK = 7
PERF_RECORD_MISC_CPUMODE_UNKNOWN = 0
PERF_RECORD_MISC_KERNEL = 1
PERF_RECORD_MISC_USER = 2
PERF_RECORD_MISC_HYPERVISOR = 3
PERF_RECORD_MISC_GUEST_KERNEL = 4
PERF_RECORD_MISC_GUEST_USER = 5
PERF_RECORD_MISC_PROC_MAP_PARSE_TIMEOUT = 1 << 12
PERF_RECORD_MISC_MMAP_DATA = 1 << 13  # MMAP, MMAP2
PERF_RECORD_MISC_COMM_EXEC = 1 << 13  # COMM
PERF_RECORD_MISC_FORK_EXEC = 1 << 13  # FORK
PERF_RECORD_MISC_SWITCH_OUT = 1 << 13  # SWITCH, SWITCH_CPU_WIDE
PERF_RECORD_MISC_EXACT_IP = 1 << 14  # SAMPLE
PERF_RECORD_MISC_SWITCH_OUT_PREEMPT = 1 << 14  # SWITCH, SWITCH_CPU_WIDE
PERF_RECORD_MISC_MMAP_BUILD_ID = 1 << 14  # MMAP2
PERF_RECORD_MISC_EXT_RESERVED = 1 << 15

# NAMESPACES: index of link_info[]
NET_NS_INDEX = 0
UTS_NS_INDEX = 1
IPC_NS_INDEX = 2
PID_NS_INDEX = 3
USER_NS_INDEX = 4
MNT_NS_INDEX = 5
CGROUP_NS_INDEX = 6

# enum perf_event_type: struct perf_event_header {u32 type; u16 misc; u16 size;} precedes each record
PERF_RECORD_MMAP = 1
PERF_RECORD_LOST = 2
PERF_RECORD_COMM = 3
PERF_RECORD_EXIT = 4
PERF_RECORD_THROTTLE = 5
PERF_RECORD_UNTHROTTLE = 6
PERF_RECORD_FORK = 7
PERF_RECORD_READ = 8
PERF_RECORD_SAMPLE = 9
PERF_RECORD_MMAP2 = 10
PERF_RECORD_AUX = 11
PERF_RECORD_ITRACE_START = 12
PERF_RECORD_LOST_SAMPLES = 13
PERF_RECORD_SWITCH = 14
PERF_RECORD_SWITCH_CPU_WIDE = 15
PERF_RECORD_NAMESPACES = 16
PERF_RECORD_KSYMBOL = 17
PERF_RECORD_BPF_EVENT = 18
PERF_RECORD_CGROUP = 19
PERF_RECORD_TEXT_POKE = 20
PERF_RECORD_AUX_OUTPUT_HW_ID = 21
PERF_RECORD_CALLCHAIN_DEFERRED = 22

# enum perf_record_ksymbol_type
PERF_RECORD_KSYMBOL_TYPE_UNKNOWN = 0
PERF_RECORD_KSYMBOL_TYPE_BPF = 1
PERF_RECORD_KSYMBOL_TYPE_OOL = 2
PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER = 1 << 0

# enum perf_bpf_event_type
PERF_BPF_EVENT_UNKNOWN = 0
PERF_BPF_EVENT_PROG_LOAD = 1
PERF_BPF_EVENT_PROG_UNLOAD = 2

PERF_MAX_STACK_DEPTH = 127
PERF_MAX_CONTEXTS_PER_STACK = 8

# enum perf_callchain_context: markers in a call chain, as unsigned 64-bit values
PERF_CONTEXT_HV = 2**64 - 32
PERF_CONTEXT_KERNEL = 2**64 - 128
PERF_CONTEXT_USER = 2**64 - 512
PERF_CONTEXT_USER_DEFERRED = 2**64 - 640
PERF_CONTEXT_GUEST = 2**64 - 2048
PERF_CONTEXT_GUEST_KERNEL = 2**64 - 2176
PERF_CONTEXT_GUEST_USER = 2**64 - 2560
PERF_CONTEXT_MAX = 2**64 - 4095

# AUX record flags
PERF_AUX_FLAG_TRUNCATED = 0x01
PERF_AUX_FLAG_OVERWRITE = 0x02
PERF_AUX_FLAG_PARTIAL = 0x04
PERF_AUX_FLAG_COLLISION = 0x08
PERF_AUX_FLAG_PMU_FORMAT_TYPE_MASK = 0xFF00

# flags argument of perf_event_open
PERF_FLAG_FD_NO_GROUP = 1 << 0
PERF_FLAG_FD_OUTPUT = 1 << 1
PERF_FLAG_PID_CGROUP = 1 << 2
PERF_FLAG_FD_CLOEXEC = 1 << 3

# enum { PERF_BR_* }: branch type, 4 bits of struct perf_branch_entry
PERF_BR_NAMES = (
    "UNKNOWN",
    "COND",
    "UNCOND",
    "IND",
    "CALL",
    "IND_CALL",
    "RET",
    "SYSCALL",
    "SYSRET",
    "COND_CALL",
    "COND_RET",
    "ERET",
    "IRQ",
    "SERROR",
    "NO_TX",
    "EXTEND_ABI",
)

# struct perf_branch_entry {u64 from, to; u64 flags;}: lowest bit and width in flags
PERF_BRANCH_FLAG_BITS = {
    "mispred": (0, 1),
    "predicted": (1, 1),
    "in_tx": (2, 1),
    "abort": (3, 1),
    "cycles": (4, 16),
    "type": (20, 4),
    "spec": (24, 2),
    "new_type": (26, 4),
    "priv": (30, 3),
}

# union perf_mem_data_src (PERF_SAMPLE_DATA_SRC): lowest bit and width
PERF_MEM_BITS = {
    "mem_op": (0, 5),
    "mem_lvl": (5, 14),
    "mem_snoop": (19, 5),
    "mem_lock": (24, 2),
    "mem_dtlb": (26, 7),
    "mem_lvl_num": (33, 4),
    "mem_remote": (37, 1),
    "mem_snoopx": (38, 2),
    "mem_blk": (40, 3),
    "mem_hops": (43, 3),
}

# hardware breakpoints: bp_type and bp_len (include/uapi/linux/hw_breakpoint.h)
HW_BREAKPOINT_R = 1
HW_BREAKPOINT_W = 2
HW_BREAKPOINT_RW = 3
HW_BREAKPOINT_X = 4
