"""One number for all that a listing shows of a copy: names, sizes and the provider's own checksums.

It is recorded with the commit if the provider's checksum of every file is the one computed from the bytes that were
sent. A later listing with the same number shows the same bytes, without a request for any file. The order of the
listing does not matter, so a listing of a million objects need not be held.
"""

from __future__ import annotations

import hashlib

MODULUS = (1 << 61) - 1
"""Fits into a BIGINT. Two listings that differ by accident have the same number once in 2^61 times."""


def part_of(path: str, size_bytes: int, checksum: str | None) -> int:
    """What one object adds: add all parts modulo `MODULUS`. `path` is relative to the place."""
    shown = f"{size_bytes} {checksum if size_bytes else ''} {path}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(shown, digest_size=8).digest(), "big")
