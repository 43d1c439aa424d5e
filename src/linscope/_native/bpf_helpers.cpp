// Helper functions of eBPF programs that run over a recording.  Each takes the machine and five registers and returns
// r0; a wrong argument that the kernel's verifier would have refused sets Vm::fault, and machine code ends the record.
// Results and error numbers: kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, kernel/bpf/ringbuf.c, bpf_iter.c.
#include "bpf_vm.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace linscope::bpf {
namespace {

constexpr uint64_t kMaxLoops = 8u << 20, kJiffyNs = 4000000; // HZ=250
constexpr uint64_t kBytesPerSlot = 16; // of memory that a helper goes through
constexpr uint64_t kArrayOfMapsType = 12, kHashOfMapsType = 13, kProgArrayType = 3, kRingbufType = 27, kPerfType = 4;
constexpr uint32_t kBusyBit = 1u << 31, kDiscardBit = 1u << 30, kMaxTailCalls = 33;
constexpr uint64_t kCurrentCpu = 0xFFFFFFFF, kUserStack = 1 << 8;

uint64_t failed(int error) { return static_cast<uint64_t>(static_cast<int64_t>(-error)); }
template <typename T> T *pointer(uint64_t address) { return reinterpret_cast<T *>(address); }

uint64_t fault(Vm *vm, Fault code, uint64_t address) {
    vm->fault = code;
    vm->fault_address = address;
    return 0;
}

bool spend(Vm *vm, uint64_t slots) {
    vm->budget -= static_cast<int64_t>(slots);
    return vm->budget >= 0 || fault(vm, kBudget, 0);
}

bool usable(Vm *vm, uint64_t address, uint64_t size, bool write) {
    if (size <= kFrameBytes && address - (vm->frame - kFrameBytes) <= kFrameBytes - size) return true;
    if (size == 0) return true;
    if (!reachable(vm, address, size, write, nullptr)) return fault(vm, write ? kWrite : kRead, address);
    return size <= kFrameBytes || spend(vm, size / kBytesPerSlot); // what takes long costs budget
}
bool readable(Vm *vm, uint64_t address, uint64_t size) { return usable(vm, address, size, false); }
bool writable(Vm *vm, uint64_t address, uint64_t size) { return usable(vm, address, size, true); }

Map *map_of(Vm *vm, uint64_t address) {
    for (uint64_t i = 0; i < vm->map_count; i++) {
        if (reinterpret_cast<uint64_t>(vm->maps[i]) == address) return vm->maps[i];
    }
    fault(vm, kArgument, address);
    return nullptr;
}

bool is_ring(const Map *map) { return map->type == kRingbufType || map->type == kPerfType; }

const Function *function_of(Vm *vm, uint64_t token) {
    for (uint64_t i = 0; i < vm->function_count; i++) {
        if (vm->functions[i].token == token) return &vm->functions[i];
    }
    fault(vm, kBadCall, token);
    return nullptr;
}

const Region *reservation(Vm *vm, uint64_t address) {
    for (uint64_t i = 0; i < vm->reserved_count; i++) {
        if (vm->reservations[i].low == address) return &vm->reservations[i];
    }
    fault(vm, kArgument, address);
    return nullptr;
}

#define HELPER(name)                                                                                                   \
    uint64_t name([[maybe_unused]] Vm *vm, [[maybe_unused]] uint64_t r1, [[maybe_unused]] uint64_t r2,                 \
                  [[maybe_unused]] uint64_t r3, [[maybe_unused]] uint64_t r4, [[maybe_unused]] uint64_t r5)

HELPER(map_lookup_elem) {
    Map *map = map_of(vm, r1);
    if (!map || !readable(vm, r2, map->key_size)) return 0;
    uint8_t *value = map->lookup(pointer<uint8_t>(r2), vm->row->cpu);
    if (value && (map->type == kArrayOfMapsType || map->type == kHashOfMapsType)) return *reinterpret_cast<uint64_t *>(value);
    return reinterpret_cast<uint64_t>(value);
}

// The same where the JIT knows that the map holds plain values, may be written, and that key and value are in the frame.
HELPER(plain_lookup) { return reinterpret_cast<uint64_t>(pointer<Map>(r1)->lookup(pointer<uint8_t>(r2), vm->row->cpu)); }
HELPER(plain_update) {
    return static_cast<uint64_t>(pointer<Map>(r1)->update(pointer<uint8_t>(r2), pointer<uint8_t>(r3), r4, vm->row->cpu));
}

HELPER(map_lookup_percpu_elem) {
    Map *map = map_of(vm, r1);
    if (!map || !readable(vm, r2, map->key_size) || !map->per_cpu() || r3 >= map->cpus) return 0;
    return reinterpret_cast<uint64_t>(map->lookup(pointer<uint8_t>(r2), r3));
}

HELPER(map_update_elem) {
    Map *map = map_of(vm, r1);
    if (!map || !readable(vm, r2, map->key_size) || !readable(vm, r3, map->value_size)) return 0;
    if (!map->writable || map->type == kProgArrayType || map->type == kArrayOfMapsType || map->type == kHashOfMapsType ||
        is_ring(map)) {
        return fault(vm, kArgument, r1); // only user space fills these
    }
    return static_cast<uint64_t>(map->update(pointer<uint8_t>(r2), pointer<uint8_t>(r3), r4, vm->row->cpu));
}

HELPER(map_delete_elem) {
    Map *map = map_of(vm, r1);
    if (!map || !readable(vm, r2, map->key_size)) return 0;
    if (!map->writable || !map->key_size || !(map->hashed() || map->values_bytes)) return fault(vm, kArgument, r1);
    return static_cast<uint64_t>(map->erase(pointer<uint8_t>(r2)));
}

HELPER(map_push_elem) {
    Map *map = map_of(vm, r1);
    if (!map || !readable(vm, r2, map->value_size)) return 0;
    if (map->key_size) return fault(vm, kArgument, r1);
    return static_cast<uint64_t>(map->push(pointer<uint8_t>(r2), r3));
}

uint64_t take(Vm *vm, uint64_t r1, uint64_t r2, bool keep) {
    Map *map = map_of(vm, r1);
    if (!map || !writable(vm, r2, map->value_size)) return 0;
    if (map->key_size) return fault(vm, kArgument, r1);
    return static_cast<uint64_t>(map->pop(pointer<uint8_t>(r2), keep));
}
HELPER(map_pop_elem) { return take(vm, r1, r2, false); }
HELPER(map_peek_elem) { return take(vm, r1, r2, true); }

// Calls a function of the program with the caller's frame above its own.
uint64_t call_back(Vm *vm, const Function *function, uint64_t frame, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    vm->frame = frame;
    return vm->trampoline(vm, function->entry, a, b, c, d);
}

HELPER(for_each_map_elem) {
    Map *map = map_of(vm, r1);
    const Function *function = map ? function_of(vm, r2) : nullptr;
    if (!function) return 0;
    if (r4 != 0) return failed(EINVAL);
    if (map->type != 2 && map->type != 6 && !map->hashed()) return fault(vm, kArgument, r1);
    uint64_t cursor = 0, n = 0, frame = vm->frame;
    uint8_t *key, *value;
    while (map->next(cursor, key, value, vm->row->cpu)) {
        n++;
        if (!spend(vm, function->slots)) return 0;
        uint64_t k = reinterpret_cast<uint64_t>(key), v = reinterpret_cast<uint64_t>(value);
        if (call_back(vm, function, frame, r1, k, v, r3)) break;
    }
    vm->frame = frame;
    return n;
}

HELPER(loop) {
    const Function *function = function_of(vm, r2);
    if (!function) return 0;
    if (r4 != 0) return failed(EINVAL);
    uint32_t rounds = static_cast<uint32_t>(r1);
    if (rounds > kMaxLoops) return failed(E2BIG);
    uint64_t frame = vm->frame, n = 0;
    while (n < rounds) {
        if (!spend(vm, function->slots)) return 0;
        uint64_t stop = call_back(vm, function, frame, n, r3, 0, 0);
        n++;
        if (stop) break;
    }
    vm->frame = frame;
    return n;
}

// The program to go on with: the address of its code, 0 when there is none (then r0 is 0).
HELPER(tail_call) {
    Map *map = map_of(vm, r2);
    if (!map) return 0;
    if (map->type != kProgArrayType) return fault(vm, kArgument, r2);
    uint32_t index = static_cast<uint32_t>(r3), number = 0;
    if (uint8_t *at = map->lookup(reinterpret_cast<uint8_t *>(&index), 0)) std::memcpy(&number, at, 4);
    if (number < 2 || number > vm->program_count || vm->tail_calls >= kMaxTailCalls) return 0;
    const Function &program = vm->programs[number - 1];
    if (!spend(vm, program.slots)) return 0;
    vm->tail_calls++;
    return program.entry;
}

HELPER(ktime_get_ns) { return vm->row->time_ns; }
HELPER(ktime_get_boot_ns) { return vm->row->time_ns + vm->boot_offset_ns; }
HELPER(jiffies64) { return vm->row->time_ns / kJiffyNs; }
HELPER(get_current_pid_tgid) { return vm->row->pid_tgid; }
HELPER(get_current_uid_gid) { return vm->row->uid_gid; }
HELPER(get_smp_processor_id) { return vm->row->cpu; }
HELPER(get_attach_cookie) { return vm->row->cookie; }
HELPER(get_func_ip) { return vm->row->ip; }
HELPER(get_current_task) { return vm->row->task; }
HELPER(get_current_cgroup_id) { return vm->row->cgroup; }
HELPER(zero) { return 0; }
HELPER(not_permitted) { return failed(EPERM); }
HELPER(not_supported) { return failed(EOPNOTSUPP); }

HELPER(get_current_comm) {
    uint64_t size = static_cast<uint32_t>(r2);
    if (size == 0) return failed(EINVAL);
    if (!writable(vm, r1, size)) return 0;
    std::memset(pointer<void>(r1), 0, size);
    std::memcpy(pointer<void>(r1), vm->row->comm, std::min<uint64_t>(size - 1, strnlen(vm->row->comm, 16)));
    return 0;
}

HELPER(get_prandom_u32) { // SplitMix64
    uint64_t z = vm->random += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return static_cast<uint32_t>((z ^ z >> 31) >> 32);
}

// Memory at an address of the recorded system or of this machine; nullptr when nobody knows it.
const uint8_t *known(Vm *vm, uint64_t address, uint64_t size) {
    auto find = [&](uint64_t first, uint64_t count) -> const uint8_t * {
        for (uint64_t i = first; i < first + count; i++) {
            const Memory &m = vm->memory[i];
            if (address >= m.address && size <= m.size && address - m.address <= m.size - size) {
                return pointer<const uint8_t>(m.bytes + (address - m.address));
            }
        }
        return nullptr;
    };
    uint64_t own = vm->row->memory, first = own >> 32, count = own & 0xFFFFFFFF;
    if (count && first + count <= vm->memory_total) {
        if (const uint8_t *found = find(first, count)) return found;
    }
    if (const uint8_t *found = find(0, vm->memory_count)) return found;
    return reachable(vm, address, size, false, nullptr) ? pointer<const uint8_t>(address) : nullptr;
}

HELPER(probe_read) {
    uint64_t size = static_cast<uint32_t>(r2);
    if (!writable(vm, r1, size)) return 0;
    const uint8_t *from = size ? known(vm, r3, size) : nullptr;
    if (from) {
        std::memmove(pointer<void>(r1), from, size);
        return 0;
    }
    if (size == 0) return 0;
    std::memset(pointer<void>(r1), 0, size);
    vm->probe_faults++;
    return failed(EFAULT);
}

HELPER(probe_read_str) {
    uint64_t size = static_cast<uint32_t>(r2);
    if (size == 0) return 0;
    if (!writable(vm, r1, size)) return 0;
    uint8_t *to = pointer<uint8_t>(r1);
    for (uint64_t n = 0; n < size; n++) {
        const uint8_t *from = known(vm, r3 + n, 1);
        if (!from) {
            std::memset(to, 0, size);
            vm->probe_faults++;
            return failed(EFAULT);
        }
        to[n] = n == size - 1 ? 0 : *from;
        if (to[n] == 0) return n + 1;
    }
    return size;
}

// The addresses of a record's stack, innermost first, after what the flags skip.
const uint64_t *stack_of(Vm *vm, uint64_t how, uint64_t &n) {
    uint64_t row = how & kUserStack ? vm->row->user_stack : vm->row->kernel_stack, skip = how & 0xFF;
    n = 0;
    if (row >= vm->stack_count) return nullptr;
    uint64_t begin = vm->stack_offsets[row], end = vm->stack_offsets[row + 1];
    if (begin + skip >= end) return nullptr;
    n = end - begin - skip;
    return vm->stack_addresses + begin + skip;
}

HELPER(get_stackid) {
    Map *map = map_of(vm, r2);
    if (!map) return 0;
    if (map->type != 7) return fault(vm, kArgument, r2);
    uint64_t n;
    const uint64_t *addresses = stack_of(vm, r3, n);
    return static_cast<uint64_t>(map->stack_id(addresses, n, r3));
}

HELPER(get_stack) {
    uint64_t size = static_cast<uint32_t>(r3), n;
    if (size % 8) return failed(EINVAL);
    if (!writable(vm, r2, size)) return 0;
    const uint64_t *addresses = stack_of(vm, r4, n);
    n = std::min(n, size / 8);
    std::memset(pointer<void>(r2), 0, size);
    if (n == 0) return failed(EFAULT);
    std::memcpy(pointer<void>(r2), addresses, n * 8);
    return n * 8;
}

HELPER(get_task_stack) { return r1 == vm->row->task ? get_stack(vm, r1, r2, r3, r4, r5) : failed(EOPNOTSUPP); }

HELPER(perf_event_output) {
    Map *map = map_of(vm, r2);
    if (!map || !readable(vm, r4, r5)) return 0;
    if (map->type != kPerfType) return fault(vm, kArgument, r2);
    uint32_t cpu = (r3 & kCurrentCpu) == kCurrentCpu ? vm->row->cpu : static_cast<uint32_t>(r3);
    if (r3 >> 32 || r5 > 65535) return failed(r3 >> 32 ? EINVAL : E2BIG);
    uint8_t *at = map->reserve(r5, cpu);
    if (!at) return failed(ENOSPC);
    std::memcpy(at, pointer<void>(r4), r5);
    *reinterpret_cast<uint32_t *>(at - 8) &= ~kBusyBit;
    return 0;
}

HELPER(ringbuf_output) {
    Map *map = map_of(vm, r1);
    if (!map || !readable(vm, r2, r3)) return 0;
    if (map->type != kRingbufType) return fault(vm, kArgument, r1);
    if (r4 & ~3ull) return failed(EINVAL);
    uint8_t *at = map->reserve(r3, 0);
    if (!at) return failed(EAGAIN);
    std::memcpy(at, pointer<void>(r2), r3);
    *reinterpret_cast<uint32_t *>(at - 8) &= ~kBusyBit;
    return 0;
}

HELPER(ringbuf_reserve) {
    Map *map = map_of(vm, r1);
    if (!map) return 0;
    if (map->type != kRingbufType) return fault(vm, kArgument, r1);
    if (r3 != 0 || vm->reserved_count == kReservations) return 0;
    uint8_t *at = map->reserve(r2, 0);
    if (at) vm->reservations[vm->reserved_count++] = {reinterpret_cast<uint64_t>(at), r2, 1};
    return reinterpret_cast<uint64_t>(at);
}

uint64_t release(Vm *vm, uint64_t address, uint32_t bits) {
    const Region *held = reservation(vm, address);
    if (!held) return 0;
    uint32_t &length = *pointer<uint32_t>(address - 8);
    length = (length & ~kBusyBit) | bits;
    vm->reservations[held - vm->reservations] = vm->reservations[--vm->reserved_count];
    return 0;
}
HELPER(ringbuf_submit) { return release(vm, r1, 0); }
HELPER(ringbuf_discard) { return release(vm, r1, kDiscardBit); }

// A dynamic pointer lies in the program's frame, where it could be forged: the memory that it names is checked anew.
struct Dynptr { uint64_t data; uint32_t size, offset; };
constexpr uint64_t kLargestDynptr = (1 << 24) - 1;

HELPER(dynptr_from_mem) {
    uint64_t size = static_cast<uint32_t>(r2);
    if (!writable(vm, r1, size) || !writable(vm, r4, sizeof(Dynptr))) return 0;
    bool fine = size <= kLargestDynptr && r3 == 0;
    *pointer<Dynptr>(r4) = fine ? Dynptr{r1, static_cast<uint32_t>(size), 0} : Dynptr{};
    return fine ? 0 : failed(r3 ? EINVAL : E2BIG);
}

HELPER(ringbuf_reserve_dynptr) {
    if (!writable(vm, r4, sizeof(Dynptr))) return 0;
    uint64_t data = ringbuf_reserve(vm, r1, static_cast<uint32_t>(r2), r3, 0, 0);
    *pointer<Dynptr>(r4) = data ? Dynptr{data, static_cast<uint32_t>(r2), 0} : Dynptr{};
    return data ? 0 : failed(EINVAL);
}

uint64_t release_dynptr(Vm *vm, uint64_t r1, uint32_t bits) {
    if (!writable(vm, r1, sizeof(Dynptr))) return 0;
    uint64_t data = pointer<Dynptr>(r1)->data;
    *pointer<Dynptr>(r1) = {};
    return data ? release(vm, data, bits) : 0;
}
HELPER(ringbuf_submit_dynptr) { return release_dynptr(vm, r1, 0); }
HELPER(ringbuf_discard_dynptr) { return release_dynptr(vm, r1, kDiscardBit); }

// The address of a part of what a dynamic pointer names; an error, negative, when it is not inside of it.
uint64_t part_of(Vm *vm, uint64_t at, uint64_t offset, uint64_t size, bool write) {
    if (!readable(vm, at, sizeof(Dynptr))) return 0;
    Dynptr whole = *pointer<Dynptr>(at);
    if (!whole.data) return failed(EINVAL);
    if (size > whole.size || offset > whole.size - size) return failed(E2BIG);
    uint64_t address = whole.data + whole.offset + offset;
    return usable(vm, address, size, write) ? address : 0;
}
bool is_error(uint64_t value) { return static_cast<int64_t>(value) < 0; }

HELPER(dynptr_read) {
    uint64_t size = static_cast<uint32_t>(r2);
    if (!writable(vm, r1, size)) return 0;
    uint64_t from = r5 ? failed(EINVAL) : part_of(vm, r3, static_cast<uint32_t>(r4), size, false);
    if (from == 0 || is_error(from)) return from;
    std::memmove(pointer<void>(r1), pointer<void>(from), size);
    return 0;
}

HELPER(dynptr_write) {
    uint64_t size = static_cast<uint32_t>(r4);
    if (!readable(vm, r3, size)) return 0;
    uint64_t to = r5 ? failed(EINVAL) : part_of(vm, r1, static_cast<uint32_t>(r2), size, true);
    if (to == 0 || is_error(to)) return to;
    std::memmove(pointer<void>(to), pointer<void>(r3), size);
    return 0;
}

HELPER(dynptr_data) {
    uint64_t found = part_of(vm, r1, static_cast<uint32_t>(r2), static_cast<uint32_t>(r3), true);
    return is_error(found) ? 0 : found;
}

HELPER(ringbuf_query) {
    Map *map = map_of(vm, r1);
    if (!map) return 0;
    const uint64_t answers[] = {map->used, map->max_entries, 0, map->used};
    return r2 < 4 ? answers[r2] : 0;
}

HELPER(strncmp) {
    uint64_t size = static_cast<uint32_t>(r2);
    if (!readable(vm, r1, size)) return 0;
    for (uint64_t i = 0; i < size; i++) {
        if (!readable(vm, r3 + i, 1)) return 0;
        int a = pointer<uint8_t>(r1)[i], b = pointer<uint8_t>(r3)[i];
        if (a != b) return static_cast<uint64_t>(static_cast<int64_t>(a < b ? -1 : 1));
        if (a == 0) break;
    }
    return 0;
}

HELPER(skb_load_bytes) {
    uint64_t offset = static_cast<uint32_t>(r2), size = static_cast<uint32_t>(r4);
    if (!writable(vm, r3, size)) return 0;
    if (offset <= vm->packet_size && size <= vm->packet_size - offset) {
        std::memmove(pointer<void>(r3), pointer<void>(vm->packet + offset), size);
        return 0;
    }
    std::memset(pointer<void>(r3), 0, size);
    return failed(EFAULT);
}

HELPER(get_ns_current_pid_tgid) {
    if (r4 != 8) return failed(EINVAL);
    if (!writable(vm, r3, 8)) return 0;
    uint32_t ids[] = {static_cast<uint32_t>(vm->row->pid_tgid), static_cast<uint32_t>(vm->row->pid_tgid >> 32)};
    std::memcpy(pointer<void>(r3), ids, 8);
    return 0;
}

// what: size, 1 << 8 for a write, 1 << 9 for a load that gives zero where it cannot read (then 2 is returned), and
// 1 << 16 times the site whose cache is to be filled.
uint64_t check(Vm *vm, uint64_t address, uint64_t what) {
    uint64_t size = what & 0xFF, write = what >> 8 & 1;
    if (reachable(vm, address, size, write, &vm->sites[what >> 16])) return 1;
    if (what >> 9 & 1) {
        vm->probe_faults++;
        return 2;
    }
    return fault(vm, write ? kWrite : kRead, address);
}

void end_fault(Vm *vm) {
    if (vm->faults) vm->faults[vm->index] = static_cast<uint32_t>(vm->fault);
    if (vm->fault_count < vm->fault_log_size) {
        vm->fault_log[vm->fault_count] = {vm->index, vm->fault, vm->fault_slot, vm->fault_address};
    }
    vm->fault_count++;
    vm->fault = kNone;
}

} // namespace

// All memory that a program may touch, in the order in which it is likely.
bool reachable(Vm *vm, uint64_t address, uint64_t size, bool write, Site *site) {
    auto within = [&](uint64_t low, uint64_t room) {
        return address >= low && size <= room && address - low <= room - size;
    };
    uint64_t lowest = vm->frame - kFrameBytes;
    if (within(lowest, vm->stack_top - lowest)) return true;
    if (within(vm->context, write ? vm->context_writable : vm->context_size)) return true;
    if (!write && within(vm->packet, vm->packet_size)) return true;
    for (uint64_t i = 0; i < vm->map_count; i++) {
        const Map *map = vm->maps[i];
        if (address - map->values < map->values_bytes && (map->writable || !write)) {
            uint64_t inside = (address - map->values) % map->value_stride;
            if (size > map->value_size || inside > map->value_size - size) return false;
            if (site) *site = {address - inside, map->value_size};
            return true;
        }
        if (!write && address - map->keys < map->keys_bytes) {
            uint64_t inside = (address - map->keys) % map->key_stride;
            return size <= map->key_size && inside <= map->key_size - size;
        }
    }
    for (uint64_t i = 0; i < vm->reserved_count; i++) {
        if (within(vm->reservations[i].low, vm->reservations[i].size)) return true;
    }
    for (uint64_t i = 0; i < vm->region_count; i++) {
        if ((vm->regions[i].writable || !write) && within(vm->regions[i].low, vm->regions[i].size)) return true;
    }
    return false;
}

#define ENTRY(name) {#name, reinterpret_cast<uint64_t>(&name)}
#define ALIAS(name, function) {#name, reinterpret_cast<uint64_t>(&function)}

const std::vector<Named> &functions() {
    static const std::vector<Named> all = {
        ENTRY(check), ENTRY(end_fault), ENTRY(plain_lookup), ENTRY(plain_update), ENTRY(map_lookup_elem), ENTRY(map_lookup_percpu_elem), ENTRY(map_update_elem),
        ENTRY(map_delete_elem), ENTRY(map_push_elem), ENTRY(map_pop_elem), ENTRY(map_peek_elem),
        ENTRY(for_each_map_elem), ENTRY(loop), ENTRY(tail_call), ENTRY(ktime_get_ns), ENTRY(ktime_get_boot_ns),
        ALIAS(ktime_get_coarse_ns, ktime_get_ns), ALIAS(ktime_get_tai_ns, ktime_get_boot_ns), ENTRY(jiffies64),
        ENTRY(get_current_pid_tgid), ENTRY(get_current_uid_gid), ENTRY(get_smp_processor_id), ENTRY(get_attach_cookie),
        ENTRY(get_func_ip), ENTRY(get_current_task), ALIAS(get_current_task_btf, get_current_task),
        ENTRY(get_current_cgroup_id), ENTRY(get_current_comm), ENTRY(get_prandom_u32), ALIAS(get_numa_node_id, zero),
        ENTRY(probe_read), ALIAS(probe_read_kernel, probe_read), ALIAS(probe_read_user, probe_read),
        ALIAS(copy_from_user, probe_read), ENTRY(probe_read_str), ALIAS(probe_read_kernel_str, probe_read_str),
        ALIAS(probe_read_user_str, probe_read_str), ENTRY(get_stackid), ENTRY(get_stack), ENTRY(perf_event_output),
        ENTRY(ringbuf_output), ENTRY(ringbuf_reserve), ENTRY(ringbuf_submit), ENTRY(ringbuf_discard),
        ENTRY(ringbuf_query), ENTRY(dynptr_from_mem), ENTRY(ringbuf_reserve_dynptr), ENTRY(ringbuf_submit_dynptr),
        ENTRY(ringbuf_discard_dynptr), ENTRY(dynptr_read), ENTRY(dynptr_write), ENTRY(dynptr_data),
        ENTRY(get_task_stack), ALIAS(xdp_load_bytes, skb_load_bytes), ALIAS(copy_from_user_task, probe_read), ENTRY(strncmp), ENTRY(skb_load_bytes), ENTRY(get_ns_current_pid_tgid),
        ALIAS(spin_lock, zero), ALIAS(spin_unlock, zero), ALIAS(probe_write_user, not_permitted),
        ALIAS(override_return, not_permitted), ALIAS(send_signal, not_permitted),
        ALIAS(send_signal_thread, not_permitted), ALIAS(perf_event_read, not_supported),
        ALIAS(perf_event_read_value, not_supported), ALIAS(perf_prog_read_value, not_supported),
        ALIAS(read_branch_records, not_supported), ALIAS(get_branch_snapshot, not_supported),
    };
    return all;
}

} // namespace linscope::bpf
