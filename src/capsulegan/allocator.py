"""How the C library gives memory back, which costs large networks a tenth of their time."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, from its malloc.h."""
LARGEST = 2**30


def keep_freed_memory() -> str:
    """Make glibc keep the memory of freed tensors for the next ones, and say how memory is allocated.

    By default it maps each tensor of more than 32 MB anew, and the kernel fills every page with zeros at
    its first use, at each step. Elsewhere than under glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return "default"
    libc = ctypes.CDLL(None)
    taken = libc.mallopt(MMAP_THRESHOLD, LARGEST) and libc.mallopt(TRIM_THRESHOLD, LARGEST)
    return "glibc, freed memory kept" if taken else "glibc"
