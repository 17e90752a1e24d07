"""What S3, Azure and GCS can do wrong over HTTP: in bounded time the execution lies whole elsewhere, or where it was.

One row of `cloud_providers` for each fault, all of them in one chain of alternates with a directory at its end: one
tick meets them all, one after the other, and tells of each.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import pytest

from providers.base import PART_SIZE_BYTES
from tests.destinations import Destination, local_destination
from tests.faults.http_effects import (
    acknowledge_only,
    address_of,
    answer,
    answer_slowly,
    behind,
    change_answer,
    change_body,
    flip_a_bit,
    lose_the_answer,
    never_answer,
    refuse,
    reset_at_once,
    reset_in_the_answer,
    reset_in_the_request,
    take_slowly,
    truncate,
)
from tests.faults.http_proxy import EVERY, ONCE, Effect, Fault, HttpFaultProxy, Response
from tests.stories.installation import Installation, Run
from tests.stories.programs import lose_patience_soon
from tests.stories.trees import require_stored, snapshot

MakeDestination = Callable[[str], Destination]
MakeInstallation = Callable[[], Installation]

WITH_RCLONE = ("s3-rclone", "azure", "gcs")
WITH_SWIFT = ("s3-swift", "azure", "gcs")
"""One server of each kind: rclone's checks nothing that it is sent, Swift checks everything."""

LEAKED = "FILTRADO"

STEPS: dict[str, dict[str, tuple[str, bytes]]] = {
    "s3": {
        "list": ("^GET .*list-type=2", b""),
        "put": ("^PUT .*/tabla", b""),
        "medium": ("^PUT .*/mediana", b""),
        "manifest": ("^PUT .*manifest.json", b""),
        "stat": ("^HEAD .*manifest.json", b""),
        "delete": ("^DELETE ", b""),
        "part": ("^PUT .*partNumber=2", b""),
        "finish": ("^POST .*uploadId=", b""),
    },
    "azure": {
        "list": ("^GET .*comp=list", b""),
        "put": ("^PUT .*/tabla", b""),
        "medium": ("^PUT .*/mediana", b""),
        "manifest": ("^PUT .*manifest.json", b""),
        "stat": ("^HEAD .*manifest.json", b""),
        "delete": ("^DELETE ", b""),
        "part": ("^PUT .*comp=block&", b""),
        "finish": ("^PUT .*comp=blocklist", b""),
    },
    "gcs": {
        "list": (r"^GET /storage/v1/b/[^/]*/o\?", b""),
        "put": ("^POST /upload/", b"/tabla"),
        "medium": ("^PUT /upload/", b""),
        "manifest": ("^POST /upload/", b"manifest.json"),
        "stat": ("^GET .*manifest.json", b""),
        "delete": ("^DELETE /storage/", b""),
        "part": ("^PUT /upload/", b""),
        "finish": ("^PUT /upload/", b""),
    },
}
"""How to tell what a request is for: by its line, or, where all lines look alike, by the beginning of its body."""


def strike(kind: str, step: str, effect: Effect, on: Container[int] = EVERY, uuid: str = "") -> Fault:
    """A fault that strikes one step, of one execution if there are several."""
    line, body = STEPS[kind][step]
    if uuid and body:
        body = f"/{uuid}.*".encode() + body.lstrip(b"/")
    elif uuid:
        line = f"(?=.*{uuid}){line.lstrip('^')}"
    return Fault(f"{step} {uuid}", effect, line, on, body)


@dataclass(frozen=True)
class Trouble:
    """A provider that fails: its fault, the words that a report must use, and the most requests that it may cost."""

    faults: tuple[Fault, ...]
    reason: str
    most_tries: int = 80


def error_document(kind: str) -> Response:
    """An error with the status of a success."""
    if kind == "gcs":
        return Response(200, b'{"error": {"code": 500, "message": "FILTRADO"}}', {"Content-Type": "application/json"})
    content = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>FILTRADO</Message></Error>"
    return Response(200, content, {"Content-Type": "application/xml"})


LOGIN_PAGE = Response(200, b"<html><body>FILTRADO</body></html>", {"Content-Type": "text/html"})

REFUSALS: dict[str, dict[str, tuple[int, str]]] = {
    "s3": {
        "denied": (403, "AccessDenied"),
        "unknown": (401, "Unauthorized"),
        "expired": (400, "ExpiredToken"),
        "missing": (404, "NoSuchBucket"),
        "full": (403, "QuotaExceeded"),
        "no room": (507, "XMinioStorageFull"),
    },
    "azure": {
        "denied": (403, "AuthorizationPermissionMismatch"),
        "unknown": (401, "NoAuthenticationInformation"),
        "expired": (403, "AuthenticationFailed"),
        "missing": (404, "ContainerNotFound"),
        "full": (507, "InsufficientStorage"),
        "no room": (507, "InsufficientStorage"),
    },
    "gcs": {
        "denied": (403, "forbidden"),
        "unknown": (401, "authError"),
        "expired": (401, "authError"),
        "missing": (404, "notFound"),
        "full": (403, "quotaExceeded"),
        "no room": (507, "insufficientStorage"),
    },
}
"""What the servers of each kind write, from their references of error codes."""

AN_HOUR = "3600"
"""A server that asks to be left alone for so long is: the execution goes to the next provider."""

A_SECOND = "1"
DENIED = "acceso denegado|no aceptó las credenciales"
MISSING = "el (bucket|contenedor|bucket o contenedor) no existe"
FULL = "no tiene espacio o cuota"
BUSY = "no pudo atender la petición|pide menos peticiones"
CUT = "se cortó la conexión|fallo de red"
SENSELESS = "la respuesta del servidor no se entiende|no pudo atender la petición"
DIFFERS = "difieren de lo enviado|contenido distinto|llegaron dañados"


def troubles(kind: str) -> dict[str, Trouble]:
    """Every way to fail quickly and for good."""

    def one(step: str, effect: Effect, reason: str) -> Trouble:
        return Trouble((strike(kind, step, effect),), reason)

    def refused(step: str, case: str, reason: str) -> Trouble:
        return one(step, refuse(kind, *REFUSALS[kind][case]), reason)

    lost = strike(kind, "put", lose_the_answer)
    lost_later = strike(kind, "delete", lose_the_answer, ONCE)
    not_removed = answer(Response({"s3": 204, "azure": 202, "gcs": 204}[kind]))
    # On S3 a listing answers where HEAD is refused: `tests/stories/providers/test_one_refused.py`.
    no_word = {} if kind == "s3" else {"deja de dar fe": refused("stat", "denied", DENIED)}
    return {
        **no_word,
        "no borra": Trouble((strike(kind, "put", reset_at_once), strike(kind, "delete", not_removed)), CUT),
        "corta siempre": Trouble((Fault("all", reset_at_once),), CUT),
        "corta al listar": one("list", reset_in_the_answer(120), CUT),
        "corta al recibir": one("put", reset_in_the_request(3), CUT),
        "corta al responder": one("put", reset_in_the_answer(20), CUT),
        "calla lo hecho": Trouble((lost, lost_later), CUT),
        "frena al listar": one("list", refuse(kind, 429, "TooManyRequests", Retry_After=AN_HOUR), BUSY),
        "frena al recibir": one("put", refuse(kind, 503, "SlowDown", Retry_After=AN_HOUR), BUSY),
        "no conoce": refused("list", "unknown", DENIED),
        "no deja": refused("list", "denied", DENIED),
        "ya no deja": refused("put", "denied", DENIED),
        "caducada": refused("list", "expired", DENIED),
        "caduca": refused("manifest", "expired", DENIED),
        "sin bucket": refused("list", "missing", MISSING),
        "ya sin bucket": refused("put", "missing", MISSING),
        "sin cuota": refused("put", "full", FULL),
        "sin sitio": refused("manifest", "no room", FULL),
        "lista un error": one("list", answer(error_document(kind)), SENSELESS),
        "lista una portada": one("list", answer(LOGIN_PAGE), SENSELESS),
        "lista nada": one("list", answer(Response(200)), SENSELESS),
        "lista media": one("list", change_answer(truncate), SENSELESS),
        "recibe y yerra": one("put", answer(error_document(kind)), f"{SENSELESS}|{DIFFERS}"),
        "cambia un bit": one("put", change_body(flip_a_bit), DIFFERS),
        "trunca": one("put", change_body(truncate), f"{DIFFERS}|{DENIED}|{SENSELESS}"),
        "no guarda": one("put", acknowledge_only, DIFFERS),
    }


def slow_troubles(kind: str) -> dict[str, Trouble]:
    """Every way to keep a client waiting."""

    def one(step: str, effect: Effect) -> Trouble:
        return Trouble((strike(kind, step, effect),), "tiempo de espera|no responde|fallo de red", 3)

    return {
        "gotea al listar": one("list", answer_slowly),
        "gotea al responder": one("put", answer_slowly),
        "sorbe": one("put", take_slowly),
        "se duerme": one("medium", never_answer),
    }


def troubles_with_parts(kind: str) -> dict[str, Trouble]:
    """What may happen to a file that goes up in parts."""

    def one(step: str, effect: Effect, reason: str, on: Container[int] = EVERY) -> Trouble:
        return Trouble((strike(kind, step, effect, on),), reason)

    no_finish = "interrumpió en el servidor|NoSuchUpload|se cortó la conexión|fallo de red"
    made = {
        "cambia un bit": one("part", change_body(flip_a_bit), DIFFERS),
        "corta una parte": one("part", reset_in_the_request(1), CUT),
        "no acaba": one("finish", refuse(kind, 503, "SlowDown", Retry_After=AN_HOUR), BUSY),
    }
    if kind != "s3":  # which looks whether the object is there by then
        made["calla el final"] = one("finish", lose_the_answer, no_finish)
    else:
        made["acaba en error"] = one("finish", answer(error_document(kind)), f"{SENSELESS}|{no_finish}")
    return made


class Chain:
    """An installation whose providers all fail, but for the directory at the end; and what its tick said of them."""

    def __init__(self, installation: Installation, kind: str) -> None:
        self.installation = installation
        self.kind = kind
        self.nas = local_destination("nas", installation.directory / "nas")
        self.destinations: dict[str, Destination] = {}
        self.ids: dict[str, int] = {}
        self._proxies: dict[str, HttpFaultProxy] = {}
        self._stack = contextlib.ExitStack()

    def add(self, name: str, destination: Destination, trouble: Trouble) -> None:
        """One more provider."""
        proxy = self._stack.enter_context(HttpFaultProxy(address_of(destination), *trouble.faults))
        self._proxies[name] = proxy
        self.add_row(name, destination, behind(destination, proxy.url))

    def add_row(self, name: str, destination: Destination, row: Destination) -> None:
        """One more provider, by its row."""
        self.destinations[name] = destination
        self.ids[name] = self.installation.add_provider(row, name)

    def tries(self, name: str) -> int:
        """How many requests to a provider met its trouble; none is counted where no packet arrives."""
        return sum(self._proxies[name].strikes.values()) if name in self._proxies else 0

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type] # just as they came

    def begin(self) -> contextlib.AbstractContextManager[object]:
        """Configure all of them, the directory last, and start a tick with one file at a time."""
        self.nas_id = self.installation.add_provider(self.nas, "El NAS")
        primary, *others = [*self.ids.values(), self.nas_id]
        self.installation.configure(primary, *others)
        lose_patience_soon(self.installation)  # a chain has some thirty providers to be given up
        self.command = self.installation.start("--migrate-only", JANITOR_TRANSFERS="1")
        return self.command

    def require_told(self, told: dict[str, Trouble]) -> Run:
        """It went past all of them to the directory; each was tried few times and named; nothing leaked."""
        run = self.command.finish(280)
        assert run.exit_code == (1 if run.needs_a_person else 0), str(run)
        person_wanted = any(trouble.reason in (DENIED, MISSING, FULL) for trouble in told.values())
        assert run.needs_a_person == person_wanted, str(run)
        assert self.installation.place("uno") == (True, "cloud://local/ejecuciones/uno", self.nas_id)
        require_stored(self.nas, "ejecuciones/uno", self.installation.executions / "uno")
        lines = list(_failures(run))
        assert [name for name, _ in lines] == list(told), str(run)
        for name, reason in lines:
            assert re.search(told[name].reason, reason), f"{self.kind}, {name}: {reason}"
            assert self.tries(name) <= told[name].most_tries, f"{self.kind}, {name}: {self.tries(name)} tries"
        for secret in (LEAKED, "sig=", *next(iter(self.destinations.values())).secrets):
            assert secret not in run.errors
        return run

    def require_nothing_left(self) -> None:
        """What a failed attempt stored is gone, unless its attempt is still noted for the next tick."""
        states = dict(self.installation.attempts("uno"))
        for name, destination in self.destinations.items():
            if states[self.ids[name]] != "abandoned":
                assert destination.everything_stored() == set(), f"{self.kind}, {name}"


def _failures(run: Run) -> Iterator[tuple[str, str]]:
    """Provider and reason of each failed attempt."""
    line = re.compile(r"^\S+ \S+ - janitor_daemon - ERROR - Error subiendo uno a ([^:]*): (.*)")
    for text in run.errors.splitlines():
        if match := line.match(text):
            yield match[1], match[2]


def _run_chains(
    new_installation: MakeInstallation,
    new_destination: MakeDestination,
    servers: Sequence[str],
    make: Callable[[str], dict[str, Trouble]],
    prepare: Callable[[Installation], object],
    others: Callable[[Chain], dict[str, Trouble]] = lambda _chain: {},
) -> None:
    """A tick for each server, all at the same time."""
    with contextlib.ExitStack() as stack:
        chains = []
        for server in servers:
            kind = server.partition("-")[0]
            chain = stack.enter_context(Chain(new_installation(), kind))
            told = make(kind)
            for name, trouble in told.items():
                chain.add(name, new_destination(server), trouble)
            told |= others(chain)
            prepare(chain.installation)
            stack.enter_context(chain.begin())
            chains.append((chain, told))
        for chain, told in chains:
            chain.require_told(told)
            chain.require_nothing_left()


def test_every_way_to_fail_leads_to_the_alternate_and_is_reported(
    new_installation: MakeInstallation, new_destination: MakeDestination
) -> None:
    _run_chains(
        new_installation,
        new_destination,
        WITH_RCLONE,
        troubles,
        lambda installation: installation.small_execution("uno"),
    )


@contextlib.contextmanager
def unroutable() -> Iterator[int]:
    """A port at which attempts to connect get no answer at all, as from a machine that is off: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with socket.socket() as attempt:
            attempt.settimeout(0.5)
            with pytest.raises(TimeoutError):
                attempt.connect(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_slow_provider_is_given_up_in_time(
    new_installation: MakeInstallation, new_destination: MakeDestination
) -> None:
    with unroutable() as port:

        def unroutable_row(chain: Chain) -> dict[str, Trouble]:
            destination = next(iter(chain.destinations.values()))
            chain.add_row("apagada", destination, behind(destination, f"http://127.0.0.1:{port}"))
            return {"apagada": Trouble((), "conectar|conexión|fallo de red")}

        _run_chains(
            new_installation,
            new_destination,
            WITH_RCLONE,
            slow_troubles,
            _with_a_medium_file,
            unroutable_row,
        )


def _with_a_medium_file(installation: Installation) -> None:
    """Too large for the deadline of a small one, and far from a part's: a silence costs little all the same."""
    (installation.small_execution("uno") / "mediana.bin").write_bytes(os.urandom(300 * 1024))


def _with_a_large_file(installation: Installation, uuid: str = "uno") -> None:
    directory = installation.small_execution(uuid)
    (directory / "grande.bin").write_bytes(os.urandom(PART_SIZE_BYTES + 1000))


def test_every_way_to_fail_in_a_large_file_leads_to_the_alternate_and_is_reported(
    new_installation: MakeInstallation, new_destination: MakeDestination
) -> None:
    _run_chains(new_installation, new_destination, WITH_SWIFT, troubles_with_parts, _with_a_large_file)


def passing_troubles(kind: str) -> dict[str, Fault]:
    """What happens once, each to an execution of its own."""
    once: dict[str, tuple[str, Effect]] = {
        "frenada-al-listar": ("list", refuse(kind, 503, "SlowDown", Retry_After=A_SECOND)),
        "lista-media": ("list", change_answer(truncate)),
        "frenada": ("put", refuse(kind, 429, "TooManyRequests", Retry_After=A_SECOND)),
        "cortada": ("put", reset_in_the_request(3)),
        "callada": ("put", lose_the_answer),
        "errada": ("put", answer(error_document(kind))),
        "cambiada": ("put", change_body(flip_a_bit)),
        "sin-guardar": ("put", acknowledge_only),
        "manifiesto-callado": ("manifest", lose_the_answer),
        "manifiesto-sin-guardar": ("manifest", acknowledge_only),
    }
    return {uuid: strike(kind, step, effect, ONCE, uuid) for uuid, (step, effect) in once.items()}


@pytest.mark.parametrize("server", ["s3-rclone", *WITH_SWIFT])
def test_what_fails_once_is_repaired_and_the_primary_has_the_right_bytes(
    installation: Installation, new_destination: MakeDestination, server: str
) -> None:
    real = new_destination(server)
    small = passing_troubles(real.kind)
    large = {"parte": "part", "final": "finish"}
    faults = [strike(real.kind, step, lose_the_answer, ONCE) for step in large.values()]
    with HttpFaultProxy(address_of(real), *small.values(), *faults) as proxy:
        primary = installation.add_provider(behind(real, proxy.url), "La primaria")
        installation.configure(primary)
        for uuid in small:
            installation.small_execution(uuid)
        _with_a_large_file(installation, "grande")
        lose_patience_soon(installation)
        run = installation.run()
        assert run.exit_code == 0, str(run)
        # GCS' emulator gives links that lead to where an object came in.
        require_all_stored(real, installation)
    assert {installation.place(uuid)[2] for uuid in (*small, "grande")} == {primary}
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}
    assert not [key for key in real.everything_stored() if key.endswith("(unfinished)")]


def require_all_stored(real: Destination, installation: Installation) -> None:
    """Every file of every execution lies where it belongs, byte for byte, says rclone; a manifest beside each."""
    real.rclone("check", "--download", "--one-way", str(installation.executions), real.rclone_remote("ejecuciones"))
    uuids = {directory.name for directory in installation.executions.iterdir()}
    assert {f"ejecuciones/{uuid}.manifest.json" for uuid in uuids} <= real.everything_stored()


WITHOUT_ALTERNATE = {"s3-swift": "frena al recibir", "azure": "caduca", "gcs": "sin cuota"}


def test_without_an_alternate_the_local_copy_stays_and_the_row_too(
    new_installation: MakeInstallation, new_destination: MakeDestination
) -> None:
    with contextlib.ExitStack() as stack:
        started = []
        for server, name in WITHOUT_ALTERNATE.items():
            installation, real = new_installation(), new_destination(server)
            trouble = troubles(real.kind)[name]
            proxy = stack.enter_context(HttpFaultProxy(address_of(real), *trouble.faults))
            installation.configure(
                installation.add_provider(behind(real, proxy.url), "La única"), eliminar_despues_de_migrar=True
            )
            before = snapshot(installation.small_execution("uno"))
            lose_patience_soon(installation)
            started.append((installation, stack.enter_context(installation.start()), trouble, before))
        for installation, command, trouble, before in started:
            run = command.finish()
            assert run.exit_code == 1, str(run)
            assert installation.place("uno") == (False, None, None)
            assert snapshot(installation.executions / "uno") == before
            (line,) = [line for line in run.messages("ERROR") if line.startswith("Error subiendo uno a La única: ")]
            assert re.search(trouble.reason, line)
            assert [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución uno: ")]
            assert LEAKED not in run.errors
            assert sum(proxy.strikes.values()) <= trouble.most_tries, trouble
