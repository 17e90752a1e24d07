"""The settings of the job: by which channels notices go out, when not, and what counts as trouble."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.parsers import addresses, gigabytes, number, part_of_day, text, whole_days

LONGEST_SILENCE_HOURS = 24 * 366


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """The settings of the notices."""

    urls: tuple[str, ...] = declared(
        "JANITOR_NOTIFY_URLS",
        addresses,
        default="",
        shown="none",
        secret=True,
        example="mailtos://user:password@smtp.example.com?to=ops@example.com",
        spanish="A quién se avisa: direcciones de apprise (correo, Slack, webhooks…), separadas por espacios o comas.",
        english="Where notices of trouble go: addresses of [apprise](https://github.com/caronc/apprise), for mail, "
        "Slack, webhooks and many others, separated by spaces or commas.",
    )
    telegram_token: str = declared(
        "TELEGRAM_TOKEN",
        text,
        default="",
        shown="none",
        secret=True,
        spanish="Token del bot de Telegram que avisa a ADMIN_ID.",
        english="The token of the Telegram bot that tells `ADMIN_ID`.",
    )
    telegram_chat: str = declared(
        "ADMIN_ID",
        text,
        default="",
        shown="none",
        example="123456789",
        spanish="Chat de Telegram al que avisa el bot de TELEGRAM_TOKEN.",
        english="The Telegram chat to which the bot of `TELEGRAM_TOKEN` sends notices.",
    )
    quiet_hours: tuple[int, int] | None = declared(
        "JANITOR_QUIET_HOURS",
        part_of_day,
        shown="none",
        example="22-7",
        spanish="Horas locales sin avisos, como 22-7: solo llega lo que necesita a una persona; lo demás, al acabar.",
        english="Hours of the local day, such as `22-7`, in which notices go out only for what needs a person. The "
        "rest goes when they end.",
    )
    stalled_days: int = declared(
        "JANITOR_STALLED_DAYS",
        whole_days,
        default="3",
        unit="days",
        spanish="Días sin migrar nada, habiendo algo que toca, tras los que se avisa.",
        english="If something has been due for longer and nothing was migrated since, a notice says so.",
    )
    silent_hours: float = declared(
        "JANITOR_SILENT_HOURS",
        number(0.1, LONGEST_SILENCE_HOURS),
        default="26",
        unit="hours",
        spanish="Horas sin ningún ciclo en una máquina tras las que otra avisa.",
        english="If a host has not run for longer, another one tells it.",
    )
    disk_warning_bytes: int = declared(
        "DISK_WARNING_GB",
        gigabytes,
        default="5",
        unit="GB",
        spanish="Espacio libre por debajo del cual un disco se da por casi lleno.",
        english="A disk with less free space is nearly full; but never one with more than a tenth free.",
    )
    disk_critical_bytes: int = declared(
        "DISK_CRITICAL_GB",
        gigabytes,
        default="2",
        unit="GB",
        spanish="Espacio libre por debajo del cual un disco necesita a una persona.",
        english="A disk with less free space needs a person; but never one with more than a twenty-fifth free.",
    )

    def is_on(self) -> bool:
        """On when there is a channel."""
        return bool(self.urls or (self.telegram_token and self.telegram_chat))
