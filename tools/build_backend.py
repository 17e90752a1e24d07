"""Builds with setuptools, from the sources alone.

setuptools packs all that is in `build`, so a module that was removed or renamed since an earlier build would be
installed once more, beside its successor.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

LEFT_BY_BUILDS = ("lib*", "bdist.*")


def _forget_earlier_builds() -> None:
    for pattern in LEFT_BY_BUILDS:
        for directory in Path("build").glob(pattern):
            shutil.rmtree(directory)


def build_wheel(*arguments: Any, **options: Any) -> str:
    """As setuptools does, but from the sources alone."""
    _forget_earlier_builds()
    return str(build_meta.build_wheel(*arguments, **options))


def build_editable(*arguments: Any, **options: Any) -> str:
    """As setuptools does, but from the sources alone."""
    _forget_earlier_builds()
    return str(build_meta.build_editable(*arguments, **options))


def build_sdist(*arguments: Any, **options: Any) -> str:
    """As setuptools does."""
    return str(build_meta.build_sdist(*arguments, **options))
