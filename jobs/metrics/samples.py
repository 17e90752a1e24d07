"""Samples, and the text format in which Prometheus reads them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from config.logs import one_line
from jobs.metrics.families import FAMILIES, Family

HEAD = "# Written by janitor-daemon at the end of each run.\n"
STATE = "# State: "
"""Begins a comment that only this program reads."""

SAMPLE = re.compile(r'(janitor_[a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One value under a name and labels."""

    name: str
    value: float
    labels: Labels = ()


def sample(name: str, value: float, **labels: object) -> Sample:
    """A sample with labels that are safe to show: on one line and without secrets."""
    return Sample(name, float(value), tuple((key, one_line(text)) for key, text in sorted(labels.items())))


class Samples:
    """Samples by name and labels, each once, and what the next run needs to count on."""

    def __init__(self, samples: Iterable[Sample] = (), state: Mapping[str, Any] | None = None) -> None:
        self._values = {(each.name, each.labels): each.value for each in samples}
        self.state: Mapping[str, Any] = dict(state or {})

    def replace(self, families: Iterable[Family], samples: Iterable[Sample]) -> None:
        """Put these samples in place of all of these families."""
        names = {family.name for family in families}
        kept = {key: value for key, value in self._values.items() if key[0] not in names}
        self._values = {**kept, **{(each.name, each.labels): each.value for each in samples}}

    def update(self, samples: Iterable[Sample]) -> None:
        """Put each of these samples in place of the one with its name and labels."""
        self._values.update({(each.name, each.labels): each.value for each in samples})

    def add(self, samples: Iterable[Sample]) -> None:
        """Add these values to those of the same name and labels."""
        for each in samples:
            key = (each.name, each.labels)
            self._values[key] = self._values.get(key, 0.0) + each.value

    def value(self, name: str, **labels: object) -> float | None:
        """The value of one sample."""
        wanted = sample(name, 0, **labels)
        return self._values.get((wanted.name, wanted.labels))

    def text(self) -> str:
        """The whole file. Samples of unknown families, which another version wrote, are left out."""
        parts = [HEAD, f"{STATE}{json.dumps(self.state, sort_keys=True)}\n"]
        for family in FAMILIES:
            lines = sorted(_line(key, value) for key, value in self._values.items() if key[0] == family.name)
            if lines:
                parts.append(f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n")
                parts += lines
        return "".join(parts)


def _line(key: tuple[str, Labels], value: float) -> str:
    name, labels = key
    written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    number = str(int(value)) if value.is_integer() else repr(value)
    return f"{name}{{{written}}} {number}\n" if written else f"{name} {number}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def parsed(text: str) -> Samples:
    """What an earlier run wrote. Whatever is not understood is left out: a damaged file costs only its history."""
    found = []
    state: Mapping[str, Any] = {}
    for line in text.splitlines():
        if line.startswith(STATE):
            state = _state(line.removeprefix(STATE))
        elif (match := SAMPLE.fullmatch(line)) and (value := _number(match[3])) is not None:
            labels = tuple((name, _unescaped(value)) for name, value in LABEL.findall(match[2] or ""))
            found.append(Sample(match[1], value, labels))
    return Samples(found, state)


def _state(text: str) -> Mapping[str, Any]:
    try:
        state = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda match: ESCAPES.get(match[0], match[0]), text)
