"""Large files on SFTP that an earlier attempt left unfinished: the server copies what it has; only the rest is sent.

What was copied is nobody's evidence: that it is read back is held by the tests of `PutReceipt.sent_whole`. Looked for
besides: S3 (`test_s3_uploads.py`) and Azure (`test_http_resumption.py`); GCS tells nobody what it has but the holder of
a session's address.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import RunInterrupted
from files.descriptors import closing_descriptor
from files.walk import walk_tree
from providers.file_trees import is_temporary_name, temporary_name
from providers.sftp.continuation import COPY_DATA
from providers.sftp.protocol import IN_FLIGHT_BYTES
from providers.sftp.provider import SftpProvider
from providers.sources import BytesSource
from storage.helpers import WorkerState
from storage.sending import FileToSend, SendFiles
from tests.executions.sources import FailingSource, PatternSource
from tests.faults import sftp_liar as liar
from tests.faults.sftp_liar import Fault, LyingSftpServer, Request
from tests.providers.sftp.test_sftp_resumption import all_below, provider_of, row_of

SIZE_BYTES = 6 * 1024 * 1024
LEFT_BYTES = 4 * 1024 * 1024 + 12_345
KEY = "e/1/deep/file"
PREFIX = "e/1/"


@pytest.fixture
def base(lying_sftp_server: LyingSftpServer) -> Path:
    """Where the server keeps what is stored."""
    return lying_sftp_server.new_directory()


@pytest.fixture
def provider(lying_sftp_server: LyingSftpServer, base: Path) -> Iterator[SftpProvider]:
    """The provider of a later run."""
    with closing(provider_of(lying_sftp_server, base)) as made:
        yield made


def leave(base: Path, content: bytes, target: str = "file") -> Path:
    """Leave an unfinished file, as a run that was killed does."""
    unfinished = base / "e/1/deep" / temporary_name(target)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_bytes(content)
    return unfinished


def beginning(source: PatternSource) -> bytes:
    return b"".join(source.chunks(SIZE_BYTES))[:LEFT_BYTES]


def wanted(_key: str) -> bool:
    return True


def test_only_the_rest_is_sent(provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path) -> None:
    source = PatternSource(SIZE_BYTES)
    leave(base, beginning(source)[: 3 * 1024 * 1024])
    leave(base, beginning(source))
    assert provider.discard_unfinished_but_for(PREFIX, wanted)
    written = Fault("WRITE", lambda request: request.forward(), b"file|part")
    with lying_sftp_server.going_wrong(written):
        receipt = provider.put(KEY, source)
    assert written.struck <= (SIZE_BYTES - LEFT_BYTES) // (255 * 1024) + 2
    assert receipt.sha256 == source.sha256()
    assert (receipt.sent_whole, receipt.left_unfinished) == (False, True)
    assert hashlib.sha256((base / KEY).read_bytes()).hexdigest() == source.sha256()
    provider.discard_unfinished(PREFIX)
    assert all_below(base) == {KEY}


def test_the_new_file_is_another_one_for_requests_that_come_late(provider: SftpProvider, base: Path) -> None:
    source = PatternSource(SIZE_BYTES)
    unfinished = leave(base, beginning(source))
    provider.discard_unfinished_but_for(PREFIX, wanted)
    with unfinished.open("r+b") as late:
        provider.put(KEY, source)
        assert not unfinished.exists()
        late.write(b"late")
    assert hashlib.sha256((base / KEY).read_bytes()).hexdigest() == source.sha256()


@pytest.mark.parametrize(
    ("left", "target"),
    [(IN_FLIGHT_BYTES, "file"), (SIZE_BYTES + 1, "file"), (LEFT_BYTES, "other")],
    ids=["too small", "too large", "another's"],
)
def test_what_is_of_no_use_is_not_copied(provider: SftpProvider, base: Path, left: int, target: str) -> None:
    source = PatternSource(SIZE_BYTES)
    leave(base, bytes(left), target)
    provider.discard_unfinished_but_for(PREFIX, wanted)
    receipt = provider.put(KEY, source)
    assert (receipt.sent_whole, receipt.left_unfinished) == (True, False)
    assert hashlib.sha256((base / KEY).read_bytes()).hexdigest() == source.sha256()
    provider.discard_unfinished(PREFIX)
    assert all_below(base) == {KEY}


def test_what_was_copied_and_is_other_bytes_is_no_evidence(provider: SftpProvider, base: Path) -> None:
    source = PatternSource(SIZE_BYTES)
    leave(base, b"x" * LEFT_BYTES)
    provider.discard_unfinished_but_for(PREFIX, wanted)
    assert not provider.put(KEY, source).sent_whole
    [digest] = provider.digests([KEY])
    assert digest.sha256 != source.sha256()
    assert provider.put(KEY, source).sent_whole
    [digest] = provider.digests([KEY])
    assert digest.sha256 == source.sha256()


@pytest.mark.parametrize(
    ("effect", "left"),
    [(liar.cut, 2), (liar.lose_answer, 2), (liar.refuse(4), 0)],
    ids=["cut", "unanswered", "refused, where there may be no room"],
)
def test_a_copy_that_fails_is_not_tried_again_and_all_is_sent_to_another_file(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path, effect: Callable[[Request], None], left: int
) -> None:
    """Where requests to copy may still take effect."""
    source = PatternSource(SIZE_BYTES)
    leave(base, beginning(source))
    provider.discard_unfinished_but_for(PREFIX, wanted)
    opened: set[bytes] = set()

    def note(request: Request) -> None:
        opened.add(request.paths)
        request.forward()

    copied = Fault("COPY", effect)
    with lying_sftp_server.going_wrong(copied, Fault("OPEN", note, rb"\.part")):
        receipt = provider.put(KEY, source)
    assert copied.struck == 1
    assert len(opened) == 3  # the old one, the one to copy to, and the one that was stored
    assert receipt.left_unfinished
    assert len(all_below(base) - {KEY}) == left
    assert hashlib.sha256((base / KEY).read_bytes()).hexdigest() == source.sha256()


def test_an_upload_that_is_stopped_leaves_what_the_next_run_begins_with(provider: SftpProvider, base: Path) -> None:
    stopped = FailingSource(SIZE_BYTES, LEFT_BYTES, RunInterrupted("interrumpido"))
    with pytest.raises(RunInterrupted):
        provider.put(KEY, stopped)
    (left,) = [path for path in (base / "e/1/deep").iterdir() if is_temporary_name(path.name)]
    assert left.stat().st_size >= LEFT_BYTES - 2 * IN_FLIGHT_BYTES
    assert provider.discard_unfinished_but_for(PREFIX, wanted)
    assert not provider.put(KEY, PatternSource(SIZE_BYTES)).sent_whole


def test_a_server_that_cannot_copy_keeps_nothing(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path
) -> None:
    lying_sftp_server.hidden_extensions = (COPY_DATA,)
    try:
        leave(base, b"x" * LEFT_BYTES)
        assert not provider.discard_unfinished_but_for(PREFIX, wanted)
    finally:
        lying_sftp_server.hidden_extensions = ()
    assert all_below(base) == set()


def test_what_was_kept_and_then_discarded_is_not_asked_for(provider: SftpProvider, base: Path) -> None:
    leave(base, b"x" * LEFT_BYTES)
    assert provider.discard_unfinished_but_for(PREFIX, wanted)
    provider.discard_unfinished("e/1/")
    assert provider.put(KEY, PatternSource(SIZE_BYTES)).sent_whole
    assert provider.put("e/1/small", BytesSource(b"small")).sent_whole
    assert all_below(base) == {KEY, "e/1/small"}


def test_a_helper_continues_what_the_runs_process_has_kept(
    provider: SftpProvider, lying_sftp_server: LyingSftpServer, base: Path, tmp_path: Path
) -> None:
    source = PatternSource(SIZE_BYTES)
    (tmp_path / "file").write_bytes(b"".join(source.chunks(SIZE_BYTES)))
    leave(base, beginning(source))
    leave(base, beginning(source), "other")
    provider.discard_unfinished_but_for(PREFIX, wanted)
    kept = provider.hand_over_unfinished([KEY])
    assert len(kept) == 1
    worker_state = WorkerState(1)
    row = row_of(lying_sftp_server, base)
    with closing_descriptor(os.open(tmp_path, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        [position] = tree.file_positions()
        order = SendFiles(row, [FileToSend(position, KEY, tree.entry(position))], "e/.janitor-check-0", kept)
        sent = order.carry_out(worker_state, descriptor)
    worker_state.provider(row).close()
    assert list(sent.not_sent) == [position]
    assert sent.receipts[position].sha256 == source.sha256()
    assert provider.put(KEY, source).sent_whole  # what was handed over is not continued here, too
