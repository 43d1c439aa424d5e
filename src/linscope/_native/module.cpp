#include <nanobind/nanobind.h>
namespace nb = nanobind;
NB_MODULE(_core, m) { m.def("one", []() { return 1; }); }
