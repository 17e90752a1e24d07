"""OpenStack Swift with its S3 middleware, all four servers in one process: an object store that is not a mock.

It rejects wrong digests and wrong keys and has real multipart uploads. It shows no checksum headers on HEAD.
"""

from __future__ import annotations

import importlib.util
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

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
        self._write("proxy", PROXY_CONF.format(directory=self.directory, secret_key=self.secret_key))
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
    from swift.common import utils
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.ring import RingBuilder
    from swift.common.wsgi import loadapp

    utils.SWIFT_CONF_FILE = str(directory / "swift.conf")
    utils.validate_hash_conf()
    utils.fsync = utils.fdatasync = lambda descriptor: None  # what is lost with the machine need not survive it
    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in BACKENDS}
    for kind, listener in sockets.items():
        builder = RingBuilder(4, 1, 1)  # 16 partitions, one replica
        address = {"ip": "127.0.0.1", "port": listener.getsockname()[1]}
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "disk", **address})
        builder.rebalance()
        builder.get_ring().save(str(directory / f"{kind}.ring.gz"))
    sockets["proxy"] = eventlet.listen(("127.0.0.1", port))
    options = {"protocol": SwiftHttpProtocol, "capitalize_response_headers": False, "log_output": False}
    threads = [
        eventlet.spawn(eventlet.wsgi.server, listener, loadapp(str(directory / f"{kind}.conf")), **options)
        for kind, listener in sockets.items()
    ]
    threads[-1].wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
