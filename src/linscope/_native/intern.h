// Tables that give equal keys one small number: the tree of stacks, and pairs of integers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace linscope {

// After large tables were freed: what malloc keeps of them for later goes back to the system.
inline void give_back_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

inline uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t h = (a ^ (b * 0x9E3779B97F4A7C15ull)) * 0xD6E8FEB86659FD93ull;
    return h ^ (h >> 32);
}

// Open addressing over entries that live elsewhere; holds entry numbers + 1.
class Slots {
  public:
    explicit Slots(size_t capacity = 1024) : slots_(capacity, 0), mask_(capacity - 1) {}

    // Returns the entry for which same(entry) holds, or adds `next`; `hash_of` rehashes entries when the table grows.
    template <typename Same, typename HashOf>
    uint32_t find_or_add(uint64_t hash, uint32_t next, Same same, HashOf hash_of) {
        size_t i = hash & mask_;
        while (slots_[i] != 0) {
            uint32_t entry = slots_[i] - 1;
            if (same(entry)) {
                return entry;
            }
            i = (i + 1) & mask_;
        }
        if (next >= 0xFFFFFFF0u) {
            throw std::overflow_error("more than 2^32 distinct stacks");
        }
        slots_[i] = next + 1;
        if (++used_ * 3 > slots_.size() * 2) {
            grow(hash_of);
        }
        return next;
    }
    void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }
    // The entry that is most likely meant, or -1: for prefetching it.
    int64_t guess(uint64_t hash) const { return static_cast<int64_t>(slots_[hash & mask_]) - 1; }

  private:
    template <typename HashOf> void grow(HashOf hash_of) {
        std::vector<uint32_t> old(slots_.size() * 2, 0);
        old.swap(slots_);
        mask_ = slots_.size() - 1;
        for (uint32_t value : old) {
            if (value != 0) {
                size_t i = hash_of(value - 1) & mask_;
                while (slots_[i] != 0) {
                    i = (i + 1) & mask_;
                }
                slots_[i] = value;
            }
        }
    }

    std::vector<uint32_t> slots_;
    size_t mask_;
    size_t used_ = 0;
};

// Distinct pairs, numbered as they first appear.
template <typename A, typename B> class PairTable {
  public:
    std::vector<A> first;
    std::vector<B> second;

    uint32_t next() const { return static_cast<uint32_t>(first.size()); }
    void push(A a, B b) {
        first.push_back(a);
        second.push_back(b);
    }
    uint32_t number(A a, B b) {
        uint32_t added = next();
        uint32_t found = slots_.find_or_add(
            mix(a, b), added, [&](uint32_t n) { return first[n] == a && second[n] == b; },
            [&](uint32_t n) { return n == added ? mix(a, b) : mix(first[n], second[n]); });
        if (found == added) {
            push(a, b);
        }
        return found;
    }

  private:
    Slots slots_;
};

// From the 96-bit hash of a whole chain to the node it led to.  Chains are not kept for comparison: among a million of
// them two have the same hash once in 10^17 recordings.
class ChainCache {
  public:
    struct Key {
        uint64_t hash; // never 0
        uint32_t check;
    };
    ChainCache() : entries_(1024) {}

    static Key key_of(const uint64_t *words, size_t count, uint64_t seed) {
        uint64_t even = count, odd = seed + 0x9E3779B97F4A7C15ull; // two lanes: one would wait for its multiplications
        size_t i = 0;
        for (; i + 1 < count; i += 2) {
            even = step(even, words[i]);
            odd = step(odd, words[i + 1]);
        }
        if (i < count) {
            even = step(even, words[i]);
        }
        return {mix(even, odd) | 1, static_cast<uint32_t>(mix(odd, even) >> 32)};
    }
    // The node of a chain seen before, or nullptr.
    const uint32_t *find(Key key) const {
        for (size_t i = key.hash >> 8 & (entries_.size() - 1); entries_[i].hash != 0; i = (i + 1) & (entries_.size() - 1)) {
            if (entries_[i].hash == key.hash && entries_[i].check == key.check) {
                return &entries_[i].node;
            }
        }
        return nullptr;
    }
    void add(Key key, uint32_t node) {
        if (++used_ * 3 > entries_.size() * 2) {
            std::vector<Entry> old(entries_.size() * 2);
            old.swap(entries_);
            for (const Entry &entry : old) {
                if (entry.hash != 0) {
                    place(entry);
                }
            }
        }
        place({key.hash, key.check, node});
    }

  private:
    struct Entry {
        uint64_t hash = 0;
        uint32_t check = 0;
        uint32_t node = 0;
    };
    static uint64_t step(uint64_t hash, uint64_t word) {
        hash = (hash ^ word) * 0xD6E8FEB86659FD93ull;
        return hash ^ (hash >> 29);
    }
    void place(const Entry &entry) {
        size_t i = entry.hash >> 8 & (entries_.size() - 1);
        while (entries_[i].hash != 0) {
            i = (i + 1) & (entries_.size() - 1);
        }
        entries_[i] = entry;
    }

    std::vector<Entry> entries_;
    size_t used_ = 0;
};

// A tree whose nodes are (parent, label, kind); node 0 is the root and is its own parent.  Parents come before children.
// A node's hash is that of its whole path, so that the places of all nodes of a path can be fetched from memory before
// the first of them is known: what a lookup costs is waiting for memory.
class Tree {
  public:
    struct Node {
        uint64_t label;
        uint32_t parent;
        uint32_t hash;
    };

    Tree() : nodes_{{0, 0, 0}}, kinds_{0} {}

    static uint32_t child_hash(uint32_t parent_hash, uint64_t label, uint8_t kind) {
        return static_cast<uint32_t>(mix(label, (static_cast<uint64_t>(kind) << 32) | parent_hash) >> 16);
    }
    void prefetch_slot(uint32_t hash) const { slots_.prefetch(hash); }
    void prefetch_node(uint32_t hash) const {
        int64_t node = slots_.guess(hash);
        if (node >= 0) {
            __builtin_prefetch(&nodes_[static_cast<size_t>(node)]);
        }
    }
    // hash: child_hash of the parent's hash, label and kind.
    uint32_t child(uint32_t parent, uint64_t label, uint8_t kind, uint32_t hash) {
        uint32_t next = static_cast<uint32_t>(nodes_.size());
        uint32_t found = slots_.find_or_add(
            hash, next,
            [&](uint32_t n) {
                const Node &node = nodes_[n];
                return node.label == label && node.parent == parent && kinds_[n] == kind;
            },
            [&](uint32_t n) { return n == next ? hash : nodes_[n].hash; });
        if (found == next) {
            nodes_.push_back({label, parent, hash});
            kinds_.push_back(kind);
        }
        return found;
    }
    uint32_t hash(uint32_t node) const { return nodes_[node].hash; }
    size_t size() const { return nodes_.size(); }

    // Parents, and places: distinct (label, kind), numbered as they first appear.  Leaves the tree with its root only.
    struct Columns {
        std::vector<uint32_t> parent, place;
        PairTable<uint64_t, uint8_t> places;
    };
    Columns take() {
        Columns out;
        slots_ = Slots();
        give_back_memory();
        out.parent.resize(nodes_.size());
        out.place.resize(nodes_.size());
        for (size_t n = 0; n < nodes_.size(); n++) {
            out.parent[n] = nodes_[n].parent;
            out.place[n] = out.places.number(nodes_[n].label, kinds_[n]);
        }
        *this = Tree();
        give_back_memory();
        return out;
    }

  private:
    std::vector<Node> nodes_;
    std::vector<uint8_t> kinds_;
    Slots slots_;
};

} // namespace linscope
