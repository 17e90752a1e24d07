"""The demonstration, run whole as a newcomer runs it, interrupted at several moments, and refused where it must be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import demo.servers.postgres
import demo.story
from demo.data import describe_tree, differences
from demo.servers.postgres import EmbeddedPostgres, installed_programs
from demo.servers.process import ServerDidNotStart
from demo.story import run_demo
from tests.processes import wait_until
from tests.repository import REPOSITORY
from tests.running.skips import needs_root

PROGRAM = REPOSITORY / "janitor_daemon.py"
DEMO_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 30

HOSTILE_ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/production",
    "PGSSLMODE": "require",
    "JANITOR_ROOTS": "/nowhere",
    "AWS_PROFILE": "nobody",
    "HTTP_PROXY": "http://127.0.0.1:1",
}
"""What a newcomer's shell may hold, and what the demonstration must neither use nor stumble over."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a demonstration is to be: not there yet, with a space in it, and passable for PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-") as directory:
        Path(directory).chmod(0o755)
        path = Path(directory, "mi demo")
        yield path
        for process_id in processes_of(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)


WITH_A_SMALLER_LOG = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import demo.data
assert demo.data.LARGE_LOG_BYTES
demo.data.LARGE_LOG_BYTES = 9 * demo.data.MEBIBYTE
import janitor_daemon
janitor_daemon.main()
"""
"""The demonstration as it is, but for the 200 MB of its largest file, which is still sent in parts."""


@pytest.fixture
def quick_program(tmp_path: Path) -> Path:
    """A demonstration for what does not depend on how large its files are."""
    program = tmp_path / "programa.py"
    program.write_text(WITH_A_SMALLER_LOG)
    return program


def start_demo(folder: Path, *options: str, program: Path = PROGRAM) -> subprocess.Popen[str]:
    """Begin a demonstration, in a process group of its own, as a terminal would."""
    return subprocess.Popen(
        [sys.executable, str(program), "demo", "--directory", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder.parent,
        env={**os.environ, **HOSTILE_ENVIRONMENT, "TMPDIR": str(folder.parent)},
        start_new_session=True,
    )


def run_whole_demo(folder: Path, *options: str, program: Path = PROGRAM) -> str:
    """What a demonstration prints that ends well."""
    with start_demo(folder, *options, program=program) as demo:
        output, errors = demo.communicate(timeout=DEMO_TIMEOUT_SECONDS)
    assert (demo.returncode, errors) == (0, ""), output
    return output


def processes_of(folder: Path) -> set[int]:
    """Every process whose command line, working directory or environment names the folder, but this one."""
    needle = os.fsencode(folder)
    return {
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if int(process.name) != os.getpid() and any(needle in trait for trait in traits_of(process))
    }


def traits_of(process: Path) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # it has ended, or is a zombie
        yield (process / "cmdline").read_bytes()
        yield os.fsencode((process / "cwd").readlink())
        yield (process / "environ").read_bytes()


def require_gone(process_ids: set[int]) -> None:
    wait_until(lambda: not any(Path(f"/proc/{number}/exe").exists() for number in process_ids), STOP_TIMEOUT_SECONDS)


def test_whole_demonstration_keeps_its_promises_and_leaves_nothing_running(folder: Path) -> None:
    output = run_whole_demo(folder)
    assert processes_of(folder) == set()
    assert [int(number) for number in re.findall(r"^\[(\d)/6\] ", output, re.MULTILINE)] == [1, 2, 3, 4, 5, 6]
    for line in (
        f"Todos sus datos quedan en esta carpeta: {folder}",
        "37 filas apuntan a la nube primaria",
        "Intentando migrar al proveedor alternativo: NAS",
        "idénticos en bytes, permisos y fechas",
        "Limpieza completada: 6 archivos temporales eliminados",
        "Todo salió como se prometía",
        "Nada queda en marcha",
    ):
        assert line in output
    assert "/production" not in output
    require_checksums_of_restored_copy(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # which is the temporary directory, too


@needs_root
def test_what_root_needs_outside_of_its_own_directories_is_gone_at_the_end(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's user reaches neither the data nor the programs of a checkout in `/root`. pip's downloads and npm's
    were looked for, too: they are in `.cache` of the checkout.
    """
    packages = tmp_path / "site-packages"  # below a directory that is closed to others
    packages.mkdir()
    package = installed_programs().parent.parent
    for installed in (package, package.with_name(f"{package.name}.libs")):
        (packages / installed.name).symlink_to(installed)
    closed = packages / installed_programs().relative_to(package.parent)
    monkeypatch.setattr(demo.servers.postgres, "installed_programs", lambda: closed)
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))
    with EmbeddedPostgres(tmp_path / "postgres") as postgres:
        elsewhere = {path for path in folder.parent.iterdir() if path != folder}
        assert elsewhere == {*postgres.paths_elsewhere}
        assert postgres.binaries.is_relative_to(folder.parent)
        data = postgres.data_directory
        postgres.new_database("sage")
    assert [*folder.parent.iterdir()] == [data]


def require_checksums_of_restored_copy(folder: Path) -> None:
    """Read the listing of before the first tick as `sha256sum --check` does, and look at what was restored."""
    lines = (folder / "original.sha256").read_bytes().splitlines()
    sizes = []
    for line in lines:
        digest, name = line.removeprefix(b"\\").split(b"  ", maxsplit=1)
        if line.startswith(b"\\"):
            name = name.replace(b"\\n", b"\n").replace(b"\\\\", b"\\")
        content = (folder / "restaurada" / os.fsdecode(name)).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest.decode()
        sizes.append(len(content))
    assert max(sizes) == 200 * 1024 * 1024
    assert len(sizes) == 16


@pytest.mark.parametrize(
    ("moment", "signal_number", "at_the_terminal"),
    [
        ("[1/6]", signal.SIGINT, True),
        ("Migrando ejecución", signal.SIGINT, False),
        ("[2/6]", signal.SIGTERM, False),
    ],
)
def test_interrupted_it_stops_everything(
    folder: Path, moment: str, signal_number: signal.Signals, at_the_terminal: bool
) -> None:
    """A Ctrl-C at a terminal reaches the whole process group, `kill` only the demonstration itself.

    A demonstration that has to end at once, because a server takes long to start, leaves the end of its servers to the
    kernel's signal, which they obey a moment later.
    """
    with start_demo(folder) as demo:
        assert demo.stdout is not None
        assert any(moment in line for line in demo.stdout)
        if at_the_terminal:
            os.killpg(demo.pid, signal_number)
        else:
            demo.send_signal(signal_number)
        output, _ = demo.communicate(timeout=STOP_TIMEOUT_SECONDS)
    assert demo.returncode == 128 + signal_number
    require_gone(processes_of(folder))
    assert "Todo salió" not in output


def test_keep_leaves_a_database_to_try_and_the_next_demonstration_stops_it(folder: Path, quick_program: Path) -> None:
    output = run_whole_demo(folder, "--keep", program=quick_program)
    kept = {int(line) for line in (folder / "servidores.pid").read_text().split()}
    assert len(kept) == 2
    assert kept <= processes_of(folder)
    assert re.search(r"^    DATABASE_URL=postgresql://\S+$", output, re.MULTILINE)
    source, status, dry_run, restore = (
        printed_line(output, end) for end in ("entorno.sh'", " status", " --dry-run", "restaurada-a-mano'")
    )
    shell = subprocess.run(
        ["sh", "-e", "-c", "\n".join((source, status, dry_run, restore))],
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_SECONDS,
        env={**os.environ, **HOSTILE_ENVIRONMENT},
        check=True,
    )
    assert "Migradas: 44" in shell.stdout
    assert shell.stderr.count("Se migraría la ejecución") == 3
    assert differences(describe_tree(folder / "restaurada"), describe_tree(folder / "restaurada-a-mano")) == []
    assert printed_line(output, "servidores.pid')").strip() == f"kill -INT $(cat '{folder}/servidores.pid')"
    with start_demo(folder) as demo:
        assert demo.stdout is not None
        assert any("[1/6]" in line for line in demo.stdout)
        require_gone(kept)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=STOP_TIMEOUT_SECONDS)
    require_gone(processes_of(folder))


def printed_line(output: str, end: str) -> str:
    """The one command among the last lines of a demonstration that ends so."""
    (line,) = {line for line in output[output.index("Todo salió") :].splitlines() if line.endswith(end)}
    return line


def test_folder_of_somebody_else_is_refused_untouched(folder: Path) -> None:
    folder.mkdir()
    (folder / "tesis.txt").write_text("años de trabajo")
    before = describe_tree(folder)
    with start_demo(folder) as demo:
        output, errors = demo.communicate(timeout=STOP_TIMEOUT_SECONDS)
    assert demo.returncode == 2
    assert output == ""
    assert errors == f"Error: {folder} existe y no es de una demostración: no se toca; elija otra con --directory\n"
    assert describe_tree(folder) == before


def test_second_demonstration_in_the_same_folder_is_refused(folder: Path) -> None:
    with start_demo(folder) as first:
        assert first.stdout is not None
        assert any("[1/6]" in line for line in first.stdout)
        with start_demo(folder) as second:
            _, errors = second.communicate(timeout=STOP_TIMEOUT_SECONDS)
        assert second.returncode == 75
        assert "otra demostración está en marcha" in errors
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=STOP_TIMEOUT_SECONDS)
    require_gone(processes_of(folder))


def test_missing_packages_are_named_with_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_rclone() -> Path:
        raise ServerDidNotStart("no hay rclone")

    monkeypatch.setattr(demo.story, "rclone_program", no_rclone)
    environment = dict(os.environ)
    assert run_demo(folder, keep=False) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "janitor-daemon[demo]" in errors
    assert not folder.exists()
    assert dict(os.environ) == environment


def test_a_user_without_a_name_is_reported_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container may run it; `initdb` would say it in English."""
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(ServerDidNotStart, match=r"4000000000 no figura en /etc/passwd.*añádalo allí"):
        EmbeddedPostgres(folder)


def test_difference_in_any_respect_is_found(tmp_path: Path) -> None:
    """The demonstration's own comparison must be able to fail."""
    original = tmp_path / "original"
    (original / "vacío").mkdir(parents=True)
    (original / "datos.csv").write_text("1,2,3")
    (original / "enlace").symlink_to("datos.csv")
    expected = describe_tree(original)
    for number, change in enumerate(
        (
            "printf 9,2,3 > datos.csv; touch -r ../original/datos.csv datos.csv",
            "chmod 600 datos.csv",
            "touch -d 2001-01-01 datos.csv",
            "ln -sfn otro enlace; touch -h -r ../original/enlace enlace; touch -r ../original .",
            "rmdir vacío; touch -r ../original .",
            ": > nuevo; touch -r ../original .",
        )
    ):
        copy = tmp_path / f"copia-{number}"
        shutil.copytree(original, copy, symlinks=True)
        assert differences(expected, describe_tree(copy)) == []
        subprocess.run(["sh", "-e", "-c", f"cd {shlex.quote(str(copy))}; {change}"], check=True)
        assert len(differences(expected, describe_tree(copy))) == 1, change
