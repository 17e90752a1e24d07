"""JSON that is nested more deeply than Python reads is as wrong as any other, and no fault of this program."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.status.own_log import unrecorded_failure
from config.fields import FieldError
from config.models import ProviderRow
from config.process.log_output import LOG_FILE_NAME
from jobs.metrics.samples import STATE, parsed
from providers import build_provider
from providers.errors import InvalidProviderSettings
from sql.platform.configuration import json_object

DEEP = "[" * 60_000


def test_a_row_of_a_provider() -> None:
    with pytest.raises(FieldError, match="configuracion: debe ser un objeto JSON"):
        json_object("configuracion", DEEP, text_allowed=True)


def test_the_file_of_a_service_account(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(DEEP)
    row = ProviderRow(1, "copias", "gcp", str(file), {"bucket": "backups"}, active=True)
    with pytest.raises(InvalidProviderSettings, match="no se puede leer el archivo de la cuenta de servicio"):
        build_provider(row).check()


def test_the_state_in_a_file_of_metrics() -> None:
    assert parsed(f"{STATE}{DEEP}\n").state == {}


def test_a_line_of_the_log(tmp_path: Path) -> None:
    error = "2026-11-28 03:00:00,000 - janitor_daemon - ERROR - la base de datos rechazó la operación: lleno\n"
    (tmp_path / LOG_FILE_NAME).write_text(error + '{"a":' * 20_000 + "\n")
    assert unrecorded_failure(tmp_path, None) is not None
