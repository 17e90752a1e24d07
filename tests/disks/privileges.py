"""What an ordinary user may not do, for tests that root runs too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Within, root is nobody: permissions hold. Anybody else stays who he is."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


WITHOUT_CAPABILITIES = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in range(64):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""A program that starts Python with the arguments that it is given, without what root may do to files of others: 24 is
PR_CAPBSET_DROP, and what is dropped there nobody has after the next exec. Source: linux/prctl.h, capabilities(7)."""
