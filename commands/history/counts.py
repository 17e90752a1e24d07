"""The counts of a job in words, as `history` tells them: those that are 0 are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.logs import one_line
from config.text.plurals import counted
from config.text.times import size
from jobs.job import NOTHING
from jobs.registry import all_jobs


def in_words(job: str, counts: Mapping[str, int]) -> Iterator[str]:
    """The counts of a job that are not 0. One that only another version declares keeps its name."""
    declared = {each.name: each.counts for each in all_jobs()}.get(job, NOTHING)
    order = {name: place for place, name in enumerate(declared)}  # the database keeps none
    for name, count in sorted(counts.items(), key=lambda item: order.get(item[0], len(order))):
        words = declared.get(name)
        if not count:
            continue
        if isinstance(words, str):
            yield f"{size(count)} {words}"
        elif words is not None:
            yield counted(count, *words)
        elif name.startswith("/"):  # the job metrics notes what is free at each root
            yield f"{size(count)} libres en {one_line(name)}"
        else:
            yield f"{one_line(name)} {one_line(count)}"
