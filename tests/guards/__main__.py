"""Removes each safety check of the program in turn, in a copy of the checkout: the tests must turn red.

Run it with `make mutants`, which takes the chief checks, or `make mutants ALL=1`. Exit codes: 0 every check is guarded;
1 some is not, or its mutant is broken; 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.guards.mutants import MANDATORY_GROUPS, MUTANTS, Mutant
from tests.guards.outcome import FILE_VARIABLE, Outcome, read_outcomes
from tests.repository import REPOSITORY

NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".cache", ".*_cache", "node_modules", "build", "dist", "demo-data", "tmp", "*.egg-info")
)
OWN_LOGS = "logs"
"""At the top of the checkout only: a job below has the same name."""

DOWNLOADED = ".cache"
"""Servers that tests have installed once. A copy uses them, too: to install them anew takes longer than a test may."""

WORKERS = 2
SESSION_TIMEOUT_SECONDS = 180.0
TEST_TIMEOUT_SECONDS = 60
LINES_SHOWN = 25

MUTANT_IS_WRONG = frozenset(
    ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError")
)
"""A test that fails so has not noticed that a check is missing, but that the mutant is no working program."""

STATEMENT_IS_WRONG = frozenset(("DatabaseError", "SchemaError"))
"""The same for a mutant of a statement."""


class Verdict(enum.StrEnum):
    """What became of one mutant. Whatever is not killed but for want of rights is a defect."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of pytest."""

    exit_code: int
    outcomes: Sequence[Outcome]
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """A mutant's end: killed by which test, or why it counts as broken."""

    mutant: Mutant
    verdict: Verdict
    reason: str
    seconds: float


def main() -> int:
    """Read the command line, try the mutants, and give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.guards", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants whose group, name or file has this text")
    parser.add_argument("--mandatory", action="store_true", help="mutants of the groups that every change must pass")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if is_chosen(mutant, arguments.only, mandatory=arguments.mandatory)]
    if not chosen:
        parser.error(f"there is no mutant with {arguments.only!r} in its group, name or file")
    with tempfile.TemporaryDirectory(prefix="janitor-mutants-") as directory:
        Path(directory).chmod(0o755)  # servers of a run by root have other users, who must pass
        return try_all(chosen, Path(directory))


def is_chosen(mutant: Mutant, text: str, *, mandatory: bool) -> bool:
    """Whether the command line asks for a mutant."""
    named = text.lower() in f"{mutant.group}\n{mutant.name}\n{mutant.path}".lower()
    return named and (mutant.group in MANDATORY_GROUPS or not mandatory)


def try_all(mutants: Sequence[Mutant], directory: Path) -> int:
    """Try mutants on one copy of the checkout as it is now, so that nobody's editing gets in between."""
    started = time.monotonic()
    pristine = directory / "pristine"
    shutil.copytree(REPOSITORY, pristine, symlinks=True, ignore=_not_copied)
    (pristine / DOWNLOADED).symlink_to(REPOSITORY / DOWNLOADED)
    try:
        if not passes_as_it_is(pristine, sorted({test for mutant in mutants for test in mutant.tests})):
            return 1
        results = try_each(mutants, pristine)
    finally:
        shutil.rmtree(pristine)
    return conclude(results, time.monotonic() - started)


def _not_copied(directory: str, names: list[str]) -> set[str]:
    at_the_top = {OWN_LOGS} if Path(directory) == REPOSITORY else set()
    return NOT_COPIED(directory, names) | at_the_top


def try_each(mutants: Sequence[Mutant], pristine: Path) -> list[Result]:
    """Try mutants, several at a time, and tell of each as soon as its end is known."""
    results = []
    with ThreadPoolExecutor(WORKERS) as executor:
        futures = [
            executor.submit(try_one, mutant, pristine, pristine.with_name(f"mutant-{number}"))
            for number, mutant in enumerate(mutants)
        ]
        for future in as_completed(futures):
            results.append(future.result())
            tell(results[-1])
    return results


def passes_as_it_is(copy: Path, tests: Sequence[str]) -> bool:
    """Whether the tests are green while nothing is missing: otherwise they would prove nothing."""
    say(f"Running {len(tests)} tests on the program as it is")
    with ThreadPoolExecutor(WORKERS) as executor:
        shares = [tests[number::WORKERS] for number in range(WORKERS)]
        sessions = list(executor.map(lambda share: run_tests(copy, share), [share for share in shares if share]))
    for session in sessions:
        if session.exit_code != 0:
            say(session.output)
    return all(session.exit_code == 0 for session in sessions)


def try_one(mutant: Mutant, pristine: Path, copy: Path) -> Result:
    """Try one mutant in a copy of its own."""
    shutil.copytree(pristine, copy, symlinks=True)
    try:
        target = copy / mutant.path
        target.write_text(mutant.applied_to(target.read_text(encoding="utf-8")), encoding="utf-8")
        for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
            compiled.unlink()  # it would be taken for current if size and second were the same
        return judge(mutant, run_tests(copy, mutant.tests))
    finally:
        shutil.rmtree(copy)


def run_tests(copy: Path, tests: Iterable[str]) -> Session:
    """Run tests in a copy up to the first that fails, all that they start in a group of its own."""
    started = time.monotonic()
    with tempfile.NamedTemporaryFile(dir=copy.parent, prefix="outcome-") as file:
        command = [
            *(sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", f"--timeout={TEST_TIMEOUT_SECONDS}"),
            *("-p", "no:cacheprovider", "-p", "tests.guards.outcome", *tests),
        ]
        process = subprocess.Popen(
            command,
            cwd=copy,
            # what a session leaves that is killed goes with the copies
            env={**os.environ, FILE_VARIABLE: file.name, "TMPDIR": str(copy.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=SESSION_TIMEOUT_SECONDS)
        except BaseException as error:
            end_group(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            output = f"not done after {SESSION_TIMEOUT_SECONDS:.0f} s"
        return Session(process.returncode, read_outcomes(Path(file.name)), output, time.monotonic() - started)


def end_group(process: subprocess.Popen[str]) -> None:
    """End pytest so that it can stop its servers, and after some seconds whatever is left."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)


def judge(mutant: Mutant, session: Session) -> Result:
    """A mutant is killed by a test that ran and failed, not by one that could not be run."""

    def result(verdict: Verdict, reason: str) -> Result:
        return Result(mutant, verdict, reason, session.seconds)

    wrong = MUTANT_IS_WRONG | (STATEMENT_IS_WRONG if mutant.path.endswith(".sql") else frozenset())
    failed = [outcome for outcome in session.outcomes if outcome.result == "failed"]
    if session.exit_code == 1 and failed and all(outcome.phase == "call" for outcome in failed[:1]):
        if failed[0].error in wrong:
            return result(Verdict.BROKEN, f"{failed[0].error} in {failed[0].test}")
        return result(Verdict.KILLED, f"{failed[0].test}: {failed[0].error}")
    if session.exit_code != 0:
        return result(Verdict.BROKEN, "\n".join(session.output.splitlines()[-LINES_SHOWN:]))
    if not any(outcome.result == "passed" for outcome in session.outcomes):
        return result(Verdict.NOT_TRIED, "its tests were skipped here")
    return result(Verdict.SURVIVED, f"all green: {', '.join(mutant.tests)}")


def tell(result: Result) -> None:
    """One line of the table."""
    mutant = result.mutant
    say(f"{result.verdict:9} {result.seconds:5.1f} s  {mutant.group}: {mutant.name}\n{'':19}{result.reason}")


def conclude(results: Sequence[Result], seconds: float) -> int:
    """Sum up, name once more what is wrong, and give the exit code."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    sums = ", ".join(f"{count} {verdict.lower()}" for verdict, count in counts.items())
    say(f"{len(results)} mutants in {seconds:.0f} s: {sums}")
    unwanted = {Verdict.SURVIVED, Verdict.BROKEN} | ({Verdict.NOT_TRIED} if os.environ.get("CI") else set())
    wrong = [result for result in results if result.verdict in unwanted]
    for result in wrong:
        say(f"{result.verdict}: {result.mutant.group}: {result.mutant.name} ({result.mutant.path})")
    return 1 if wrong else 0


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
