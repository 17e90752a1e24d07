"""What all processes of one run have in common when they talk to each other."""

from __future__ import annotations

import pickle

PROGRESS_SECONDS = 0.4
"""How often a member tells what it has done so far."""


def fit_to_be_sent(error: Exception) -> Exception:
    """The same error where it survives the way, or one that says as much."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
