"""A change of state makes one notice, and nothing else does; both are written together."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from demo.servers.postgres import EmbeddedPostgres
from sql.memory.notices import LONGEST_TEXT, UNSTABLE_CHANGES, Cause, Held
from tests.databases.platform_database import Platform

KEY = "provider:7:unusable"


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for these tests."""
    with closing(Platform(postgres.new_database(f"notices_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The platform's database without notices."""
    shared_platform.sql("TRUNCATE janitor_causes, janitor_notices, notificaciones CASCADE")
    return shared_platform


def told(platform: Platform, *states: str, key: str = KEY) -> list[str]:
    """Note these states one after the other; give the kinds of all notices of the cause."""
    notices = platform.database().notices
    for state in states:
        notices.note([Cause(key, state, f"está {state}")])
    return [row["kind"] for row in platform.sql("SELECT kind FROM janitor_notices WHERE cause = %s ORDER BY id", key)]


def test_each_change_that_matters_makes_one_notice(platform: Platform) -> None:
    assert told(platform, "degraded", "degraded", "failed", "failed") == ["first", "worse"]
    assert told(platform, "degraded", "degraded") == ["first", "worse"]
    causes = platform.sql("SELECT state, previous_state, text FROM janitor_causes")
    assert causes == [{"state": "degraded", "previous_state": "failed", "text": "está degraded"}]


def test_a_recovery_is_reported_once_and_a_cause_that_was_always_well_is_not_kept(platform: Platform) -> None:
    assert told(platform, "ok", "needs_person", "ok", "ok") == ["first", "recovered"]
    assert told(platform, "ok", "ok", key="disk:full") == []
    assert platform.value("SELECT count(*) FROM janitor_causes") == 1


@pytest.mark.parametrize(
    ("token", "lease_seconds", "kinds"), [(7, 60, ["first"]), (6, 60, []), (7, -1, [])], ids=["held", "lost", "over"]
)
def test_a_run_that_lost_its_job_notes_nothing(
    platform: Platform, token: int, lease_seconds: int, kinds: list[str]
) -> None:
    """Its host slept meanwhile: what it has found is old, and its successor may have found otherwise."""
    platform.sql("TRUNCATE janitor_jobs")
    platform.sql(
        "INSERT INTO janitor_jobs (job, host, run_id, held_by, fencing_token, tries, last_started_at, "
        "lease_expires_at) VALUES ('drill', '', 1, 'sur', 7, 1, now(), now() + make_interval(secs => %s))",
        lease_seconds,
    )
    platform.database().notices.note([Cause(KEY, "failed", "falla")], Held("drill", token))
    assert [row["kind"] for row in platform.sql("SELECT kind FROM janitor_notices")] == kinds
    assert platform.value("SELECT count(*) FROM janitor_causes") == len(kinds)


def test_a_cause_that_keeps_changing_is_reported_once_as_unstable(platform: Platform) -> None:
    changes = ["failed", "ok"] * UNSTABLE_CHANGES
    assert told(platform, *changes) == ["first", "recovered", "first", "unstable"]
    assert told(platform, "degraded", "ok", "needs_person", "ok", "needs_person") == [
        *("first", "recovered", "first", "unstable"),
        "first",
    ]


def test_a_state_that_is_noted_again_is_no_change(platform: Platform) -> None:
    assert UNSTABLE_CHANGES == 4
    assert told(platform, "failed", "ok", "failed", "failed", "failed") == ["first", "recovered", "first"]


def test_changes_of_long_ago_do_not_make_a_cause_unstable(platform: Platform) -> None:
    for _ in range(UNSTABLE_CHANGES):
        told(platform, "failed", "ok")
        platform.sql(
            "UPDATE janitor_causes SET changes = ARRAY[now() - interval '7 hours', now() - interval '8 hours']"
        )
    assert set(told(platform)) == {"first", "recovered"}


def test_two_hosts_that_see_it_at_once_tell_it_once(platform: Platform) -> None:
    databases = [platform.database(f"host-{number}") for number in range(4)]
    with ThreadPoolExecutor(len(databases)) as threads:
        list(threads.map(lambda database: database.notices.note([Cause(KEY, "failed", "falla")]), databases))
    assert told(platform) == ["first"]


def test_notices_are_copied_once_for_the_platform(platform: Platform) -> None:
    told(platform, "degraded", "needs_person", "ok")
    rows = platform.sql("SELECT tipo, titulo, mensaje, semaforo, leida FROM notificaciones ORDER BY id")
    assert [row["semaforo"] for row in rows] == ["AMARILLO", "ROJO", "VERDE"]
    assert {row["tipo"] for row in rows} == {"JANITOR"}
    assert rows[0]["titulo"] == "⚠️ está degraded"
    platform.database().notices.copy_to_platform()
    assert platform.value("SELECT count(*) FROM notificaciones") == len(rows)


def test_without_the_platforms_table_the_notice_is_kept(platform: Platform) -> None:
    platform.sql("ALTER TABLE notificaciones RENAME TO avisos")
    try:
        assert told(platform, "failed") == ["first"]
    finally:
        platform.sql("ALTER TABLE avisos RENAME TO notificaciones")
    platform.database().notices.copy_to_platform()
    assert platform.value("SELECT count(*) FROM notificaciones") == 1


def test_a_database_in_another_encoding_gets_what_it_can_hold(
    postgres: EmbeddedPostgres, database_administrator: Callable[[str], None]
) -> None:
    name = f"latin_{secrets.token_hex(4)}"
    database_administrator(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with closing(Platform(postgres.url_of(name))) as platform:
        assert told(platform, "failed", "ok") == ["first", "recovered"]
        platform.database().notices.note([Cause("disk:ñ", "failed", "señal ✂")])
        titles = platform.sql("SELECT titulo FROM notificaciones ORDER BY id")
    assert [row["titulo"] for row in titles][1:] == [r"\u2705 está ok", r"\u26a0\ufe0f señal \u2702"]


def test_texts_are_one_short_line_and_states_are_known(platform: Platform) -> None:
    notices = platform.database().notices
    notices.note([Cause(KEY, "failed", "uno\ndos\x1b[0m" + "x" * 5000)])
    text = platform.value("SELECT text FROM janitor_notices")
    assert text.startswith("uno\\ndos\\x1b[0m")
    assert len(text) == LONGEST_TEXT
    assert notices.note([]) == 0
    with pytest.raises(ValueError, match="broken"):
        notices.note([Cause(KEY, "broken", "?")])
