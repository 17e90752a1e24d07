"""What all processes of one run need to exchange messages."""

from __future__ import annotations

import pickle

PROGRESS_SECONDS = 0.4
"""How often a member reports its progress."""


def fit_to_be_sent(error: Exception) -> Exception:
    """The same error if it can be pickled, else one with the same meaning."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
