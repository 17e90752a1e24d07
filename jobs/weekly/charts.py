"""Charts as SVG that is part of a page: colours come from the page, so they follow its light or dark scheme.

Those of days are 360 units wide, as a telephone shows them, so that their letters keep their size there.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 360
HEIGHT = 150
LEFT, RIGHT, TOP, BOTTOM = 4, 4, 18, 20
MOST_LABELS = 7


class Bar(NamedTuple):
    """One value of a day; `shown` is how people read it."""

    label: str
    value: float
    shown: str


class Part(NamedTuple):
    """One part of a whole."""

    label: str
    value: float
    shown: str


def bars(title: str, values: Sequence[Bar], colour: str) -> str:
    """A bar for each day, the highest one with its value; each tells its value when it is pointed at."""
    highest = max((bar.value for bar in values), default=0.0)
    if highest <= 0:
        return '<p class="none">Nada en estos días.</p>'
    step = (WIDTH - LEFT - RIGHT) / len(values)
    room = HEIGHT - TOP - BOTTOM
    shapes = []
    for number, bar in enumerate(values):
        height = room * bar.value / highest
        x, y = LEFT + number * step, HEIGHT - BOTTOM - height
        shapes.append(
            f'<rect class="{colour}" x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" '
            f'height="{height:.1f}"><title>{escape(bar.label)}: {escape(bar.shown)}</title></rect>'
        )
    best = max(range(len(values)), key=lambda number: values[number].value)
    middle = LEFT + (best + 0.5) * step
    anchor = "start" if middle < WIDTH / 4 else "end" if middle > 3 * WIDTH / 4 else "middle"
    shapes.append(f'<text x="{middle:.1f}" y="12" text-anchor="{anchor}">{escape(values[best].shown)}</text>')
    return _svg(title, HEIGHT, [*shapes, *_days(values, step), _base()])


def _days(values: Sequence[Bar], step: float) -> list[str]:
    every = -(-len(values) // MOST_LABELS)
    return [
        f'<text x="{LEFT + (number + 0.5) * step:.1f}" y="{HEIGHT - 5}" text-anchor="middle">{escape(bar.label)}</text>'
        for number, bar in enumerate(values)
        if (len(values) - 1 - number) % every == 0
    ]


def _base() -> str:
    y = HEIGHT - BOTTOM
    return f'<line class="base" x1="0" y1="{y}" x2="{WIDTH}" y2="{y}"/>'


def shares(title: str, parts: Sequence[Part]) -> str:
    """A bar for each part, as long as its share of the whole."""
    whole = sum(part.value for part in parts)
    if whole <= 0:
        return '<p class="none">Nada todavía.</p>'
    shapes = []
    for number, part in enumerate(parts):
        y = number * 40
        share = part.value / whole
        shapes += [
            f'<text x="0" y="{y + 13}">{escape(_cut(part.label))}</text>',
            f'<text x="100%" y="{y + 13}" text-anchor="end">{escape(part.shown)} · {100 * share:.0f} %</text>',
            f'<rect class="track" x="0" y="{y + 19}" width="100%" height="10"/>',
            f'<rect class="good" x="0" y="{y + 19}" width="{100 * share:.1f}%" height="10"/>',
        ]
    shape = f'class="shares" style="height:{len(parts) * 40}px"'  # without a view box letters keep their size
    return _drawn(shape, title, shapes)


def filled(title: str, share: float, *, is_scarce: bool) -> str:
    """How full something is."""
    colour = "bad" if is_scarce else "good"
    return _svg(
        title,
        12,
        [
            f'<rect class="track" x="0" y="0" width="{WIDTH}" height="12"/>',
            f'<rect class="{colour}" x="0" y="0" width="{WIDTH * min(max(share, 0), 1):.1f}" height="12"/>',
        ],
    )


LONGEST_LABEL = 28


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _svg(title: str, height: int, shapes: Sequence[str]) -> str:
    return _drawn(f'viewBox="0 0 {WIDTH} {height}"', title, shapes)


def _drawn(shape: str, title: str, shapes: Sequence[str]) -> str:
    return f'<svg {shape} role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(shapes)}</svg>'
