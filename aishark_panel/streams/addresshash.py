"""A hash of addresses for tables of the hub's kernels."""

import numpy as np

from aishark_panel.jit import kernel

__all__ = ["address_hash"]


@kernel
def address_hash(high, low):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """63 bits, the lowest of which depend on all of an address: neighbours differ in the highest byte of its words."""
    mixed = (high * np.uint64(0x9E3779B97F4A7C15)) ^ low
    for _ in range(2):
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0x7FFFFFFFFFFFFFFF))
