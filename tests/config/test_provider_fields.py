"""Fields of a provider's row that nobody asks for are told, and none that somebody asks for is."""

from __future__ import annotations

import ast

import pytest

from config.models import ProviderRow
from config.provider_fields import KNOWN_FIELDS, unknown_fields
from tests.repository import REPOSITORY

PROVIDERS = REPOSITORY / "providers"
READERS = ("text", "required_text", "integer", "boolean")
OF_A_SERVICE_ACCOUNT = {"type", "project_id", "client_email", "token_uri", "private_key", "private_key_id"}
"""Fields of Google's own document, which is not ours to judge."""


def row(kind: str, credentials: object, **options: object) -> ProviderRow:
    """A provider's row."""
    return ProviderRow(1, "uno", kind, credentials, options, active=True)  # type: ignore[arg-type]


def fields_asked_for() -> set[str]:
    """Every field that a provider's module reads by name, as its source says."""
    return {
        node.args[0].value
        for path in PROVIDERS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in READERS
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def test_every_field_that_is_asked_for_is_declared_and_the_other_way_round() -> None:
    """A new field of a provider belongs into `config/provider_fields.py`, too: otherwise its use is warned of."""
    declared = {name for known in KNOWN_FIELDS.values() for name in (*(known.credentials or ()), *known.options)}
    read_in_a_loop = {"access_key", "secret_key"}
    assert (fields_asked_for() | read_in_a_loop) - declared <= OF_A_SERVICE_ACCOUNT
    assert declared <= fields_asked_for() | read_in_a_loop


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (row("s3", None, bucket="b", SSE="AES256"), ["configuracion.SSE no se conoce; ¿quería decir sse?"]),
        (row("s3", None, bucket="b", encriptar=True), ["configuracion.encriptar no se conoce"]),
        (
            row("minio", {"acces_key": "no-debe-verse"}, bucket="b"),
            ["credenciales.acces_key no se conoce; ¿quería decir access_key?"],
        ),
        (
            row("s3", {"endpoint_url": "https://no-debe-verse"}, bucket="b", region="no-debe-verse"),
            [
                "credenciales.endpoint_url no se lee ahí; su sitio es configuracion",
                "configuracion.region no se lee ahí; su sitio es credenciales",
            ],
        ),
        (row("sftp", {"host": "h", "hostkey": "k"}), ["credenciales.hostkey no se conoce; ¿quería decir host_key?"]),
        (row("sftp", {"user": "u"}), ["credenciales.user no se conoce; ¿quería decir username?"]),
        (row("local", {"usuario": "u"}, ruta="/r"), ["credenciales.usuario no se conoce"]),
        (row("gcp", {"type": "service_account", "x": "y"}, bucket="b"), []),
        (row("azure", "UseDevelopmentStorage=true", container="c"), []),
        (row("s3", None, bucket="b", vacio="", nulo=None), []),
        (row("otra", None, bucket="b"), []),
    ],
)
def test_a_field_that_means_nothing_is_reported_by_its_name_alone(given: ProviderRow, told: list[str]) -> None:
    assert list(unknown_fields(given)) == told
