"""Gives messages to all channels at once, each in a thread of its own, in a bounded time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from jobs.notify.channels import Channel
from jobs.notify.message import Message
from jobs.notify.sending import Result

POLL_SECONDS = 0.25
NOT_IN_TIME = Result(is_delivered=False, error="no acabó a tiempo", is_certain=False)

Send = Callable[[Channel, str, str], Result]
Named = TypeVar("Named")


def deliver(
    messages: Mapping[Channel, Message], send: Send, seconds: float, interruption: threading.Event
) -> Iterator[tuple[Channel, Result]]:
    """Send each message; yield what became of each as soon as that is known, and of all after a number of seconds.

    A channel that has not answered by then is left to its thread, which nobody waits for. After an interruption,
    nothing more is yielded.
    """
    ends: queue.SimpleQueue[tuple[Channel, Result]] = queue.SimpleQueue()

    def give(channel: Channel, message: Message) -> None:
        try:
            result = send(channel, message.title, message.body)
        except Exception as error:
            result = Result(is_delivered=False, error=f"apprise falló: {error}", is_certain=False)
        ends.put((channel, result))

    for channel, message in messages.items():
        threading.Thread(target=give, args=(channel, message), name=f"notify {channel.name}", daemon=True).start()
    yield from _ends(ends, set(messages), time.monotonic() + seconds, interruption)


def _ends(
    ends: queue.SimpleQueue[tuple[Channel, Result]],
    waited_for: set[Channel],
    deadline: float,
    interruption: threading.Event,
) -> Iterator[tuple[Channel, Result]]:
    while waited_for and not interruption.is_set():
        left = deadline - time.monotonic()
        if left <= 0:
            yield from ((channel, NOT_IN_TIME) for channel in waited_for)
            return
        try:
            channel, result = ends.get(timeout=min(left, POLL_SECONDS))
        except queue.Empty:
            continue
        waited_for.discard(channel)
        yield channel, result
