"""What a fault does to a request: see `tests.faults.http_proxy`."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from collections.abc import Callable
from email.utils import formatdate

import google_crc32c

from tests.destinations import Destination
from tests.faults.http_proxy import Effect, Exchange, Response

SLOW_SECONDS_PER_BYTE = 0.5
"""Slow, but never silent for as long as any client's patience with silence."""

Change = Callable[[bytes], bytes]


def behind(destination: Destination, url: str) -> Destination:
    """The destination as a row that leads to the proxy describes it."""
    if destination.kind == "azure":
        account = str(destination.options["account_url"]).rpartition("/")[2]
        return destination.with_options(account_url=f"{url}/{account}")
    return destination.with_options(endpoint_url=url)


def address_of(destination: Destination) -> str:
    """Where the real server of a destination listens."""
    return str(destination.options["account_url" if destination.kind == "azure" else "endpoint_url"])


# No answer, or half of one


def never_answer(exchange: Exchange) -> None:
    """Take the request, and say nothing."""
    exchange.wait_for_the_end()


def reset_at_once(exchange: Exchange) -> None:
    """Break the connection before anything is read of the body."""
    exchange.reset()


def reset_in_the_request(after_bytes: int) -> Effect:
    """Break both connections after this many bytes of the body."""

    def effect(exchange: Exchange) -> None:
        exchange.forward_beginning(exchange.body_beginning(after_bytes))
        exchange.reset()

    return effect


def reset_in_the_answer(after_bytes: int) -> Effect:
    """The server does it, and the connection breaks after this many bytes of its answer."""
    return lambda exchange: exchange.answer_beginning(exchange.forward(), after_bytes)


def lose_the_answer(exchange: Exchange) -> None:
    """The server does it, and nobody hears of it."""
    exchange.forward()
    exchange.reset()


def take_slowly(exchange: Exchange) -> None:
    """Read the request at a trickle; the server never sees it."""
    exchange.read_slowly(SLOW_SECONDS_PER_BYTE)


def answer_after(seconds: float) -> Effect:
    """The server does it, but not at once."""

    def effect(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.answer(exchange.forward())

    return effect


def answer_slowly(exchange: Exchange) -> None:
    """The server does it, and its answer comes at a trickle."""
    exchange.answer_slowly(exchange.forward(), SLOW_SECONDS_PER_BYTE)


# Other answers


def answer(response: Response) -> Effect:
    """The server never sees the request, and this is the answer."""

    def effect(exchange: Exchange) -> None:
        _ = exchange.body
        exchange.answer(response)

    return effect


def refuse(kind: str, status: int, code: str, **headers: str) -> Effect:
    """Answer with an error as the servers of a kind write it. Its text holds what must never be shown."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if kind == "gcs":
        error = {"code": status, "message": "sig=FILTRADO", "errors": [{"reason": code, "message": "sig=FILTRADO"}]}
        return answer(Response(status, json.dumps({"error": error}).encode(), {"Content-Type": "application/json"}))
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>sig=FILTRADO</Message></Error>'
    )
    more = {"x-ms-error-code": code} if kind == "azure" else {}
    return answer(Response(status, content.encode(), {"Content-Type": "application/xml", **more, **fields}))


def change_answer(change: Change) -> Effect:
    """The server does it, and other bytes come back: a bit flipped, an end lost, with headers that fit them."""

    def effect(exchange: Exchange) -> None:
        response = exchange.forward()
        exchange.answer(Response(response.status, change(response.body), response.headers))

    return effect


def damage_answer(change: Change) -> Effect:
    """The server does it, and its answer is damaged on the way, its head included."""
    return lambda exchange: exchange.answer_damaged(exchange.forward(), change)


def acknowledge_only(exchange: Exchange) -> None:
    """Answer what a server answers that has stored the body, and store nothing."""
    content = exchange.body
    if "uploadType=multipart" in exchange.path:
        content = content.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    md5 = hashlib.md5(content, usedforsecurity=False)
    if "/upload/storage/v1/" in exchange.path:
        crc32c = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
        stored = {"name": "x", "size": str(len(content)), "crc32c": crc32c}
        exchange.answer(Response(200, json.dumps(stored).encode(), {"Content-Type": "application/json"}))
        return
    headers = {"ETag": f'"{md5.hexdigest()}"', "Last-Modified": formatdate(usegmt=True)}
    if "x-ms-version" in exchange.headers:
        exchange.answer(Response(201, b"", {**headers, "x-ms-request-server-encrypted": "true"}))
    else:
        exchange.answer(Response(200, b"", headers))


# Other bytes


def change_body(change: Change) -> Effect:
    """Other bytes reach the server than were sent, with a length that fits them; its answer comes back."""
    return lambda exchange: exchange.answer(exchange.forward(change(exchange.body)))


def flip_a_bit(content: bytes) -> bytes:
    """One bit, in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


def truncate(content: bytes) -> bytes:
    """All but the last quarter."""
    return content[: len(content) * 3 // 4]


def flip_random_bit(content: bytes, dice: random.Random) -> bytes:
    """One bit, anywhere."""
    position = dice.randrange(len(content))
    return content[:position] + bytes([content[position] ^ 1 << dice.randrange(8)]) + content[position + 1 :]


def truncate_randomly(content: bytes, dice: random.Random) -> bytes:
    """A beginning, at least one byte short."""
    return content[: dice.randrange(len(content))]
