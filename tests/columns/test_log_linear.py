"""Log-linear buckets: every value in one bucket, of the promised width."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linscope.columns.log_linear import bucket_of, low_end


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1), st.integers(0, 16))
def test_a_value_lies_in_its_bucket(values: list[int], bits: int) -> None:
    bucket = bucket_of(np.array(values, np.int64), bits)
    low, high = low_end(bucket, bits).tolist(), low_end(bucket + 1, bits).tolist()
    for value, first, after in zip(values, low, high, strict=True):
        assert first <= value < after or (value == after == 2**63 - 1) or after == 2**63 - 1
        assert value - first <= value / 2**bits


@given(st.integers(0, 16))
def test_buckets_grow_without_gaps(bits: int) -> None:
    edges = low_end(np.arange(40 << bits, dtype=np.int64), bits)
    assert (np.diff(edges) >= 1).all()
    assert (bucket_of(edges, bits) == np.arange(40 << bits)).all()
    assert (bucket_of(edges[1:] - 1, bits) == np.arange((40 << bits) - 1)).all()
