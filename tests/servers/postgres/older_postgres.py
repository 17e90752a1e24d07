"""PostgreSQL 16, which the wheel holds beside the newest one."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path

from demo.servers.postgres import PACKAGE, EmbeddedPostgres

OLDER = "pginstall"


class OlderPostgres(EmbeddedPostgres):
    """The wheel's older server, from a copy of it that every account can read."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(directory / "data", settings)
        package = importlib.util.find_spec(PACKAGE)
        assert package is not None
        assert package.origin is not None
        installed = Path(package.origin).resolve().parent.parent
        self._copy = directory / PACKAGE / OLDER
        for part in (f"{PACKAGE}/{OLDER}", f"{PACKAGE}.libs"):
            shutil.copytree(installed / part, directory / part, symlinks=True)

    @property
    def binaries(self) -> Path:
        return self._copy / "bin"
