// Feeds damaged input to the native code, as libFuzzer mutates it; with FUZZ_BY_ITSELF, by a loop of its own.
// The first byte chooses the target:
//   even: event layouts and records for the scanner, with an unwinder for samples that carry a stack dump (bit 3);
//   odd:  call frame information and a stack for the unwinder;
//   even, bit 4: pages of a trace ring buffer, whose events become columns and lines;
//   even, bit 5: operations on maps of the user-space eBPF machine (bpf_maps.cpp).
// See input() in fuzz.py for how a recording becomes such an input.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "../src/linscope/_native/fold.h"
#include "../src/linscope/_native/lines.h"
#include "../src/linscope/_native/ring.h"
#include "../src/linscope/_native/scan.h"
#include "../src/linscope/_native/unwind.h"
#include "bpf_maps.h"

using namespace linscope;

namespace {

constexpr size_t kLayoutBytes = 24, kMaxLayouts = 4;
constexpr uint8_t kUnwinds = 1, kSwaps = 2, kUnwindsSamples = 8, kTraces = 16, kMaps = 32;

void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "broken promise: %s\n", what);
        std::abort();
    }
}

void check_columns(const ScanResult &r, size_t size) {
    const SampleColumns &s = r.samples;
    size_t rows = s.time.size();
    expect(s.weight.size() == rows && s.stack.size() == rows && s.raw_size.size() == rows && s.event.size() == rows &&
               s.offset.size() == rows && s.raw_offset.size() == rows && s.misc.size() == rows,
           "columns of samples have one length");
    expect(r.others.time.size() == r.others.size.size() && r.others.type.size() == r.others.event.size(),
           "columns of other records have one length");
    expect(r.consumed <= size, "no more is consumed than there is");
    for (size_t i = 0; i < rows; i++) {
        expect(s.offset[i] < size && (!s.raw_size[i] || size_t{s.raw_offset[i]} + s.raw_size[i] <= size),
               "samples lie in the buffer");
    }
}

void check_tree(const Tree::Columns &tree, const std::vector<uint32_t> &leaf) {
    size_t nodes = tree.parent.size();
    const std::vector<uint32_t> &parent = tree.parent;
    std::vector<uint32_t> label(nodes), group(leaf.size());
    for (size_t n = 0; n < nodes; n++) {
        expect(tree.place[n] < tree.places.next() && tree.places.first.size() == tree.places.second.size(), "places are rows");
        uint64_t address = tree.places.first[tree.place[n]];
        label[n] = address % 11 == 0 ? kNoLabel : static_cast<uint32_t>(address % 1000);
        expect(n == 0 || parent[n] < n, "parents come before children");
    }
    for (size_t i = 0; i < leaf.size(); i++) {
        expect(leaf[i] < nodes, "leaves are nodes");
        group[i] = static_cast<uint32_t>(i % 3);
    }
    Regrouped r = regroup(parent.data(), label.data(), nodes, leaf.data(), group.data(), leaf.size());
    std::vector<int64_t> weight(r.parent.size(), 1);
    accumulate(r.parent.data(), r.parent.size(), weight.data());
    expect(weight[0] == static_cast<int64_t>(r.parent.size()), "the root holds all weight");
    std::vector<uint8_t> outer = outermost(r.parent.data(), r.label.data(), r.parent.size(), 1000);
    for (size_t i = 0; i < leaf.size(); i++) {
        expect(r.group[r.leaf[i]] == group[i], "a pair stays in its group");
    }
    expect(outer.size() == r.parent.size(), "one answer a node");
    SpaceFrames frames = frames_by_space(parent.data(), tree.place.data(), nodes, tree.places.second.data(),
                                         tree.places.second.size(), leaf.data(), group.data(), leaf.size());
    for (uint32_t frame : frames.frame) {
        expect(frame == kNoLabel || frame < frames.place.size(), "frames are rows");
    }
}

CfiObject object_of(const uint8_t *data, size_t size, bool swap) {
    CfiObject object;
    object.segments.push_back({0, 1 << 24, 0x1000});
    size_t header = size / 8;
    bool debug_frame = size && data[0] % 5 == 0;
    object.sections.emplace_back(std::vector<uint8_t>(data + header, data + size), 0x2000,
                                 std::vector<uint8_t>(data, data + header), 0x1f00, debug_frame, swap);
    return object;
}

Unwinder::LoadSpace one_space() {
    return [](uint32_t) {
        return std::vector<SpaceMapping>{{0x1000, 0x1000000, 0, 0}, {0x400000000, 0x400001000, 0, kNoObject}};
    };
}

void unwind(const uint8_t *data, size_t size, bool swap) {
    if (size < 64) {
        return;
    }
    UserState state;
    for (size_t n = 0; n < kRegisters; n++) {
        state.registers[n] = 0x7f0000000000 + data[n] * 8u;
    }
    uint32_t word;
    std::memcpy(&word, data + 20, 4);
    state.registers[kReturnAddress] = 0x1000 + word % 0x8000;
    std::memcpy(&state.known, data + 24, 4);
    state.known |= 1u << kReturnAddress | 1u << kStackPointer;
    size_t stack = std::min<size_t>(data[28] * 8u, size - 32);
    state.stack = data + 32;
    state.stack_size = stack;
    const uint8_t *cfi = data + 32 + stack;
    size_t cfi_size = size - 32 - stack;
    Unwinder unwinder(one_space(), [=](uint32_t) { return object_of(cfi, cfi_size, swap); }, swap);
    std::vector<uint64_t> out;
    unwinder.walk(0, state, out);
    expect(out.size() <= kMaxFrames + 1, "walks end");
    FrameRules rules;
    for (uint64_t address = 0x2000; address < 0x2400; address += 0x40) {
        unwinder.rules_at(0, address, rules);
    }
}

void scan(const uint8_t *data, size_t size, uint8_t choice) {
    bool swap = choice & kSwaps;
    size_t count = std::min<size_t>(data[1] % (kMaxLayouts + 1), (size - 4) / kLayoutBytes);
    size_t split_at = data[2];
    std::vector<Layout> layouts;
    std::unordered_map<uint64_t, uint16_t> ids;
    const uint8_t *at = data + 4;
    for (size_t n = 0; n < count; n++, at += kLayoutBytes) {
        uint64_t id;
        uint32_t sample_type, registers;
        std::memcpy(&sample_type, at, 4);
        std::memcpy(&registers, at + 4, 4);
        std::memcpy(&id, at + 8, 8);
        layouts.push_back({sample_type, at[16], static_cast<uint64_t>(at[17]) << 13, registers, at[18], at[19] & 1u, 1, at[20]});
        ids.emplace(id, static_cast<uint16_t>(n));
    }
    Unwinder unwinder(one_space(), [=](uint32_t) { return object_of(data, size, swap); }, swap);
    Scanner scanner(layouts, ids, swap);
    if (choice & kUnwindsSamples) {
        scanner.set_unwinder(&unwinder, std::vector<uint32_t>(64, 0));
    }
    std::vector<uint32_t> leaf;
    const uint8_t *end = data + size;
    while (at < end) { // as formats/perf_data/stream.py does: records of the tool are passed over
        size_t left = static_cast<size_t>(end - at);
        size_t part = split_at ? std::min(left, std::max<size_t>(split_at * 64, 16)) : left;
        ScanResult r = scanner.scan(at, part);
        check_columns(r, part);
        leaf.insert(leaf.end(), r.samples.stack.begin(), r.samples.stack.end());
        at += r.consumed;
        if (r.error || (r.consumed == 0 && !r.stopped_at)) {
            if (part == left || r.error) break;
            split_at = 0;
        } else if (r.stopped_at) {
            uint16_t length;
            std::memcpy(&length, at + 6, 2);
            length = swap ? __builtin_bswap16(length) : length;
            if (length < 8 || length > end - at) break;
            at += length;
        }
    }
    auto completed = scanner.take_completed();
    Tree::Columns tree = scanner.take_stacks();
    for (auto [sample, node] : completed) {
        expect(sample < leaf.size() && node < tree.parent.size(), "completed chains are of samples");
        leaf[sample] = node;
    }
    check_tree(tree, leaf);
}

void trace(const uint8_t *data, size_t size, bool big_endian) {
    RingShape shape{64u << (data[1] & 3), data[1] & 4 ? 8u : 4u, big_endian};
    uint32_t width = data[2] & 31;
    data += 3, size -= 3;
    RingEvents r = ring_events(data, size, shape);
    size_t rows = r.time.size();
    expect(r.at.size() == rows && r.size.size() == rows && r.page.size() == rows && r.pid.size() == rows &&
               r.type.size() == rows && r.missed.size() == r.missed_page.size() &&
               r.damaged.size() == r.damaged_page.size(),
           "columns of events have one length");
    std::vector<uint32_t> at;
    for (size_t i = 0; i < rows; i++) {
        uint64_t end = uint64_t{r.at[i]} + r.size[i];
        expect(end <= (uint64_t{r.page[i]} + 1) * shape.page_size && end <= size, "events lie in their page");
        if (r.size[i] >= width) at.push_back(r.at[i]);
    }
    std::vector<std::vector<uint8_t>> columns;
    uint32_t half = width / 2;
    expect(gather(data, size, at.data(), at.size(), {{0, half}, {half, width - half}, {0, width}}, columns),
           "fields lie in their events");
    at.push_back(static_cast<uint32_t>(size));
    expect(gather(data, size, at.data(), at.size(), {{0, 1}}, columns) == false, "a field beyond the end is refused");
    at.pop_back();
    std::vector<uint64_t> numbers(r.time), ends{0, 3, 3};
    std::vector<uint32_t> choices;
    for (size_t i = 0; i < at.size(); i++) choices.push_back(r.pid[i] % 3);
    std::vector<PieceSpec> pieces{
        {Piece::Literal, data, std::min<size_t>(size, 4), nullptr, nullptr, 0, 0},
        {Piece::Number, nullptr, 0, numbers.data(), nullptr, r.pid.empty() ? 0 : r.pid[0] & 127, width},
        {Piece::Text, columns[2].data(), width, nullptr, nullptr, rows & 1 ? kLeft : 0, width * 2},
        {Piece::Choice, reinterpret_cast<const uint8_t *>("abc"), 0, ends.data(), choices.data(), 0, 0},
    };
    Lines lines = write_lines(pieces, at.size());
    expect(lines.end.size() == at.size() && (at.empty() || lines.end.back() == lines.text.size()), "lines end");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 8) {
        return 0;
    }
    try {
        if (data[0] & kUnwinds) {
            unwind(data + 1, size - 1, data[0] & kSwaps);
        } else if (data[0] & kMaps) {
            fuzz_bpf_maps(data + 1, size - 1);
        } else if (data[0] & kTraces) {
            trace(data, size, data[0] & kSwaps);
        } else {
            scan(data, size, data[0]);
        }
    } catch (const std::overflow_error &) { // a tree with more nodes than numbers
    }
    return 0;
}

#ifdef FUZZ_BY_ITSELF // where there is no libFuzzer: main SECONDS SEED FILE...
#include <ctime>
#include <fstream>
#include <iterator>

int main(int argc, char **argv) {
    std::vector<std::vector<uint8_t>> seeds;
    for (int i = 3; i < argc; i++) {
        std::ifstream file(argv[i], std::ios::binary);
        seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    uint64_t state = argc > 2 ? std::strtoull(argv[2], nullptr, 10) * 2654435761u + 1 : 1;
    auto next = [&state] { return state ^= state << 13, state ^= state >> 7, state ^= state << 17; };
    time_t until = time(nullptr) + (argc > 1 ? std::atoi(argv[1]) : 60);
    uint64_t runs = 0;
    while (!seeds.empty() && time(nullptr) < until) {
        for (int k = 0; k < 200; k++, runs++) {
            std::vector<uint8_t> input = seeds[next() % seeds.size()];
            for (uint64_t n = next() % 8; n-- > 0 && !input.empty();) {
                size_t at = next() % input.size();
                switch (next() % 4) {
                case 0: input[at] = static_cast<uint8_t>(next()); break;
                case 1: input[at] ^= static_cast<uint8_t>(1u << next() % 8); break;
                case 2: input.resize(at); break;
                default: std::fill(input.begin() + static_cast<ptrdiff_t>(at),
                                   input.begin() + static_cast<ptrdiff_t>(std::min(input.size(), at + 8)), 0xFF);
                }
            }
            std::vector<uint8_t>(input).swap(input); // exact capacity, so that a read beyond the end is seen
            LLVMFuzzerTestOneInput(input.data(), input.size());
        }
    }
    std::printf("Done %llu runs\n", static_cast<unsigned long long>(runs));
    return 0;
}
#endif
