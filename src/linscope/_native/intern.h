// Tables that give equal keys one small number: the tree of stacks, and pairs of integers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace linscope {

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
        if (++used_ * 2 > slots_.size()) {
            grow(hash_of);
        }
        return next;
    }

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

// A tree whose nodes are (parent, label, kind); node 0 is the root and is its own parent.  Parents come before children.
class Tree {
  public:
    struct Node {
        uint64_t label;
        uint32_t parent;
        uint32_t kind;
    };

    Tree() : nodes_{{0, 0, 0}} {}

    uint32_t child(uint32_t parent, uint64_t label, uint32_t kind) {
        uint32_t next = static_cast<uint32_t>(nodes_.size());
        uint32_t found = slots_.find_or_add(
            hash({label, parent, kind}), next,
            [&](uint32_t n) {
                const Node &node = nodes_[n];
                return node.label == label && node.parent == parent && node.kind == kind;
            },
            [&](uint32_t n) { return hash(n == next ? Node{label, parent, kind} : nodes_[n]); });
        if (found == next) {
            nodes_.push_back({label, parent, kind});
        }
        return found;
    }
    const std::vector<Node> &nodes() const { return nodes_; }

  private:
    static uint64_t hash(const Node &node) {
        return mix(node.label, (static_cast<uint64_t>(node.kind) << 32) | node.parent);
    }

    std::vector<Node> nodes_;
    Slots slots_;
};

} // namespace linscope
