"""The program as it is installed: a wheel with everything in it, and a command that works far from the checkout."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.repository import PRODUCT_FOLDERS, REPOSITORY

WHAT_IS_INSTALLED = ("*.py", "*.sql")


def sources() -> set[str]:
    """The files that an installation needs, as the checkout has them."""
    in_folders = (
        path
        for folder in PRODUCT_FOLDERS
        for pattern in WHAT_IS_INSTALLED
        for path in (REPOSITORY / folder).rglob(pattern)
    )
    return {"janitor_daemon.py", *(path.relative_to(REPOSITORY).as_posix() for path in in_folders)}


def version() -> str:
    """The version that pyproject.toml declares."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network from a copy, as setuptools writes beside what it builds, and where an earlier
    build has left modules that are no more.
    """
    directory = tmp_path_factory.mktemp("packaging")
    checkout = directory / "checkout"
    for name in sources() | {"pyproject.toml", "README.md", "LICENSE", "tools/build_backend.py"}:
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((REPOSITORY / name).read_bytes())
    for left in ("build/lib/jobs/removed.py", "build/bdist.linux-x86_64/wheel/sql/removed.sql"):
        (checkout / left).parent.mkdir(parents=True)
        (checkout / left).write_text("raise AssertionError('what an earlier build left')\n")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(directory), str(checkout)], check=True, timeout=120)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has the wheel, and borrows the packages of this one."""
    directory = tmp_path_factory.mktemp("installation")
    venv.create(directory, with_pip=False)
    (site_packages,) = directory.glob("lib/python*/site-packages")
    borrowed = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    (site_packages / "borrowed.pth").write_text(borrowed)
    command = [sys.executable, "-m", "pip", "--python", str(directory), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True, timeout=120)
    return directory


def output_of(program: Path | str, *arguments: str, cwd: Path) -> str:
    """What a command prints. Raises `CalledProcessError` when it fails."""
    command = [str(program), *arguments]
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout.strip()


def test_wheel_has_every_module_and_statement_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert any(name.endswith(".sql") for name in packed)
    assert packed == sources()


def test_installed_command_tells_the_declared_version(installation: Path, tmp_path: Path) -> None:
    answer = output_of(installation / "bin/janitor-daemon", "--version", cwd=tmp_path)
    assert answer == f"janitor-daemon {version()}"


def test_installed_command_uses_the_installed_modules(installation: Path, tmp_path: Path) -> None:
    script = "import janitor_daemon, sql; print(janitor_daemon.__file__); print(sql.__file__)"
    answer = output_of(installation / "bin/python", "-c", script, cwd=tmp_path)
    assert [Path(line).is_relative_to(installation) for line in answer.splitlines()] == [True, True]


def test_installed_upgrades_are_those_of_the_checkout(installation: Path, tmp_path: Path) -> None:
    script = "from sql.tables.schema import known_upgrades; print(*(upgrade.name for upgrade in known_upgrades()))"
    answer = output_of(installation / "bin/python", "-c", script, cwd=tmp_path)
    of_all = sorted(path.name for path in (REPOSITORY / "sql/upgrades").glob("*.sql"))
    of_jobs = sorted(f"{path.parents[1].name}/{path.name}" for path in (REPOSITORY / "jobs").glob("*/upgrades/*.sql"))
    assert answer.split() == of_all + of_jobs


def test_command_of_the_checkout_tells_the_declared_version() -> None:
    answer = output_of(sys.executable, "janitor_daemon.py", "--version", cwd=REPOSITORY)
    assert answer == f"janitor-daemon {version()}"
