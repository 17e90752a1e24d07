"""The metrics that the program exposes: name, kind and meaning of each, in the order of the file.

Their names are public: dashboards and alert rules use them. `docs/monitoring.md` lists them.
"""

from __future__ import annotations

from typing import NamedTuple

COUNTER = "counter"
GAUGE = "gauge"


class Family(NamedTuple):
    """All samples of one name."""

    name: str
    kind: str
    help: str


BUILD = (Family("janitor_build_info", GAUGE, "The version of the program and of Python; always 1."),)

RUN = (
    Family("janitor_database_up", GAUGE, "Whether the last run had the database to its end."),
    Family("janitor_run_last_timestamp_seconds", GAUGE, "When the last run ended."),
    Family("janitor_run_last_success_timestamp_seconds", GAUGE, "When the last run with exit code 0 ended."),
    Family("janitor_run_duration_seconds", GAUGE, "How long the last run took."),
    Family("janitor_run_exit_code", GAUGE, "The exit code of the last run."),
    Family("janitor_run_problems", GAUGE, "How many kinds of things the last run could not do."),
    Family("janitor_runs_total", COUNTER, "Runs by exit code."),
    Family("janitor_work_total", COUNTER, "What runs counted, by kind: executions migrated, files deleted and so on."),
)

TASKS = (
    Family("janitor_task_enabled", GAUGE, "Whether the task is configured on this host."),
    Family("janitor_task_last_run_timestamp_seconds", GAUGE, "When the last run of the task began."),
    Family("janitor_task_last_success_timestamp_seconds", GAUGE, "When the last good run of the task began."),
    Family("janitor_task_duration_seconds", GAUGE, "How long the last finished run of the task took."),
    Family("janitor_task_success", GAUGE, "Whether the last finished run of the task was good."),
    Family("janitor_task_failed_runs", GAUGE, "Failed runs of the task since the last good one."),
)

ATTEMPTS = (
    Family("janitor_executions_total", COUNTER, "Attempts of this host to store an execution, by their end."),
    Family("janitor_execution_bytes_total", COUNTER, "Bytes of the executions of those attempts."),
    Family("janitor_execution_seconds_total", COUNTER, "Time that those attempts took."),
)

LAST_MIGRATION = (
    Family(
        "janitor_migration_throughput_bytes_per_second",
        GAUGE,
        "Bytes migrated to the provider per second of attempts, in the last run that migrated any there.",
    ),
    Family("janitor_migration_seconds_per_execution", GAUGE, "Seconds for each execution migrated there, in that run."),
    Family("janitor_migration_error_ratio", GAUGE, "Share of failed attempts there, in the last run that tried any."),
)

QUEUE = (
    Family("janitor_executions_pending", GAUGE, "Executions with a directory that are not migrated."),
    Family("janitor_executions_due", GAUGE, "Those of them that are older than the retention."),
    Family("janitor_executions_failed", GAUGE, "Those of them whose last attempt failed or was refused."),
    Family("janitor_executions_quarantined", GAUGE, "Those of them that are not tried any more until a person acts."),
    Family("janitor_executions_held", GAUGE, "Executions that an operator holds."),
    Family(
        "janitor_executions_without_directory",
        GAUGE,
        "Executions that left no files; absent where only the last look at a large table was read.",
    ),
    Family("janitor_oldest_due_timestamp_seconds", GAUGE, "When the oldest due execution was executed."),
    Family("janitor_oldest_due_age_seconds", GAUGE, "How old the oldest due execution is; 0 if none is due."),
    Family("janitor_oldest_due_overdue_seconds", GAUGE, "For how long the oldest due execution has been due."),
    Family("janitor_stored_executions", GAUGE, "Migrated executions by provider and its role in the policy."),
    Family("janitor_stored_bytes", GAUGE, "Bytes of the migrated executions by provider and its role."),
    Family("janitor_debt_executions", GAUGE, "Migrated executions that are not at the primary provider."),
    Family("janitor_debt_bytes", GAUGE, "Bytes of the migrated executions that are not at the primary provider."),
    Family("janitor_deletions_unfinished", GAUGE, "Migrated executions whose local copy is still to be deleted."),
    Family("janitor_inventory_timestamp_seconds", GAUGE, "When the executions were last counted."),
    Family("janitor_inventory_duration_seconds", GAUGE, "How long counting the executions took."),
)

DISKS = (
    Family("janitor_directory_up", GAUGE, "Whether a directory of the program is there."),
    Family("janitor_disk_size_bytes", GAUGE, "Size of the file system of the directory."),
    Family("janitor_disk_free_bytes", GAUGE, "Bytes that are free there for this user."),
    Family("janitor_disk_free_inodes", GAUGE, "Inodes that are free there for this user."),
)

PROVIDERS = (
    Family("janitor_provider_up", GAUGE, "Whether runs use the provider: 0 while it is left alone after failures."),
    Family("janitor_provider_down_since_timestamp_seconds", GAUGE, "Since when the provider has failed."),
)

BACKUPS = (
    Family("janitor_backup_last_success_timestamp_seconds", GAUGE, "When the newest good backup was made, by kind."),
    Family("janitor_backup_age_seconds", GAUGE, "How old the newest good backup is, by kind."),
    Family("janitor_backup_size_bytes", GAUGE, "Size of the newest good backup, by kind."),
    Family("janitor_backup_last_verified_timestamp_seconds", GAUGE, "When a backup was last proven to restore."),
)

FAMILIES = (*BUILD, *RUN, *TASKS, *ATTEMPTS, *LAST_MIGRATION, *QUEUE, *PROVIDERS, *DISKS, *BACKUPS)
