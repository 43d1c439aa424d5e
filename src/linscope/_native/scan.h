// Walks perf records (include/uapi/linux/perf_event.h, enum perf_event_type) and turns samples into columns.
#pragma once
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "cursor.h"
#include "intern.h"
#include "unwind.h"

namespace linscope {

// What of a perf_event_attr decides how its records are laid out.
struct Layout {
    uint64_t sample_type;
    uint64_t read_format;
    uint64_t branch_sample_type;
    uint64_t user_registers; // a mask
    uint64_t interrupt_registers; // how many
    uint64_t sample_id_all;
    uint64_t default_period;
    uint64_t values_per_thread; // PERF_SAMPLE_READ values count for each thread, not for each id
};

struct SampleColumns {
    std::vector<uint64_t> time, address, weight;
    std::vector<uint32_t> pid, tid, cpu, stack, offset, raw_offset, raw_size;
    std::vector<uint16_t> event, misc;
};

struct OtherColumns { // records that are not samples, with what their sample_id trailer says
    std::vector<uint64_t> time;
    std::vector<uint32_t> offset, type, tid, cpu;
    std::vector<uint16_t> event, misc, size;
};

struct ScanResult {
    SampleColumns samples;      // a row a sample; of a group that is read with its leader, a row a member
    OtherColumns others;
    size_t sample_records = 0;
    size_t consumed = 0;        // whole records taken
    uint32_t stopped_at = 0;    // type of the record at `consumed` that the caller has to handle, or 0
    const char *error = nullptr; // what is wrong with the record at `consumed`
};

constexpr uint16_t kNoEvent = 0xFFFF;

class Scanner {
  public:
    Scanner(std::vector<Layout> layouts, std::unordered_map<uint64_t, uint16_t> ids, bool swap);

    // Takes whole records from the buffer until it ends, a record of the tool (type >= 64) other than
    // FINISHED_ROUND needs the caller, or one is damaged.
    ScanResult scan(const uint8_t *data, size_t size);
    // The tree of all chains; the scanner forgets it, and all stacks that it has given out.
    Tree::Columns take_stacks();
    // (number of the sample over all scans, stack with its deferred user part) since the last call.
    std::vector<std::pair<uint64_t, uint32_t>> take_completed();
    // From now on the user part of samples that carry registers and a stack dump is unwound.  spaces: the address
    // space of each sample, numbered over all scans; unwinder: outlives the scanner; null ends it.
    void set_unwinder(Unwinder *unwinder, std::vector<uint32_t> spaces);
    void set_layouts(std::vector<Layout> layouts, std::unordered_map<uint64_t, uint16_t> ids);

  private:
    // A chain as recorded, leaf first, with its markers; the node and kind that each word led to.
    struct Chain {
        std::vector<uint64_t> words;
        std::vector<uint32_t> nodes; // of a marker: that of the word before it on the way from the root
        std::vector<uint8_t> kinds;  // 0 for markers
    };
    struct Deferred {
        uint64_t first_row, rows; // of the sample, over all scans
        std::vector<uint64_t> words;
    };

    uint16_t event_of_sample(Cursor record) const;
    bool sample(Cursor record, uint16_t misc, const uint8_t *base, SampleColumns &out);
    bool unwind_user_part(Cursor record, const Layout &layout); // true: chain_ has a user part by unwinding
    void trailer(const uint8_t *body, size_t size, OtherColumns &out) const;
    bool read_words(Cursor &record, uint64_t length);
    void deliver_values(uint32_t thread);
    void completed_chain(Cursor record);
    uint64_t set_kinds(uint8_t user_kind); // of chain_; returns the cookie of a deferred user part, or 0
    uint32_t intern_chain(uint8_t lone_kind, uint8_t user_kind, size_t rows);

    std::vector<Layout> layouts_;
    std::unordered_map<uint64_t, uint16_t> ids_;
    bool swap_;
    int sample_id_word_ = -1; // word of the id in a sample, from its start; -1: none
    int trailer_id_word_ = -1; // word of the id in other records, from their end
    Tree stacks_;
    Chain chain_; // of the sample at hand
    Chain last_;  // the last one that was new
    ChainCache whole_chains_;
    std::vector<uint32_t> hashes_;
    std::unordered_map<uint64_t, std::vector<Deferred>> deferred_; // by cookie
    std::vector<std::pair<uint64_t, uint32_t>> completed_;
    uint64_t samples_seen_ = 0;                                     // rows
    std::vector<std::pair<uint64_t, uint64_t>> read_values_;        // of the sample at hand
    std::map<std::pair<uint64_t, uint32_t>, uint64_t> last_values_; // by id and thread
    Unwinder *unwinder_ = nullptr;
    std::vector<uint32_t> spaces_; // of samples
    std::vector<uint64_t> unwound_;
};

} // namespace linscope
