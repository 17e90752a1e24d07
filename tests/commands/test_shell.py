"""Completion in real shells, and the manual page as groff reads it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from commands.command_line import cli
from config.exit_codes import EXIT_DONE
from janitor_daemon import run_command_line
from tests.repository import REPOSITORY

SECONDS = 60


@pytest.fixture
def shell_environment(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which `janitor-daemon` is a command, and no database is to be had."""
    program = tmp_path / "bin" / "janitor-daemon"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {REPOSITORY / "janitor_daemon.py"} "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    }


def script_of(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the operator installs."""
    assert run_command_line(["completion", shell]) == EXIT_DONE
    return capsys.readouterr().out


def run_shell(command: list[str], environment: Mapping[str, str], directory: Path) -> str:
    """What a shell prints."""
    run = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_bash_completes_commands_options_and_jobs(
    shell_environment: Mapping[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script").write_text(script_of("bash", capsys))
    asked = "\n".join(
        f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; COMPREPLY=(); "
        '_janitor_daemon_completion janitor-daemon; echo "${COMPREPLY[*]}"'
        for words in ("janitor-daemon re", "janitor-daemon restore --in", "janitor-daemon run mig")
    )
    answers = run_shell(["bash", "--norc", "-c", f". ./script\n{asked}"], shell_environment, tmp_path).splitlines()
    commands, options, jobs = (set(answer.split()) for answer in answers)
    assert commands >= {"rebuild", "restore"}
    assert all(name.startswith("re") for name in commands)
    assert (options, jobs) == ({"--in-place", "--include"}, {"migration"})


def test_fish_completes_commands(
    shell_environment: Mapping[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script").write_text(script_of("fish", capsys))
    if shutil.which("fish") is None:  # then what the script sends is sent without it
        asked = {"_JANITOR_DAEMON_COMPLETE": "fish_complete", "COMP_WORDS": "janitor-daemon rebu", "COMP_CWORD": "rebu"}
        answer = run_shell(["janitor-daemon"], {**shell_environment, **asked}, tmp_path)
    else:
        command = 'source script; complete --do-complete "janitor-daemon rebu"'
        answer = run_shell(["fish", "--no-config", "-c", command], shell_environment, tmp_path)
    assert re.search(r"\brebuild\tRehace filas", answer.replace("plain,", "")), answer


def test_zsh_completes_commands(
    shell_environment: Mapping[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_janitor-daemon").write_text(script_of("zsh", capsys))
    if shutil.which("zsh") is None:  # then what the script sends is sent without it
        asked = {"_JANITOR_DAEMON_COMPLETE": "zsh_complete", "COMP_WORDS": "janitor-daemon rebu", "COMP_CWORD": "1"}
        answer = run_shell(["janitor-daemon"], {**shell_environment, **asked}, tmp_path)
        assert answer.startswith("plain\nrebuild\nRehace filas"), answer
        return
    begin = "fpath=($HOME/functions $fpath); autoload -U compinit; compinit -u -d $HOME/dump; PS1=READY:\n"
    assert "janitor-daemon rebuild " in typed_in_zsh(begin, "janitor-daemon rebu\t", shell_environment)


def typed_in_zsh(begin: str, typed: str, environment: Mapping[str, str]) -> str:
    """What a terminal shows in which somebody types to zsh, until the typed word is complete."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], dict(environment))  # noqa: S606 this process is the shell
    shown = ""
    try:
        os.write(terminal, begin.encode())
        deadline = time.monotonic() + SECONDS
        is_typed = False
        while time.monotonic() < deadline and "rebuild" not in shown:
            if select.select([terminal], [], [], 1.0)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            if not is_typed and re.search(r"[\r\n]READY:", shown):
                os.write(terminal, typed.encode())
                is_typed = True
        os.write(terminal, b"\x03\nexit\n")
    finally:
        os.close(terminal)
        os.waitpid(process_id, 0)
    return shown


def test_the_manual_has_every_command_and_option_and_groff_has_no_complaint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["man"]) == EXIT_DONE
    page = capsys.readouterr().out
    plain = page.replace("\\-", "-")
    context = cli.make_context("janitor-daemon", [], resilient_parsing=True)
    for name in cli.list_commands(context):
        assert f".SS {name}\n" in plain
    for wanted in ("--retention-hours", "--in-place", "JANITOR_ROOTS", "Códigos de salida", "secret rotate"):
        assert wanted in plain
    assert not [line for line in page.splitlines() if re.match("[.'](?!(TH|SH|SS|PP|TP|nf|fi|nh|ad l)\\b)", line)]
    if shutil.which("groff"):
        (tmp_path / "page.1").write_text(page, encoding="utf-8")
        command = ["groff", "-man", "-Kutf8", "-Tutf8", "-ww", "page.1"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert (run.returncode, run.stderr) == (0, "")
