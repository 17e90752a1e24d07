"""OpenStack Swift with its S3 middleware, all four servers in one process: an object store that is not a mock.

It rejects wrong digests and wrong keys and has real multipart uploads. It shows no checksum headers on HEAD.
"""

from __future__ import annotations

import importlib.util
import json
import math
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic as now
from typing import Any

from demo.servers.process import answers_http
from tests.servers.base import CommandServer, S3Server, ServerUnavailable, python_module

SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = janitor
swift_hash_path_prefix = janitor
"""

BACKEND_CONF = """
[DEFAULT]
devices = {directory}/devices
swift_dir = {directory}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
log_requests = false
"""

PROXY_CONF = """
[DEFAULT]
swift_dir = {directory}
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_janitor_tester = {secret_key} .admin
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_bucket_listing = {names_in_a_page}
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
[filter:symlink]
use = egg:swift#symlink
"""

NAMES_IN_A_PAGE = 100
"""Of a listing: less than S3's thousand, so that a listing of several pages needs few objects."""

BACKENDS = ("account", "container", "object")


class SwiftS3(CommandServer, S3Server):
    """Swift in a child process."""

    name = "OpenStack Swift"
    access_key = "janitor:tester"

    def __init__(self) -> None:
        super().__init__()
        self.secret_key = secrets.token_hex(20)
        self.endpoint_url = f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        if importlib.util.find_spec("swift") is None:
            raise ServerUnavailable("the Python package swift is not installed")
        (self.directory / "devices" / "disk").mkdir(parents=True)
        self._write("swift", SWIFT_CONF)
        for kind in BACKENDS:
            self._write(kind, BACKEND_CONF.format(directory=self.directory, kind=kind))
        proxy = PROXY_CONF.format(directory=self.directory, secret_key=self.secret_key, names_in_a_page=NAMES_IN_A_PAGE)
        self._write("proxy", proxy)
        return python_module("tests.servers.swift", str(self.directory), str(self.port))

    def answers(self) -> bool:
        return answers_http(self.port)

    def _write(self, name: str, text: str) -> None:
        (self.directory / f"{name}.conf").write_text(text)


def serve(directory: Path, port: int) -> None:
    """Serve the proxy on `port` and its three backends on free ports, for ever. Runs in the child process."""
    import eventlet

    eventlet.monkey_patch()
    import eventlet.wsgi
    from swift.common import db, utils
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.ring import RingBuilder
    from swift.common.wsgi import loadapp

    utils.SWIFT_CONF_FILE = str(directory / "swift.conf")
    utils.validate_hash_conf()
    forget_durability(utils, db)
    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in BACKENDS}
    for kind, listener in sockets.items():
        builder = RingBuilder(4, 1, 1)  # 16 partitions, one replica
        address = {"ip": "127.0.0.1", "port": listener.getsockname()[1]}
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "disk", **address})
        builder.rebalance()
        builder.get_ring().save(str(directory / f"{kind}.ring.gz"))
    sockets["proxy"] = eventlet.listen(("127.0.0.1", port))
    options = {"protocol": SwiftHttpProtocol, "capitalize_response_headers": False, "log_output": False}
    applications = {kind: loadapp(str(directory / f"{kind}.conf")) for kind in sockets}
    applications["proxy"] = with_cache(applications["proxy"])
    threads = [
        eventlet.spawn(eventlet.wsgi.server, listener, applications[kind], **options)
        for kind, listener in sockets.items()
    ]
    threads[-1].wait()


def forget_durability(utils: Any, db: Any) -> None:
    """Nothing waits for the disk: what is lost with the machine need not survive it."""
    utils.fsync = utils.fdatasync = lambda descriptor: None
    connect = db.get_db_connection

    def connect_without_waiting(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    db.get_db_connection = connect_without_waiting


class Cache:
    """What memcached is to Swift everywhere else. Without one it asks for the account and the bucket in every request,
    which is half of what a request costs.
    """

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, float]] = {}

    def get(self, key: str, **_options: object) -> Any:
        """What was kept under a key, as JSON makes it, unless its time is over."""
        text, ends = self._texts.get(key, ("null", math.inf))
        return json.loads(text) if now() < ends else None

    def set(self, key: str, value: object, time: float = 0, **_options: object) -> None:
        """Keep something, for some seconds or, where they are 0, for ever."""
        self._texts[key] = json.dumps(value), now() + time if time else math.inf

    def delete(self, key: str, **_options: object) -> None:
        """Forget what is kept under a key."""
        self._texts.pop(key, None)


def with_cache(application: Callable[..., Any]) -> Callable[..., Any]:
    """A WSGI application whose requests find a cache where Swift looks for it."""
    cache = Cache()

    def application_with_cache(environment: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environment["swift.cache"] = cache
        return application(environment, start_response)

    return application_with_cache


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
