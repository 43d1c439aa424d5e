// Operations on the maps of the user-space eBPF machine, chosen by the input: sizes and kinds, then one operation after
// the other.  Keys and values lie in memory of just their size, so that AddressSanitizer sees a byte too many; hashes and
// arrays are held against a model.
#include "bpf_maps.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <vector>

#include "../src/linscope/_native/bpf_vm.h"

using linscope::bpf::Map;

namespace {

constexpr uint64_t kKinds[] = {1, 2, 5, 6, 7, 9, 10, 11, 22, 23, 27, 30}; // of bpf_map_type
constexpr uint64_t kHash = 1, kArray = 2, kStackTrace = 7, kLpm = 11, kQueue = 22, kRing = 27, kBloom = 30;

void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "broken promise: %s\n", what);
        std::abort();
    }
}

class Input {
  public:
    Input(const uint8_t *data, size_t size) : at_(data), end_(data + size) {}
    bool empty() const { return at_ == end_; }
    uint8_t byte() { return empty() ? 0 : *at_++; }
    std::vector<uint8_t> bytes(uint64_t count, unsigned variety) { // few different ones, so that keys meet again
        std::vector<uint8_t> made(count);
        uint8_t first = byte() % variety;
        for (uint64_t i = 0; i < count; i++) made[i] = i == 0 ? first : static_cast<uint8_t>(first * i);
        made.shrink_to_fit();
        return made;
    }

  private:
    const uint8_t *at_, *end_;
};

std::vector<uint8_t> key_of(Input &input, const Map &map) {
    std::vector<uint8_t> key = input.bytes(map.key_size, 32);
    if (map.type == kLpm) { // the length of the prefix in front
        uint32_t bits = input.byte() % ((map.key_size - 4) * 8 + 3);
        std::memcpy(key.data(), &bits, 4);
    } else if (map.key_size == 4 && map.type != kHash) { // an index
        uint32_t index = input.byte() % (map.max_entries + 2);
        std::memcpy(key.data(), &index, 4);
    }
    return key;
}

} // namespace

void fuzz_bpf_maps(const uint8_t *data, size_t size) {
    Input input(data, size);
    uint64_t type = kKinds[input.byte() % std::size(kKinds)];
    uint64_t cpus = 1 + input.byte() % 3, entries = 1 + input.byte() % 12;
    uint64_t key = type == kLpm ? 5 + input.byte() % 8 : type == kHash || type == 5 || type == 9 || type == 10 ? 1 + input.byte() % 12 : 4;
    uint64_t value = type == kStackTrace ? 8 * (1 + input.byte() % 6) : 1 + input.byte() % 20;
    if (type == kQueue || type == 23 || type == kRing || type == kBloom) key = 0;
    if (type == kRing) entries = 64ull << input.byte() % 3;
    auto map = std::make_unique<Map>(type, key, value, entries, 0, cpus, true);
    uint64_t whole = map->per_cpu() ? map->value_stride * map->cpus : map->value_size;
    std::map<std::vector<uint8_t>, std::vector<uint8_t>> model;
    while (!input.empty()) {
        uint8_t choice = input.byte();
        std::vector<uint8_t> one = key_of(input, *map), content = input.bytes(whole, 256);
        uint64_t how = choice >> 4 & 3;
        switch (choice % 8) {
        case 0:
        case 1: {
            if (!map->hashed() && type != kArray && type != 6) break;
            int64_t result = map->update(one.data(), content.data(), how, -1);
            if (type != kHash) break;
            bool there = model.count(one) != 0;
            if (result == 0) model[one] = content;
            if (how == 1) expect(result == (there ? -EEXIST : model.size() > entries ? -E2BIG : result), "BPF_NOEXIST");
            expect(model.size() <= entries, "no more entries than there may be");
            break;
        }
        case 2: {
            uint8_t *found = map->lookup(one.data(), choice % cpus);
            if (type == kHash) {
                expect((found != nullptr) == (model.count(one) != 0), "a lookup finds what was put in");
                if (found) expect(std::equal(model[one].begin(), model[one].end(), found), "and its value");
            }
            if (found && type != kStackTrace) found[0] ^= 0, std::memcpy(content.data(), found, map->value_size);
            break;
        }
        case 3:
            if (map->hashed()) {
                int64_t result = map->erase(one.data());
                if (type == kHash) expect((result == 0) == (model.erase(one) != 0), "what is there can be deleted");
            }
            break;
        case 4:
            if (type == kQueue || type == 23 || type == kBloom) map->push(content.data(), how == 2 ? 2 : 0);
            break;
        case 5:
            if (type == kQueue || type == 23 || type == kBloom) map->pop(content.data(), choice & 64 || type == kBloom);
            if (type == kRing) map->reserve(input.byte(), 0);
            break;
        case 6:
            if (type == kStackTrace) {
                std::vector<uint64_t> stack(input.byte() % 12, choice);
                map->stack_id(stack.data(), stack.size(), choice & 128 ? 1 << 10 : 0);
            }
            break;
        default:
            if (choice == 255) {
                map->clear();
                model.clear();
            }
            uint64_t cursor = 0, seen = 0;
            uint8_t *k, *v;
            while (map->next(cursor, k, v, 0)) {
                expect(++seen <= 10000, "a walk ends");
                content[0] ^= v[0];
            }
            if (type == kHash) expect(seen == model.size(), "a walk sees every entry");
        }
    }
}
