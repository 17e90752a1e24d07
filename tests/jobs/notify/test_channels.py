"""A channel's name shows no secret, and every secret in its address is known to the redactor."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.logs import redactor
from config.settings import load_settings
from jobs.notify.channels import Channel, channels_of
from jobs.notify.delivery import NOT_IN_TIME, deliver
from jobs.notify.message import LONGEST_MESSAGE, Message, Notice, compose, length
from jobs.notify.run import is_between
from jobs.notify.sending import Result
from jobs.notify.settings import NotifySettings

ADDRESSES = {
    "mailtos://avisos:clave%2Fsecreta@smtp.example.com:587?to=ops@example.com": "mailtos://smtp.example.com:587",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ": "slack",
    "slack://T9JJ3T3L9/A9BRTD4J9/ZIiajkdnlazkcOXrIdevi7FZ": "slack#2",
    "json://localhost/aviso/f00f00f00?:X-Clave=muysecreto99": "json://localhost",
    "ntfys://tema-que-nadie-adivina": "ntfys",
    "jsons://[malo/clave-9876543": "jsons://?",
}
NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SECRETS = (
    *("clave/secreta", "clave%2Fsecreta", "T1JJ3T3L2", "TIiajkdnlazkcOXrIdevi7FQ", "ZIiajkdnlazkcOXrIdevi7FZ"),
    *("f00f00f00", "muysecreto99", "tema-que-nadie-adivina", "clave-9876543"),
)


def settings_of(**environment: str) -> NotifySettings:
    """The job's settings in this environment."""
    return load_settings(environment).of(NotifySettings)


def test_names_show_no_secret_and_addresses_are_hidden_everywhere() -> None:
    channels = channels_of(settings_of(JANITOR_NOTIFY_URLS=" ".join(ADDRESSES)))
    assert [channel.name for channel in channels] == list(ADDRESSES.values())
    told = redactor.redact(" ".join(f"falla {secret}." for secret in SECRETS))
    assert not [secret for secret in SECRETS if secret in told]
    assert redactor.redact("smtp.example.com ops@example.com localhost") == "smtp.example.com ops@example.com localhost"
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in repr(channels)


@pytest.mark.parametrize(
    "url",
    [
        "json://hooks.example.com/hooks/produccion/ejecuciones?:X-Entorno=produccion",
        "json://sage-produccion@hooks.example.com/produccion-2026/Ejecuciones",
        "ntfys://ntfy.example.com/produccion",
        "xml://[roto/produccion/ejecuciones",
    ],
)
def test_a_plain_word_of_an_address_stays_readable_in_every_path(url: str) -> None:
    channels_of(settings_of(JANITOR_NOTIFY_URLS=url))
    text = "La raíz /srv/sage-produccion/produccion/Ejecuciones-2026/ejecuciones no está; mire en ntfy.example.com"
    assert redactor.redact(text) == text


def test_a_directory_above_the_working_directory_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "up8c4ca8e"
    directory.mkdir()
    monkeypatch.chdir(directory)
    channels_of(settings_of(JANITOR_NOTIFY_URLS="json://localhost/up8c4ca8e/t0ken-98765"))
    assert redactor.redact(f"{directory}/t0ken-98765") == f"{directory}/***"


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("json://h/x?:Authorization=contraseña", "contraseña"),
        ("json://h/x?token=palabras", "palabras"),
        ("json://u:muerdelo@h/hooks", "muerdelo"),
        ("json://h/hooks/qwzxkjhgfdpm", "qwzxkjhgfdpm"),
        ("json://h/hooks/a8b-c7d-e6f", "a8b-c7d-e6f"),
        ("discord://1234567890/dQwxEtZuioPasdFghJkl", "dQwxEtZuioPasdFghJkl"),
        ("ntfys://ntfy.example.com/una-frase-muy-larga", "una-frase-muy-larga"),
        ("jsons://h/servidores0", "servidores0"),
    ],
)
def test_what_may_be_a_token_is_hidden_wherever_it_stands(url: str, secret: str) -> None:
    channels_of(settings_of(JANITOR_NOTIFY_URLS=url))
    assert secret not in redactor.redact(f"falla /srv/{secret}/x")


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"TELEGRAM_TOKEN": "1:abcdefghijk"}, []),
        ({"ADMIN_ID": "5"}, []),
        (
            {"TELEGRAM_TOKEN": "1:abcdefghijk", "ADMIN_ID": "5", "JANITOR_NOTIFY_URLS": "json://a,b.c"},
            ["tgram", "json://a,b.c"],
        ),
        ({"JANITOR_NOTIFY_URLS": "json://a, xml://b  json://a"}, ["json://a", "xml://b"]),
    ],
)
def test_the_job_is_on_where_there_is_a_channel(environment: dict[str, str], names: list[str]) -> None:
    settings = settings_of(**environment)
    assert [channel.name for channel in channels_of(settings)] == names
    assert settings.is_on() == bool(names)


@pytest.mark.parametrize(("part", "quiet"), [((22, 7), [*range(7), 22, 23]), ((1, 3), [1, 2])])
def test_parts_of_the_day_may_go_over_midnight(part: tuple[int, int], quiet: list[int]) -> None:
    assert [hour for hour in range(24) if is_between(NOON.replace(hour=hour), *part)] == quiet


def test_a_single_notice_that_is_too_long_loses_its_end() -> None:
    notice = Notice(1, "first", "failed", "&<𝄞" * 3000, "norte", NOON, NOON)
    message = compose([notice], UTC)
    assert message.notice_ids == (1,)
    assert message.body.endswith("…")
    assert LONGEST_MESSAGE * 0.9 < length(message.title) + length(message.body) <= LONGEST_MESSAGE


def test_a_channel_that_does_not_end_delays_nothing() -> None:
    channels = channels_of(settings_of(JANITOR_NOTIFY_URLS="json://never json://now json://fault"))
    messages = {channel: Message("t", channel.name, ()) for channel in channels}
    released, interruption = threading.Event(), threading.Event()

    def send(channel: Channel, _title: str, _body: str) -> Result:
        if channel.name.endswith("never"):
            released.wait(60)
        if channel.name.endswith("fault"):
            raise OSError("algo")
        return Result(is_delivered=True)

    ends = {channel.name: result for channel, result in deliver(messages, send, 2.0, interruption)}
    assert ends.pop("json://now").is_delivered
    assert ends == {
        "json://never": NOT_IN_TIME,
        "json://fault": Result(is_delivered=False, error="apprise falló: algo", is_certain=False),
    }
    interruption.set()
    assert list(deliver(messages, send, 60.0, interruption)) == []
    released.set()
