"""Log-linear buckets of integers, as HDR histograms have them: keys that any engine adds up to the same result.

Each power of two is divided into 2**bits buckets of one width, so a value is at most a 2**-bits part of itself away
from its bucket's low end; values below 2**bits have a bucket each.  The number of a bucket depends on the value and
bits only.  Source: G. Tene, HdrHistogram, its bucket and sub-bucket indexes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXACT = 1 << 52  # below it a float64 tells every integer's power of two


def bucket_of(values: NDArray[Any], bits: int) -> NDArray[np.int64]:
    """Bucket of each value.  values: integers from 0 to 2**63 - 1; bits: 0 to 16."""
    value = values.astype(np.int64)
    large = value >= _EXACT
    power = np.frexp(np.maximum(np.where(large, value >> 32, value), 1).astype(np.float64))[1].astype(np.int64) - 1
    power[large] += 32
    shift = np.maximum(power - bits, 0)
    return (shift << bits) + (value >> shift)


def low_end(bucket: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The smallest value of each bucket; buckets past 2**63 - 1 end there."""
    index = np.asarray(bucket, np.int64)
    shift = np.maximum((index >> bits) - 1, 0)
    past = shift > 62 - bits
    low = (index - (shift << bits)) << np.where(past, 0, shift)
    return np.where(past, np.int64(2**63 - 1), low)
