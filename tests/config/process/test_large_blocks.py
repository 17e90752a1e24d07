"""What a process frees of its memory in large blocks goes back to the system, also after some were freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.repository import REPOSITORY

PROGRAM = """
import ctypes, sys
from config.process.preparation import LARGE_BLOCK_BYTES, return_large_blocks
class Statistics(ctypes.Structure):
    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]
library = ctypes.CDLL(None)
library.mallinfo2.restype = Statistics
if sys.argv[1] == "returned":
    return_large_blocks()
block = bytearray(2 * LARGE_BLOCK_BYTES)
del block
before = library.mallinfo2().field_3
block = bytearray(2 * LARGE_BLOCK_BYTES)
print(library.mallinfo2().field_3 - before)
"""
"""Prints how many blocks of their own the kernel has for one large block, once one like it was freed.

Source: mallinfo2(3); the fourth field is `hblks`.
"""


@pytest.mark.parametrize(("how", "own_blocks"), [("returned", 1), ("kept", 0)])
def test_a_large_block_has_memory_of_its_own_only_if_that_is_asked_for(how: str, own_blocks: int) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    told = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert int(told.stdout) == own_blocks


PIECES_PROGRAM = """
import mmap, resource, sys
from config.process.preparation import return_large_blocks
from files.descriptors import CHUNK_SIZE_BYTES
return_large_blocks()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    before = faults()
    for _ in range(100):
        piece = bytearray(CHUNK_SIZE_BYTES)
        del piece
print((faults() - before) * mmap.PAGESIZE / (100 * CHUNK_SIZE_BYTES))
"""
"""Prints how much of the memory for the pieces of a file the kernel had to provide again, once it was there."""


def test_the_memory_of_a_piece_serves_for_the_next_one() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PIECES_PROGRAM], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert float(told.stdout) < 0.1
