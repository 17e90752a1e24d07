"""OpenSSH's own sshd, as root or as the user of the tests. It takes keys only, as passwords would be real ones."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.base import ServerUnavailable
from tests.servers.sftp.ssh import SftpServer

SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key_path}
PidFile none
AuthorizedKeysFile {authorized_keys_path}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
# a shell that runs a command reads no start-up files of whoever's account this is: some take a second
SetEnv "HOME={directory}"
# many connections at once are the test, not an attack
MaxStartups 1000
MaxSessions 1000
"""


def find_sshd() -> str | None:
    """The program, which is not on an ordinary user's PATH."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


NEEDS_OPENSSH = "needs OpenSSH (Debian: apt-get install openssh-server)"

needs_openssh = pytest.mark.skipif(find_sshd() is None, reason=NEEDS_OPENSSH)
"""For what asyncssh's server, which takes its place, does not do."""


class OpenSsh(SftpServer):
    """sshd in the foreground. The account may run commands, `openssl` and `sha256sum` among them."""

    name = "OpenSSH"

    def command(self) -> Sequence[str]:
        program = find_sshd()
        if program is None:
            raise ServerUnavailable(NEEDS_OPENSSH)
        account = pwd.getpwuid(os.geteuid())
        if Path(account.pw_shell).name in ("nologin", "false"):
            raise ServerUnavailable(f"the account {account.pw_name} may not log in, not even to an sshd of its own")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd as root locks its child into it
        configuration = self.write("sshd_config", SSHD_CONFIG.format(**vars(self)))
        # since OpenSSH 9.8 failed logins are punished by silence, which the tests of wrong keys would run into
        lenient = [program, "-D", "-e", "-f", str(configuration), "-o", "PerSourcePenalties=no"]
        known = subprocess.run([*lenient, "-t"], check=False, capture_output=True, timeout=30).returncode == 0
        return lenient if known else lenient[:-2]
