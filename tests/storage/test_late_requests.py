"""Requests that arrive late: a run was stopped or killed while one was on its way, and others have stored meanwhile.

Each is held up just before the real server has it. What may be stored and deleted so is looked for at every kind of
destination and in each way in which it stores: in one request, in parts, by a name that changes hands.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.models import ProviderRow, StoredObject
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import ConditionFailed, ProviderError
from providers.shared.direct_http import LARGEST_BODY_BYTES
from providers.sources import BytesSource, Source
from tests.destinations import Destination
from tests.executions.sources import PatternSource
from tests.faults import sftp_liar
from tests.faults.http_effects import address_of, behind
from tests.faults.http_proxy import Exchange, Fault, HttpFaultProxy
from tests.faults.sftp_liar import LyingSftpServer

pytestmark = pytest.mark.usefixtures("little_patience")

KEY = "p/ejecuciones/1.manifest.json"
NEWER = b'{"of": "another run"}'
SMALL_BYTES, LARGE_BYTES = 1000, PART_SIZE_BYTES + 1

MAKES_IT_VISIBLE = r"^PUT .*1\.manifest\.json(\?(?!.*(partNumber|comp=block&)).*)?$|^POST .*manifest\.json\?uploadId="
"""The line of the request by which an object appears: a PUT, or the one that makes it of its parts."""

by_every_way = pytest.mark.parametrize(
    ("name", "size_bytes"),
    [
        (name, size_bytes)
        for name in ("s3-moto", "s3-swift", "s3-rclone", "azure")
        for size_bytes in (SMALL_BYTES, LARGE_BYTES)
    ],
)


def take_over(provider: Provider, expected: StoredObject | None) -> None:
    """What another run does that has the claim now."""
    provider.discard_unfinished(KEY)
    provider.replace(KEY, BytesSource(NEWER), expected)


def content(provider: Provider) -> bytes:
    return b"".join(provider.open(KEY))


@contextmanager
def held_up(
    destination: Destination, request: str, until: Callable[[Provider], None]
) -> Iterator[tuple[Provider, Provider]]:
    """The provider of a run whose request is held up until others have done something, and theirs."""
    with closing(build_provider(destination.provider_row())) as others:

        def effect(exchange: Exchange) -> None:
            until(others)
            exchange.answer(exchange.forward())

        with HttpFaultProxy(address_of(destination), Fault("late", effect, request, on=(1,))) as proxy:
            late_row = behind(destination, proxy.url).provider_row()
            with closing(build_provider(late_row)) as late:
                yield late, others


@by_every_way
def test_a_late_first_manifest_replaces_nothing(
    new_destination: Callable[[str], Destination], name: str, size_bytes: int
) -> None:
    with held_up(new_destination(name), MAKES_IT_VISIBLE, lambda others: take_over(others, None)) as (late, others):
        assert others.replaces_safely("p/ejecuciones")
        with pytest.raises(ProviderError):
            late.replace(KEY, PatternSource(size_bytes), None)
        assert content(others) == NEWER


@by_every_way
def test_a_late_new_manifest_replaces_nothing(
    new_destination: Callable[[str], Destination], name: str, size_bytes: int
) -> None:
    def others_come_first(others: Provider) -> None:
        take_over(others, others.stat(KEY))

    with held_up(new_destination(name), MAKES_IT_VISIBLE, others_come_first) as (late, others):
        others.put(KEY, BytesSource(b"older"))
        with pytest.raises(ProviderError):
            late.replace(KEY, PatternSource(size_bytes), others.stat(KEY))
        assert content(others) == NEWER


@pytest.mark.parametrize("name", ["s3-moto", "azure"])
def test_the_end_of_a_late_upload_in_parts_meets_the_condition_too(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    """Also where nobody has discarded the parts."""

    def others_come_first(others: Provider) -> None:
        others.put(KEY, BytesSource(NEWER))

    with held_up(new_destination(name), MAKES_IT_VISIBLE, others_come_first) as (late, others):
        with pytest.raises(ConditionFailed):
            late.replace(KEY, PatternSource(LARGE_BYTES), None)
        assert content(others) == NEWER


@pytest.mark.parametrize("name", ["s3-moto", "s3-swift", "azure"])
def test_a_late_deletion_removes_nothing(new_destination: Callable[[str], Destination], name: str) -> None:
    """Where the server compares. `deletes_safely` says where it does not."""

    def others_come_first(others: Provider) -> None:
        take_over(others, others.stat(KEY))

    with held_up(new_destination(name), r"^DELETE .*1\.manifest\.json$", others_come_first) as (late, others):
        assert others.deletes_safely("p/ejecuciones")
        others.put(KEY, BytesSource(b"older"))
        with pytest.raises(ConditionFailed):
            late.delete_exactly(others.stat(KEY))
        assert content(others) == NEWER


# Files: of an execution whose run died, and which another run has stored since, maybe with other bytes


MEDIUM_BYTES = LARGEST_BODY_BYTES + 1
"""So large that a general client carries it, in one request."""

on_servers_that_keep_conditions = pytest.mark.parametrize(
    ("name", "size_bytes"),
    [(name, size_bytes) for name in ("s3-moto", "azure") for size_bytes in (0, SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES)],
)


def store_new(provider: Provider, source: Source, key: str = KEY) -> None:
    """As a run that has looked and found nothing there."""
    provider.discard_unfinished(key)
    assert [stored_key for stored_key, _ in provider.put_new_many({key: source})] == [key]


@on_servers_that_keep_conditions
def test_a_late_file_replaces_nothing(
    new_destination: Callable[[str], Destination], name: str, size_bytes: int
) -> None:
    """A kind of request for each size: by the program's own connection, by a general client, in parts.

    Looked for besides: names that take another way (below), GCS, whose emulator keeps no conditions, in
    `tests/providers/gcs/test_gcs_provider.py`, files of temporary names (below), and whole runs in
    `tests/stories/hosts/test_hosts.py`.
    """
    until = partial(store_new, source=BytesSource(NEWER))
    with held_up(new_destination(name), MAKES_IT_VISIBLE, until) as (late, others):
        assert late.creates_safely("p/ejecuciones")
        with pytest.raises(ProviderError) as caught:
            list(late.put_new_many({KEY: PatternSource(size_bytes)}))
        assert isinstance(caught.value, ConditionFailed) or size_bytes == LARGE_BYTES
        assert content(others) == NEWER


@pytest.mark.parametrize("name", ["s3-moto", "azure"])
def test_the_end_of_a_late_new_file_in_parts_meets_the_condition_too(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    """Also where nobody has discarded the parts, as the account may not. On GCS nobody can: see its own tests."""

    def others_come_first(others: Provider) -> None:
        others.put(KEY, BytesSource(NEWER))

    with held_up(new_destination(name), MAKES_IT_VISIBLE, others_come_first) as (late, others):
        with pytest.raises(ConditionFailed):
            list(late.put_new_many({KEY: PatternSource(LARGE_BYTES)}))
        assert content(others) == NEWER


def test_a_late_file_whose_name_takes_another_way_replaces_nothing(
    new_destination: Callable[[str], Destination],
) -> None:
    key = "p/ejecuciones/tab\t.csv"
    until = partial(store_new, source=BytesSource(NEWER), key=key)
    with held_up(new_destination("s3-moto"), r"^PUT .*tab%09\.csv$", until) as (late, others):
        with pytest.raises(ConditionFailed):
            list(late.put_new_many({key: PatternSource(SMALL_BYTES)}))
        assert b"".join(others.open(key)) == NEWER


@pytest.mark.parametrize("name", ["s3-swift", "s3-rclone"])
def test_a_server_that_ignores_conditions_is_sent_none_and_not_called_safe(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        store_new(provider, BytesSource(b"older"))
        store_new(provider, BytesSource(NEWER))
        assert not provider.creates_safely("p/ejecuciones")
        assert content(provider) == NEWER


# Names that change hands


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "nas"
    made.mkdir()
    return made


def directory_provider(path: Path) -> Provider:
    return build_provider(ProviderRow(2, "NAS", "local", None, {"ruta": str(path)}, active=True))


@pytest.mark.parametrize(
    ("is_first", "others_discard"),
    [(True, True), (False, True), (True, False)],
    ids=["first", "newer", "first, and nobody has discarded the unfinished file"],
)
def test_a_late_rename_on_an_sftp_server_replaces_nothing(
    lying_sftp_server: LyingSftpServer, is_first: bool, others_discard: bool
) -> None:
    """The others are at the server's own directory: they would wait for this very server."""
    base_path = lying_sftp_server.new_directory()
    row = ProviderRow(
        1,
        "SFTP",
        "sftp",
        {
            "host": lying_sftp_server.host,
            "port": lying_sftp_server.port,
            "username": lying_sftp_server.username,
            "password": lying_sftp_server.password,
            "host_key": lying_sftp_server.host_key,
        },
        {"base_path": str(base_path)},
        active=True,
    )
    with closing(build_provider(row)) as late, closing(directory_provider(base_path)) as others:

        def effect(request: sftp_liar.Request) -> None:
            if others_discard:
                others.discard_unfinished(KEY)
            others.put(KEY, BytesSource(NEWER))
            request.forward()

        expected = None
        if not is_first:
            others.put(KEY, BytesSource(b"older"))
            expected = late.stat(KEY)
        with (
            lying_sftp_server.going_wrong(sftp_liar.Fault("RENAME", effect, calls=(1,))),
            pytest.raises(ProviderError),
        ):
            late.replace(KEY, PatternSource(SMALL_BYTES), expected)
        assert late.replaces_safely()
        assert content(others) == NEWER


@pytest.mark.parametrize("is_first", [True, False])
def test_a_late_rename_in_a_directory_replaces_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    with closing(directory_provider(directory)) as late, closing(directory_provider(directory)) as others:
        expected = None
        if not is_first:
            others.put(KEY, BytesSource(b"older"))
            expected = late.stat(KEY)
        rename_late(monkeypatch, lambda: take_over(others, expected))
        with pytest.raises(ProviderError):
            late.replace(KEY, PatternSource(SMALL_BYTES), expected)
        assert content(others) == NEWER
        assert [path.name for path in directory.rglob("*") if path.is_file()] == ["1.manifest.json"]


def rename_late(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Let others do something just before the next renaming."""
    rename = os.rename

    def late_rename(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        action()
        rename(*arguments, **options)

    monkeypatch.setattr(os, "rename", late_rename)


def test_a_file_that_others_put_there_after_the_last_look_is_not_removed_from_a_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(directory_provider(directory)) as late, closing(directory_provider(directory)) as others:
        others.put(KEY, BytesSource(b"older"))
        seen = late.stat(KEY)
        rename_late(monkeypatch, lambda: take_over(others, seen))
        with pytest.raises(ConditionFailed):
            late.delete_exactly(seen)
        assert content(others) == NEWER
        assert [path.name for path in directory.rglob("*") if path.is_file()] == ["1.manifest.json"]


def test_a_file_that_is_given_its_name_back_takes_that_of_no_other(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others store while another one's file is set aside."""
    with closing(directory_provider(directory)) as late, closing(directory_provider(directory)) as others:
        others.put(KEY, BytesSource(b"older"))
        seen = late.stat(KEY)
        link = os.link

        def late_link(*arguments: Any, **options: Any) -> None:
            others.put(KEY, BytesSource(NEWER))
            link(*arguments, **options)

        monkeypatch.setattr(os, "link", late_link)
        rename_late(monkeypatch, lambda: others.put(KEY, BytesSource(b"in between")))
        with pytest.raises(ConditionFailed):
            late.delete_exactly(seen)
        assert content(others) == NEWER


def test_a_file_gets_its_name_back_where_there_are_no_hard_links(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on exFAT and on some shares of a NAS."""

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with closing(directory_provider(directory)) as late, closing(directory_provider(directory)) as others:
        others.put(KEY, BytesSource(b"older"))
        seen = late.stat(KEY)
        monkeypatch.setattr(os, "link", refuse)
        rename_late(monkeypatch, lambda: others.put(KEY, BytesSource(NEWER)))
        with pytest.raises(ConditionFailed):
            late.delete_exactly(seen)
        assert content(others) == NEWER


def test_a_file_that_others_remove_meanwhile_is_removed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(directory_provider(directory)) as late, closing(directory_provider(directory)) as others:
        others.put(KEY, BytesSource(b"older"))
        seen = late.stat(KEY)
        rename_late(monkeypatch, lambda: others.delete(KEY))
        late.delete_exactly(seen)
        assert list(others.list("")) == []
