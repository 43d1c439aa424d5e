// What machine code, helpers and maps of the user-space eBPF machine share.  Python knows the layout of Vm, MapHead and
// ContextRow as well (src/linscope/bpf/vm/state.py); a test compares the two.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace linscope::bpf {

constexpr uint64_t kFrameBytes = 512;
constexpr uint64_t kSites = 2048;
constexpr uint64_t kReservations = 16;
constexpr uint64_t kHelpers = 256;
enum Fault : uint64_t { kNone, kRead, kWrite, kBudget, kDepth, kArgument, kBadCall, kHelperFailed };

struct ContextRow { // what the recording knows about one record
    uint64_t time_ns, pid_tgid, uid_gid;
    uint32_t cpu, kernel_stack, user_stack, spare; // stacks: rows of the stack table
    uint64_t cookie, ip, task, cgroup;
    char comm[16];
    uint64_t memory; // first << 32 | count: entries of Vm.memory that are known for this record only
};
static_assert(sizeof(ContextRow) == 96);

struct Region { uint64_t low, size, writable; };
struct Memory { uint64_t address, size, bytes; }; // of the recorded system, for probe_read
struct Function { uint64_t token, entry, slots; };
struct FaultEntry { uint64_t index, code, slot, address; };
struct Site { uint64_t low, size; }; // the value that an instruction found last
struct Map;

struct Vm {
    uint64_t rsp;
    int64_t budget;
    uint64_t budget_limit, budget_half;
    uint64_t fault, fault_slot, fault_address;
    uint64_t context, context_size, context_writable; // writable: bytes that may be written, 0 or all
    uint64_t packet, packet_size;
    uint64_t frame, stack_top, stack_lowest;
    uint64_t index, count, base, base_size, stride;
    const uint64_t *offsets;
    const uint32_t *sizes;
    uint64_t *results;
    uint32_t *faults;
    uint64_t nonzero, fault_count;
    FaultEntry *fault_log;
    uint64_t fault_log_size;
    const ContextRow *row;
    uint64_t row_stride;
    const uint64_t *stack_offsets, *stack_addresses;
    uint64_t stack_count, boot_offset_ns;
    Map **maps;
    uint64_t map_count;
    const Function *functions;
    uint64_t function_count;
    const Function *programs; // token: unused
    uint64_t program_count;
    uint64_t (*trampoline)(Vm *, uint64_t entry, uint64_t, uint64_t, uint64_t, uint64_t);
    uint64_t random, tail_calls, reserved_count;
    const Memory *memory;
    uint64_t memory_count, probe_faults;
    const Region *regions;
    uint64_t region_count, records_writable; // all bits or none
    uint64_t end, resume, packet_follows, least_size; // end of records at a stride; where machine code goes on after a fault
    uint64_t (*check)(Vm *, uint64_t, uint64_t);
    void (*end_fault)(Vm *);
    uint64_t memory_total; // entries of the table, with those of single records
    Region reservations[kReservations];
    uint64_t helpers[kHelpers];
    Site sites[2 * kSites]; // reading, then writing
};

// The head of a map, which Python reads too.
struct MapHead {
    uint64_t type, key_size, value_size, max_entries, flags, cpus;
    uint64_t values, values_bytes, value_stride;
    uint64_t keys, keys_bytes, key_stride;
    uint64_t count, dropped, used, writable; // used: bytes of a ring
};

struct Pool { // zeroed memory that is there when touched, and never moves
    explicit Pool(uint64_t bytes);
    ~Pool();
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;
    uint8_t *at = nullptr;
    uint64_t size;
};

struct Map : MapHead {
    Map(uint64_t type, uint64_t key_size, uint64_t value_size, uint64_t max_entries, uint64_t flags, uint64_t cpus,
        bool writable);

    uint8_t *lookup(const uint8_t *key, uint64_t cpu);
    int64_t update(const uint8_t *key, const uint8_t *value, uint64_t how, int64_t cpu); // cpu -1: value has all CPUs
    int64_t erase(const uint8_t *key);
    int64_t push(const uint8_t *value, uint64_t how);
    int64_t pop(uint8_t *value, bool keep);
    uint8_t *reserve(uint64_t size, uint32_t second);
    int64_t stack_id(const uint64_t *addresses, uint64_t n, uint64_t how);
    bool next(uint64_t &cursor, uint8_t *&key, uint8_t *&value, uint64_t cpu); // cursor from 0
    void clear();

    bool hashed() const;
    bool per_cpu() const;
    bool lru() const;

  private:
    uint8_t *key_at(uint32_t slot) const { return key_pool_.at + slot * key_stride; }
    uint8_t *value_at(uint32_t slot) const { return value_pool_.at + slot * slot_stride_; }
    uint32_t find(const uint8_t *key, uint32_t &bucket) const;
    uint32_t take_slot();
    void unlink(uint32_t slot);
    void touch(uint32_t slot);
    void detach(uint32_t slot);
    void write(uint32_t slot, const uint8_t *value, int64_t cpu, bool fresh);
    uint8_t *longest(const uint8_t *key, uint64_t cpu);
    bool prefix_key(const uint8_t *key, uint32_t bits, uint8_t *out) const;

    uint64_t slot_stride_;
    Pool value_pool_, key_pool_, next_pool_, bucket_pool_, live_pool_, newer_pool_, older_pool_;
    uint32_t *next_, *buckets_, *newer_, *older_; // slots from 1; 0 is none
    uint8_t *live_;
    uint32_t mask_ = 0, free_ = 0, top_ = 0, newest_ = 0, oldest_ = 0;
    uint64_t head_ = 0; // of a queue
    std::vector<uint32_t> prefixes_; // LPM: how many entries have a prefix of so many bits
};

uint64_t hash_bytes(const uint8_t *bytes, uint64_t size, uint64_t seed);
bool reachable(Vm *vm, uint64_t address, uint64_t size, bool write, Site *site);
struct Named { const char *name; uint64_t address; };
const std::vector<Named> &functions(); // helpers by name, and "check", "end_fault"

} // namespace linscope::bpf
