"""Names in perf's spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linscope.symbols.demangle import demangle, strip_signature

# left: a symbol; right: what perf 6.1 prints for it (taken from its output, not from a demangler)
PERF = {
    "main": "main",
    "_ZNK1SltERKS_": "S::operator<",
    "_ZN1SC2EPKc": "S::S",
    "_ZN1SD1Ev": "S::~S",
    "_ZNK2ns3BoxIlE4workEli": "ns::Box<long>::work",
    "_ZNK2ns3BoxIlE4workEli.part.0": "ns::Box<long>::work",
    "_ZNSt6vectorIiSaIiEE17_M_realloc_insertIJiEEEvN9__gnu_cxx17__normal_iteratorIPiS1_EEDpOT_": (
        "std::vector<int, std::allocator<int> >::_M_realloc_insert<int>"
    ),
    "_ZlsRSoRK1S": "operator<<",
    "_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc": "std::operator<< <std::char_traits<char> >",
    "_Znwm": "operator new",
    "_ZdlPvm": "operator delete",
    "_ZN1ScvmEv": "S::operator unsigned long",
    "_ZN1SclEi": "S::operator()",
    "_ZNK1S3fooEv": "S::foo",
    "_ZZ4mainENKUlvE_clEv": "main::{lambda()#1}::operator()",
    "_ZThn16_N1S3fooEi": "non-virtual thunk to S::foo(int)",
    "_ZTV1S": "vtable for S",
    "_ZN12_GLOBAL__N_13fooEv": "(anonymous namespace)::foo",
    "_ZN43_$LT$r..Sq$LT$T$GT$$u20$as$u20$r..Shape$GT$4area17h1b80c5683b818e9aE": (
        "<r::Sq<T> as r::Shape>::area"
    ),
    "_ZN4core3ops8function6FnOnce40call_once$u7b$$u7b$vtable.shim$u7d$$u7d$17h0123456789abcdefE": (
        "core::ops::function::FnOnce::call_once{{vtable.shim}}"
    ),
    "_RNvXCs6GmmlP4bgsG_1rINtB2_2SqhENtB2_5Shape4areaB2_": "<r::Sq<u8> as r::Shape>::area",
    "_Zcorrupt": "_Zcorrupt",
    "_R": "_R",
    "_Z": "_Z",
}


@pytest.mark.parametrize("name", PERF)
def test_as_perf_prints_it(name: str) -> None:
    assert demangle(name) == PERF[name]


def test_parameters_on_request() -> None:
    full = demangle("_ZNK2ns3BoxIlE4workEli.part.0", parameters=True)
    assert full == "ns::Box<long>::work(long, int) const [clone .part.0]"


def test_strip_signature_of_a_lambda_within_a_const_member() -> None:
    full = "A::f(int)::{lambda(char)#1}::operator()(char) const::{lambda()#2}::_FUN()"
    assert strip_signature(full) == full[:-2]


@given(st.text(max_size=60), st.sampled_from(["", "_Z", "_ZN", "_R", "_RNv", "_ZN3foo17h0123456789abcdefE"]))
def test_any_text_is_survived(text: str, start: str) -> None:
    demangle(start + text)
    strip_signature(text)
