"""A line to a server that is far away: every byte arrives later, both ways, and none is held up by another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

READ_BYTES = 256 * 1024


@contextlib.contextmanager
def far_away(port: int, round_trip_seconds: float) -> Iterator[int]:
    """A port of this machine that leads to another one, so far away."""
    loop = asyncio.new_event_loop()
    started: list[int] = []
    ready = threading.Event()

    async def serve() -> None:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            one_way = round_trip_seconds / 2
            await asyncio.gather(_delayed(reader, far_writer, one_way), _delayed(far_reader, writer, one_way))

        server = await asyncio.start_server(carry, "127.0.0.1", 0)
        started.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, name="distance", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, each piece so much later, and the end, too."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        content = b"."
        while content:
            try:
                content = await reader.read(READ_BYTES)
            except ConnectionError:
                content = b""
            under_way.put_nowait((loop.time() + seconds, content))

    taking = asyncio.ensure_future(take())
    with contextlib.suppress(ConnectionError):
        while True:
            due, content = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not content:
                break
            writer.write(content)
            await writer.drain()
        await taking
    writer.close()
