"""Marks planted in every field that can hold a secret are looked for wherever a run leaves anything to be read.

Beside `test_secrets_and_logs.py`, here the servers are hostile: they repeat the request, its headers and its body, in
their errors.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.destinations import Destination
from tests.repository import REPOSITORY
from tests.servers.canned_http import Answer, CannedHttp, Request
from tests.stories.doors import refused_port
from tests.stories.installation import Installation, Run
from tests.stories.programs import lose_patience_soon

MakeDestination = Callable[[str], Destination]

TEXT_CREDENTIALS = (("credenciales  JSONB", "credenciales  TEXT"), ("configuracion JSONB", "configuracion TEXT"))
"""The platform's columns as some installations have them: they also hold what is no JSON."""

BEGINNING = 12
"""A library may cut a long value off: this many characters of it are already too many."""

DERIVED = re.compile(rb"(?:Bearer\s+|assertion=)([\w.~+/=%-]{16,})")
"""What a client makes of its secrets and what opens doors for an hour, too: access tokens and what they are had for."""


class Marks:
    """Makes values that can be told from everything else, and finds them again however they were written."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def plant(self, field: str, value: str | None = None) -> str:
        """A new mark for a field, or a value that has to look like something, remembered."""
        given = value or f'{secrets.token_hex(8)}+/XYZZY= %2B"\\ñ&{field}'
        self.planted[f"{field} {len(self.planted)}"] = given
        return given

    def found_in(self, text: str) -> dict[str, str]:
        """The fields whose values a text gives away, each with the place."""
        return {
            field: text[max(0, text.index(form) - 200) : text.index(form) + 80]
            for field, value in self.planted.items()
            for form in _forms(value)
            if form in text
        }


def _forms(value: str) -> Iterator[str]:
    for line in value.splitlines():
        if "-----" in line or len(line) < BEGINNING:
            continue
        yield line[:BEGINNING]
        yield base64.b64encode(line.encode()).decode().rstrip("=")[: BEGINNING + 4]
        for quoted in (urllib.parse.quote(line, safe=""), urllib.parse.quote_plus(line), json.dumps(line)[1:-1]):
            yield quoted[: BEGINNING + 4]


def test_a_mark_is_found_however_it_is_written() -> None:
    marks = Marks()
    mark = marks.plant("password")
    marks.plant("private_key", f"-----BEGIN\n{mark}\n-----END")
    for written in (
        mark, mark[:BEGINNING], urllib.parse.quote(mark, safe=""), base64.b64encode(mark.encode()).decode(),
        json.dumps(mark), repr(mark), f"<{escape(mark)}>",
    ):  # fmt: skip
        assert set(marks.found_in(f"antes {written} después")) == {"password 0", "private_key 1"}
    assert marks.found_in("-----BEGIN *** -----END password") == {}


class CommandLines:
    """Reads the command lines of all processes of the machine, again and again, until the context is left."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            for arguments in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    self.seen.add(arguments.read_bytes().decode(errors="replace"))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def _places(installation: Installation) -> Iterator[tuple[str, str]]:
    """What runs leave behind, but for the tables in which the platform keeps credentials."""
    if installation.logs.exists():
        for path in installation.logs.iterdir():
            yield path.name, path.read_text(encoding="utf-8")
    for table, lines in installation.everything_in_the_database().items():
        if table not in ("cloud_providers", "secretos_nube"):
            yield table, "\n".join(lines)


def _require_hidden(installation: Installation, marks: Marks, *runs: Run) -> None:
    shown = [(f"console of run {number}", run.output + run.errors) for number, run in enumerate(runs)]
    for place, text in (*shown, *_places(installation)):
        assert marks.found_in(text) == {}, f"shows in {place}"


# Servers that repeat what they were sent


def _echo(request: Request) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    decoded = urllib.parse.unquote(request.path)
    return f"{request.method} {request.path}\n{decoded}\n{headers}\n\n{request.body.decode(errors='replace')}"


def _denial(status: int, request: Request) -> Answer:
    """An error document of the kind's own form, full of what came with the request."""
    said = _echo(request)
    if "/storage/v1" in request.path or "/token" in request.path:
        error = {"code": status, "message": said, "errors": [{"reason": said, "message": said, "domain": said}]}
        text = json.dumps({"error": error, "error_description": said})
        return Answer(status, text.encode(), {"Content-Type": "application/json"})
    xml = escape(said)
    words = re.sub(r"\W", "", said)[:80]
    details = f"<AuthenticationErrorDetail>{xml}</AuthenticationErrorDetail><Resource>{xml}</Resource>"
    text = f"<Error><Code>{words}</Code><Message>{xml}</Message>{details}</Error>"
    headers = {"Content-Type": "application/xml", "x-ms-error-code": words, "x-ms-request-id": request.path}
    return Answer(status, text.encode(), headers)


def _empty_listing(request: Request) -> Answer:
    if "/storage/v1" in request.path:
        return Answer(200, b"{}", {"Content-Type": "application/json"})
    text = (
        b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"
        if "comp=list" in request.path
        else b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    return Answer(200, text, {"Content-Type": "application/xml"})


@dataclass(frozen=True)
class Behaviour:
    """With which status a server refuses, and whether it refuses to list, too, or only to store."""

    status: int
    lists: bool

    def answer(self, request: Request) -> Answer:
        """A token for Google's SDK, and otherwise as announced."""
        if request.path == "/token":
            token = {"access_token": f"ya29.{secrets.token_urlsafe(40)}", "expires_in": 3600, "token_type": "Bearer"}
            return Answer(200, json.dumps(token).encode(), {"Content-Type": "application/json"})
        if self.lists and request.method == "GET":
            return _empty_listing(request)
        return _denial(self.status, request)


BEHAVIOURS = {
    "does not know who asks": Behaviour(401, lists=False),
    "forbids to store": Behaviour(403, lists=True),
    "fails to store": Behaviour(500, lists=True),
    "takes the request for a bad one": Behaviour(400, lists=True),
}


# Rows full of marks


@dataclass(frozen=True)
class Row:
    """A row of `cloud_providers`; text stands in a column as it is."""

    name: str
    kind: str
    credentials: Mapping[str, object] | str | None
    options: Mapping[str, object] | str | None


def _private_key(marks: Marks, passphrase: str | None = None) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    locked = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, locked).decode()
    lines = pem.splitlines()[2:-1]  # its first line begins alike in all keys
    marks.plant("private_key", "\n".join(lines))
    return pem


def _service_account(marks: Marks, token_uri: str) -> dict[str, object]:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    marks.plant("private_key", "\n".join(pem.splitlines()[2:-1]))
    return {
        "type": "service_account", "project_id": "p", "private_key_id": marks.plant("private_key_id"),
        "private_key": pem, "client_email": "robot@p.iam.gserviceaccount.com", "token_uri": token_uri,
    }  # fmt: skip


def _key_pair(marks: Marks) -> dict[str, object]:
    return {
        "access_key": marks.plant("access_key", f"AK{secrets.token_hex(12)}"),
        "secret_key": marks.plant("secret_key"),
        "session_token": marks.plant("session_token", f"{secrets.token_hex(30)}/+=="),
    }


def _account_key(marks: Marks) -> str:
    return marks.plant("account_key", base64.b64encode(secrets.token_bytes(40)).decode())


def _sas_token(marks: Marks) -> str:
    signature = marks.plant("sig", base64.b64encode(secrets.token_bytes(32)).decode())
    return f"?sv=2024-11-04&sp=rwdl&sig={urllib.parse.quote(signature, safe='')}&se=2031-01-01"


def _at_server(marks: Marks, name: str, url: str) -> Iterator[Row]:
    """One row of each kind, and of each way to prove who asks, at an HTTP server."""
    account, place = f"{url}/cuenta", {"container": "cubo", "account_url": f"{url}/cuenta"}
    bucket: Mapping[str, object] = {"bucket": "cubo", "endpoint_url": url}
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName=cuenta;AccountKey={_account_key(marks)};BlobEndpoint={account}"
    )
    shared = f"BlobEndpoint={account};SharedAccessSignature={_sas_token(marks).lstrip('?')}"
    yield Row(f"s3, {name}", "s3", _key_pair(marks), bucket)
    yield Row(f"minio, {name}", "minio", {**_key_pair(marks), "region": "eu-1"}, bucket)
    yield Row(f"s3 by the environment, {name}", "s3", None, bucket)
    yield Row(f"azure key, {name}", "azure", {"account_name": "cuenta", "account_key": _account_key(marks)}, place)
    yield Row(f"azure SAS, {name}", "azure", {"account_name": "cuenta", "sas_token": _sas_token(marks)}, place)
    yield Row(f"azure connection, {name}", "azure", {"connection_string": connection}, {"container": "cubo"})
    yield Row(f"azure shared, {name}", "azure", {"connection_string": shared}, {"container": "cubo"})
    yield Row(f"gcp, {name}", "gcp", _service_account(marks, f"{url}/token"), bucket)


def _sftp(marks: Marks, port: int, **fields: object) -> dict[str, object]:
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    return {"host": "127.0.0.1", "port": port, "username": "sage", "host_key": host_key, **fields}


def _unusable(marks: Marks) -> Iterator[Row]:
    """Rows whose fields are wrong, with marks in what is wrong."""
    url = {name: f"http://{value}" for name, value in {
        "user": f"usuario:{marks.plant('userinfo', secrets.token_hex(12))}@127.0.0.1:9/x",
        "password": f":{marks.plant('userinfo', secrets.token_hex(12))}@127.0.0.1:9",
        "signature": f"127.0.0.1:9/x?X-Amz-Signature={marks.plant('query', secrets.token_hex(12))}",
        "fragment": f"127.0.0.1:9/x#sig={marks.plant('fragment', secrets.token_hex(12))}",
    }.items()}  # fmt: skip
    for name, address in url.items():
        yield Row(f"s3 {name}", "s3", _key_pair(marks), {"bucket": "cubo", "endpoint_url": address})
        yield Row(f"gcs {name}", "gcs", None, {"bucket": "cubo", "endpoint_url": address})
        azure = {"account_name": "cuenta", "account_key": _account_key(marks)}
        yield Row(f"azure {name}", "azure", azure, {"container": "cubo", "account_url": address})
    broken_pem = f"-----BEGIN RSA PRIVATE KEY-----\n{marks.plant('private_key')}\n-----END RSA PRIVATE KEY-----\n"
    passphrase = marks.plant("passphrase")
    locked = {"private_key": _private_key(marks, passphrase), "private_key_passphrase": marks.plant("passphrase")}
    yield Row("sftp bad PEM", "sftp", _sftp(marks, 9, private_key=broken_pem), {"base_path": "/x"})
    yield Row("sftp locked", "sftp", _sftp(marks, 9, **locked), {"base_path": "/x"})
    account = {**_service_account(marks, "http://127.0.0.1:9/token"), "private_key": broken_pem}
    yield Row("gcp bad PEM", "gcp", account, {"bucket": "cubo"})
    strings = ("AccountKey={}", "AccountName=cuenta;AccountKey={}=", "{}", "BlobEndpoint={};AccountKey=YQ==")
    for number, text in enumerate(strings):
        given = {"connection_string": text.format(marks.plant("connection_string"))}
        yield Row(f"azure connection {number}", "azure", given, {"container": "cubo"})
    yield Row("s3 broken JSON", "s3", f'{{"secret_key": "{marks.plant("broken", secrets.token_hex(12))}', None)
    yield Row("s3 broken text", "s3", f'"secret_key": "{marks.plant("broken", secrets.token_hex(12))}', None)
    yield Row("s3 broken options", "s3", _key_pair(marks), f'{{"bucket": "{marks.plant("b", secrets.token_hex(12))}')
    yield Row("s3 doubly JSON", "s3", json.dumps(json.dumps(_key_pair(marks))), {"bucket": 5})
    yield Row("unknown kind", "ftp", {"password": marks.plant("password")}, {})
    yield Row("s3 by number", "s3", {"secret_key": [marks.plant("secret_key")], "access_key": 5}, {"bucket": "cubo"})


def _add(installation: Installation, rows: Sequence[Row]) -> list[int]:
    added = []
    for row in rows:
        columns = [value if isinstance(value, str) else json.dumps(value) for value in (row.credentials, row.options)]
        (made,) = installation.rows(
            "INSERT INTO cloud_providers (nombre, tipo, credenciales, configuracion) VALUES (%s, %s, %s, %s) "
            "RETURNING id",
            (row.name, row.kind, *columns),
        )
        added.append(int(made["id"]))
    return added


def _default_chain(marks: Marks) -> dict[str, str]:
    """What AWS's SDKs find in the environment, as Lambda and ECS put it there, and the keys of our own secrets."""
    return {
        "AWS_ACCESS_KEY_ID": marks.plant("environment", f"AK{secrets.token_hex(12)}"),
        "AWS_SECRET_ACCESS_KEY": marks.plant("environment", secrets.token_urlsafe(30)),
        "AWS_SESSION_TOKEN": marks.plant("environment", f"{secrets.token_hex(30)}/+=="),
        "JANITOR_SECRET_KEYS": marks.plant("key", Fernet.generate_key().decode()),
    }


def _installed(installation: Installation) -> Installation:
    installation.install(*TEXT_CREDENTIALS)
    return installation


def _authorization(request: Request) -> str:
    return next((value for name, value in request.headers.items() if name.lower() == "authorization"), "")


def _plant_derived(marks: Marks, server: CannedHttp) -> None:
    """Count what the client derived from its secrets, as the server saw it, among the secrets."""
    for request in server.requests:
        for sent in (*map(str.encode, request.headers.values()), request.body):
            for found in DERIVED.findall(sent):
                marks.plant("derived", found.decode()[-40:])


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_server_that_repeats_the_request_in_its_error_gives_nothing_away(
    bare_installation: Installation, behaviour: str
) -> None:
    installation, marks = _installed(bare_installation), Marks()
    environment = _default_chain(marks)
    log_format = "json" if BEHAVIOURS[behaviour].lists else "text"
    with CannedHttp(BEHAVIOURS[behaviour].answer) as server:
        installation.configure(*_add(installation, list(_at_server(marks, behaviour, server.url))))
        installation.small_execution("uno")
        with (
            CommandLines() as command_lines,
            installation.start_python("--debug", JANITOR_LOG_FORMAT=log_format, **environment) as command,
        ):
            run = command.finish()
        runs = [run, installation.run("status", "--json")]
        if not BEHAVIOURS[behaviour].lists:
            runs.append(installation.run("--debug", "check", **environment))
        _plant_derived(marks, server)
        struck = {word for request in server.requests for word in _authorization(request).split()[:1]}
    assert run.exit_code == 1, str(run)
    assert struck >= {"AWS4-HMAC-SHA256", "SharedKey", "Bearer"}
    assert [request for request in server.requests if "sig=" in request.path]
    assert [field for field in marks.planted if field.startswith("derived")]
    assert run.errors.count("Error subiendo uno a ") == 8
    assert all(each.output for each in runs[1:])
    _require_hidden(installation, marks, *runs)
    assert any("janitor_daemon.py\x00--debug" in line for line in command_lines.seen)
    assert marks.found_in("\n".join(command_lines.seen)) == {}


def test_a_server_that_repeats_the_request_for_a_token_gives_nothing_away(bare_installation: Installation) -> None:
    installation, marks = _installed(bare_installation), Marks()
    with CannedHttp(lambda request: _denial(401 if len(server.requests) % 2 else 500, request)) as server:
        rows = [Row(f"g {n}", "gcp", _service_account(marks, f"{server.url}/token"), {"bucket": "cubo"}) for n in "ab"]
        installation.configure(*_add(installation, rows))
        installation.small_execution("uno")
        lose_patience_soon(installation)
        run = installation.run("--debug")
        _plant_derived(marks, server)
    assert run.exit_code == 1, str(run)
    assert [field for field in marks.planted if field.startswith("derived")]
    _require_hidden(installation, marks, run)


def test_wrong_fields_and_servers_that_are_not_there_give_nothing_away(
    bare_installation: Installation, new_destination: MakeDestination
) -> None:
    installation, marks = _installed(bare_installation), Marks()
    environment = _default_chain(marks)
    server = new_destination("sftp-asyncssh")
    here = _sftp(marks, (server.credentials or {})["port"], username=(server.credentials or {})["username"])
    port = refused_port()
    other_key = {"private_key": _private_key(marks), "host_key": (server.credentials or {})["host_key"]}
    rows = [
        *_unusable(marks),
        *_at_server(marks, "refused", f"http://127.0.0.1:{port}"),
        Row("sftp refused", "sftp", _sftp(marks, port, password=marks.plant("password")), {"base_path": "/x"}),
        Row("sftp other host key", "sftp", {**here, "password": marks.plant("password")}, server.options),
        Row("sftp other key", "sftp", {**here, **other_key}, server.options),
        Row("sftp denied", "sftp", {**here, "host_key": other_key["host_key"], "password": marks.plant("password")},
            server.options),
        Row("s3 named", "s3", {"access_key": "AKIA", "secret_key": {"secreto": "cerrado"}}, {"bucket": "cubo"}),
    ]  # fmt: skip
    installation.execute(
        "INSERT INTO secretos_nube VALUES ('cerrado', %s)",
        (Fernet(Fernet.generate_key()).encrypt(marks.plant("other").encode()).decode(),),
    )
    installation.configure(*_add(installation, rows))
    installation.small_execution("uno")
    lose_patience_soon(installation)
    run = installation.run("--debug", JANITOR_LOG_FORMAT="json", **environment)
    check = installation.run("--debug", "check", **environment)
    assert (run.exit_code, check.exit_code) == (1, 1), str(run)
    assert [row.name for row in rows if row.name not in run.errors] == []
    assert run.errors.count("no se puede usar: ") == len(list(_unusable(Marks()))) + 1, str(run)
    _require_hidden(installation, marks, run, check)


def test_a_run_that_succeeds_gives_nothing_away_and_neither_does_getting_it_back(
    installation: Installation, new_destination: MakeDestination
) -> None:
    """moto takes any keys, so each of them may be a mark; one of them is kept encrypted."""
    marks = Marks()
    pair, environment = _key_pair(marks), _default_chain(marks)
    keys = environment["JANITOR_SECRET_KEYS"]
    token = Fernet(keys).encrypt(str(pair["secret_key"]).encode()).decode()
    installation.execute("INSERT INTO secretos_nube VALUES ('clave', %s)", (token,))
    moto = new_destination("s3-moto").with_credentials(**{**pair, "secret_key": {"secreto": "clave"}})
    primary = installation.add_provider(moto)
    installation.configure(primary, eliminar_despues_de_migrar=True)
    installation.small_execution("uno")
    directory = installation.new_directory("dos")  # one that goes up in parts
    (directory / "grande").write_bytes(b"x" * (9 * 1024 * 1024))
    installation.add_execution("dos", directory)
    with CommandLines() as command_lines:
        with installation.start_python("--debug", JANITOR_LOG_FORMAT="json", **environment) as command:
            run = command.finish()
        back = installation.run("--debug", "restore", "uno", str(installation.directory / "vuelta"), **environment)
        check = installation.run("--debug", "check", **environment)
        listed = installation.run("--debug", "secret", "list", **environment)
    assert [each.exit_code for each in (run, back, check, listed)] == [0, 0, 0, 0], f"{run}{back}{check}{listed}"
    assert installation.place("uno")[2] == installation.place("dos")[2] == primary
    _require_hidden(installation, marks, run, back, check, listed)
    assert any("janitor_daemon.py\x00--debug" in line for line in command_lines.seen)
    assert marks.found_in("\n".join(command_lines.seen)) == {}
    assert [row["valor_cifrado"] for row in installation.rows("SELECT * FROM secretos_nube")] == [token]


def test_a_restore_that_is_refused_gives_nothing_away(bare_installation: Installation) -> None:
    installation, marks = _installed(bare_installation), Marks()
    with CannedHttp(BEHAVIOURS["does not know who asks"].answer) as server:
        rows = [row for row in _at_server(marks, "", server.url) if row.name in ("s3, ", "azure SAS, ", "gcp, ")]
        for row, provider in zip(rows, _add(installation, rows), strict=True):
            installation.add_execution(row.kind, "/no/existe", migrated=True)
            installation.execute(
                "UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://' || uuid || '/ejecuciones/' || uuid, "
                "nube_provider_id = %s WHERE uuid = %s",
                (provider, row.kind),
            )
            run = installation.run("--debug", "restore", row.kind, str(installation.directory / row.kind))
            assert run.exit_code == 1, str(run)
            assert "Traceback" in run.errors
            _plant_derived(marks, server)
            _require_hidden(installation, marks, run)
        assert len(server.requests) >= 4


QUOTING = """
CREATE FUNCTION quote_providers() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE everything text; BEGIN
SELECT string_agg(credenciales, ' ') INTO everything FROM cloud_providers;
RAISE EXCEPTION '% %', TG_NAME, everything USING DETAIL = everything, HINT = everything; END $$
"""


def test_a_database_that_quotes_the_row_in_its_error_gives_nothing_away(bare_installation: Installation) -> None:
    """A trigger of the platform, say, whose message and details repeat the credentials."""
    installation, marks = _installed(bare_installation), Marks()
    rows = list(_at_server(marks, "", f"http://127.0.0.1:{refused_port()}"))
    installation.configure(*_add(installation, rows))
    installation.small_execution("uno")
    installation.execute(QUOTING)
    for trigger in ("quote_attempts BEFORE INSERT ON janitor_attempts", "quote_runs BEFORE UPDATE ON janitor_runs"):
        installation.execute(f"CREATE TRIGGER {trigger} FOR EACH ROW EXECUTE FUNCTION quote_providers()")
        run = installation.run("--debug")
        assert run.exit_code == 1, str(run)
        assert f"{trigger.split()[0]} " in run.errors
        assert "HINT" in run.errors
        _require_hidden(installation, marks, run)


DEFECTIVE = """
import sys
sys.path.insert(0, {repository!r})
import janitor_daemon
from providers import base
from providers.s3 import provider as s3
from providers.azure import provider as azure
from providers.sftp import provider as sftp

def fail(provider, *arguments):
    try:
        raise KeyError(vars(provider).get("_credentials") or vars(provider))
    except KeyError as error:
        raise RuntimeError("defecto en %r de %r" % (provider.name, {credentials!r})) from error

for kind in (s3.S3Provider, azure.AzureProvider, sftp.SftpProvider):
    kind.put = kind.list = kind.stat = fail
janitor_daemon.main()
"""


@pytest.mark.parametrize(("kind", "log_format"), [("s3", "text"), ("azure", "json"), ("sftp", "text")])
def test_a_defect_whose_error_quotes_the_credentials_gives_nothing_away(
    bare_installation: Installation, kind: str, log_format: str
) -> None:
    installation, marks = _installed(bare_installation), Marks()
    rows = [row for row in _at_server(marks, "", "http://127.0.0.1:9") if row.kind in ("s3", "azure")]
    password = {"password": marks.plant("password"), "private_key": _private_key(marks)}
    rows.append(Row("sftp", "sftp", _sftp(marks, 9, **password), {"base_path": "/x"}))
    added = dict(zip((row.kind for row in rows), _add(installation, rows), strict=True))
    installation.program = installation.directory / "defective.py"
    credentials = [row.credentials for row in rows]
    installation.program.write_text(DEFECTIVE.format(repository=str(REPOSITORY), credentials=credentials))
    installation.small_execution("uno")
    installation.configure(added[kind])
    run = installation.run("--debug", JANITOR_LOG_FORMAT=log_format)
    assert run.exit_code == 1, str(run)
    assert "defecto en " in run.errors
    assert "KeyError" in run.errors
    _require_hidden(installation, marks, run)


@pytest.mark.parametrize(
    "written",
    ["{}", "{}@resto", "abc/{}", "abc@{}", "a?b@{}", "a?b/{}", "{}:{}", "{}#", "%2F{}", "{}%"],
    ids=lambda written: written.format("X", "Y"),
)
def test_a_password_that_was_not_encoded_for_its_place_in_the_address_is_not_shown(
    installation: Installation, written: str
) -> None:
    """`/` and `@` in a password end it early: libpq then takes the rest for a host, a port or a database."""
    marks = Marks()
    password = written.format(*(marks.plant("password", f"XYZZY{secrets.token_hex(8)}") for _ in range(2)))
    scheme, rest = installation.database_url.split("://")
    place = rest.rsplit("@", 1)[1]
    run = installation.run("--debug", DATABASE_URL=f"{scheme}://janitor:{password}@{place}")
    assert run.exit_code in (2, 3), str(run)
    assert run.messages("ERROR")
    _require_hidden(installation, marks, run)


def test_a_password_of_libpqs_own_variable_is_not_shown(installation: Installation) -> None:
    marks = Marks()
    parts = urllib.parse.urlsplit(installation.database_url)
    for password in (marks.plant("PGPASSWORD"), marks.plant("PGPASSWORD", secrets.token_hex(10))):
        run = installation.run(
            "--debug", DATABASE_URL=None, PGPASSWORD=password, PGHOST=parts.hostname, PGPORT=str(parts.port),
            PGUSER=parts.username, PGDATABASE=parts.path.lstrip("/"),
        )  # fmt: skip
        assert run.exit_code == 3, str(run)
        _require_hidden(installation, marks, run)


def test_keys_that_are_none_are_not_shown(installation: Installation, nas: Destination) -> None:
    marks = Marks()
    installation.execute("INSERT INTO secretos_nube VALUES ('clave', 'x')")
    named = {"access_key": "AKIA", "secret_key": {"secreto": "clave"}}
    bad = installation.add_provider_row("Mala", "s3", named, {"bucket": "cubo"})
    installation.configure(bad, installation.add_provider(nas))
    for key in (marks.plant("key"), f"{Fernet.generate_key().decode()},{marks.plant('key', secrets.token_hex(20))}"):
        for arguments in (["--migrate-only"], ["check"], ["secret", "list"]):
            run = installation.run("--debug", *arguments, JANITOR_SECRET_KEYS=key)
            assert "JANITOR_SECRET_KEYS: la clave número " in run.output + run.errors, str(run)
            _require_hidden(installation, marks, run)
