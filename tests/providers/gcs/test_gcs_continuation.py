"""Google Cloud Storage: a large upload that a run left unfinished is continued by the next run of the same host.

The server here refuses what Google's refuses, as its documentation says ("Resumable uploads", "Performing resumable
uploads"): it keeps whole multiples of 256 KiB, ignores bytes that it has, names no range while it has nothing, compares
generations when a session is begun and again when it ends, and knows nothing of a session that is gone. It shows
nothing about regions, about how long sessions live, or about the identity of who continues one. A killed run on
the emulator is in `tests/stories/providers/test_provider_progress.py`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest

from config.errors import RunInterrupted, SourceChanged
from config.models import ProviderRow, PutReceipt
from files.descriptors import CHUNK_SIZE_BYTES
from providers import build_provider
from providers.base import Provider
from providers.errors import ConditionFailed, ProviderUnavailable
from providers.sources import Source
from storage.lease import ClaimLost
from tests.executions.sources import FailingSource, PatternSource
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

PART_SIZE_BYTES = CHUNK_SIZE_BYTES
PARTS = 3
LARGE_BYTES = (PARTS - 1) * PART_SIZE_BYTES + 5
SENT_FIRST = 2 * PART_SIZE_BYTES
PLACE = "p/ejecuciones/1/"
KEY = f"{PLACE}file"
KEPT_MULTIPLE_BYTES = 256 * 1024
CANCELLED = 499


@dataclass(slots=True)
class Session:
    """An upload session. `generation` is set once it is complete."""

    name: str
    size_bytes: int
    condition: str
    content: bytearray = field(default_factory=bytearray)
    status: int = 308


class GoogleSessions(CannedHttp):
    """Objects and sessions of one bucket."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.sessions: dict[str, Session] = {}
        self.before: Callable[[Request], Answer | None] = lambda _: None
        self._latest = 100

    def store(self, name: str, content: bytes) -> None:
        """What a completed upload does."""
        self._latest += 1
        self.objects[name] = (self._latest, content)

    @property
    def sent_bytes(self) -> int:
        """How many bytes of files came, in all."""
        return sum(len(request.body) for request in self.requests if "upload_id" in request.path)

    def _answer(self, request: Request) -> Answer:
        address = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if "upload_id" in query:
            return self.before(request) or self._of_session(request, self.sessions.get(query["upload_id"]))
        if request.method == "POST":
            return self._begin(request, query.get("ifGenerationMatch", ""))
        if address.path.endswith("/o"):
            return _json(200, {"kind": "storage#objects"})
        name = unquote(address.path.rpartition("/")[2])
        if request.method == "DELETE":
            self.objects.pop(name, None)
            return Answer(204)
        return self._described(name) if name in self.objects else _json(404, {"error": {"code": 404}})

    def _begin(self, request: Request, condition: str) -> Answer:
        name = re.search(rb'"name": ?"([^"]+)"', request.body)
        assert name
        if not self._meets(name.group(1).decode(), condition):
            return REFUSED
        if "uploadType=multipart" in request.path:
            self.store(name.group(1).decode(), request.body)
            return self._described(name.group(1).decode())
        identifier = f"secret-{len(self.sessions)}"
        size_bytes = int(request.headers["X-Upload-Content-Length"])
        self.sessions[identifier] = Session(name.group(1).decode(), size_bytes, condition)
        return Answer(200, headers={"Location": f"{self.url}/upload/storage/v1/b/bucket/o?upload_id={identifier}"})

    def _of_session(self, request: Request, session: Session | None) -> Answer:
        if session is None:
            return Answer(404)
        if request.method == "DELETE":
            session.status = CANCELLED
        if session.status == 200:
            return self._described(session.name)
        if session.status != 308:
            return Answer(session.status)
        first, _, _ = request.headers["Content-Range"].removeprefix("bytes ").partition("-")
        if request.body:
            known_bytes = len(session.content) - int(first)
            if known_bytes < 0:
                return _json(400, {"error": {"code": 400}})
            session.content += request.body[known_bytes:]
        if len(session.content) == session.size_bytes:
            return self._complete(session)
        del session.content[len(session.content) // KEPT_MULTIPLE_BYTES * KEPT_MULTIPLE_BYTES :]
        kept = {"Range": f"bytes=0-{len(session.content) - 1}"} if session.content else {}
        return Answer(308, headers=kept)

    def _complete(self, session: Session) -> Answer:
        if not self._meets(session.name, session.condition):
            session.status = 412
            return REFUSED
        session.status = 200
        self.store(session.name, bytes(session.content))
        return self._described(session.name)

    def _meets(self, name: str, condition: str) -> bool:
        return not condition or int(condition) == self.objects.get(name, (0, b""))[0]

    def _described(self, name: str) -> Answer:
        generation, content = self.objects[name]
        crc32c = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
        described = {"name": name, "size": str(len(content)), "generation": str(generation), "crc32c": crc32c}
        return _json(200, described)


def _json(status: int, content: object) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


REFUSED = _json(412, {"error": {"code": 412, "errors": [{"reason": "conditionNotMet"}]}})
BUSY = _json(503, {"error": {"code": 503}})


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleSessions]:
    for module in ("provider", "upload_sessions", "uploads"):  # as many requests, fewer bytes
        monkeypatch.setattr(f"providers.gcs.{module}.PART_SIZE_BYTES", PART_SIZE_BYTES)
    server = GoogleSessions()
    with server:
        yield server


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "unfinished"


def run(google: GoogleSessions, notes: Path | None, **options: object) -> closing[Provider]:
    """The provider of one run."""
    fields = {"bucket": "bucket", "endpoint_url": google.url, **options}
    provider = build_provider(ProviderRow(1, "Google", "gcs", None, fields, active=True))
    provider.unfinished_directory = notes
    return closing(provider)


def store(provider: Provider, source: Source) -> PutReceipt:
    [(_, receipt)] = provider.put_new_many({KEY: source})
    return receipt


def begin(
    google: GoogleSessions, notes: Path | None, error: Exception | None = None, seed: int = 0, **options: object
) -> None:
    """A run that ends after two of three parts."""
    error = error or RunInterrupted("interrumpido")
    source = FailingSource(LARGE_BYTES, SENT_FIRST, error, seed)
    with run(google, notes, **options) as provider, pytest.raises(type(error)):
        store(provider, source)


def end(google: GoogleSessions, notes: Path | None, seed: int = 0, **options: object) -> PutReceipt:
    """The next run, which stores everything."""
    source = PatternSource(LARGE_BYTES, seed)
    with run(google, notes, **options) as provider:
        provider.discard_unfinished_but_for(PLACE, lambda key: key == KEY)
        receipt = store(provider, source)
    assert receipt.sha256 == source.sha256()
    assert google.objects[KEY][1] == b"".join(source.chunks(PART_SIZE_BYTES))
    assert not list(notes.iterdir() if notes and notes.exists() else ())
    return receipt


@pytest.mark.parametrize("error", [RunInterrupted("interrumpido"), ClaimLost("otra"), ProviderUnavailable("caído")])
def test_the_next_run_sends_what_the_session_lacks(google: GoogleSessions, notes: Path, error: Exception) -> None:
    begin(google, notes, error)
    receipt = end(google, notes)
    assert google.sent_bytes == LARGE_BYTES
    assert len(google.sessions) == 1
    assert not receipt.sent_whole, "its SHA-256 has to be read back"


def test_what_is_sent_by_one_run_is_sent_whole(google: GoogleSessions, notes: Path) -> None:
    assert end(google, notes).sent_whole
    assert google.sent_bytes == LARGE_BYTES


def test_a_part_of_which_google_has_the_beginning_is_continued(google: GoogleSessions, notes: Path) -> None:
    begin(google, notes)
    del google.sessions["secret-0"].content[SENT_FIRST - KEPT_MULTIPLE_BYTES :]
    end(google, notes)
    assert google.sent_bytes == LARGE_BYTES + KEPT_MULTIPLE_BYTES


def test_bytes_that_come_late_while_the_file_is_hashed_again_do_no_harm(google: GoogleSessions, notes: Path) -> None:
    """They were on their way when the run before was killed."""
    begin(google, notes)
    session = google.sessions["secret-0"]
    late = bytes(session.content[PART_SIZE_BYTES:])
    del session.content[PART_SIZE_BYTES:]

    class Late(PatternSource):
        def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
            session.content += late
            return super().chunks(chunk_size_bytes)

    source = Late(LARGE_BYTES)
    with run(google, notes) as provider:
        store(provider, source)
    assert google.objects[KEY][1] == b"".join(PatternSource(LARGE_BYTES).chunks(PART_SIZE_BYTES))


def test_a_file_that_has_changed_since_is_sent_from_its_beginning(google: GoogleSessions, notes: Path) -> None:
    """Also where only its last bytes differ, which Google has not had yet: see the hash of the whole."""
    begin(google, notes, seed=1)
    receipt = end(google, notes, seed=2)
    assert receipt.sent_whole
    assert google.sessions["secret-0"].status == CANCELLED
    assert google.sent_bytes == SENT_FIRST + LARGE_BYTES


@pytest.mark.parametrize("status", [404, 410, 200, 400, 403])
def test_a_session_that_is_over_is_begun_again(google: GoogleSessions, notes: Path, status: int) -> None:
    """Whether it expired, was cancelled, was completed by a late request, or is refused."""
    begin(google, notes)
    google.before = lambda request: Answer(status, b"{}") if "secret-0" in request.path else None
    assert end(google, notes).sent_whole


@pytest.mark.parametrize("status", [404, 410, CANCELLED])
def test_a_session_that_goes_in_the_middle_is_worth_another_try(
    google: GoogleSessions, notes: Path, status: int
) -> None:
    """It expired, or somebody cancelled it: the next one begins a new session."""
    google.before = lambda request: Answer(status) if len(google.sessions["secret-0"].content) else None
    with run(google, notes) as provider, pytest.raises(ProviderUnavailable):
        store(provider, PatternSource(LARGE_BYTES))
    google.before = lambda _: None
    assert end(google, notes).sent_whole


def test_a_session_is_asked_again_while_google_is_busy(google: GoogleSessions, notes: Path) -> None:
    begin(google, notes)
    busy = iter([BUSY, BUSY])
    google.before = lambda _: next(busy, None)
    end(google, notes)
    assert google.sent_bytes == LARGE_BYTES


def test_a_session_that_gets_nowhere_is_not_continued_again(google: GoogleSessions, notes: Path) -> None:
    begin(google, notes)
    google.before = lambda request: BUSY if request.body else None
    with run(google, notes) as provider:
        provider.creates_safely()
        provider.progress.interruption.set()  # it ends instead of being repeated
        with pytest.raises(ProviderUnavailable):
            store(provider, PatternSource(LARGE_BYTES))
    google.before = lambda _: None
    assert end(google, notes).sent_whole
    assert google.sessions["secret-0"].status == CANCELLED


@pytest.mark.parametrize(
    "changes",
    [{"storage_class": "NEARLINE"}, {"bucket": "other"}],
    ids=["another storage class", "another bucket"],
)
def test_a_session_on_other_terms_is_not_continued(
    google: GoogleSessions, notes: Path, changes: dict[str, object]
) -> None:
    begin(google, notes)
    with run(google, notes, **changes) as provider:
        assert store(provider, PatternSource(LARGE_BYTES)).sent_whole
    assert google.sent_bytes == SENT_FIRST + LARGE_BYTES


def test_a_session_for_a_new_object_does_not_replace_one(google: GoogleSessions, notes: Path) -> None:
    """The generation is fixed when a session is begun: what others stored since stays."""
    begin(google, notes)
    google.store(KEY, b"of others")
    with run(google, notes) as provider, pytest.raises(ConditionFailed):
        store(provider, PatternSource(LARGE_BYTES))
    assert google.objects[KEY][1] == b"of others"


def test_a_session_for_a_new_object_is_no_session_for_its_replacement(google: GoogleSessions, notes: Path) -> None:
    begin(google, notes)
    google.store(KEY, b"seen")
    source = PatternSource(LARGE_BYTES)
    with run(google, notes) as provider:
        assert provider.replace(KEY, source, provider.stat(KEY)).sent_whole
    assert google.sessions["secret-0"].status == CANCELLED


def test_a_late_end_of_a_session_that_was_not_continued_replaces_nothing(google: GoogleSessions, notes: Path) -> None:
    """Of a run on another host, which cannot know of it."""
    begin(google, notes)
    end(google, notes.with_name("of another host"))
    generation, stored = google.objects[KEY]
    with run(google, notes) as late, pytest.raises(ConditionFailed):
        store(late, PatternSource(LARGE_BYTES))
    assert google.objects[KEY] == (generation, stored)


@pytest.mark.parametrize("key", [KEY, PLACE])
def test_a_session_that_nobody_wants_is_cancelled(google: GoogleSessions, notes: Path, key: str) -> None:
    begin(google, notes)
    with run(google, notes) as provider:
        provider.discard_unfinished(f"{KEY}2")
        provider.discard_unfinished("p/ejecuciones/10/")
        assert provider.discard_unfinished_but_for(key, lambda found: found == KEY)
        assert google.sessions["secret-0"].status == 308
        assert not provider.discard_unfinished_but_for(key, lambda _: False)
    assert google.sessions["secret-0"].status == CANCELLED
    assert not list(notes.iterdir())


@pytest.mark.parametrize("error", [SourceChanged("cambió")])
def test_a_session_whose_file_changed_meanwhile_is_cancelled(
    google: GoogleSessions, notes: Path, error: Exception
) -> None:
    begin(google, notes, error)
    assert google.sessions["secret-0"].status == CANCELLED
    assert not list(notes.iterdir())


# The notes


def note_of(notes: Path) -> Path:
    [note] = notes.iterdir()
    return note


def test_the_address_of_a_session_is_for_this_user_alone(google: GoogleSessions, notes: Path) -> None:
    previous = os.umask(0)
    try:
        begin(google, notes)
    finally:
        os.umask(previous)
    assert "secret-0" in note_of(notes).read_text()
    assert stat.S_IMODE(note_of(notes).stat().st_mode) == 0o600
    assert stat.S_IMODE(notes.stat().st_mode) == 0o700


def _open_to_others(note: Path) -> None:
    note.chmod(0o644)


def _open_directory(note: Path) -> None:
    note.parent.chmod(0o755)


def _link(note: Path) -> None:
    note.rename(note.parent.parent / "elsewhere")
    note.symlink_to(note.parent.parent / "elsewhere")


def _cut_in_its_head(note: Path) -> None:
    note.write_text(note.read_text()[:20])


def _leads_to_another_server(note: Path) -> None:
    note.write_text(note.read_text().replace('"url": "http://127.0.0.1', '"url": "http://127.0.0.2'))


def _a_week_old(note: Path) -> None:
    note.write_text(re.sub(r'("begun_at": )[0-9.]+', r"\g<1>1000.0", note.read_text()))


def _zeros(note: Path) -> None:
    """As a power failure leaves it."""
    note.write_bytes(b"\0" * 300)


def _without_parts(note: Path) -> None:
    note.write_text(note.read_text().splitlines()[0] + "\n")


@pytest.mark.parametrize(
    "damage",
    [
        *(_open_to_others, _open_directory, _link, _cut_in_its_head, _leads_to_another_server, _a_week_old, _zeros),
        _without_parts,
    ],
)
def test_a_note_that_cannot_be_trusted_is_not_used(
    google: GoogleSessions, notes: Path, damage: Callable[[Path], None]
) -> None:
    begin(google, notes)
    damage(note_of(notes))
    source = PatternSource(LARGE_BYTES)
    with run(google, notes) as provider:
        assert store(provider, source).sent_whole
    assert google.objects[KEY][1] == b"".join(source.chunks(PART_SIZE_BYTES))


def test_a_note_that_was_cut_in_its_last_line_is_used(google: GoogleSessions, notes: Path) -> None:
    """The run was killed while it noted a part, and had not sent it."""
    begin(google, notes)
    with note_of(notes).open("a") as file:
        file.write("abc")
    end(google, notes)
    assert google.sent_bytes == LARGE_BYTES


def test_a_note_is_used_where_the_group_is_inherited(google: GoogleSessions, notes: Path) -> None:
    """A directory made there inherits the bit, too (`chmod g+s`), and is closed to others all the same."""
    notes.parent.mkdir(parents=True, exist_ok=True)
    notes.parent.chmod(0o2755)
    begin(google, notes)
    assert stat.S_IMODE(notes.stat().st_mode) == 0o2700
    end(google, notes)
    assert google.sent_bytes == LARGE_BYTES


def test_where_nothing_can_be_noted_everything_is_sent(google: GoogleSessions, notes: Path) -> None:
    notes.parent.write_text("a file where a directory should be")
    begin(google, notes)
    with run(google, notes) as provider:
        assert store(provider, PatternSource(LARGE_BYTES)).sent_whole
    assert google.sessions["secret-0"].status == CANCELLED


def test_without_a_directory_a_session_ends_with_its_run(google: GoogleSessions) -> None:
    begin(google, None)
    assert google.sessions["secret-0"].status == CANCELLED
    end(google, None)
    assert google.sent_bytes == SENT_FIRST + LARGE_BYTES
