"""What a job is: everything that the frame knows about one. Importing this imports no job's work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from jobs.schedule import EveryTick, Schedule

NOTHING: Mapping[str, Any] = MappingProxyType({})

# Plain classes and named tuples: enumerations and dataclasses cost ten times as much to make, and every tick pays it.


class Scope:
    """Who does a job."""

    HOST = "host"
    """Each host runs its own, under a kernel lock."""
    PLATFORM = "platform"
    """One of all hosts runs it, under a lease in the database with a fencing token."""


class Phase:
    """When in a tick."""

    WORK = 0
    AFTER = 1
    """After all work: what concerns the whole tick, such as notices and metrics."""


class Ref(NamedTuple):
    """A name in a module, such as `jobs.history.run:run`. The module is imported when the name is first needed."""

    text: str

    def load(self) -> Any:
        """Import the module and return the named object. Raises `ValueError` for a text of another form."""
        module, _, name = self.text.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise ValueError(f"{self.text!r} is no reference like 'package.module:name'")
        return getattr(import_module(module), name)


Words = tuple[str, str] | str
"""What is counted, in Spanish: singular and plural, or one text for a number of bytes."""


class Outcome(NamedTuple):
    """What one run of a job did."""

    counts: Mapping[str, int] = NOTHING
    """By the names that its `Job` declares."""
    failures: tuple[str, ...] = ()
    """What could not be done, in Spanish, one line each. The rest was done. A run with failures is not good."""


class Job(NamedTuple):
    """One kind of housekeeping, as `jobs.registry` lists it."""

    name: str
    """Its name on the command line and in the database."""
    title: str
    """What operators read: "El trabajo de TITLE ...", in Spanish."""
    scope: str = Scope.HOST
    due: Schedule | Callable[[Any], Schedule] = EveryTick()
    """Its schedule, or a function from its settings to one."""
    run: Ref | None = None
    """A function from `Context` to `Outcome`. `None`: `JanitorDaemon` itself runs it."""
    preview: Ref | None = None
    """A function of a `Context` that reports what a run would do and writes nothing. It may return an `Outcome`, whose
    failures are what it could not find out."""
    check: Ref | None = None
    """A function of a `Context` that yields findings for `check`."""
    check_without_database: Ref | None = None
    """A function of the program's and the job's own settings that yields findings for `check` while the database cannot
    be used.
    """
    status: Ref | None = None
    """A function of a `Context` that yields findings for `status`: what the job has done, and what needs attention."""
    commands: Ref | None = None
    """A click group, which gets the job's name."""
    settings: Ref | None = None
    """A frozen dataclass of declared settings with a method `is_on`. `None`: it has none and is always on."""
    switches: tuple[str, ...] = ()
    """Variables of which at least one must be set for the job to be on; otherwise its settings are not even imported.
    Empty: its settings alone decide.
    """
    required: Ref | None = None
    """A function of the program's `Settings` that raises `ConfigurationError` if this job could do harm with them.
    Called wherever its own settings are read: in a tick, by `jobs`, `status` and `health`.
    """
    is_on: Callable[[Any], bool] | None = None
    """Whether its settings switch it on, if it shares them with another job. `None`: the settings' own `is_on`."""
    when_off: str = ""
    """What `jobs` shows while it is off: what to set, in Spanish."""
    rights: Mapping[str, str] = NOTHING
    """The rights that its statements need, by table: `"SELECT, DELETE"`; `"EXECUTE"` by the function with the types of
    its arguments. A run and `check` require them.
    """
    optional_rights: Mapping[str, str] = NOTHING
    """Rights of statements that it leaves out if it lacks them. The job itself checks them."""
    counts: Mapping[str, Words] = NOTHING
    """What it counts, by name, as operators read it."""
    goes_by_host_clock: bool = False
    """Whether it judges the age of local files by this host's clock. It does nothing while that clock is far from the
    database's.
    """
    phase: int = Phase.WORK
    observer: Ref | None = None
    """For a job that has no `run`: a class like `jobs.context.Observer`. It sees the start and the end of a run."""

    @property
    def is_done_by_daemon(self) -> bool:
        """Whether `JanitorDaemon` itself does it. Its counts are those of the whole run."""
        return self.run is None and self.observer is None

    @property
    def folder(self) -> str:
        """The package of its code and its statements: that of its `run`."""
        reference = self.run or self.observer or self.preview or self.commands
        package = reference.text.partition(":")[0].split(".")[:2] if reference else ["jobs", self.name]
        return "/".join(package)

    @property
    def settings_class(self) -> type | None:
        """The dataclass of its settings, imported now."""
        return None if self.settings is None else self.settings.load()

    def may_be_on(self, environment: Mapping[str, str]) -> bool:
        """Whether its settings need to be read to find out if it is on."""
        return not self.switches or any(environment.get(name) for name in self.switches)

    def is_on_with(self, own_settings: Any) -> bool:
        """Whether it is on, by its own settings."""
        if own_settings is None:
            return True
        return bool(own_settings.is_on() if self.is_on is None else self.is_on(own_settings))

    def schedule(self, own_settings: Any) -> Schedule:
        """Its schedule, by its own settings."""
        return self.due if isinstance(self.due, Schedule) else self.due(own_settings)
