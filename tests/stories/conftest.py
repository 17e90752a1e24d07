"""What every story begins with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.destinations import Destination, local_destination
from tests.stories.installation import Installation


@pytest.fixture
def bare_installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """A checkout, directories and an empty database, in which nothing was run yet."""
    installation = Installation(tmp_path, database_url)
    yield installation
    installation.close()


@pytest.fixture
def installation(bare_installation: Installation) -> Installation:
    """An installation with the platform's tables, after `init-db`."""
    bare_installation.install()
    return bare_installation


@pytest.fixture
def nas(tmp_path: Path) -> Destination:
    """A mounted directory as the destination: the quickest one."""
    return local_destination("nas", tmp_path / "nas")
