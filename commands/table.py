"""Every command except the tick and those of jobs: where each of them is.

One that is asked for is imported, and no other: what restores and audits loads takes longer than most answers.
"""

from __future__ import annotations

from jobs.job import Ref

COMMANDS = {
    "audit": Ref("commands.audit.commands:audit"),
    "check": Ref("commands.subcommands:check"),
    "completion": Ref("commands.shell.commands:completion"),
    "demo": Ref("commands.subcommands:demo"),
    "health": Ref("commands.status.command:health"),
    "history": Ref("commands.history.command:history"),
    "hold": Ref("commands.orders.commands:hold"),
    "init-db": Ref("commands.subcommands:init_db"),
    "jobs": Ref("commands.subcommands:jobs"),
    "ls": Ref("jobs.migration.restore.commands:list_contents"),
    "man": Ref("commands.shell.commands:man"),
    "rebuild": Ref("jobs.migration.rebuild.commands:rebuild"),
    "release": Ref("commands.orders.commands:release"),
    "report": Ref("commands.report:report"),
    "restore": Ref("jobs.migration.restore.commands:restore"),
    "retry": Ref("commands.orders.commands:retry"),
    "secret": Ref("commands.subcommands:secret"),
    "status": Ref("commands.status.command:status"),
    "url": Ref("jobs.migration.restore.commands:url"),
}
"""By the name that operators write."""
