// Bindings of the unwinder.  Address spaces and objects are asked for from Python when a walk first meets them.
#include <nanobind/stl/tuple.h>

#include <stdexcept>

#include "arrays.h"
#include "unwind.h"

namespace nb = nanobind;

namespace linscope {
namespace {

std::vector<SpaceMapping> mappings_of(nb::handle value) {
    auto [start, end, page_offset, object] =
        nb::cast<std::tuple<Input<uint64_t>, Input<uint64_t>, Input<uint64_t>, Input<int32_t>>>(value);
    size_t count = start.size();
    if (end.size() != count || page_offset.size() != count || object.size() != count) {
        throw std::invalid_argument("the columns of a space differ in length");
    }
    std::vector<SpaceMapping> mappings(count);
    for (size_t i = 0; i < count; i++) {
        mappings[i] = {start.data()[i], end.data()[i], page_offset.data()[i], object.data()[i]};
    }
    return mappings;
}

std::vector<uint8_t> bytes_of(nb::handle value) {
    BufferView view(value);
    return std::vector<uint8_t>(view.data(), view.data() + view.size());
}

CfiObject object_of(nb::handle value, bool swap) {
    CfiObject object;
    auto [segments, sections] = nb::cast<std::tuple<Input<uint64_t>, nb::list>>(value);
    if (segments.size() % 3 != 0 || sections.size() > 255) {
        throw std::invalid_argument("segments: three words each; sections: at most 255");
    }
    for (size_t i = 0; i < segments.size(); i += 3) {
        object.segments.push_back({segments.data()[i], segments.data()[i + 1], segments.data()[i + 2]});
    }
    for (nb::handle section : sections) {
        auto [data, address, header, header_address, is_debug_frame] =
            nb::cast<std::tuple<nb::object, uint64_t, nb::object, uint64_t, bool>>(section);
        object.sections.emplace_back(bytes_of(data), address, bytes_of(header), header_address, is_debug_frame, swap);
    }
    return object;
}

nb::object rules_at(Unwinder &unwinder, uint32_t object, uint64_t address) {
    FrameRules rules;
    if (!unwinder.rules_at(object, address, rules)) {
        return nb::none();
    }
    auto plain = [](const Rule &rule) {
        return nb::make_tuple(static_cast<int>(rule.how), rule.source, rule.value);
    };
    nb::dict registers;
    for (uint32_t n = 0; n < kRegisters; n++) {
        if (rules.registers[n].how != How::Unspecified) {
            registers[nb::int_(n)] = plain(rules.registers[n]);
        }
    }
    return nb::make_tuple(plain(rules.cfa), registers, rules.return_register, rules.signal);
}

nb::tuple walk(Unwinder &unwinder, uint32_t space, Input<uint64_t> registers, uint32_t known, nb::handle stack) {
    if (registers.size() != kRegisters) {
        throw std::invalid_argument("seventeen registers");
    }
    BufferView view(stack);
    UserState state;
    std::copy(registers.data(), registers.data() + kRegisters, state.registers);
    state.known = known;
    state.stack = view.data();
    state.stack_size = view.size();
    std::vector<uint64_t> addresses;
    Ending ending = unwinder.walk(space, state, addresses);
    return nb::make_tuple(array_of(std::move(addresses)), static_cast<int>(ending));
}

} // namespace

void bind_unwinder(nb::module_ &m) {
    nb::class_<Unwinder>(m, "Unwinder")
        .def("__init__",
             [](Unwinder *self, nb::callable load_space, nb::callable load_object, bool swap) {
                 new (self) Unwinder(
                     [load_space](uint32_t number) {
                         nb::gil_scoped_acquire held;
                         return mappings_of(load_space(number));
                     },
                     [load_object, swap](uint32_t number) {
                         nb::gil_scoped_acquire held;
                         return object_of(load_object(number), swap);
                     },
                     swap);
             })
        .def("rules_at", &rules_at)
        .def("walk", &walk)
        .def("endings", [](const Unwinder &unwinder) {
            nb::list counts;
            for (size_t i = 0; i < static_cast<size_t>(Ending::Count); i++) {
                counts.append(unwinder.endings()[i]);
            }
            return nb::tuple(counts);
        });
}

} // namespace linscope
