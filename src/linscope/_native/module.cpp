// The bindings: buffers in, numpy arrays out, the GIL released while the work is done.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <stdexcept>

#include "arrays.h"
#include "fold.h"
#include "scan.h"

namespace nb = nanobind;
using namespace linscope;

namespace {

void check(bool holds, const char *what) {
    if (!holds) {
        throw std::invalid_argument(what);
    }
}

constexpr size_t kLayoutWords = 8;

std::vector<Layout> layouts_of(const Input<uint64_t> &words) {
    check(words.size() % kLayoutWords == 0, "layouts: eight words each");
    std::vector<Layout> layouts;
    const uint64_t *w = words.data();
    for (size_t i = 0; i < words.size(); i += kLayoutWords) {
        layouts.push_back({w[i], w[i + 1], w[i + 2], w[i + 3], w[i + 4], w[i + 5], w[i + 6], w[i + 7]});
    }
    return layouts;
}

std::unordered_map<uint64_t, uint16_t> ids_of(const Input<uint64_t> &ids, const Input<uint16_t> &events, size_t layouts) {
    check(ids.size() == events.size(), "ids and events differ in length");
    std::unordered_map<uint64_t, uint16_t> map;
    for (size_t i = 0; i < ids.size(); i++) {
        check(events.data()[i] < layouts, "an id of an event that does not exist");
        map.emplace(ids.data()[i], events.data()[i]);
    }
    return map;
}

nb::dict scan(Scanner &scanner, nb::handle buffer, size_t start) {
    BufferView view(buffer);
    check(start <= view.size() && view.size() - start <= 0xFFFFFFFFull, "start beyond the buffer, or a chunk over 4 GiB");
    ScanResult r;
    {
        nb::gil_scoped_release release;
        r = scanner.scan(view.data() + start, view.size() - start);
    }
    nb::dict samples, others, out;
    SampleColumns &s = r.samples;
    samples["time"] = array_of(std::move(s.time));
    samples["address"] = array_of(std::move(s.address));
    samples["weight"] = array_of(std::move(s.weight));
    samples["pid"] = array_of(std::move(s.pid));
    samples["tid"] = array_of(std::move(s.tid));
    samples["cpu"] = array_of(std::move(s.cpu));
    samples["stack"] = array_of(std::move(s.stack));
    samples["offset"] = array_of(std::move(s.offset));
    samples["raw_offset"] = array_of(std::move(s.raw_offset));
    samples["raw_size"] = array_of(std::move(s.raw_size));
    samples["event"] = array_of(std::move(s.event));
    samples["misc"] = array_of(std::move(s.misc));
    OtherColumns &o = r.others;
    others["time"] = array_of(std::move(o.time));
    others["offset"] = array_of(std::move(o.offset));
    others["type"] = array_of(std::move(o.type));
    others["tid"] = array_of(std::move(o.tid));
    others["cpu"] = array_of(std::move(o.cpu));
    others["event"] = array_of(std::move(o.event));
    others["misc"] = array_of(std::move(o.misc));
    others["size"] = array_of(std::move(o.size));
    out["samples"] = samples;
    out["others"] = others;
    out["sample_records"] = r.sample_records;
    out["consumed"] = r.consumed;
    out["stopped_at"] = r.stopped_at;
    out["error"] = r.error ? nb::cast(r.error) : nb::none();
    return out;
}

nb::tuple take_stacks(Scanner &scanner) {
    Tree::Columns c;
    {
        nb::gil_scoped_release release;
        c = scanner.take_stacks();
    }
    return nb::make_tuple(array_of(std::move(c.parent)), array_of(std::move(c.place)),
                          array_of(std::move(c.places.first)), array_of(std::move(c.places.second)));
}

template <typename T> void check_tree(const Input<uint32_t> &parent, const Input<T> &column) {
    check(parent.size() == column.size() && parent.size() != 0, "columns differ in length, or there is no root");
    for (size_t n = 1; n < parent.size(); n++) {
        check(parent.data()[n] < n, "a parent does not come before its child");
    }
}

void check_pairs(const Input<uint32_t> &leaf, const Input<uint32_t> &group, size_t nodes) {
    check(leaf.size() == group.size(), "leaf and group differ in length");
    for (size_t i = 0; i < leaf.size(); i++) {
        check(leaf.data()[i] < nodes && group.data()[i] != kNoLabel, "a leaf or group out of range");
    }
}

nb::tuple regroup_arrays(Input<uint32_t> parent, Input<uint32_t> label, Input<uint32_t> leaf, Input<uint32_t> group) {
    check_tree(parent, label);
    check_pairs(leaf, group, parent.size());
    Regrouped r;
    {
        nb::gil_scoped_release release;
        r = regroup(parent.data(), label.data(), parent.size(), leaf.data(), group.data(), leaf.size());
    }
    return nb::make_tuple(array_of(std::move(r.leaf)), array_of(std::move(r.parent)), array_of(std::move(r.label)),
                          array_of(std::move(r.group)));
}

nb::object frames_by_space_arrays(Input<uint32_t> parent, Input<uint32_t> place, Input<uint8_t> kernel,
                                  Input<uint32_t> leaf, Input<uint32_t> space) {
    check_tree(parent, place);
    check_pairs(leaf, space, parent.size());
    for (size_t n = 0; n < place.size(); n++) {
        check(place.data()[n] < kernel.size(), "a place out of range");
    }
    SpaceFrames r;
    {
        nb::gil_scoped_release release;
        r = frames_by_space(parent.data(), place.data(), parent.size(), kernel.data(), kernel.size(), leaf.data(),
                            space.data(), leaf.size());
    }
    if (!r.found) return nb::none();
    return nb::make_tuple(array_of(std::move(r.frame)), array_of(std::move(r.place)), array_of(std::move(r.space)));
}

nb::object totals(Input<uint32_t> parent, Input<int64_t> self) {
    check_tree(parent, self);
    std::vector<int64_t> total(self.data(), self.data() + self.size());
    accumulate(parent.data(), parent.size(), total.data());
    return array_of(std::move(total));
}

nb::object outermost_array(Input<uint32_t> parent, Input<uint32_t> label, uint32_t labels) {
    check_tree(parent, label);
    for (size_t n = 1; n < parent.size(); n++) {
        check(parent.data()[n] == 0 || label.data()[n] < labels, "a label out of range");
    }
    return array_of(outermost(parent.data(), label.data(), parent.size(), labels));
}

template <typename A> nb::tuple intern_pairs(Input<A> a, Input<uint32_t> b) {
    check(a.size() == b.size(), "the columns differ in length");
    PairTable<A, uint32_t> pairs;
    std::vector<uint32_t> ids(a.size());
    // Most often both are small (a node, a CPU): then a table of all pairs needs no hash.
    constexpr uint64_t kDense = 1 << 22;
    uint64_t width = 1, height = 1;
    for (size_t i = 0; i < a.size(); i++) {
        height = std::max(height, std::min<uint64_t>(a.data()[i], kDense) + 1);
        width = std::max(width, uint64_t{b.data()[i]} + 1);
    }
    std::vector<uint32_t> table(height <= kDense / width ? width * height : 0, kNoLabel);
    for (size_t i = 0; i < a.size(); i++) {
        if (table.empty()) {
            ids[i] = pairs.number(a.data()[i], b.data()[i]);
            continue;
        }
        uint32_t &known = table[a.data()[i] * width + b.data()[i]];
        if (known == kNoLabel) {
            known = pairs.next();
            pairs.push(a.data()[i], b.data()[i]);
        }
        ids[i] = known;
    }
    auto first = array_of(std::move(pairs.first)), second = array_of(std::move(pairs.second));
    return nb::make_tuple(array_of(std::move(ids)), first, second);
}

} // namespace

NB_MODULE(_core, m) {
    m.doc() = "The measured hot loops; each has a plain Python twin in tests/native.";
    bind_unwinder(m);
    bind_traces(m);
    bind_bpf(m);
    nb::class_<Scanner>(m, "Scanner")
        .def("__init__",
             [](Scanner *self, Input<uint64_t> layouts, Input<uint64_t> ids, Input<uint16_t> events, bool swap) {
                 auto parsed = layouts_of(layouts);
                 auto map = ids_of(ids, events, parsed.size());
                 new (self) Scanner(std::move(parsed), std::move(map), swap);
             })
        .def("set_layouts",
             [](Scanner &self, Input<uint64_t> layouts, Input<uint64_t> ids, Input<uint16_t> events) {
                 auto parsed = layouts_of(layouts);
                 auto map = ids_of(ids, events, parsed.size());
                 self.set_layouts(std::move(parsed), std::move(map));
             })
        .def("scan", &scan, nb::arg("buffer"), nb::arg("start") = 0)
        .def("take_stacks", &take_stacks)
        .def("set_unwinder",
             [](Scanner &self, Unwinder *unwinder, Input<uint32_t> spaces) {
                 self.set_unwinder(unwinder, {spaces.data(), spaces.data() + spaces.size()});
             },
             nb::arg("unwinder").none(), nb::arg("spaces"), nb::keep_alive<1, 2>())
        .def("take_completed", [](Scanner &self) {
            std::vector<uint64_t> sample;
            std::vector<uint32_t> stack;
            for (auto [s, n] : self.take_completed()) {
                sample.push_back(s);
                stack.push_back(n);
            }
            return nb::make_tuple(array_of(std::move(sample)), array_of(std::move(stack)));
        });
    m.def("give_back_memory", &give_back_memory);
    m.def("frames_by_space", &frames_by_space_arrays);
    m.def("regroup", &regroup_arrays);
    m.def("totals", &totals);
    m.def("outermost", &outermost_array);
    m.def("intern_pairs", &intern_pairs<uint32_t>).def("intern_pairs", &intern_pairs<uint64_t>);
}
