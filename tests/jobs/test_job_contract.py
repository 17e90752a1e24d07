"""What every job promises, held against each job of the registry: a new one is tested by its line there.

A job that needs more than an installation to be on says here, by its name, how it is switched on.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import click
import psycopg2
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from commands.table import COMMANDS
from config.declared import lists_of, variables_of
from config.errors import RunInterrupted
from config.settings import load_settings
from demo.servers.postgres import installed_programs
from demo.servers.process import free_port
from jobs.context import Context
from jobs.job import Job, Phase, Ref, Scope
from jobs.registry import DEFINITIONS, UnknownJob, all_jobs, job_named, jobs_named
from jobs.report import TickReport
from jobs.schedule import Schedule
from jobs.signals import Interruption
from jobs.tick import plan_of
from sql.connection import Connection, Parameters, Row
from sql.database import Database
from tests.databases.roles import OF_EVERY_RUN, granted, role_with
from tests.destinations import Destination, local_destination
from tests.processes import wait_until
from tests.repository import REPOSITORY
from tests.stories.installation import Installation
from tests.stories.programs import change_constants
from tests.test_architecture import SLOW_PACKAGES

ORDER = ("watch", "migration", "temp", "logs", "backup", "verify", "resources", "rehome", "audit", "drill", "history")
"""In which jobs come in a tick; after them what concerns the whole tick."""

RIGHTS = {"SELECT", "INSERT", "UPDATE", "DELETE"}
OF_FUNCTIONS = {"EXECUTE"}

JOBS = all_jobs()
each_job = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
each_own_job = pytest.mark.parametrize("job", [job for job in JOBS if job.run is not None], ids=lambda job: job.name)


def switched_on(job: Job, directory: Path) -> Mapping[str, str]:
    """The variables that switch a job on, for those that are off by default: its switches as their examples say, unless
    a test needs another value.
    """
    where = {
        "LOGS_PATH": str(directory),
        "BACKUP_ENABLED": "true",
        "BACKUP_PG_BIN": str(installed_programs()),
        "JANITOR_REHOME": "on",
        "JANITOR_AUDIT_DAYS": "30",
        "JANITOR_DRILL": "1",
        "JANITOR_NOTIFY_URLS": "json://127.0.0.1:9",
        "JANITOR_REPORT_DAY": "0",
    }
    where |= {"JANITOR_METRICS_FILE": str(directory / "janitor.prom"), "JANITOR_PING_URL": "http://127.0.0.1:9/ping"}
    declared = {variable.name: variable for variable in variables_of(job.settings_class)} if job.settings_class else {}
    examples = {name: declared[name].example for name in job.switches if name in declared}
    return {
        **{name: example for name, example in examples.items() if example},
        **({"BACKUP_PATH": str(directory / "copias")} if job.name == "backup" else {}),
        **({"JANITOR_NOTIFY_URLS": mail_address()} if job.name == "report" else {}),
        **{name: value for name, value in where.items() if name in declared},
    }


@functools.cache
def mail_address() -> str:
    """Of a mail server that takes everything, until this process ends."""
    controller = Controller(Sink(), hostname="127.0.0.1", port=free_port(), ready_timeout=60)
    controller.start()
    atexit.register(controller.stop)
    return f"mailto://127.0.0.1:{controller.port}?mode=insecure&from=janitor@example.com&to=guardia@example.com"


def loaded_after(statement: str) -> set[str]:
    """The modules that a new Python has loaded."""
    report = f"import sys\n{statement}\nprint(*sys.modules, sep=chr(10))"
    answer = subprocess.run(
        [sys.executable, "-c", report], cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=60
    )
    return set(answer.stdout.split())


# The registry


def test_jobs_have_names_of_their_own_and_come_in_their_order() -> None:
    names = [job.name for job in JOBS if job.phase is Phase.WORK]
    assert len({job.name for job in JOBS}) == len(JOBS) == len(DEFINITIONS)
    assert names == [name for name in ORDER if name in names]


def test_importing_the_registry_imports_no_job() -> None:
    loaded = loaded_after("import jobs.registry")
    packages = {path.parent.name for path in (REPOSITORY / "jobs").glob("*/job.py")}
    assert {"migration", "temp_files"} <= packages
    assert {name for name in loaded if name.startswith(tuple(f"jobs.{package}" for package in packages))} == set()


def test_definitions_import_little_and_nothing_of_what_a_job_does() -> None:
    loaded = loaded_after("import jobs.registry\njobs.registry.all_jobs()")
    of_jobs = {name for name in loaded if name.startswith("jobs.") and name.count(".") == 2}
    allowed = {f"{reference.text.partition(':')[0]}" for reference in DEFINITIONS}
    assert of_jobs <= allowed
    for slow in ("psycopg2", "zoneinfo", "boto3", "requests", "cryptography", "click", "sql"):
        assert slow not in loaded, slow


def test_settings_import_no_slow_package() -> None:
    """A tick imports those of every job that may be on."""
    loaded = loaded_after("import jobs.settings\njobs.settings.settings_of_jobs()")
    assert loaded.isdisjoint(SLOW_PACKAGES)


def test_a_job_is_found_by_its_name_and_a_misspelling_is_reported() -> None:
    assert job_named("temp").name == "temp"
    assert jobs_named(["temp, migration", "temp"]) == {"temp", "migration"}
    with pytest.raises(UnknownJob, match="tmp no se conoce; ¿quería decir temp"):
        job_named("tmp")


@pytest.mark.parametrize("text", ["jobs.history.run", "run:", ":run", "jobs history:run", "os;system:x", "a:b.c"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="reference"):
        Ref(text).load()


# Definitions


@each_job
def test_a_definition_is_whole(job: Job, tmp_path: Path) -> None:
    assert re.fullmatch("[a-z]+", job.name)
    assert job.title
    assert job.scope in (Scope.HOST, Scope.PLATFORM)
    for reference in filter(None, (job.run, job.preview, job.check, job.status, job.commands, job.observer)):
        assert callable(reference.load()) or isinstance(reference.load(), click.Command)
    assert (job.observer is None) or (job.run is None and job.phase == Phase.AFTER)
    if job.run is not None or job.observer is not None:
        assert job.preview is not None, "a job that writes says in a dry run what it would do"
        assert (REPOSITORY / job.folder / "__init__.py").is_file()
    kind = job.settings_class
    own = load_settings(switched_on(job, tmp_path)).of(kind) if kind else None
    assert isinstance(job.schedule(own), Schedule)
    assert all(isinstance(words, str) or len(words) == 2 for words in job.counts.values())


def test_the_folder_of_each_job_is_in_the_picture_of_the_architecture() -> None:
    picture = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    folders = sorted(path.parent.name for path in (REPOSITORY / "jobs").glob("*/job.py"))
    assert "temp_files" in folders
    assert [name for name in folders if not re.search(rf"^  {name}/ +\S", picture, re.MULTILINE)] == []


@each_job
def test_its_command_hides_no_other_one(job: Job) -> None:
    assert job.commands is None or job.name not in COMMANDS


@each_job
def test_what_sounds_like_a_secret_is_declared_as_one(job: Job) -> None:
    """Only what is declared as a secret is hidden in logs. A file that holds a secret is none itself."""
    if job.settings_class is None:
        return
    for variable in variables_of(job.settings_class):
        sounds_secret = re.search(r"TOKEN|PASSWORD|SECRET|CREDENTIAL|_KEYS?\b|_URLS?\b", variable.name)
        assert variable.secret or not sounds_secret, variable.name


@each_job
def test_settings_are_declared_and_say_whether_the_job_is_on(job: Job, tmp_path: Path) -> None:
    if job.settings is None:
        return
    assert dataclasses.is_dataclass(job.settings_class)
    assert job.when_off, "operators are told how to switch it on"
    is_on = plan_of(job, load_settings(switched_on(job, tmp_path))) is not None
    assert is_on, "the examples of its switches, or what `switched_on` adds, do not switch it on"


@each_job
def test_a_job_is_off_while_none_of_its_switches_is_set(job: Job, tmp_path: Path) -> None:
    """Its settings would say the same: a tick does not even import them."""
    kind = job.settings_class
    if kind is None or not job.switches:
        return
    assert set(job.switches) <= {variable.name for variable in variables_of(kind)}
    assert not list(lists_of(kind)), "what janitor.toml might switch on has no switches"
    others = {name: value for name, value in switched_on(job, tmp_path).items() if name not in job.switches}
    assert not job.is_on_with(load_settings(others).of(kind))


@each_job
def test_a_job_names_the_rights_of_all_its_statements(job: Job) -> None:
    """Those of the migration are in `find_missing_rights.sql`, with those of every run."""
    for name, rights in job.rights.items():
        assert set(rights.split(", ")) <= (OF_FUNCTIONS if name.endswith(")") else RIGHTS), name
    if job.run is None and job.observer is None:
        return
    for path in (REPOSITORY / job.folder / "queries").glob("*.sql"):
        statement = re.sub("--.*", "", path.read_text(encoding="utf-8"))
        for right, table in tables_of(statement):
            named = f"{job.rights.get(table, '')}, {job.optional_rights.get(table, '')}".split(", ")
            assert right in named, f"{path.name}: {right} on {table}"
        for function in closed_functions():
            is_called = re.search(rf"\b{function.partition('(')[0]}\(", statement)
            assert not is_called or job.rights.get(function) == "EXECUTE", f"{path.name}: EXECUTE on {function}"


@functools.cache
def closed_functions() -> frozenset[str]:
    """The functions of the program that only those may call to whom they were granted."""
    paths = [*(REPOSITORY / "sql/upgrades").glob("*.sql"), *(REPOSITORY / "jobs").glob("*/upgrades/*.sql")]
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    found = frozenset(re.findall(r"REVOKE ALL ON FUNCTION (janitor_\w+\([^)]*\)) FROM PUBLIC", text))
    assert "janitor_prune_audit(INTEGER, TEXT)" in found
    return found


def tables_of(statement: str) -> list[tuple[str, str]]:
    """Each table of the program or the platform in a statement, with the right that it takes."""
    words = {"FROM": "SELECT", "JOIN": "SELECT", "DELETE FROM": "DELETE", "INSERT INTO": "INSERT", "UPDATE": "UPDATE"}
    pattern = r"\b(DELETE FROM|INSERT INTO|UPDATE|FROM|JOIN)\s+([a-z_]+)"
    found = [(words[verb], table) for verb, table in re.findall(pattern, statement)]
    found += [("UPDATE", table) for table in UPDATING_INSERT.findall(statement)]
    return [(right, table) for right, table in found if table.startswith("janitor_") or table in PLATFORM_TABLES]


UPDATING_INSERT = re.compile(r"\bINSERT INTO\s+([a-z_]+)(?:(?!\bINSERT INTO\b).)*?\bDO UPDATE\b", re.DOTALL)
"""An INSERT that may become an UPDATE, and its table."""

PLATFORM_TABLES = {"cloud_providers", "ejecuciones_config", "ejecuciones_yaml", "historial_backup", "notificaciones"}


# Runs


@pytest.fixture
def busy(installation: Installation, nas: Destination) -> Installation:
    """An installation in which each of the first jobs has something to do."""
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    (installation.directory / "registros-de-otros").mkdir()
    return installation


@each_job
def test_a_dry_run_of_it_writes_nothing(busy: Installation, job: Job) -> None:
    variables = switched_on(job, busy.directory / "registros-de-otros")
    before = busy.everything_in_the_database()
    files = sorted(str(path) for path in busy.directory.rglob("*") if "trabajo" not in path.parts)
    run = busy.run("run", job.name, "--dry-run", **variables)
    assert run.exit_code == 0, str(run)
    assert busy.everything_in_the_database() == before
    assert sorted(str(path) for path in busy.directory.rglob("*") if "trabajo" not in path.parts) == files


@each_job
def test_a_dry_run_of_it_says_what_it_would_do(busy: Installation, job: Job) -> None:
    run = busy.run("run", job.name, "--dry-run", **switched_on(job, busy.directory / "registros-de-otros"))
    assert any("[simulación]" in line for line in run.messages("INFO")), str(run)


@each_own_job
def test_one_that_is_to_stop_before_it_has_begun_changes_nothing(
    busy: Installation, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks whether it may go on before its first step. What it does not look at, the end of the process ends."""
    monkeypatch.chdir(busy.directory)
    variables = switched_on(job, busy.directory / "registros-de-otros")
    settings = load_settings({**busy.environment, **variables})
    own = settings.of(job.settings_class) if job.settings_class else None
    assert job.run is not None
    interruption = Interruption()
    interruption.set()
    with closing(Database(busy.database_url, settings.host)) as database:
        seen = database.start_run(1, "tick", "test")
        is_platform = job.scope == Scope.PLATFORM
        token = database.job_records.claim(job.name, is_platform=is_platform, seen_token=None) or 0
        before = busy.everything_in_the_database()
        context = Context(
            job, settings, own, database, seen.now, interruption, is_asked_for=True,
            fencing_token=token if is_platform else 0, judgment=lambda _database, _settings: (),
        )  # fmt: skip
        with contextlib.suppress(RunInterrupted):
            job.run.load()(context)
        assert busy.everything_in_the_database() == before


@each_job
def test_one_that_is_off_costs_a_tick_nothing(busy: Installation, job: Job) -> None:
    """No statement, and no module of what it does."""
    kind = job.settings_class
    if kind is None or (job.run is None and job.observer is None):
        return
    off = {name: "0" for name in ("JANITOR_HISTORY_DAYS",) if name in {v.name for v in variables_of(kind)}}
    assert plan_of(job, load_settings(off)) is None
    package = job.folder.replace("/", ".")
    report = f"{MODULES_OF_A_RUN}print(*(name for name in sys.modules if name.startswith({package + '.'!r})))"
    answer = subprocess.run(
        [sys.executable, "-c", report], env={**busy.environment, **off}, cwd=busy.directory, check=True,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    settings = set() if job.switches else {f"{package}.settings"}
    assert set(answer.stdout.split()) <= {f"{package}.job"} | settings
    assert busy.rows("SELECT FROM janitor_job_runs WHERE job = %s", (job.name,)) == []


MODULES_OF_A_RUN = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import janitor_daemon
try:
    janitor_daemon.main()
except SystemExit:
    pass
"""


WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@each_own_job
def test_it_stops_at_a_signal_while_it_waits_and_survives_a_kill(busy: Installation, job: Job) -> None:
    """Held by a lock on what the database knows of jobs, right when it is taken up; afterwards the next run does it."""
    variables = switched_on(job, busy.directory / "registros-de-otros")
    change_constants(busy, jobs__signals__LONGEST_SECONDS_TO_END=0.5)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with closing(psycopg2.connect(busy.database_url)) as holder:
            holder.cursor().execute("LOCK TABLE janitor_jobs IN EXCLUSIVE MODE")
            with busy.start("run", job.name, **variables) as running:
                wait_until(lambda: busy.rows(WAITING), 30)
                run = running.stop(number)
        assert run.exit_code == (143 if number == signal.SIGTERM else -9), str(run)
    after = busy.run("run", job.name, **variables)
    assert after.exit_code == 0, str(after)
    (row,) = busy.rows("SELECT last_outcome FROM janitor_jobs WHERE job = %s", (job.name,))
    assert row["last_outcome"] == "done"
    counted = {name for row in busy.rows("SELECT counts FROM janitor_job_runs") for name in row["counts"] or {}}
    assert counted <= job.counts.keys(), "what a job counts is declared, with its words for operators"


@each_own_job
def test_a_statement_of_it_that_is_sent_twice_does_what_it_does_once(
    busy: Installation, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may break after the database has obeyed and before it has answered: then it is asked again.

    Only times may differ. The execution lies at an alternate, so that the jobs of stored copies have something to do.
    """
    (alternate,) = busy.rows("SELECT nube_primaria_id AS id FROM ejecuciones_config ORDER BY id DESC LIMIT 1")
    assert busy.run().exit_code == 0
    busy.configure(busy.add_provider(local_destination("casa", tmp_path / "casa")), alternate["id"])
    monkeypatch.chdir(busy.directory)
    settings = load_settings({**busy.environment, **switched_on(job, busy.directory / "registros-de-otros")})
    own = settings.of(job.settings_class) if job.settings_class else None
    ask, changed = Connection.query, list[str]()

    def ask_twice(connection: Connection, name: str, parameters: Parameters | None = None) -> list[Row]:
        ask(connection, name, parameters)
        once = without_times(busy)
        answer = ask(connection, name, parameters)
        changed.extend(f"{name}: {table}" for table, rows in without_times(busy).items() if rows != once[table])
        return answer

    with closing(Database(busy.database_url, settings.host)) as database:
        seen = database.start_run(1, "tick", "test")
        is_platform = job.scope == Scope.PLATFORM
        token = database.job_records.claim(job.name, is_platform=is_platform, seen_token=None) or 0
        context = Context(
            job, settings, own, database, seen.now, Interruption(), is_asked_for=True,
            fencing_token=token if is_platform else 0, report=TickReport(),
            judgment=lambda _database, _settings: (),
        )  # fmt: skip
        monkeypatch.setattr(Connection, "query", ask_twice)
        assert job.run is not None
        outcome = job.run.load()(context)
        monkeypatch.undo()
    assert changed == []
    assert set(outcome.counts) <= set(job.counts)


def without_times(installation: Installation) -> dict[str, list[str]]:
    """Every row of every table, but for when something was."""
    found = installation.everything_in_the_database()
    return {table: sorted(INSTANT.sub("…", row) for row in rows) for table, rows in found.items() if table[0] != "("}


INSTANT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:[\d.]+(\+\d\d(:\d\d)?)?")


@each_job
def test_it_hides_secrets(busy: Installation, job: Job) -> None:
    """The password of the database, which every job has at hand, is in no line and in no row."""
    url = busy.database_url.replace("://janitor@", "://janitor:muy-secreto-1234@")
    variables = switched_on(job, busy.directory / "registros-de-otros")
    run = busy.run("--debug", "run", job.name, DATABASE_URL=url, **variables)
    assert "muy-secreto-1234" not in run.errors + run.output
    assert "muy-secreto-1234" not in str(busy.everything_in_the_database())


OF_BACKUPS = (
    "GRANT pg_read_all_data TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
)
BESIDES = {"backup": OF_BACKUPS, "verify": OF_BACKUPS}
"""Grants that are no rights on tables or functions, by job: its documents name them."""


@each_own_job
def test_the_rights_that_it_names_are_all_it_needs(busy: Installation, job: Job) -> None:
    variables = switched_on(job, busy.directory / "registros-de-otros")
    with role_with(busy, (*OF_EVERY_RUN, *granted(job.rights), *BESIDES.get(job.name, ()))) as url:
        run = busy.run("run", job.name, DATABASE_URL=url, **variables)
    assert run.exit_code == 0, str(run)


@each_own_job
def test_rights_that_a_role_lacks_are_named(busy: Installation, job: Job) -> None:
    if not job.rights:
        return
    role = f"{busy.database_url.rpartition('/')[2].partition('?')[0]}_bare".replace("-", "_")
    busy.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'bare'")
    database = Database(re.sub(r"://[^@]*@", f"://{role}:bare@", busy.database_url), "norte")
    try:
        missing = database.missing_job_rights(job.rights)
    finally:
        database.close()
        busy.execute(f"DROP ROLE {role}")
    wanted = {(right, name, role) for name, rights in job.rights.items() for right in rights.split(", ")}
    assert set(missing) == wanted


@each_job
def test_check_looks_at_its_rights(busy: Installation, job: Job) -> None:
    """And at nothing that it does not need: the owner of the tables has all of them."""
    check = busy.run("check", **switched_on(job, busy.directory / "registros-de-otros"))
    assert f"trabajo {job.name}" not in check.output
    if set(job.rights.values()) <= {"SELECT"}:
        return
    role = f"{busy.rows('SELECT current_database() AS name')[0]['name']}_bare"
    busy.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'nada-1234'")
    busy.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    url = re.sub(r"://[^@]*@", f"://{role}:nada-1234@", busy.database_url)
    try:
        variables = switched_on(job, busy.directory / "registros-de-otros")
        output = busy.run("check", DATABASE_URL=url, **variables).output
    finally:
        busy.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    found = f"ERROR  trabajo {job.name}: al usuario de la base de datos le falta permiso de "
    (line,) = [line for line in output.splitlines() if line.startswith(found)]
    grants = re.findall(r"GRANT ([A-Z, ]+) ON (?:FUNCTION )?(.*?) TO (\w+)", line)
    lacked = {name: set(rights.split(", ")) - {"SELECT"} for name, rights in job.rights.items()}
    assert {name: set(rights.split(", ")) for rights, name, _ in grants} == {k: v for k, v in lacked.items() if v}
    assert {given_to for *_, given_to in grants} == {role}
