"""The order in which several processes run the tests: some begin with those that take long, some with those that wait.

What waits (for a server that never answers, a lease that runs out, a pause between two attempts) leaves a processor to
the others. Were it left to the alphabet, all processes would wait at the same time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

LONG = (
    "tests/jobs/migration/test_thousand_mutations.py",
    "tests/crash/",
    "tests/demo/test_demo.py",
    "tests/jobs/backups/verification/test_verify.py",
    "tests/test_mutants.py",
    "tests/model/test_model.py",
    "tests/stories/jobs/test_backups_off_site.py",
    "tests/stories/migration/test_very_many_files.py",
    "tests/jobs/backups/verification/test_scratch_databases.py",
    "tests/jobs/backups/creation/test_kills.py",
)
"""Where single tests compute for ten seconds or more, in six processes on two processors."""

WAITING = (
    "tests/stories/providers/test_http_provider_faults.py",
    "tests/providers/test_provider_contract.py::test_a_server_that_never_answers_is_given_up",
    "tests/providers/test_wire_damage_http.py",
    "tests/stories/telling/test_planted_secrets.py",
    "tests/stories/telling/test_secrets_and_logs.py",
    "tests/stories/providers/test_provider_progress.py",
    "tests/stories/hosts/test_hosts.py",
    "tests/providers/sftp/test_sftp_resumption.py",
    "tests/providers/shared/test_answers.py",
    "tests/files/test_slow_sources.py",
    "tests/providers/sftp/test_sftp_provider.py",
    "tests/stories/hosts/test_several_processes.py",
    "tests/stories/hosts/test_database_faults.py",
    "tests/stories/providers/test_sftp_faults.py",
    "tests/stories/migration/test_speed_controls.py",
    "tests/storage/test_upload.py",
    "tests/stories/providers/test_failing_providers.py",
    "tests/stories/hosts/test_interruptions.py",
    "tests/providers/test_connecting.py",
    "tests/providers/shared/test_network.py",
    "tests/providers/gcs/test_gcs_provider.py",
    "tests/providers/shared/test_http_resumption.py",
    "tests/providers/test_wire_damage_sftp_local.py",
    "tests/providers/s3/test_s3_uploads.py",
    "tests/providers/shared/test_tls.py",
)
"""Where tests wait for seconds, those that wait longest first. What is named here and above waits."""

Item = TypeVar("Item")


def long_ones_first(tests: Sequence[Item], processes: int, name_of: Callable[[Item], str]) -> list[Item]:
    """All tests, in as many parts as there are processes; each begins with its share of the long or the waiting ones.

    The parts are as long as those that `--dist=worksteal` gives the processes to begin with; what is stolen later is
    taken from the end of a part. Without other processes the order stays as it is.
    """
    if processes < 2:
        return list(tests)
    waiting = sorted(
        (test for test in tests if name_of(test).startswith(WAITING)), key=lambda test: _rank(name_of(test))
    )
    others = [test for test in tests if not name_of(test).startswith(WAITING)]
    long = [test for test in others if name_of(test).startswith(LONG)]
    short = iter([test for test in others if not name_of(test).startswith(LONG)])
    who_wait = processes // 2
    ordered: list[Item] = []
    for number in range(processes):
        if number < who_wait:
            ordered += waiting[number::who_wait]
        else:
            ordered += long[number - who_wait :: processes - who_wait]
        ends_at = len(tests) * (number + 1) // processes
        ordered += itertools.islice(short, max(ends_at - len(ordered), 0))
    return [*ordered, *short]


def _rank(name: str) -> int:
    return next(number for number, beginning in enumerate(WAITING) if name.startswith(beginning))
