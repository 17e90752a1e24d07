"""What `check` says of each directory in `LOGS_PATH`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.logs.check import check_directories
from jobs.logs.guard import KeptApart
from jobs.logs.settings import LogsSettings
from tests.disks.privileges import unprivileged


def found(path: Path | str) -> tuple[str, str]:
    """The mark and the text of the one finding."""
    (finding,) = check_directories(LogsSettings((str(path),)), [KeptApart("una raíz", "/srv/executions")])
    return finding.mark, finding.text


def test_a_directory_that_is_there_is_in_order(tmp_path: Path) -> None:
    assert found(tmp_path) == ("bien ", "existe y se puede escribir en él")


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    mark, text = found(tmp_path / "missing")
    assert (mark, "créelo" in text) == ("ERROR", True)


def test_a_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "real" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    mark, text = found(tmp_path / "link" / "logs")
    assert (mark, "enlace simbólico" in text) == ("ERROR", True)


def test_a_directory_that_may_not_be_written_to_is_an_error(tmp_path: Path) -> None:
    for above in tmp_path.parents:
        if above.stat().st_uid == os.geteuid():
            above.chmod(above.stat().st_mode | 0o055)
    tmp_path.chmod(0o555)
    with unprivileged():
        assert "no puede escribir" in found(tmp_path)[1]


@pytest.mark.parametrize("path", ["/etc", "/srv/executions/e1"])
def test_a_refused_directory_is_an_error(path: str) -> None:
    mark, text = found(path)
    assert (mark, text.startswith("LOGS_PATH: ")) == ("ERROR", True)
