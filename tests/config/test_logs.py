"""The log as operators and programs read it: to the letter, on whole lines, without secrets."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import logging
import pickle
import random
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import logs
from config.logs import Redactor, emit, learn_secrets, one_line
from config.process import log_output
from config.process.log_output import LOG_FILE_NAME, configure_logging
from tests.repository import REPOSITORY

SECRET = 'Cl4ve%2B+"ñ"/de \\prueba='
PEM = "-----BEGIN KEY-----\nQUJDREVGR0g\nSUpLTE1OT1A\n-----END KEY-----\n"
TIMESTAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
FORGED = "2026-01-01 00:00:00,000 - janitor_daemon - INFO - Ejecución falsa migrada exitosamente a cloud://nada"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "url": lambda secret: urllib.parse.quote(secret, safe=""),
    "url-path": urllib.parse.quote,
    "url-form": urllib.parse.quote_plus,
    "url-decoded": urllib.parse.unquote,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "json": lambda secret: json.dumps(secret)[1:-1],
    "json-utf8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "repr": lambda secret: repr(secret)[1:-1],
}


@pytest.fixture(autouse=True)
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """A redactor that knows nothing yet, in place of the process's own."""
    fresh = Redactor()
    for module in (logs, log_output):
        monkeypatch.setattr(module, "redactor", fresh)
    return fresh


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(logs.LOGGER_NAME)
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers = []  # `configure_logging` closes those it finds, and these are pytest's
    yield
    for handler in root.handlers:
        with contextlib.suppress(OSError):  # the full disk's
            handler.close()
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def log_of(directory: Path) -> str:
    """The log file's text."""
    return (directory / LOG_FILE_NAME).read_text(encoding="utf-8")


def raise_with(message: str) -> None:
    """An error as a library raises it."""
    raise RuntimeError(message)


def log_error(message: str) -> None:
    """A line with a traceback whose error says `message`."""
    try:
        raise_with(message)
    except RuntimeError as error:
        emit(logging.ERROR, "run_failed", "falló", cause=error)


def test_text_lines_are_those_that_operators_grep_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(tmp_path / "a" / "logs", "text", debug=False)
    emit(logging.INFO, "migration_started", "Migrando ejecución 7 a la nube", execution="7")
    emit(logging.DEBUG, "detail", "no se ve")
    logging.getLogger("botocore").warning("de una biblioteca: para la depuración")
    emit(logging.WARNING, "roots_unset", "aviso")
    text = log_of(tmp_path / "a" / "logs")
    first, second = text.splitlines()
    assert re.fullmatch(rf"{TIMESTAMP} - janitor_daemon - INFO - Migrando ejecución 7 a la nube", first)
    assert re.fullmatch(rf"{TIMESTAMP} - janitor_daemon - WARNING - aviso", second)
    assert capsys.readouterr().err == text


def test_json_lines_carry_the_event_and_its_fields(tmp_path: Path) -> None:
    configure_logging(tmp_path, "json", debug=False)
    emit(logging.INFO, "migration_finished", "hecho ñ", execution="7", size_bytes=5, paths=(tmp_path,), uri=None)
    line = json.loads(log_of(tmp_path))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("timestamp"))
    assert line == {
        "level": "INFO", "event": "migration_finished", "logger": "janitor_daemon", "message": "hecho ñ",
        "execution": "7", "size_bytes": 5, "paths": [str(tmp_path)], "uri": None,
    }  # fmt: skip
    assert "ñ" in log_of(tmp_path)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tracebacks_are_for_debugging(tmp_path: Path, log_format: str) -> None:
    for debug in (False, True):
        directory = tmp_path / str(debug)
        configure_logging(directory, log_format, debug=debug)
        log_error("la causa")
        assert ("Traceback" in log_of(directory)) is debug
        assert ("la causa" in log_of(directory)) is debug


def without_times(text: str) -> str:
    return re.sub(rf'{TIMESTAMP}|"timestamp": "[^"]*"', "(time)", text)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_another_process_logs_is_written_as_if_it_were_logged_here(
    tmp_path: Path, log_format: str, debug: bool
) -> None:
    """Fields, tracebacks, and that nothing in them passes for a line of its own, or shows a secret."""
    learn_secrets({"password": SECRET})

    def log() -> None:
        emit(logging.INFO, "migration_finished", f"hecho {SECRET}", execution="7", paths=(tmp_path,), size_bytes=5)
        log_error(f"mala {SECRET}\n{FORGED}")

    configure_logging(tmp_path / "here", log_format, debug=debug)
    log()
    configure_logging(tmp_path / "there", log_format, debug=debug)
    handlers = logging.getLogger().handlers[:]
    sent: list[bytes] = []
    log_output.forward_logs(lambda record: sent.append(pickle.dumps(record)))
    log()
    assert log_of(tmp_path / "there") == ""
    logging.getLogger().handlers[:] = handlers
    for record in sent:
        log_output.write_forwarded(pickle.loads(record))  # noqa: S301 our own
    assert without_times(log_of(tmp_path / "there")) == without_times(log_of(tmp_path / "here"))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_written_however_it_is_encoded(tmp_path: Path, log_format: str, encoding: str) -> None:
    learn_secrets({"password": SECRET, "private_key": PEM})
    configure_logging(tmp_path, log_format, debug=True)
    written = ENCODINGS[encoding](SECRET)
    shown = f"antes {written} después"
    emit(logging.INFO, "a", shown, field=shown, deep={"x": [shown, RuntimeError(shown)]})
    log_error(shown)
    logging.getLogger("urllib3").debug("PUT %s", shown)
    assert one_line(shown) == "antes *** después"
    text = log_of(tmp_path)
    assert text.count("antes *** después") == (3 if log_format == "text" else 6)
    assert "prueba" not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_of_a_private_key_is_written(tmp_path: Path, log_format: str) -> None:
    learn_secrets({"private_key": PEM})
    configure_logging(tmp_path, log_format, debug=True)
    for shown in (PEM, repr(PEM), json.dumps({"key": PEM}), *PEM.splitlines()):
        emit(logging.INFO, "a", shown, field=shown)
        log_error(shown)
        logging.getLogger("paramiko").debug(shown)
    assert "***" in log_of(tmp_path)
    assert not [line for line in ("QUJDREVGR0g", "SUpLTE1OT1A", "BEGIN KEY") if line in log_of(tmp_path)]


def test_the_longest_secret_goes_first(redactor: Redactor) -> None:
    for secret in ("clave", "clave-larga", "corta clave-larga no"):
        redactor.add(secret)
    assert logs.redactor.redact("x corta clave-larga no, clave-larga, clave") == "x ***, ***, ***"


@pytest.mark.parametrize("secret", ["  ab-cd  ", "ab-cd\n", "\tab-cd", "ab-cd\nef-gh\n"])
def test_white_space_around_a_secret_does_not_give_it_away(redactor: Redactor, secret: str) -> None:
    redactor.add(secret)
    for written in (
        secret,
        secret.strip(),
        *(encode(part) for encode in ENCODINGS.values() for part in (secret, secret.strip())),
    ):
        assert redactor.redact(f"<{written}>").strip("<> \t\n") == "***"


def test_blanks_are_no_secret(redactor: Redactor) -> None:
    redactor.add(" " * 8)
    assert redactor.redact("a" + " " * 8) == "a" + " " * 8


def test_what_is_no_secret_stays_readable(redactor: Redactor) -> None:
    learn_secrets({
        "host": "nas.example", "username": "sage", "region": "eu-west-1", "account_name": "cuenta", "port": 2222,
        "host_key": "ssh-ed25519 AAAA", "password": "hush-hush", "pin": "abc", "more": [{"token": "deep-one"}],
        "other": {"secreto": "nombre-del-secreto"},
    })  # fmt: skip
    plain = "nas.example sage eu-west-1 cuenta 2222 ssh-ed25519 AAAA nombre-del-secreto abc"
    assert logs.redactor.redact(f"{plain} hush-hush deep-one") == f"{plain} *** ***"


def test_a_service_account_hides_its_key_and_not_its_name(redactor: Redactor) -> None:
    learn_secrets(
        {"type": "service_account", "client_email": "robot@p.iam", "private_key_id": "0a1b2c", "private_key": PEM}
    )
    assert (
        logs.redactor.redact("service_account robot@p.iam 0a1b2c QUJDREVGR0g") == "service_account robot@p.iam *** ***"
    )


def test_the_parts_of_a_connection_string_are_secrets_alone(redactor: Redactor) -> None:
    learn_secrets("AccountName=cuenta;AccountKey=YWJjZGVm==;SharedAccessSignature=sig=a%2Fb%3D&sv=2024")
    assert (
        logs.redactor.redact("cuenta YWJjZGVm== sv=2024&sig=a%2Fb%3D sig=a/b=") == "cuenta *** sv=2024&sig=*** sig=***"
    )


@pytest.mark.parametrize("token", ["?sv=2024&sig=a%2Fb%3D", "sig=a%2Fb%3D&sv=2024", "sv=2024&sig=a/b="])
def test_the_signature_of_an_azure_url_is_hidden_in_any_order(redactor: Redactor, token: str) -> None:
    learn_secrets({"sas_token": token})
    for url in ("/c/b?comp=block&sig=a%2Fb%3D&sv=2024", "/c/b?comp=block&sig=a/b=&sv=2024"):
        assert (
            logs.redactor.redact(url) == "/c/b?comp=block&sig=***&sv=2024"
            or logs.redactor.redact(url) == "/c/b?comp=block&***"
        )


def test_a_secret_that_is_no_utf8_is_a_secret_too(redactor: Redactor) -> None:
    learn_secrets({"password": "clave\ud800x", "token": "clave\udcffy"})
    assert logs.redactor.redact("clave\ud800x clave\udcffy") == "*** ***"


def test_a_secret_that_looks_like_json_leaves_json_whole(tmp_path: Path) -> None:
    for secret in ("2026", "1234", '", "', "true", "null", "INFO", "nabc", "message", "migration_started"):
        learn_secrets(secret)
    configure_logging(tmp_path, "json", debug=False)
    emit(logging.INFO, "migration_started", "x 1234 y", size_bytes=12345, flag=True, nothing=None, text="\nabc")
    line = json.loads(log_of(tmp_path))
    assert line["message"] == "x *** y"
    assert (line["level"], line["event"], line["size_bytes"], line["text"]) == (
        "INFO",
        "migration_started",
        12345,
        "\nabc",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", line["timestamp"])


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_foreign_text_forges_no_line(tmp_path: Path, separator: str) -> None:
    hostile = f"x{separator}{FORGED}"
    configure_logging(tmp_path, "text", debug=True)
    emit(logging.ERROR, "a", hostile)
    logging.getLogger("botocore").debug("body: %s", hostile)
    log_error(hostile)
    assert one_line(hostile).isprintable()
    assert len(log_of(tmp_path).splitlines()) == log_of(tmp_path).count("\n")
    assert not [line for line in log_of(tmp_path).splitlines() if line.startswith("2026-01-01")]


def test_json_lines_are_json_for_any_text(tmp_path: Path) -> None:
    configure_logging(tmp_path, "json", debug=True)
    generator = random.Random(7)  # noqa: S311 - for the same texts each time
    alphabet = [
        *map(chr, range(0x180)),
        *"\u200e\u2028\u2029\u202e\u2066\ufeff\ud800\udcff\udfff\U0001f600",
        *'"\\{}%\n',
    ]
    texts = ["".join(generator.choices(alphabet, k=generator.randrange(40))) for _ in range(500)]
    for text in texts:
        emit(logging.INFO, "hostile", text, text=text)
    lines = [json.loads(line) for line in log_of(tmp_path).splitlines()]
    assert [line["text"] for line in lines] == texts
    assert [line["message"] for line in lines] == [text.replace("\n", "\\n") for text in texts]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", log_of(tmp_path))


def test_an_unusable_log_directory_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    configure_logging(tmp_path / "file" / "logs", "text", debug=False)
    emit(logging.INFO, "a", "sigue")
    first, second = capsys.readouterr().err.splitlines()
    assert " - WARNING - No se puede escribir el registro en " in first
    assert second.endswith(" - INFO - sigue")


def test_the_file_is_rotated_and_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_output, "ROTATE_AT_BYTES", 300)
    monkeypatch.setattr(log_output, "ROTATED_FILES_KEPT", 2)
    configure_logging(tmp_path, "text", debug=False)
    for number in range(20):
        emit(logging.INFO, "a", f"línea {number}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        LOG_FILE_NAME,
        f"{LOG_FILE_NAME}.1",
        f"{LOG_FILE_NAME}.2",
    ]
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())
    assert "línea 19" in log_of(tmp_path)


LOGGED_BY_ONE = """
import logging, os, sys
from pathlib import Path
from config.logs import emit
from config.process import log_output
directory, name, files = sys.argv[1:]
log_output.ROTATE_AT_BYTES, log_output.ROTATED_FILES_KEPT = 4000, 200
sys.stderr = open("/dev/null", "w")
log_output.configure_logging(Path(directory), "text", debug=False)
print("ready", flush=True)
sys.stdin.read(1)
for number in range(20_000):
    emit(logging.INFO, "a", f"línea {name} {number} {'x' * (number % 50)}")
    if number % 100 == 99 and len(os.listdir(directory)) > int(files):
        break
print(number + 1)
"""


def test_no_line_of_several_installations_in_one_directory_is_lost(tmp_path: Path) -> None:
    """They have databases of their own, so no lock keeps them apart, and rotate one file until there are many.

    Looked for elsewhere, too: the lock's file in that directory has the database's name in its own, and a run's
    processes write through one of them.
    """
    files, names = 30, ("norte", "sur", "este")
    command = [sys.executable, "-c", LOGGED_BY_ONE, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, name, str(files)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for name in names
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"x")
            process.stdin.flush()
        logged = [int(process.communicate(timeout=60)[0]) for process in processes]
        assert [process.returncode for process in processes] == [0] * len(names)
    found = [
        re.sub(r".* - línea (\w+ \d+) x*", r"\1", line)
        for path in tmp_path.iterdir()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(list(tmp_path.iterdir())) > files
    assert sorted(found) == sorted(
        f"{name} {number}" for name, lines in zip(names, logged, strict=True) for number in range(lines)
    )


@pytest.mark.parametrize("others", ["moved it away", "removed it"])
def test_a_file_that_somebody_takes_away_is_created_again(tmp_path: Path, others: str) -> None:
    """As logrotate does, or another installation that has just rotated it."""
    configure_logging(tmp_path, "text", debug=False)
    emit(logging.INFO, "a", "antes")
    path = tmp_path / LOG_FILE_NAME
    path.rename(tmp_path / "moved") if others == "moved it away" else path.unlink()
    emit(logging.INFO, "a", "después")
    assert [line.split(" - ")[-1] for line in log_of(tmp_path).splitlines()] == ["después"]


def test_what_somebody_has_just_rotated_is_not_rotated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each rotation would cost as many of the kept files as there are installations."""
    monkeypatch.setattr(log_output, "ROTATE_AT_BYTES", 250)
    configure_logging(tmp_path, "text", debug=False)
    path = tmp_path / LOG_FILE_NAME
    for number in range(4):
        emit(logging.INFO, "a", f"línea {number}")
    flock = fcntl.flock

    def be_late(descriptor: io.BufferedWriter, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.rename(tmp_path / f"{LOG_FILE_NAME}.1")
        path.write_text("de otra instalación\n")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", be_late)
    emit(logging.INFO, "a", "línea 4")
    assert sorted(file.name for file in tmp_path.iterdir()) == [LOG_FILE_NAME, f"{LOG_FILE_NAME}.1"]
    assert [line.split(" - ")[-1] for line in log_of(tmp_path).splitlines()] == ["de otra instalación", "línea 4"]


def test_no_process_waits_for_one_that_was_stopped_while_rotating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_output, "ROTATE_AT_BYTES", 300)
    configure_logging(tmp_path, "text", debug=False)
    with (tmp_path / LOG_FILE_NAME).open("ab") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        for number in range(10):
            emit(logging.INFO, "a", f"línea {number}")
        assert len(list(tmp_path.iterdir())) == 1
    emit(logging.INFO, "a", "línea 10")
    assert len(log_of(tmp_path).splitlines()) == 1
    assert len((tmp_path / f"{LOG_FILE_NAME}.1").read_text(encoding="utf-8").splitlines()) == 10


def test_a_full_disk_is_reported_once_and_the_console_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG_FILE_NAME).symlink_to("/dev/full")
    configure_logging(tmp_path, "text", debug=False)
    for number in range(3):
        emit(logging.INFO, "a", f"línea {number}")
    errors = capsys.readouterr().err
    assert errors.count(" - WARNING - No se puede escribir el registro en ") == 1
    assert "no queda espacio en el dispositivo" in errors
    assert [f"línea {number}" in errors for number in range(3)] == [True, True, True]
    assert "Traceback" not in errors


def test_a_short_access_key_is_a_name_and_does_not_spoil_the_log() -> None:
    learn_secrets({"access_key": "minio", "secret_key": "a-secret-beside-it"})
    assert logs.redactor.redact("cloud://minio/x a-secret-beside-it") == f"cloud://minio/x {logs.REDACTED}"


def test_white_space_at_the_end_of_a_secret_hides_none_of_its_forms() -> None:
    learn_secrets({"password": "ends-in-a-line-end\n"})
    encoded = base64.b64encode(b"ends-in-a-line-end\n").decode()
    assert logs.redactor.redact(f"{encoded} ends-in-a-line-end") == f"{logs.REDACTED} {logs.REDACTED}"
