"""Each notice reaches each channel, in one message with the others, and a channel that fails harms nobody else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.context import LeaseLost
from jobs.notify.channels import channels_of
from jobs.notify.message import LONGEST_MESSAGE
from jobs.notify.outbox import Outbox
from jobs.notify.run import run
from tests.databases.platform_database import Platform
from tests.jobs.notify.conftest import Teller
from tests.jobs.notify.ntfy import Desk, Ntfy
from tests.jobs.notify.services import CHAT, TOKEN, MailServer, Telegram, Webhook, error, numbers_in
from tests.servers.authority import PrivateAuthority
from tests.servers.canned_http import Answer, Request

NOTHING_LISTENS = "json://127.0.0.1:9/aviso"


@pytest.fixture
def webhook() -> Webhook:
    """Takes everything."""
    return Webhook()


@pytest.fixture
def teller(platform: Platform, tmp_path: Path, webhook: Webhook) -> Iterator[Teller]:
    """A host that tells the webhook."""
    with webhook.serving() as url:
        yield Teller(platform, tmp_path, {"JANITOR_NOTIFY_URLS": url})


def channel_row(platform: Platform, name: str = "%") -> dict[str, object]:
    """What is known of a channel."""
    (row,) = platform.sql("SELECT * FROM janitor_channels WHERE channel LIKE %s", name)
    return row


def test_several_causes_are_one_message_and_are_reported_once(teller: Teller, webhook: Webhook) -> None:
    teller.note("degraded", "watch:disk", "Al disco de /srv le quedan 4.0 GB")
    teller.note("needs_person")
    assert teller.tick().counts == {"delivered": 1, "failed": 0}
    (message,) = webhook.messages
    worst, other = message.splitlines()
    assert re.fullmatch(r"🆘 El proveedor nas no se puede usar \(desde \d\d/\d\d \d\d:\d\d, norte\) \[aviso 2\]", worst)
    assert other.startswith("🟡 Al disco de /srv le quedan 4.0 GB")
    assert teller.tick().counts == {}
    teller.note("ok", text="El proveedor nas vuelve a funcionar")
    teller.tick()
    assert webhook.messages[1].startswith("✅ Resuelto: El proveedor nas vuelve a funcionar (de ")


def test_a_channel_that_fails_is_recorded_and_the_others_get_theirs(
    teller: Teller, webhook: Webhook, platform: Platform
) -> None:
    teller.channels = {
        "JANITOR_NOTIFY_URLS": f"{NOTHING_LISTENS}?password=muy-secreto-1234 {teller.channels['JANITOR_NOTIFY_URLS']}"
    }
    teller.note("failed")
    outcome = teller.tick()
    (failure,) = outcome.failures
    assert failure == "no se pudo avisar por json://127.0.0.1:9: fallo de red: conexión rechazada"
    assert len(webhook.messages) == 1
    row = channel_row(platform, "%:9")
    assert (row["failures"], row["last_error"]) == (1, "fallo de red: conexión rechazada")
    assert row["failing_since"] is not None
    for _ in range(3):  # it has certainly not arrived, so that no attempt counts
        teller.end_pauses()
        assert teller.tick().counts == {"delivered": 0, "failed": 1}
    assert platform.value("SELECT attempts FROM janitor_deliveries WHERE delivered_at IS NULL") == 0
    outcome = teller.tick()
    assert outcome.counts == {}, "it is left alone for longer each time"
    assert outcome.failures == (failure,), "operators go on seeing it"
    assert len(webhook.messages) == 1


def test_a_service_that_asks_for_a_pause_gets_it(teller: Teller, webhook: Webhook, platform: Platform) -> None:
    webhook.answers = [Answer(429, headers={"Retry-After": "7200"})]
    teller.note("failed")
    assert teller.tick().failures == (
        f"no se pudo avisar por {channel_row(platform)['channel']}: respondió 429: demasiados mensajes",
    )
    waits = "SELECT not_before > now() + interval '119 minutes' FROM janitor_channels"
    assert platform.value(waits)
    teller.note("failed", "watch:disk")
    assert teller.tick().counts == {}
    teller.end_pauses()
    teller.tick()
    assert numbers_in(webhook.messages) == [1, 2]


def test_what_may_have_arrived_is_sent_twice_and_then_under_another_number(teller: Teller, webhook: Webhook) -> None:
    cut = Answer(200, b"taken", cut_after_bytes=2)
    webhook.answers = [Answer(504), cut, Answer(504), Answer(502)]
    teller.note("failed")
    for _ in range(4):
        teller.end_pauses()
        assert teller.tick().counts["failed"] == 1
    teller.end_pauses()
    teller.tick()
    teller.end_pauses()
    assert teller.tick().counts == {}
    assert webhook.tried == 5
    assert numbers_in(webhook.messages) == [3]


def test_a_flood_comes_in_messages_that_are_short_enough_the_worst_first(teller: Teller, webhook: Webhook) -> None:
    for number in range(40):
        teller.note("needs_person" if number == 30 else "failed", f"watch:{number}", "<&é𝄞>" * 60)
    messages = 0
    while teller.tick().counts:
        messages += 1
    assert messages == len(webhook.messages) > 2
    assert sorted(numbers_in(webhook.messages)) == list(range(1, 41))
    assert numbers_in(webhook.messages)[0] == 31
    assert max(len(message) for message in webhook.messages) < LONGEST_MESSAGE
    assert "avisos más, en el próximo mensaje" in webhook.messages[0].splitlines()[-1]


def test_quiet_hours_let_only_pass_what_needs_a_person(teller: Teller, webhook: Webhook) -> None:
    hour = teller.context().now.astimezone(teller.context().settings.time_zone).hour
    quiet = f"{hour}-{(hour + 2) % 24}"
    teller.note("failed")
    teller.note("needs_person", "watch:root", "La raíz /srv no está")
    teller.tick(JANITOR_QUIET_HOURS=quiet)
    assert numbers_in(webhook.messages) == [2]
    teller.tick(JANITOR_QUIET_HOURS=f"{(hour + 2) % 24}-{hour}")
    assert numbers_in(webhook.messages) == [2, 1]


def test_what_lasts_is_reported_again_after_a_day(teller: Teller, webhook: Webhook, platform: Platform) -> None:
    teller.note("failed")
    teller.note("failed", "watch:disk")
    teller.note("ok", "watch:disk")
    teller.tick()
    platform.sql("UPDATE janitor_causes SET told_at = told_at - interval '22 hours 50 minutes'")
    teller.tick()
    assert len(webhook.messages) == 1
    platform.sql("UPDATE janitor_causes SET told_at = told_at - interval '20 minutes'")
    teller.tick()
    teller.tick()
    assert len(webhook.messages) == 2
    assert webhook.messages[1].startswith("🔴 Sigue: El proveedor nas no se puede usar")


def test_a_cause_that_no_longer_changes_is_reported(teller: Teller, webhook: Webhook, platform: Platform) -> None:
    for state in ("failed", "ok") * 3:
        teller.note(state)
    teller.tick()
    assert [line[:12] for line in webhook.messages[0].splitlines()][-1] == "✅ Inestable,"
    assert "; ahora va bien: " in webhook.messages[0].splitlines()[-1]
    platform.sql("UPDATE janitor_causes SET since = since - interval '7 hours'")
    teller.tick()
    teller.tick()
    assert webhook.messages[1].startswith("✅ Resuelto: ")
    assert len(webhook.messages) == 2


def test_a_new_channel_gets_the_notices_of_the_last_day(teller: Teller, webhook: Webhook, platform: Platform) -> None:
    teller.note("failed")
    teller.note("failed", "watch:disk")
    platform.sql("UPDATE janitor_notices SET created_at = created_at - interval '25 hours' WHERE id = 1")
    teller.tick()
    assert numbers_in(webhook.messages) == [2]


def test_a_run_that_was_overtaken_sends_nothing(teller: Teller, webhook: Webhook) -> None:
    teller.note("failed")
    overtaken = teller.context()
    teller.tick()
    teller.note("failed", "watch:disk")
    with pytest.raises(LeaseLost, match="otra máquina lo ha tomado"):
        run(overtaken)
    teller.context()
    outbox = Outbox(overtaken.query, channels_of(overtaken.own_settings))
    ((channel, notices),) = outbox.pending(quiet=False).items()
    assert outbox.claim(channel, notices) is None
    assert numbers_in(webhook.messages) == [1]


def test_a_run_that_was_overtaken_notes_nothing(teller: Teller, platform: Platform) -> None:
    """Of any job: what it saw before its host slept is old."""
    overtaken = teller.context()
    overtaken.notify("watch:nas", "failed", "falla")
    assert platform.value("SELECT state FROM janitor_causes WHERE cause = 'watch:nas'") == "failed"
    teller.context().notify("watch:nas", "ok", "ya no falla")
    overtaken.notify("watch:nas", "needs_person", "falla más")
    assert platform.value("SELECT state FROM janitor_causes WHERE cause = 'watch:nas'") == "ok"


def test_old_notices_are_deleted(teller: Teller, platform: Platform) -> None:
    teller.note("failed")
    teller.tick()
    platform.sql("UPDATE janitor_notices SET created_at = created_at - interval '91 days'")
    teller.note("failed", "watch:disk")
    teller.tick()
    assert [row["id"] for row in platform.sql("SELECT id FROM janitor_notices")] == [2]
    assert [row["notice_id"] for row in platform.sql("SELECT notice_id FROM janitor_deliveries")] == [2]


def test_telegram_takes_what_is_sent(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, telegram = PrivateAuthority(tmp_path), Telegram()
    teller = Teller(platform, tmp_path, {"TELEGRAM_TOKEN": TOKEN, "ADMIN_ID": CHAT})
    with telegram.serving(authority) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
        for number in range(10):
            teller.note("failed", f"watch:{number}", f"<b>{number}</i> & 'x' \\n *a_b* [c](d)" * 20)
        teller.tick()
        teller.tick()
        assert telegram.messages
        assert "<b>0</i> & 'x'" in telegram.messages[0]
        telegram.retry_after_seconds = 3600
        (failure,) = teller.tick().failures
        assert failure == "no se pudo avisar por tgram: respondió 429: Too Many Requests: retry after 3600"
        assert platform.value("SELECT not_before > now() + interval '59 minutes' FROM janitor_channels")
        for nonsense in (math.nan, -math.inf, math.inf, 10**400):
            telegram.retry_after_seconds = nonsense
            teller.end_pauses()
            assert len(teller.tick().failures) == 1
        telegram.retry_after_seconds = 0
        teller.end_pauses()
        while teller.tick().counts:
            pass
    assert sorted(numbers_in(telegram.messages)) == list(range(1, 11))


@pytest.mark.parametrize(
    ("token", "chat", "refusal"),
    [
        (TOKEN.replace("AA", "BB"), CHAT, "respondió 401: no acepta el usuario, la contraseña o el token"),
        (TOKEN, "111", "respondió 400: Bad Request: chat not found"),
    ],
)
def test_telegrams_refusal_is_reported_without_the_token(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, chat: str, refusal: str
) -> None:
    authority = PrivateAuthority(tmp_path)
    teller = Teller(platform, tmp_path, {"TELEGRAM_TOKEN": token, "ADMIN_ID": chat})
    teller.note("failed")
    with Telegram().serving(authority) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
        assert teller.tick().failures == (f"no se pudo avisar por tgram: {refusal}",)
        teller.end_pauses()
        monkeypatch.delenv("SSL_CERT_FILE")
        (failure,) = teller.tick().failures
        assert "certificado" in failure
    everything = str(platform.sql("SELECT * FROM janitor_channels, janitor_deliveries"))
    assert token not in everything


def test_the_fake_of_telegram_refuses_what_the_real_one_refuses() -> None:
    def answered(text: str) -> int:
        body = f'{{"chat_id": "{CHAT}", "parse_mode": "HTML", "text": "{text}"}}'.encode()
        return Telegram().answer(Request("POST", f"/bot{TOKEN}/sendMessage", {}, body)).status

    assert answered("<b>a</b> &amp; b") == 200
    assert [answered(text) for text in ("a < b", "a & b", "<p>a</p>", "<b> </b>", "x" * 4097)] == [400] * 5
    assert error(429, "x", retry_after=3).body.endswith(b'{"retry_after": 3}}')


def test_ntfy_takes_what_is_sent_however_long_it_is(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit is in bytes, and a longer text is an attachment, which a server of one's own refuses."""
    authority = PrivateAuthority(tmp_path)
    with Ntfy(authority) as ntfy:
        teller = Teller(platform, tmp_path, {"JANITOR_NOTIFY_URLS": ntfy.url("otra-clave-9999")})
        teller.note("failed", text="Falta <algo> & más")
        (failure,) = teller.tick().failures
        assert "certificado" in failure
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
        for url, told in (
            (ntfy.url("otra-clave-9999"), "401: no acepta el usuario, la contraseña o el token"),
            (ntfy.url(topic="x"), "403: no da permiso"),
        ):
            teller.channels = {"JANITOR_NOTIFY_URLS": url}
            teller.end_pauses()
            (failure,) = teller.tick().failures
            assert failure == f"no se pudo avisar por ntfys: respondió {told}"
        teller.channels = {"JANITOR_NOTIFY_URLS": ntfy.url()}
        for number in range(12):
            teller.note("failed", f"watch:{number}", "áéíóú ñ 𝄞€" * 60)
        teller.end_pauses()
        while teller.tick().counts:
            pass
        messages = ntfy.messages
    assert "Falta <algo> & más" in "".join(messages)
    assert sorted(numbers_in(messages)) == list(range(1, 14))
    assert len(messages) > 2


def test_the_double_of_ntfy_refuses_what_the_real_one_refuses() -> None:
    taken: list[str] = []
    ntfy = Desk(taken.append, burst=11)
    login = {"Authorization": "Basic YXZpc29zOmNsYXZlLWRlLW50ZnktNTU2Ng=="}

    def answered(body: str, path: str = "/", headers: dict[str, str] = login) -> int:
        told = ntfy.answer(Request("POST", path, headers, body.encode()))
        return int(json.loads(told.body).get("code", 0))

    def published(message: str, topic: str = ntfy.TOPIC) -> str:
        return json.dumps({"topic": topic, "message": message}, ensure_ascii=False)

    assert answered(published("x" * 4096)) == 0
    assert [answered(body) for body in ("no", published("é" * 2049), published("", "a/b"), published("", "b"))] == [
        40017, 40014, 40009, 40301,
    ]  # fmt: skip
    assert answered("text", f"/{ntfy.TOPIC}") == 40014
    assert [answered(published(""), headers=given) for given in ({}, {"Authorization": "Bearer x"})] == [40301, 40101]
    assert answered(" " * 8193) == 41303
    assert [answered(published("")) for _ in range(3)] == [0, 0, 42901]
    assert taken == ["x" * 4096, "triggered", "triggered"]


def test_mail_goes_by_starttls_with_a_password(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, mail = PrivateAuthority(tmp_path), MailServer()
    with mail.serving(authority.server_context("127.0.0.1")) as port:

        def url(password: str) -> str:
            login = f"{mail.USER}:{password}@127.0.0.1:{port}"
            return f"mailtos://{login}?mode=starttls&from=janitor@example.com&to=guardia@example.com"

        teller = Teller(platform, tmp_path, {"JANITOR_NOTIFY_URLS": url("otra-clave-9999")})
        teller.note("failed", text="Falta <algo> & más")
        (failure,) = teller.tick().failures
        assert f"mailtos://127.0.0.1:{port}: no se pudo conectar o entrar: [SSL: CERTIFICATE_VERIFY_FAILED]" in failure
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
        teller.end_pauses()
        (failure,) = teller.tick().failures
        assert "no se pudo conectar o entrar: (535" in failure
        assert "otra-clave-9999" not in failure
        teller.channels = {"JANITOR_NOTIFY_URLS": url(mail.PASSWORD)}
        teller.end_pauses()
        assert teller.tick().counts == {"delivered": 1, "failed": 0}
    (message,) = mail.messages
    assert (message["Subject"], message["To"]) == ("Janitor: 1 problema", "guardia@example.com")
    assert "Falta <algo> & más" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
