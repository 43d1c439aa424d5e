// Maps of the user-space eBPF machine.  Values never move: a program keeps their addresses.  Results and error numbers
// are those of the kernel's maps (kernel/bpf/hashtab.c, arraymap.c, lpm_trie.c, queue_stack_maps.c, bloom_filter.c,
// stackmap.c, ringbuf.c); the LRU map is exact where the kernel's is approximate.
#include "bpf_vm.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

namespace linscope::bpf {
namespace {

// enum bpf_map_type, include/uapi/linux/bpf.h
enum : uint64_t {
    kHash = 1, kArray, kProgArray, kPerfEventArray, kPerCpuHash, kPerCpuArray, kStackTrace, kLruHash = 9,
    kLruPerCpuHash, kLpmTrie, kArrayOfMaps, kHashOfMaps, kQueue = 22, kStack, kRingbuf = 27, kBloomFilter = 30,
};
constexpr uint64_t kNoExist = 1, kExist = 2, kReuseStackId = 1 << 10, kFastStackCompare = 1 << 9;
constexpr uint64_t kLargestPool = 1ull << 36, kRingHeader = 8;
constexpr uint32_t kBusy = 1u << 31;

uint64_t round8(uint64_t n) { return (n + 7) & ~7ull; }

bool is_per_cpu(uint64_t type) { return type == kPerCpuHash || type == kPerCpuArray || type == kLruPerCpuHash; }
bool is_hashed(uint64_t type) {
    return type == kHash || type == kPerCpuHash || type == kLruHash || type == kLruPerCpuHash || type == kLpmTrie ||
           type == kHashOfMaps;
}
bool is_ring(uint64_t type) { return type == kRingbuf || type == kPerfEventArray; }

uint64_t pool_bytes(const MapHead &m, uint64_t slot_stride) {
    if (is_ring(m.type)) return m.max_entries; // bytes, as the kernel counts a ring buffer
    if (m.type == kBloomFilter) return std::max<uint64_t>(std::bit_ceil(m.max_entries * 8) / 8, 8);
    if (m.type == kStackTrace) return std::bit_ceil(m.max_entries) * m.value_stride;
    return m.max_entries * slot_stride;
}

bool equal(const uint8_t *a, const uint8_t *b, uint64_t n) {
    if (n == 8) {
        uint64_t x, y;
        std::memcpy(&x, a, 8), std::memcpy(&y, b, 8);
        return x == y;
    }
    if (n == 4) {
        uint32_t x, y;
        std::memcpy(&x, a, 4), std::memcpy(&y, b, 4);
        return x == y;
    }
    return std::memcmp(a, b, n) == 0;
}

uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

} // namespace

uint64_t hash_bytes(const uint8_t *bytes, uint64_t size, uint64_t seed) {
    uint64_t hash = seed ^ size * 0x9E3779B97F4A7C15ull;
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        std::memcpy(&word, bytes, 8);
        hash = mix(hash ^ word, 0xA0761D6478BD642Full);
    }
    if (size != 0) {
        uint64_t word = 0;
        if (size == 4) {
            uint32_t half;
            std::memcpy(&half, bytes, 4);
            word = half;
        } else {
            std::memcpy(&word, bytes, size);
        }
        hash = mix(hash ^ word, 0xE7037ED1A0B428DBull);
    }
    return hash ^ hash >> 32;
}

Pool::Pool(uint64_t bytes) : size(bytes) {
    if (bytes == 0) return;
    if (bytes > kLargestPool) throw std::bad_alloc();
    void *got = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) throw std::bad_alloc();
    at = static_cast<uint8_t *>(got);
}

Pool::~Pool() {
    if (at) munmap(at, size);
}

Map::Map(uint64_t type_, uint64_t key, uint64_t value, uint64_t entries, uint64_t flags_, uint64_t cpus_, bool may_write)
    : MapHead{type_, key, value, entries, flags_, is_per_cpu(type_) ? cpus_ : 1, 0, 0, round8(value), 0, 0,
              std::max<uint64_t>(round8(key), 8), 0, 0, 0, may_write},
      slot_stride_(value_stride * cpus), value_pool_(pool_bytes(*this, slot_stride_)),
      key_pool_(hashed() ? entries * key_stride : 8), next_pool_(hashed() ? (entries + 1) * 4 : 0),
      bucket_pool_(hashed() ? std::bit_ceil(entries * 2) * 4 : 0),
      live_pool_(type_ == kStackTrace ? std::bit_ceil(entries) : hashed() ? entries + 1 : 0),
      newer_pool_(lru() ? (entries + 1) * 4 : 0), older_pool_(lru() ? (entries + 1) * 4 : 0),
      next_(reinterpret_cast<uint32_t *>(next_pool_.at)), buckets_(reinterpret_cast<uint32_t *>(bucket_pool_.at)),
      newer_(reinterpret_cast<uint32_t *>(newer_pool_.at)), older_(reinterpret_cast<uint32_t *>(older_pool_.at)),
      live_(live_pool_.at) {
    if (hashed()) mask_ = static_cast<uint32_t>(std::bit_ceil(entries * 2) - 1);
    keys = reinterpret_cast<uint64_t>(key_pool_.at);
    keys_bytes = key_size ? key_pool_.size : 0;
    bool opaque = type == kProgArray || type == kArrayOfMaps || type == kHashOfMaps || is_ring(type) ||
                  type == kBloomFilter || type == kStackTrace || type == kQueue || type == kStack;
    values = reinterpret_cast<uint64_t>(value_pool_.at);
    values_bytes = opaque ? 0 : value_pool_.size; // what a program may point into
    if (type == kLpmTrie) prefixes_.resize((key_size - 4) * 8 + 1);
}

bool Map::hashed() const { return is_hashed(type); }
bool Map::per_cpu() const { return is_per_cpu(type); }
bool Map::lru() const { return type == kLruHash || type == kLruPerCpuHash; }

uint32_t Map::find(const uint8_t *key, uint32_t &bucket) const {
    bucket = static_cast<uint32_t>(hash_bytes(key, key_size, 0)) & mask_;
    uint32_t slot = buckets_[bucket];
    while (slot != 0 && !equal(key_at(slot - 1), key, key_size)) slot = next_[slot];
    return slot;
}

void Map::detach(uint32_t slot) { // from the list of uses
    (newer_[slot] ? older_[newer_[slot]] : newest_) = older_[slot];
    (older_[slot] ? newer_[older_[slot]] : oldest_) = newer_[slot];
}

void Map::touch(uint32_t slot) {
    if (newest_ == slot) return;
    if (newer_[slot] || oldest_ == slot) detach(slot);
    newer_[slot] = 0;
    older_[slot] = newest_;
    (newest_ ? newer_[newest_] : oldest_) = slot;
    newest_ = slot;
}

void Map::unlink(uint32_t slot) {
    uint32_t *link = &buckets_[static_cast<uint32_t>(hash_bytes(key_at(slot - 1), key_size, 0)) & mask_];
    while (*link != slot) link = &next_[*link];
    *link = next_[slot];
    if (lru()) {
        detach(slot);
        newer_[slot] = older_[slot] = 0;
    }
    live_[slot] = 0;
    next_[slot] = free_;
    free_ = slot;
    count--;
}

uint32_t Map::take_slot() {
    if (count == max_entries) {
        if (!lru()) return 0;
        unlink(oldest_);
    }
    uint32_t slot = free_;
    if (slot) {
        free_ = next_[slot];
    } else {
        slot = ++top_;
    }
    count++;
    live_[slot] = 1;
    return slot;
}

void Map::write(uint32_t slot, const uint8_t *value, int64_t cpu, bool fresh) {
    uint8_t *to = value_at(slot);
    if (!per_cpu()) {
        std::memmove(to, value, value_size);
    } else if (cpu >= 0) { // a program writes its own CPU's value; the others of a new element are zero
        if (fresh) std::memset(to, 0, slot_stride_);
        std::memcpy(to + static_cast<uint64_t>(cpu) * value_stride, value, value_size);
    } else {
        std::memcpy(to, value, slot_stride_);
    }
}

// The key as it is stored: bits of prefix, then the data with everything after the prefix cleared.
bool Map::prefix_key(const uint8_t *key, uint32_t bits, uint8_t *out) const {
    uint64_t data = key_size - 4;
    if (bits > data * 8) return false;
    std::memset(out, 0, key_size);
    std::memcpy(out, &bits, 4);
    std::memcpy(out + 4, key + 4, (bits + 7) / 8);
    if (bits % 8) out[4 + bits / 8] &= static_cast<uint8_t>(0xFF00 >> bits % 8);
    return true;
}

uint8_t *Map::longest(const uint8_t *key, uint64_t cpu) {
    uint32_t bits, bucket;
    std::memcpy(&bits, key, 4);
    uint8_t stored[260];
    for (int64_t n = std::min<int64_t>(bits, static_cast<int64_t>(prefixes_.size()) - 1); n >= 0; n--) {
        if (prefixes_[static_cast<size_t>(n)] == 0) continue;
        prefix_key(key, static_cast<uint32_t>(n), stored);
        if (uint32_t slot = find(stored, bucket)) return value_at(slot - 1) + cpu * value_stride;
    }
    return nullptr;
}

uint8_t *Map::lookup(const uint8_t *key, uint64_t cpu) {
    if (cpu >= cpus) cpu = 0; // no per-CPU map, or a CPU that the recording was not said to have
    if (hashed()) {
        if (type == kLpmTrie) return longest(key, cpu);
        uint32_t bucket, slot = find(key, bucket);
        if (slot == 0) return nullptr;
        if (lru()) touch(slot);
        return value_at(slot - 1) + cpu * value_stride;
    }
    if (is_ring(type) || type == kQueue || type == kStack || type == kBloomFilter) return nullptr;
    uint32_t index;
    std::memcpy(&index, key, 4);
    if (type == kStackTrace) return index < live_pool_.size && live_[index] ? value_pool_.at + index * value_stride : nullptr;
    return index < max_entries ? value_at(index) + cpu * value_stride : nullptr;
}

int64_t Map::update(const uint8_t *key, const uint8_t *value, uint64_t how, int64_t cpu) {
    how &= ~4ull; // BPF_F_LOCK
    if (how > kExist || is_ring(type) || type == kStackTrace) return -EINVAL;
    if (cpu >= static_cast<int64_t>(cpus)) cpu = 0;
    if (!hashed()) {
        uint32_t index;
        if (key_size != 4) return push(value, how);
        std::memcpy(&index, key, 4);
        if (index >= max_entries) return -E2BIG;
        if (how == kNoExist) return -EEXIST;
        write(index, value, cpu, false);
        return 0;
    }
    uint8_t stored[260];
    if (type == kLpmTrie) {
        uint32_t bits;
        std::memcpy(&bits, key, 4);
        if (!prefix_key(key, bits, stored)) return -EINVAL;
        key = stored;
    }
    uint32_t bucket, slot = find(key, bucket);
    if (slot == 0) {
        if (how == kExist) return -ENOENT;
        slot = take_slot();
        if (slot == 0) return type == kLpmTrie ? -ENOSPC : -E2BIG;
        std::memcpy(key_at(slot - 1), key, key_size);
        next_[slot] = buckets_[bucket];
        buckets_[bucket] = slot;
        if (type == kLpmTrie) {
            uint32_t bits;
            std::memcpy(&bits, key, 4);
            prefixes_[bits]++;
        }
        write(slot - 1, value, cpu, true);
    } else {
        if (how == kNoExist) return -EEXIST;
        write(slot - 1, value, cpu, false);
    }
    if (lru()) touch(slot);
    return 0;
}

int64_t Map::erase(const uint8_t *key) {
    if (type == kStackTrace) {
        uint32_t id;
        std::memcpy(&id, key, 4);
        if (id >= live_pool_.size) return -E2BIG;
        if (!live_[id]) return -ENOENT;
        live_[id] = 0;
        count--;
        return 0;
    }
    if ((type == kProgArray || type == kArrayOfMaps) && lookup(key, 0)) {
        std::memset(lookup(key, 0), 0, value_stride);
        return 0;
    }
    if (!hashed()) return -EINVAL;
    uint8_t stored[260];
    uint32_t bits;
    if (type == kLpmTrie) {
        std::memcpy(&bits, key, 4);
        if (!prefix_key(key, bits, stored)) return -EINVAL;
        key = stored;
    }
    uint32_t bucket, slot = find(key, bucket);
    if (slot == 0) return -ENOENT;
    if (type == kLpmTrie) prefixes_[bits]--;
    unlink(slot);
    return 0;
}

int64_t Map::push(const uint8_t *value, uint64_t how) {
    if (type == kBloomFilter) {
        if (how > kExist) return -EINVAL;
        uint64_t bits = value_pool_.size * 8;
        for (uint64_t n = 0; n < 5; n++) {
            uint64_t bit = hash_bytes(value, value_size, n + 1) & (bits - 1);
            value_pool_.at[bit / 8] |= static_cast<uint8_t>(1 << bit % 8);
        }
        return 0;
    }
    if ((type != kQueue && type != kStack) || (how != 0 && how != kExist)) return -EINVAL;
    if (count == max_entries) {
        if (how != kExist) return -E2BIG;
        head_ = (head_ + 1) % max_entries; // the oldest makes room
        count--;
    }
    std::memcpy(value_at(static_cast<uint32_t>((head_ + count++) % max_entries)), value, value_size);
    return 0;
}

int64_t Map::pop(uint8_t *value, bool keep) {
    if (type == kBloomFilter && keep) {
        uint64_t bits = value_pool_.size * 8;
        for (uint64_t n = 0; n < 5; n++) {
            uint64_t bit = hash_bytes(value, value_size, n + 1) & (bits - 1);
            if (!(value_pool_.at[bit / 8] >> bit % 8 & 1)) return -ENOENT;
        }
        return 0;
    }
    if (type != kQueue && type != kStack) return -EOPNOTSUPP;
    if (count == 0) {
        std::memset(value, 0, value_size);
        return -ENOENT;
    }
    uint64_t at = type == kQueue ? head_ : (head_ + count - 1) % max_entries;
    std::memcpy(value, value_at(static_cast<uint32_t>(at)), value_size);
    if (keep) return 0;
    if (type == kQueue) head_ = (head_ + 1) % max_entries;
    count--;
    return 0;
}

// Room for a record of a ring: a header of its length (busy until it is submitted) and a second word, then the data.
uint8_t *Map::reserve(uint64_t size, uint32_t second) {
    uint64_t whole = kRingHeader + round8(size);
    if (size >= kBusy >> 1 || whole > value_pool_.size - used) {
        dropped++;
        return nullptr;
    }
    uint8_t *at = value_pool_.at + used;
    uint32_t length = static_cast<uint32_t>(size) | kBusy;
    std::memcpy(at, &length, 4);
    std::memcpy(at + 4, &second, 4);
    used += whole;
    count++;
    return at + kRingHeader;
}

// include/linux/jhash.h, jhash2: stacks have the numbers that they have in the kernel, where programs see these.
uint32_t jhash2(const uint32_t *k, uint32_t length) {
    uint32_t a = 0xdeadbeef + (length << 2), b = a, c = a;
    auto mix = [](uint32_t &x, uint32_t &y, uint32_t z, int by) { x -= y, x ^= y << by | y >> (32 - by), y += z; };
    auto end = [](uint32_t &x, uint32_t y, int by) { x = (x ^ y) - (y << by | y >> (32 - by)); };
    for (; length > 3; length -= 3, k += 3) {
        a += k[0], b += k[1], c += k[2];
        mix(a, c, b, 4), mix(b, a, c, 6), mix(c, b, a, 8), mix(a, c, b, 16), mix(b, a, c, 19), mix(c, b, a, 4);
    }
    if (length == 0) return c;
    a += k[0], b += length >= 2 ? k[1] : 0, c += length == 3 ? k[2] : 0;
    end(c, b, 14), end(a, c, 11), end(b, a, 25), end(c, b, 16), end(a, c, 4), end(b, a, 14), end(c, b, 24);
    return c;
}

int64_t Map::stack_id(const uint64_t *addresses, uint64_t n, uint64_t how) {
    n = std::min(n, value_size / 8);
    if (n == 0) return -EFAULT;
    auto *bytes = reinterpret_cast<const uint8_t *>(addresses);
    uint64_t id = jhash2(reinterpret_cast<const uint32_t *>(addresses), static_cast<uint32_t>(n * 2)) & (live_pool_.size - 1);
    uint8_t *at = value_pool_.at + id * value_stride;
    bool same = live_[id] && std::memcmp(at, bytes, n * 8) == 0 &&
                std::all_of(at + n * 8, at + value_size, [](uint8_t byte) { return byte == 0; });
    if (same || (live_[id] && how & kFastStackCompare)) return static_cast<int64_t>(id);
    if (live_[id] && !(how & kReuseStackId)) {
        dropped++;
        return -EEXIST;
    }
    count += !live_[id];
    live_[id] = 1;
    std::memset(at, 0, value_stride);
    std::memcpy(at, bytes, n * 8);
    return static_cast<int64_t>(id);
}

bool Map::next(uint64_t &cursor, uint8_t *&key, uint8_t *&value, uint64_t cpu) {
    if (cpu >= cpus) cpu = 0;
    uint64_t end = hashed() ? top_ : type == kStackTrace ? live_pool_.size : max_entries;
    if (is_ring(type) || type == kQueue || type == kStack || type == kBloomFilter) end = 0;
    while (cursor < end) {
        uint64_t at = cursor++;
        if (live_ && !live_[hashed() ? at + 1 : at]) continue;
        if (hashed()) {
            key = key_at(static_cast<uint32_t>(at));
        } else { // the index of an array, in a place of its own
            uint32_t index = static_cast<uint32_t>(at);
            std::memcpy(key_pool_.at, &index, 4);
            key = key_pool_.at;
        }
        value = value_at(static_cast<uint32_t>(at)) + cpu * value_stride;
        return true;
    }
    return false;
}

void Map::clear() {
    for (Pool *pool : {&value_pool_, &key_pool_, &next_pool_, &bucket_pool_, &live_pool_, &newer_pool_, &older_pool_}) {
        if (pool->at) madvise(pool->at, pool->size, MADV_DONTNEED); // private anonymous pages read as zero again
    }
    free_ = top_ = newest_ = oldest_ = 0;
    head_ = count = dropped = used = 0;
    std::fill(prefixes_.begin(), prefixes_.end(), 0);
}

} // namespace linscope::bpf
