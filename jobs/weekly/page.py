"""A report as one file of HTML, without script, network or anything beside it. It can be sent by mail.

What a chart shows is also in words or in a table, as some mail clients show no charts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from config.logs import one_line
from jobs.weekly.charts import Bar, Part, bars, filled, shares
from jobs.weekly.data import Disk, Report
from jobs.weekly.words import ESTIMATED, KINDS, LITTLE_FREE, attention, duration, moment, outlook, period, size

LIGHT = {
    "page": "#f6f7f9", "card": "#ffffff", "text": "#1b2430", "soft": "#525f6e", "line": "#d5dbe2",
    "good": "#1f6feb", "bad": "#b42318", "track": "#e3e8ee",
}  # fmt: skip
DARK = {
    "page": "#11161d", "card": "#1a212b", "text": "#e8edf3", "soft": "#a3b0bf", "line": "#33404f",
    "good": "#58a6ff", "bad": "#ff8a7a", "track": "#2c3643",
}  # fmt: skip
"""Letters stand out from what is behind them by 4.5 to 1 at least, shapes by 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


STYLE = f"""
:root{{color-scheme:light dark;{_variables(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;padding:16px;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}}
main{{max-width:1200px;margin:0 auto}}
h1{{font-size:22px;margin:0}}
h2{{font-size:16px;margin:0 0 10px}}
p{{margin:0 0 8px}}
.soft,.none,th{{color:var(--soft)}}
.grid{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:16px;margin-top:16px}}
section{{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px;min-width:0}}
.wide{{grid-column:1/-1}}
@media (min-width:1100px){{.double{{grid-column:span 2}}}}
.figures{{display:flex;flex-wrap:wrap;gap:12px 32px}}
.figures b{{display:block;font-size:24px;line-height:1.2}}
ul{{margin:0;padding-left:20px}}
li,p{{overflow-wrap:anywhere}}
.alarm{{border-left:4px solid var(--bad)}}
table{{border-collapse:collapse;width:100%;font-size:14px}}
th,td{{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}}
th:last-child,td:last-child{{padding-right:0}}
td:first-child{{max-width:14em;overflow-wrap:anywhere}}
@media (max-width:500px){{body{{padding:8px}}section{{padding:12px}}table{{font-size:12px}}th,td{{padding-right:6px}}}}
th{{font-weight:600}}
td.number,th.number{{text-align:right;white-space:nowrap}}
.scroll{{overflow-x:auto}}
svg{{display:block;width:100%;max-width:460px;height:auto;margin:4px 0 8px}}
svg.shares{{max-width:none}}
svg text{{font:11px system-ui,sans-serif;fill:var(--text)}}
.good{{fill:var(--good)}}.bad{{fill:var(--bad)}}.track{{fill:var(--track)}}
.base{{stroke:var(--soft);stroke-width:1}}
"""


def page(report: Report) -> str:
    """The whole file."""
    title = f"Janitor Daemon: {period(report)}"
    made = f"hecho en {one_line(report.host)} el {moment(report.made)}"
    body = "".join(
        [
            f"<header><h1>Janitor Daemon</h1><p class='soft'>{_text(period(report))} · {_text(made)}</p></header>",
            '<div class="grid">',
            *(_attention(report), _figures(report), *_charts(report)),
            *(_stores(report), _jobs(report), _disks(report), _backups(report), _daily(report)),
            "</div>",
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="es"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_text(title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def _text(text: object) -> str:
    """Text that is safe in the page: what a name or a server's message holds is no markup, and no secret."""
    return escape(one_line(text))


def _section(title: str, content: str, classes: str = "") -> str:
    return f'<section class="{classes}"><h2>{_text(title)}</h2>{content}</section>'


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]], numbers: int) -> str:
    """A table whose last columns are numbers."""

    def line(cells: Sequence[object], tag: str) -> str:
        first_number = len(cells) - numbers
        return "".join(
            f"<{tag}{' class=number' if place >= first_number else ''}>{_text(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{line(titles, "th")}</tr>{body}</table></div>'


def _attention(report: Report) -> str:
    found = list(attention(report))
    if not found:
        return _section("Nada necesita atención", "", "wide")
    items = "".join(f"<li>{_text(line)}</li>" for line in found)
    return _section("Necesita atención", f"<ul>{items}</ul>", "wide alarm")


def _figures(report: Report) -> str:
    seconds = sum(day.seconds for day in report.days)
    figures = [
        ("migradas", report.migrated),
        ("enviado", size(report.bytes)),
        ("por segundo de envío", f"{size(report.bytes / seconds)}/s" if seconds > 0 else "sin datos"),
        ("intentos con error", report.failed),
        ("pendientes", report.pending),
        ("ya vencidas", report.due),
        ("ejecuciones nuevas", sum(day.executed for day in report.days)),
        ("liberado", size(sum(day.freed_bytes for day in report.days))),
    ]
    shown = "".join(
        f"<div><b>{_text(value)}</b><span class='soft'>{_text(name)}</span></div>" for name, value in figures
    )
    note = f"<p class='soft'>{_text(ESTIMATED)}</p>" if report.is_estimated else ""
    return _section("En resumen", f'<div class="figures">{shown}</div>{note}', "wide")


def _charts(report: Report) -> list[str]:
    days = report.days
    charts = (
        ("Enviado por día", "good", [Bar(day.day[5:], day.bytes, size(day.bytes)) for day in days]),
        ("Bytes por segundo de envío", "good",
         [Bar(day.day[5:], day.bytes_per_second or 0, f"{size(day.bytes_per_second or 0)}/s") for day in days]),
        ("Intentos con error", "bad", [Bar(day.day[5:], day.failed, str(day.failed)) for day in days]),
        ("Ejecuciones nuevas", "good", [Bar(day.day[5:], day.executed, str(day.executed)) for day in days]),
    )  # fmt: skip
    return [_section(title, bars(title, values, colour)) for title, colour, values in charts]


def _stores(report: Report) -> str:
    parts = [Part(one_line(store.name), store.bytes, size(store.bytes)) for store in report.stores]
    rows = [
        (f"{store.name} ({store.role})", store.executions, size(store.bytes), size(store.new_bytes), store.failed)
        for store in report.stores
    ]
    titles = ("Proveedor", "Ejecuciones", "Guardado", "Nuevo", "Errores")
    content = shares("Reparto entre proveedores", parts) + (_table(titles, rows, 4) if rows else "")
    return _section("Reparto entre proveedores", content, "double")


def _disks(report: Report) -> str:
    content = "".join(map(_disk, report.disks)) or '<p class="none">No hay raíces en JANITOR_ROOTS.</p>'
    return _section("Discos de las raíces", content)


def _disk(disk: Disk) -> str:
    used = 1 - disk.free_bytes / max(disk.size_bytes, 1)
    chart = filled(f"Ocupación de {one_line(disk.path)}", used, is_scarce=1 - used < LITTLE_FREE)
    words = f"{size(disk.free_bytes)} libres de {size(disk.size_bytes)}; {outlook(disk)}"
    return f"<p>{_text(disk.path)}</p>{chart}<p class='soft'>{_text(words)}</p>"


def _jobs(report: Report) -> str:
    rows = [
        (
            f"{job.name} ({job.host})", moment(job.last_good) if job.last_good else "nunca",
            job.runs, job.failed, duration(job.seconds / max(job.runs, 1)),
        )
        for job in report.jobs
    ]  # fmt: skip
    titles = ("Trabajo", "Último bueno", "Veces", "Errores", "Media")
    errors = "".join(
        f"<p class='soft'>{_text(job.name)}, {_text(job.host)}: {_text(job.error)}</p>"
        for job in report.jobs
        if job.error
    )
    return _section(
        "Trabajos", (_table(titles, rows, 3) if rows else '<p class="none">Ninguno.</p>') + errors, "double"
    )


def _backups(report: Report) -> str:
    if not report.backups:
        state = "activadas, y no hay ninguna buena" if report.is_backup_on else "desactivadas (BACKUP_ENABLED)"
        return _section("Copias de seguridad", f"<p>{_text(state)}</p>")
    rows = [
        (KINDS.get(backup.kind, backup.kind), moment(backup.made), size(backup.size_bytes or 0))
        for backup in report.backups
    ]
    verified = [backup.verified for backup in report.backups if backup.verified is not None]
    proof = f"Última comprobada: {moment(max(verified))}" if verified else "Ninguna se ha comprobado todavía."
    return _section(
        "Copias de seguridad", f"{_table(('Clase', 'Hecha', 'Tamaño'), rows, 1)}<p class='soft'>{proof}</p>"
    )


def _daily(report: Report) -> str:
    rows = [
        (day.day[5:], day.executed, day.migrated, size(day.bytes), day.failed, size(day.freed_bytes))
        for day in report.days
    ]
    titles = ("Día", "Nuevas", "Migradas", "Enviado", "Errores", "Liberado")
    return _section("Día a día", _table(titles, rows, 5), "double")
