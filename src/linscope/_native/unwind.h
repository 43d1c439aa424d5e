// Walks dumped user stacks of x86-64 by call frame information.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cfi.h"
#include "intern.h"

namespace linscope {

constexpr size_t kMaxFrames = 1024; // as many as a stack dump of the usual 8 KiB can hold

constexpr uint64_t kExactNext = static_cast<uint64_t>(-512); // PERF_CONTEXT_USER

// A loadable segment of an object: where file bytes lie in the addresses that its symbols and its CFI count.
struct LoadSegment {
    uint64_t offset, size, address;
};

struct CfiObject {
    std::vector<LoadSegment> segments;
    std::vector<CfiSection> sections; // in the order they are asked
};

constexpr int32_t kNoObject = -1;   // executable memory without a file that could be read
constexpr int32_t kNotCode = -2;

struct SpaceMapping {
    uint64_t start, end, page_offset;
    int32_t object;
};

// The user side of a thread when it was sampled.
struct UserState {
    uint64_t registers[kRegisters] = {}; // by DWARF number; 16: the instruction pointer
    uint32_t known = 0;                  // bit n: register n was recorded
    const uint8_t *stack = nullptr;      // bytes from the stack pointer up
    size_t stack_size = 0;
};

enum class Ending : uint8_t { Outermost, StackDumpEnds, NoRules, OutsideCode, Loop, TooDeep, Count };

class Unwinder {
  public:
    using LoadSpace = std::function<std::vector<SpaceMapping>(uint32_t)>; // sorted, without overlap
    using LoadObject = std::function<CfiObject(uint32_t)>;

    Unwinder(LoadSpace load_space, LoadObject load_object, bool swap);
    Unwinder(const Unwinder &) = delete;
    Unwinder &operator=(const Unwinder &) = delete;

    // Appends the instruction pointer and the return addresses, innermost first.  A word kExactNext stands before
    // addresses that are those of an instruction: the first, and with a signal its trampoline's and the interrupted one.
    Ending walk(uint32_t space, const UserState &start, std::vector<uint64_t> &out);
    // The rules at an address of an object, in the unit of its symbols.
    bool rules_at(uint32_t object, uint64_t address, FrameRules &out);
    const uint64_t *endings() const { return endings_; } // how many walks ended how

  private:
    struct Row { // FrameRules in little space
        uint64_t address;
        uint32_t object, first;
        uint8_t count, return_register, section;
        bool found, signal;
        Rule cfa;
    };
    struct Frame {
        uint64_t registers[kRegisters];
        uint32_t known;
    };

    const std::vector<SpaceMapping> &space(uint32_t number);
    CfiObject &object(uint32_t number);
    const SpaceMapping *mapping_at(const std::vector<SpaceMapping> &mappings, uint64_t address);
    const Row *row_at(const SpaceMapping *mapping, uint64_t address);
    const Row &row_of(uint32_t object, uint64_t address);
    Ending walk_frames(const std::vector<SpaceMapping> &mappings, const UserState &start, std::vector<uint64_t> &out);
    std::optional<Ending> step(const Row &row, Frame &frame) const;
    bool step_without_rules(const std::vector<SpaceMapping> &mappings, Frame &frame, bool innermost);
    bool is_return_address(const std::vector<SpaceMapping> &mappings, uint64_t address);
    bool read(uint64_t address, uint64_t &value) const;
    bool evaluate(const Row &row, const Rule &rule, const Frame &frame, const uint64_t *cfa, uint64_t &value) const;

    LoadSpace load_space_;
    LoadObject load_object_;
    bool swap_;
    std::vector<std::unique_ptr<std::vector<SpaceMapping>>> spaces_;
    std::vector<std::unique_ptr<CfiObject>> objects_;
    std::vector<Row> rows_;
    std::vector<Rule> rules_;
    Slots slots_;
    size_t last_mapping_ = 0;
    uint64_t stack_base_ = 0; // of the walk at hand
    const uint8_t *stack_ = nullptr;
    size_t stack_size_ = 0;
    uint64_t endings_[static_cast<size_t>(Ending::Count)] = {};
};

} // namespace linscope
