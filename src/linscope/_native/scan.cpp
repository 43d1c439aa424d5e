#include "scan.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace linscope {
namespace {

// enum perf_event_sample_format
constexpr uint64_t IP = 1 << 0, TID = 1 << 1, TIME = 1 << 2, ADDR = 1 << 3, READ = 1 << 4, CALLCHAIN = 1 << 5,
                   ID = 1 << 6, CPU = 1 << 7, PERIOD = 1 << 8, STREAM_ID = 1 << 9, RAW = 1 << 10,
                   BRANCH_STACK = 1 << 11, REGS_USER = 1 << 12, STACK_USER = 1 << 13, IDENTIFIER = 1 << 16;
// enum perf_branch_sample_type
constexpr uint64_t BRANCH_HW_INDEX = 1 << 17, BRANCH_COUNTERS = 1 << 19;
constexpr uint64_t BRANCH_ENTRY_SIZE = 24, REGS_ABI_NONE = 0, REGS_ABI_64 = 2;
// enum perf_event_read_format
constexpr uint64_t READ_ENABLED = 1, READ_RUNNING = 2, READ_ID = 4, READ_GROUP = 8, READ_LOST = 16;

constexpr uint32_t RECORD_SAMPLE = 9, RECORD_CALLCHAIN_DEFERRED = 22, FIRST_TOOL_RECORD = 64, FINISHED_ROUND = 68;
constexpr uint16_t CPUMODE_MASK = 7, CPUMODE_KERNEL = 1, CPUMODE_USER = 2, CPUMODE_HYPERVISOR = 3,
                   CPUMODE_GUEST_KERNEL = 4, CPUMODE_GUEST_USER = 5;
// enum perf_callchain_context, as negative numbers
constexpr uint64_t CONTEXT_MAX = static_cast<uint64_t>(-4095);
constexpr int64_t CONTEXT_HV = -32, CONTEXT_KERNEL = -128, CONTEXT_USER = -512,
                  CONTEXT_USER_DEFERRED = -640, CONTEXT_GUEST = -2048, CONTEXT_GUEST_KERNEL = -2176,
                  CONTEXT_GUEST_USER = -2560;
// Bits of a frame's kind above its CPU mode
constexpr uint8_t EXACT = 8;    // the address is that of the instruction, not of the one after a call
constexpr uint8_t UNWOUND = 16; // found by call frame information: surely the address after a call

// Counts that come with a sample; out: (id, value) of each, only for formats with ids.
void take_read_values(Cursor &record, uint64_t format, std::vector<std::pair<uint64_t, uint64_t>> &out) {
    uint64_t times = ((format & READ_ENABLED) != 0) + ((format & READ_RUNNING) != 0);
    uint64_t count = 1, value = 0;
    if (format & READ_GROUP) {
        count = record.u64();
    } else {
        value = record.u64();
    }
    record.skip_words(times);
    for (uint64_t n = 0; n < count && record.ok(); n++) {
        if (format & READ_GROUP) value = record.u64();
        if (format & READ_ID) out.emplace_back(record.u64(), value);
        if (format & READ_LOST) record.skip(8);
    }
}

// DWARF number of each register of enum perf_event_x86_regs; those from flags to gs have none that unwinding needs.
constexpr uint8_t NO_NUMBER = 0xFF;
constexpr uint8_t DWARF_NUMBER[24] = {0,         3,         2,         1,         4,         5,
                                      6,         7,         16,        NO_NUMBER, NO_NUMBER, NO_NUMBER,
                                      NO_NUMBER, NO_NUMBER, NO_NUMBER, NO_NUMBER, 8,         9,
                                      10,        11,        12,        13,        14,        15};

int words_before_id(uint64_t type) {
    return ((type & IP) != 0) + ((type & TID) != 0) + ((type & TIME) != 0) + ((type & ADDR) != 0);
}

} // namespace

Scanner::Scanner(std::vector<Layout> layouts, std::unordered_map<uint64_t, uint16_t> ids, bool swap) : swap_(swap) {
    set_layouts(std::move(layouts), std::move(ids));
}

void Scanner::set_layouts(std::vector<Layout> layouts, std::unordered_map<uint64_t, uint16_t> ids) {
    layouts_ = std::move(layouts);
    ids_ = std::move(ids);
    sample_id_word_ = trailer_id_word_ = -1;
    if (layouts_.size() > 1) { // with one event there is nothing to tell apart
        uint64_t type = layouts_[0].sample_type;
        if (type & IDENTIFIER) {
            sample_id_word_ = 0;
            trailer_id_word_ = 1;
        } else if (type & ID) {
            sample_id_word_ = words_before_id(type);
            trailer_id_word_ = 1 + ((type & CPU) != 0) + ((type & STREAM_ID) != 0);
        }
    }
}

uint16_t Scanner::event_of_sample(Cursor record) const {
    if (layouts_.empty()) {
        return kNoEvent;
    }
    if (sample_id_word_ < 0) {
        return 0;
    }
    record.skip_words(static_cast<uint64_t>(sample_id_word_));
    uint64_t id = record.u64();
    auto found = ids_.find(id);
    if (!record.ok() || found == ids_.end()) {
        return record.ok() && id == 0 ? 0 : kNoEvent; // an id of 0 is that of what perf makes up itself
    }
    return found->second;
}

ScanResult Scanner::scan(const uint8_t *data, size_t size) {
    ScanResult result;
    size_t at = 0;
    while (size - at >= 8) {
        Cursor header(data + at, 8, swap_);
        uint32_t type = header.u32();
        uint16_t misc = header.u16();
        uint16_t length = header.u16();
        if (length < 8) {
            result.error = "a record's size is below that of its header";
            break;
        }
        if (length > size - at) {
            break;
        }
        if (type >= FIRST_TOOL_RECORD && type != FINISHED_ROUND) {
            result.stopped_at = type;
            break;
        }
        const uint8_t *body = data + at + 8;
        size_t body_size = length - 8u;
        if (type == RECORD_SAMPLE) {
            if (!sample(Cursor(body, body_size, swap_), misc, data, result.samples)) {
                result.error = layouts_.empty() ? "a sample, but no event is described before it"
                                                : "a sample does not fit its event's layout";
                break;
            }
            result.sample_records++;
        } else {
            OtherColumns &others = result.others;
            others.offset.push_back(static_cast<uint32_t>(at));
            others.type.push_back(type);
            others.misc.push_back(misc);
            others.size.push_back(length);
            trailer(body, body_size, others);
            if (type == RECORD_CALLCHAIN_DEFERRED) {
                completed_chain(Cursor(body, body_size, swap_));
            }
        }
        at += length;
    }
    result.consumed = at;
    return result;
}

bool Scanner::sample(Cursor record, uint16_t misc, const uint8_t *base, SampleColumns &out) {
    const uint8_t *start = record.at();
    uint16_t event = event_of_sample(record);
    uint64_t instruction = 0, time = 0, address = 0, raw_offset = 0;
    uint32_t pid = 0, tid = 0, cpu = 0xFFFFFFFFu, raw_size = 0, stack = 0;
    uint64_t weight = 0;
    size_t rows = 1;
    read_values_.clear();
    if (event == kNoEvent) {
        if (layouts_.empty()) {
            return false;
        }
    } else {
        const Layout &layout = layouts_[event];
        uint64_t type = layout.sample_type;
        weight = layout.default_period;
        if (type & IDENTIFIER) record.skip(8);
        if (type & IP) instruction = record.u64();
        if (type & TID) {
            pid = record.u32();
            tid = record.u32();
        }
        if (type & TIME) time = record.u64();
        if (type & ADDR) address = record.u64();
        if (type & ID) record.skip(8);
        if (type & STREAM_ID) record.skip(8);
        if (type & CPU) {
            cpu = record.u32();
            record.skip(4);
        }
        if (type & PERIOD) weight = record.u64();
        if (type & READ) take_read_values(record, layout.read_format, read_values_);
        chain_.words.clear();
        if ((type & CALLCHAIN) && !read_words(record, record.u64())) {
            return false;
        }
        if (type & RAW) {
            raw_size = record.u32();
            raw_offset = static_cast<uint64_t>(record.at() - base);
            record.skip(raw_size);
        }
        if (!record.ok()) {
            return false;
        }
        if ((type & READ) && (layout.read_format & READ_ID)) {
            deliver_values(layout.values_per_thread ? tid : 0);
            rows = read_values_.size();
            if (rows == 0) {
                return true;
            }
        }
        uint8_t user_kind = CPUMODE_USER;
        if (unwinder_ && (type & REGS_USER) && (type & STACK_USER) && unwind_user_part(record, layout)) {
            user_kind |= UNWOUND;
        }
        if (!chain_.words.empty()) {
            stack = intern_chain(0, user_kind, rows);
        } else if (type & IP) {
            chain_.words.push_back(instruction);
            stack = intern_chain(static_cast<uint8_t>((misc & CPUMODE_MASK) | EXACT), user_kind, rows);
        }
    }
    for (size_t n = 0; n < rows; n++) {
        if (!read_values_.empty()) {
            event = static_cast<uint16_t>(read_values_[n].first);
            weight = read_values_[n].second;
        }
        out.time.push_back(time);
        out.address.push_back(address);
        out.weight.push_back(weight);
        out.pid.push_back(pid);
        out.tid.push_back(tid);
        out.cpu.push_back(cpu);
        out.stack.push_back(stack);
        out.offset.push_back(static_cast<uint32_t>(start - base) - 8);
        out.raw_offset.push_back(static_cast<uint32_t>(raw_offset));
        out.raw_size.push_back(raw_size);
        out.event.push_back(event);
        out.misc.push_back(misc);
    }
    samples_seen_ += rows;
    return true;
}

// read_values_: from (id, count so far) to (event, count since the sample before); those without an event or
// without a change are left out.  Source: tools/perf/util/session.c, deliver_sample_value.
void Scanner::deliver_values(uint32_t thread) {
    size_t kept = 0;
    for (auto [id, value] : read_values_) {
        auto found = ids_.find(id);
        if (found == ids_.end()) {
            continue;
        }
        uint64_t &last = last_values_[{id, thread}];
        uint64_t change = value - last;
        last = value;
        if (change != 0) {
            read_values_[kept++] = {found->second, change};
        }
    }
    read_values_.resize(kept);
}

void Scanner::set_unwinder(Unwinder *unwinder, std::vector<uint32_t> spaces) {
    unwinder_ = unwinder;
    spaces_ = std::move(spaces);
}

// The record stands behind PERF_SAMPLE_RAW.  A sample that is too short for its dump keeps the chain it has.
bool Scanner::unwind_user_part(Cursor record, const Layout &layout) {
    if (samples_seen_ >= spaces_.size()) {
        return false;
    }
    if (layout.sample_type & BRANCH_STACK) {
        uint64_t count = record.u64();
        if (layout.branch_sample_type & BRANCH_HW_INDEX) record.skip(8);
        if (count > record.left() / BRANCH_ENTRY_SIZE) {
            return false;
        }
        record.skip(count * BRANCH_ENTRY_SIZE);
        if (layout.branch_sample_type & BRANCH_COUNTERS) record.skip_words(count);
    }
    uint64_t abi = record.u64();
    if (abi == REGS_ABI_NONE) { // a kernel thread
        return false;
    }
    UserState user;
    for (uint64_t mask = layout.user_registers; mask != 0; mask &= mask - 1) {
        auto bit = static_cast<size_t>(std::countr_zero(mask));
        uint64_t value = record.u64();
        if (bit < std::size(DWARF_NUMBER) && DWARF_NUMBER[bit] != NO_NUMBER) {
            user.registers[DWARF_NUMBER[bit]] = value;
            user.known |= 1u << DWARF_NUMBER[bit];
        }
    }
    if (abi != REGS_ABI_64) { // of a 32-bit program only where it was is told
        user.known &= 1u << kReturnAddress;
    }
    uint64_t size = record.u64();
    user.stack = record.at();
    record.skip(size);
    uint64_t filled = size ? record.u64() : 0;
    if (!record.ok()) {
        return false;
    }
    user.stack_size = std::min(size, filled);
    unwound_.clear();
    unwinder_->walk(spaces_[samples_seen_], user, unwound_);
    std::vector<uint64_t> &words = chain_.words;
    auto recorded = std::find(words.begin(), words.end(), static_cast<uint64_t>(CONTEXT_USER));
    if (!unwound_.empty() && unwound_.size() >= static_cast<size_t>(words.end() - recorded)) {
        words.erase(recorded, words.end());
        words.insert(words.end(), unwound_.begin(), unwound_.end());
        return true;
    }
    return false;
}

bool Scanner::read_words(Cursor &record, uint64_t length) {
    if (length > record.left() / 8) {
        return false;
    }
    chain_.words.resize(length);
    if (length != 0) {
        std::memcpy(chain_.words.data(), record.at(), length * 8);
    }
    record.skip_words(length);
    if (swap_) {
        for (uint64_t &word : chain_.words) {
            word = __builtin_bswap64(word);
        }
    }
    return true;
}

uint64_t Scanner::set_kinds(uint8_t user_kind) {
    size_t count = chain_.words.size();
    chain_.kinds.resize(count);
    chain_.nodes.resize(count);
    uint8_t mode = user_kind;
    uint8_t exact = EXACT;
    uint64_t cookie = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t word = chain_.words[i];
        if (word < CONTEXT_MAX) {
            chain_.kinds[i] = mode | exact;
            exact = 0;
            continue;
        }
        chain_.kinds[i] = 0;
        exact = EXACT;
        switch (static_cast<int64_t>(word)) {
        case CONTEXT_HV: mode = CPUMODE_HYPERVISOR; break;
        case CONTEXT_KERNEL: mode = CPUMODE_KERNEL; break;
        case CONTEXT_USER: mode = user_kind; break;
        case CONTEXT_GUEST:
        case CONTEXT_GUEST_KERNEL: mode = CPUMODE_GUEST_KERNEL; break;
        case CONTEXT_GUEST_USER: mode = CPUMODE_GUEST_USER; break;
        case CONTEXT_USER_DEFERRED:
            if (i + 1 < count) { // the cookie of the PERF_RECORD_CALLCHAIN_DEFERRED to come
                cookie = chain_.words[++i];
                chain_.kinds[i] = 0;
            }
            break;
        default: // a context that we do not know: what follows cannot be told apart, take no more of it
            std::fill(chain_.kinds.begin() + static_cast<ptrdiff_t>(i), chain_.kinds.end(), uint8_t{0});
            return cookie;
        }
    }
    return cookie;
}

void Scanner::completed_chain(Cursor record) {
    uint64_t cookie = record.u64();
    uint64_t length = record.u64();
    auto found = deferred_.find(cookie);
    if (!record.ok() || found == deferred_.end() || !read_words(record, length)) {
        return;
    }
    std::vector<uint64_t> user = chain_.words;
    std::vector<Deferred> waiting = std::move(found->second);
    deferred_.erase(found);
    for (Deferred &sample : waiting) {
        chain_.words.swap(sample.words);
        chain_.words.insert(chain_.words.end(), user.begin(), user.end());
        uint32_t stack = intern_chain(0, CPUMODE_USER, 0);
        for (uint64_t row = 0; row < sample.rows; row++) {
            completed_.emplace_back(sample.first_row + row, stack);
        }
    }
}

Tree::Columns Scanner::take_stacks() {
    whole_chains_ = ChainCache();
    deferred_.clear();
    chain_ = last_ = Chain();
    return stacks_.take();
}

std::vector<std::pair<uint64_t, uint32_t>> Scanner::take_completed() {
    std::vector<std::pair<uint64_t, uint32_t>> taken;
    taken.swap(completed_);
    return taken;
}

// The node of the leaf of chain_.  lone_kind: kind of the only word when it is an instruction and no chain, else 0.
// rows: of the sample, from samples_seen_ on, which may wait for their user part; 0: that part has come.
// Most chains were seen before, as a whole.  Of the others, chains that follow one another share their outer part: walk
// from the root, and only look up nodes from where the chain leaves the last one that was new.
uint32_t Scanner::intern_chain(uint8_t lone_kind, uint8_t user_kind, size_t rows) {
    auto key = ChainCache::key_of(chain_.words.data(), chain_.words.size(), uint64_t{lone_kind} << 8 | user_kind);
    if (const uint32_t *known = whole_chains_.find(key)) {
        return *known;
    }
    uint64_t cookie = 0;
    if (lone_kind != 0) {
        chain_.kinds.assign(1, lone_kind);
        chain_.nodes.resize(1);
    } else if ((cookie = set_kinds(user_kind)) != 0 && rows != 0) {
        deferred_[cookie].push_back({samples_seen_, rows, chain_.words});
    }
    size_t count = chain_.words.size(), last_count = last_.words.size();
    size_t comparable = std::min(count, last_count);
    const uint64_t *ours = chain_.words.data() + count, *theirs = last_.words.data() + last_count;
    const uint8_t *our_kinds = chain_.kinds.data() + count, *their_kinds = last_.kinds.data() + last_count;
    size_t same = 0;
    while (same < comparable && ours[-1 - static_cast<ptrdiff_t>(same)] == theirs[-1 - static_cast<ptrdiff_t>(same)] &&
           our_kinds[-1 - static_cast<ptrdiff_t>(same)] == their_kinds[-1 - static_cast<ptrdiff_t>(same)]) {
        same++;
    }
    std::copy(last_.nodes.end() - static_cast<ptrdiff_t>(same), last_.nodes.end(),
              chain_.nodes.end() - static_cast<ptrdiff_t>(same));
    uint32_t node = same ? chain_.nodes[count - same] : 0;
    uint32_t hash = stacks_.hash(node);
    hashes_.resize(count);
    for (size_t i = count - same; i-- > 0;) {
        if (chain_.kinds[i] != 0) {
            hash = Tree::child_hash(hash, chain_.words[i], chain_.kinds[i]);
            stacks_.prefetch_slot(hash);
        }
        hashes_[i] = hash;
    }
    for (size_t i = count - same; i-- > 0;) {
        stacks_.prefetch_node(hashes_[i]);
    }
    for (size_t i = count - same; i-- > 0;) {
        if (chain_.kinds[i] != 0) {
            node = stacks_.child(node, chain_.words[i], chain_.kinds[i], hashes_[i]);
        }
        chain_.nodes[i] = node;
    }
    std::swap(chain_, last_);
    if (cookie == 0) { // with one, each sample waits for the rest of its own chain
        whole_chains_.add(key, node);
    }
    return node;
}

void Scanner::trailer(const uint8_t *body, size_t size, OtherColumns &out) const {
    uint64_t time = 0;
    uint32_t tid = 0, cpu = 0xFFFFFFFFu;
    uint16_t event = 0;
    if (trailer_id_word_ > 0) {
        size_t back = static_cast<size_t>(trailer_id_word_) * 8;
        event = kNoEvent;
        if (back <= size) {
            auto found = ids_.find(Cursor(body + size - back, 8, swap_).u64());
            if (found != ids_.end()) {
                event = found->second;
            }
        }
    }
    // An id of 0 is what perf writes into records that it makes up; they carry the first event's trailer, zeroed.
    const Layout *layout = layouts_.empty() ? nullptr : &layouts_[event == kNoEvent ? 0 : event];
    if (layout && layout->sample_id_all) {
        uint64_t type = layout->sample_type;
        uint64_t words = ((type & TID) != 0) + ((type & TIME) != 0) + ((type & ID) != 0) + ((type & STREAM_ID) != 0) +
                         ((type & CPU) != 0) + ((type & IDENTIFIER) != 0);
        if (words * 8 <= size) {
            Cursor cursor(body + size - words * 8, words * 8, swap_);
            if (type & TID) {
                cursor.skip(4);
                tid = cursor.u32();
            }
            if (type & TIME) time = cursor.u64();
            if (type & ID) cursor.skip(8);
            if (type & STREAM_ID) cursor.skip(8);
            if (type & CPU) cpu = cursor.u32();
        }
    }
    out.time.push_back(time);
    out.tid.push_back(tid);
    out.cpu.push_back(cpu);
    out.event.push_back(event);
}

} // namespace linscope
