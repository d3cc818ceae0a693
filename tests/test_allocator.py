"""Whether the C library keeps the memory of freed tensors for the next ones."""

import platform
import subprocess
import sys

import pytest

from capsulegan import allocator
from capsulegan.allocator import keep_freed_memory

IS_GLIBC = platform.libc_ver()[0] == "glibc"

# 64 MiB are 16,384 pages of 4 KiB, each of which faults where it was mapped anew
SCRIPT = """
import ctypes, resource, sys
from capsulegan.allocator import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

libc, size = ctypes.CDLL(None), 2**26
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "keep":
    keep_freed_memory()
counts = []
for _ in range(3):
    before = faults()
    memory = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(memory, 1, size)
    libc.free(memory)
    counts.append(faults() - before)
print(*counts)
"""


def faults(how):
    """How many pages the kernel had to give at the first, second and third use of as much memory."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return [int(count) for count in done.stdout.split()]


@pytest.mark.skipif(not IS_GLIBC, reason="needs glibc")
def test_under_glibc_it_says_so_however_often_it_is_asked():
    assert keep_freed_memory() == keep_freed_memory() == "glibc, freed memory kept"


@pytest.mark.skipif(not IS_GLIBC, reason="needs glibc")
def test_memory_that_was_freed_is_given_out_again_without_the_kernel():
    first, second, third = faults("keep")
    assert second < 0.1 * first
    assert third < 0.1 * first
    assert faults("default")[2] > 0.5 * first


@pytest.mark.parametrize("name", ["", "musl"])
def test_elsewhere_nothing_is_called(monkeypatch, name):
    monkeypatch.setattr(platform, "libc_ver", lambda: (name, ""))
    monkeypatch.setattr(allocator, "ctypes", None)
    assert keep_freed_memory() == "default"
