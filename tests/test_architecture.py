"""Checks the rules of the code: which layer may import what, that no imports form a circle, how long a function may be,
that no error is swallowed.

Each rule gives the places that break it, as `file:line: what`, and is itself shown a breach that it must find.
"""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import PurePosixPath

import pytest

from tests.repository import PRODUCT_FOLDERS, REPOSITORY

PROGRAM = "janitor_daemon.py"
LONGEST_FUNCTION_LINES = 60
MOST_MODULES_OF_A_FOLDER = 12

FRAME = "jobs"
"""What all jobs share. A folder in it with a `job.py` is a job, and a layer of its own."""

BELOW_THE_FRAME = {"config", "files", "sql", "providers", "storage"}

JOBS = frozenset(f"{FRAME}/{path.parent.name}" for path in (REPOSITORY / FRAME).glob("*/job.py"))

LAYERS_BELOW = {
    "config": set(),
    "files": {"config"},
    "sql": {"config"},
    "providers": {"config", "files"},
    "storage": {"config", "files", "providers"},
    FRAME: BELOW_THE_FRAME,
    **{job: {FRAME, *BELOW_THE_FRAME} for job in JOBS},
    "commands": {"demo", *JOBS, FRAME, *BELOW_THE_FRAME},
    "demo": {FRAME, *BELOW_THE_FRAME},
    PROGRAM: {"commands", *JOBS, FRAME, *BELOW_THE_FRAME},
}
"""Each layer, and those below it; no job knows another one, and nothing knows the program."""

BENCHMARKS_BELOW = {
    "measuring": set(),
    "arena": set(),
    **{contests: {"measuring", "arena"} for contests in ("migration", "restoring", "jobs", "scale")},
}
"""Each room of the benchmarks, and those that it may know; what runs them all knows them all."""

FILES_THAT_MAY_IMPORT = {
    "boto3": ("providers/s3/access.py",),
    "botocore": ("providers/s3/*.py",),
    "azure": ("providers/azure/*.py",),
    "google": ("providers/gcs/*.py",),
    "google_crc32c": ("providers/gcs/upload_sessions.py",),
    "paramiko": ("providers/sftp/provider.py", "providers/sftp/ssh.py", "providers/sftp/ssh_authentication.py"),
    "obstore": (
        *("providers/shared/object_store_errors.py", "providers/shared/object_store_get.py"),
        *("providers/shared/object_store_put.py", "providers/shared/object_store_reading.py"),
        *("providers/azure/provider.py", "providers/s3/access.py"),
    ),
    "isal": ("jobs/*/compression.py",),
    "apprise": ("config/mailbox.py", "jobs/notify/sending.py"),
    "pyrage": ("jobs/backups/offsite/encryption.py",),
    "psycopg2": ("sql/*.py",),
    "click": (PROGRAM, "config/options.py", "commands/*.py", "jobs/*/commands.py"),
}
"""Each package of others that only some files know, and those files."""

SLOW_PACKAGES = (
    "apprise",
    "azure",
    "boto3",
    "botocore",
    "cryptography",
    "google",
    "obstore",
    "paramiko",
    "pyrage",
    "requests",
)
"""Together they cost seconds of start-up, which a tick with nothing to do must not pay."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One of our modules, parsed: `nodes` are all of its syntax tree."""

    path: str
    nodes: tuple[ast.AST, ...]

    @property
    def layer(self) -> str:
        """The layer that it belongs to; the program itself is one, and so is each job."""
        return layer_of(self.path.split("/"))

    def at(self, node: ast.stmt | ast.expr | ast.excepthandler, what: str) -> str:
        """A breach, as an editor understands it."""
        return f"{self.path}:{node.lineno}: {what}"


def layer_of(parts: Sequence[str]) -> str:
    """The layer of a file by the parts of its path, or of what is imported by those of its name."""
    layer = "/".join(parts[:2])
    return layer if layer in LAYERS_BELOW else parts[0]


def parsed(path: str, source: str) -> SourceFile:
    """A file as a rule sees it."""
    return SourceFile(path, tuple(ast.walk(ast.parse(source))))


def files_of(*patterns: str) -> list[SourceFile]:
    """The modules of this checkout that match the patterns."""
    found = sorted({path for pattern in patterns for path in REPOSITORY.glob(pattern)})
    gc.disable()  # what is made here stays: to look for garbage in it again and again takes longer than to make it
    try:
        return [parsed(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")) for path in found]
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def product_files() -> list[SourceFile]:
    """What is installed: the program and its folders, without tests and benchmarks."""
    return files_of(PROGRAM, *(f"{folder}/**/*.py" for folder in PRODUCT_FOLDERS))


@pytest.fixture(scope="module")
def other_files() -> list[SourceFile]:
    """Tests and benchmarks."""
    return files_of("tests/**/*.py", "benchmarks/**/*.py")


def imports(file: SourceFile) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Every import of a file with its full name, also inside functions and as a literal `import_module("...")`."""
    for node in file.nodes:
        match node:
            case ast.Import(names=names):
                yield from ((node, alias.name) for alias in names)
            case ast.ImportFrom(level=0, module=str(module), names=names):
                yield from ((node, f"{module}.{alias.name}") for alias in names)
            case ast.ImportFrom(module=module, names=names):
                package = ".".join(PurePosixPath(file.path).parts[: -node.level])
                base = ".".join(filter(None, (package, module)))
                yield from ((node, f"{base}.{alias.name}") for alias in names)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield node, name


def foreign_imports(file: SourceFile) -> Iterator[str]:
    """Packages of others that this file must not know."""
    for node, name in imports(file):
        package = name.split(".", maxsplit=1)[0]
        allowed = FILES_THAT_MAY_IMPORT.get(package, ("*",))
        if not any(fnmatch(file.path, pattern) for pattern in allowed):
            yield file.at(node, f"imports {package}, which only {' and '.join(allowed)} may")


def imports_of_wrong_layers(file: SourceFile) -> Iterator[str]:
    """Layers of ours that this file's layer must not know."""
    ours = {*LAYERS_BELOW, "janitor_daemon", "tests", "benchmarks"}
    for node, name in imports(file):
        layer = layer_of(name.split("."))
        if layer in ours - LAYERS_BELOW[file.layer] - {file.layer}:
            yield file.at(node, f"{file.layer} imports {layer}")


def imports_of_wrong_benchmarks(file: SourceFile) -> Iterator[str]:
    """Rooms of the benchmarks that this one must not know."""
    parts = file.path.split("/")
    if parts[0] != "benchmarks" or len(parts) == 2:
        return
    room = parts[1]
    for node, name in imports(file):
        package, _, imported = name.partition(".")
        if package == "benchmarks" and imported.partition(".")[0] not in {room, *BENCHMARKS_BELOW[room]}:
            yield file.at(node, f"{room} imports {imported}")


def references_to_wrong_layers(file: SourceFile) -> Iterator[str]:
    """References of a job to layers that it must not import: a reference would be a way round that rule."""
    for node in file.nodes:
        match node:
            case ast.Call(func=ast.Name(id="Ref"), args=[ast.Constant(value=str(text))]) if file.layer in JOBS:
                layer = layer_of(text.partition(":")[0].split("."))
                if layer not in {file.layer, *LAYERS_BELOW[file.layer]}:
                    yield file.at(node, f"{file.layer} refers to {layer}")


def long_functions(file: SourceFile) -> Iterator[str]:
    """Functions of more lines than a page holds, decorators not counted."""
    for node in file.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION_LINES:
                yield file.at(node, f"{node.name} has {lines} lines")


def swallowed_errors(file: SourceFile) -> Iterator[str]:
    """Places where any error at all, whatever it means, is caught and forgotten."""
    for node in file.nodes:
        if isinstance(node, ast.ExceptHandler) and catches_everything(node.type) and does_nothing(node.body):
            yield file.at(node, "catches everything and does nothing")
        if isinstance(node, ast.Call) and name_of(node.func) == "suppress" and any(map(catches_everything, node.args)):
            yield file.at(node, "suppresses everything")


def catches_everything(caught: ast.expr | None) -> bool:
    """Whether an `except` of this takes in every error."""
    if isinstance(caught, ast.Tuple):
        return any(map(catches_everything, caught.elts))
    return caught is None or name_of(caught) in ("Exception", "BaseException")


def does_nothing(body: list[ast.stmt]) -> bool:
    """Whether these statements have no effect but to go on."""
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def name_of(expression: ast.expr) -> str:
    """The last word of `name` and of `module.name`."""
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def sql_in_strings(file: SourceFile) -> Iterator[str]:
    """Statements written outside the folder that holds them all."""
    if file.layer == "sql":
        return
    beginnings = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "ALTER TABLE ")
    for node in file.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(beginnings):
            yield file.at(node, "holds an SQL statement")


def misplaced_descriptions(file: SourceFile) -> Iterator[str]:
    """Descriptions that follow another one: what each of them describes is not clear."""
    for node in file.nodes:
        body = getattr(node, "body", None)
        for before, after in pairwise(body if isinstance(body, list) else []):
            if is_description(before) and is_description(after):
                yield file.at(after, "follows another description")


def is_description(statement: ast.stmt) -> bool:
    """Whether a statement is a text and nothing else."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


Rule = Callable[[SourceFile], Iterator[str]]


def require_kept(rule: Rule, files: Iterable[SourceFile]) -> None:
    """Fail with every place that breaks the rule."""
    breaches = [breach for file in files for breach in rule(file)]
    assert not breaches, "\n".join(["", *breaches])


@pytest.mark.parametrize(
    "rule",
    [
        *(foreign_imports, imports_of_wrong_layers, references_to_wrong_layers),
        *(long_functions, misplaced_descriptions, sql_in_strings, swallowed_errors),
    ],
)
def test_product_keeps_the_rule(product_files: list[SourceFile], rule: Rule) -> None:
    assert {file.layer for file in product_files} == LAYERS_BELOW.keys()
    require_kept(rule, product_files)


@pytest.mark.parametrize(
    "rule", [imports_of_wrong_benchmarks, long_functions, misplaced_descriptions, swallowed_errors]
)
def test_tests_and_benchmarks_keep_the_rule(other_files: list[SourceFile], rule: Rule) -> None:
    assert "tests/test_architecture.py" in {file.path for file in other_files}
    require_kept(rule, other_files)


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (foreign_imports, "providers/base.py", "import boto3"),
        (foreign_imports, "storage/upload.py", "from botocore.config import Config"),
        (foreign_imports, "storage/upload.py", "def late():\n    import boto3.session"),
        (foreign_imports, "providers/azure/provider.py", "from google.cloud import storage"),
        (foreign_imports, "commands/check.py", "import importlib\nimportlib.import_module('paramiko')"),
        (foreign_imports, "janitor_daemon.py", "from psycopg2 import errors"),
        (foreign_imports, "config/settings.py", "import click"),
        (foreign_imports, "config/providers/s3/provider.py", "import obstore"),
        (imports_of_wrong_layers, "config/logs.py", "import sql.database"),
        (imports_of_wrong_layers, "config/logs.py", "from providers import base"),
        (imports_of_wrong_layers, "providers/base.py", "from ..jobs import upload"),
        (imports_of_wrong_layers, "sql/database.py", "from providers.errors import ProviderError"),
        (imports_of_wrong_layers, "storage/upload.py", "import janitor_daemon"),
        (imports_of_wrong_layers, "janitor_daemon.py", "from tests.servers import swift"),
        (imports_of_wrong_benchmarks, "benchmarks/jobs/logs.py", "from benchmarks.migration.moves import tick"),
        (imports_of_wrong_benchmarks, "benchmarks/arena/trees.py", "from benchmarks import measuring"),
        (references_to_wrong_layers, "jobs/weekly/data.py", "A = Ref('commands.status.words:in_need_of_a_person')"),
        (references_to_wrong_layers, "jobs/weekly/data.py", "A = Ref('jobs.metrics.run:run')"),
        (long_functions, "jobs/a.py", "def f():\n" + "    pass\n" * 60),
        (long_functions, "jobs/a.py", "class A:\n    async def f(self):\n" + "        pass\n" * 60),
        (swallowed_errors, "jobs/a.py", "try:\n    f()\nexcept Exception:\n    pass"),
        (swallowed_errors, "jobs/a.py", "try:\n    f()\nexcept (OSError, BaseException):\n    'why'"),
        (swallowed_errors, "jobs/a.py", "for a in b:\n    try:\n        f()\n    except:\n        continue"),
        (swallowed_errors, "jobs/a.py", "with contextlib.suppress(Exception):\n    f()"),
        (misplaced_descriptions, "jobs/a.py", "A = 1\nB = 2\n'Of B.'\n'Of A.'"),
        (misplaced_descriptions, "jobs/a.py", "class A:\n    'This class.'\n    'This class, too.'"),
        (sql_in_strings, "jobs/a.py", "database.execute('DELETE FROM ejecuciones_yaml')"),
    ],
)
def test_rule_finds_a_breach(rule: Rule, path: str, source: str) -> None:
    (breach,) = rule(parsed(path, source))
    assert breach.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (foreign_imports, "providers/s3/access.py", "import boto3, botocore.config, obstore.store"),
        (foreign_imports, "sql/connection.py", "import psycopg2.extras"),
        (foreign_imports, "storage/upload.py", "import tenacity"),
        (imports_of_wrong_layers, "storage/upload.py", "from providers.base import Provider\nfrom . import tree"),
        (
            imports_of_wrong_benchmarks,
            "benchmarks/jobs/logs.py",
            "from benchmarks.arena import trees\nfrom benchmarks.jobs import audit\nfrom jobs.logs import cleaning",
        ),
        (imports_of_wrong_benchmarks, "benchmarks/__main__.py", "from benchmarks.jobs import logs"),
        (
            references_to_wrong_layers,
            "jobs/weekly/job.py",
            "A = Ref('jobs.weekly.run:run'), Ref('sql.database:Database')",
        ),
        (references_to_wrong_layers, "jobs/registry.py", "A = Ref('jobs.weekly.job:JOB')"),
        (long_functions, "jobs/a.py", "def f():\n" + "    pass\n" * 59),
        (swallowed_errors, "jobs/a.py", "try:\n    f()\nexcept FileNotFoundError:\n    pass"),
        (swallowed_errors, "jobs/a.py", "try:\n    f()\nexcept Exception as error:\n    note(error)"),
        (misplaced_descriptions, "jobs/a.py", "'This module.'\nA = 1\n'Of A.'\nB = 2\n'Of B.'"),
        (sql_in_strings, "sql/tables/schema.py", "execute('SELECT 1')"),
    ],
)
def test_rule_leaves_good_code_alone(rule: Rule, path: str, source: str) -> None:
    assert list(rule(parsed(path, source))) == []


def crowded_folders(paths: Iterable[str]) -> list[str]:
    """Folders with more modules than one can keep in mind, `__init__.py` not counted."""
    modules = (PurePosixPath(path) for path in paths)
    counts = Counter(str(module.parent) for module in modules if module.name != "__init__.py")
    return [f"{folder}: {count} modules" for folder, count in counts.items() if count > MOST_MODULES_OF_A_FOLDER]


def test_no_folder_is_crowded(product_files: list[SourceFile]) -> None:
    others = files_of("benchmarks/**/*.py", "tests/**/*.py", "tools/**/*.py")
    assert {"benchmarks/__main__.py", "tools/build_backend.py"} <= {file.path for file in others}
    assert crowded_folders(file.path for file in [*product_files, *others]) == []
    assert crowded_folders(f"jobs/a/{number}.py" for number in range(13)) == ["jobs/a: 13 modules"]
    assert crowded_folders(["jobs/a/__init__.py", *(f"jobs/a/{number}.py" for number in range(12))]) == []


def circle_of_imports(files: Iterable[SourceFile]) -> list[str]:
    """Modules that import each other in a circle, also from within functions; imports for types alone do not count."""
    modules = modules_by_name(files)
    return circle_in({name: set(imported_modules(file, modules.keys())) - {name} for name, file in modules.items()})


def circle_of_rooms(files: Iterable[SourceFile]) -> list[str]:
    """Folders side by side of which each has a module that imports one of the next, in a circle."""
    modules = modules_by_name(files)
    graph: dict[str, set[str]] = {}
    for file in modules.values():
        for name in imported_modules(file, modules.keys()):
            pairs = zip(folders_down_to(file), folders_down_to(modules[name]), strict=False)
            room, imported = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
            if room:
                graph.setdefault(room, set()).add(imported)
    return circle_in(graph)


def folders_down_to(file: SourceFile) -> list[str]:
    """The folders that a file is in, the outermost first."""
    return [str(folder) for folder in reversed(PurePosixPath(file.path).parents)]


def modules_by_name(files: Iterable[SourceFile]) -> dict[str, SourceFile]:
    """Each file by the name that others import."""
    return {".".join(PurePosixPath(file.path).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The names of a circle, none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imported_modules(file: SourceFile, modules: Container[str]) -> Iterator[str]:
    """Those of our modules that a file imports when it runs."""
    for_types = {
        inner
        for node in file.nodes
        if isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node, name in imports(file):
        if node not in for_types:
            yield from [found for found in (name, name.rpartition(".")[0]) if found in modules][:1]


def test_no_modules_import_each_other_in_a_circle(product_files: list[SourceFile]) -> None:
    assert circle_of_imports(product_files) == []


def test_no_rooms_import_each_other_in_a_circle(product_files: list[SourceFile]) -> None:
    """A reader of one room need not know those above it."""
    assert circle_of_rooms(product_files) == []
    circle = [
        *(parsed("jobs/a/one/x.py", "from jobs.a.two.x import f"), parsed("jobs/a/two/x.py", "F = 1")),
        *(parsed("jobs/a/two/y.py", "from jobs.a.one import y"), parsed("jobs/a/one/y.py", "from jobs.a import z")),
        parsed("jobs/a/z.py", "from jobs.a.one import y"),
    ]
    assert set(circle_of_rooms(circle)) == {"jobs/a/one", "jobs/a/two"}
    assert circle_of_rooms(circle[:2] + circle[3:]) == []


@pytest.mark.parametrize("late", ["import jobs.a", "def f():\n    from jobs import a", "from jobs.a import f"])
def test_a_circle_of_imports_is_found(late: str) -> None:
    circle = [parsed("jobs/a.py", "from jobs.b import f"), parsed("jobs/b.py", late)]
    assert set(circle_of_imports(circle)) == {"jobs.a", "jobs.b"}
    for_types = parsed("jobs/b.py", "if TYPE_CHECKING:\n    from jobs.a import f")
    assert circle_of_imports([circle[0], for_types]) == []


def loaded_packages(statement: str) -> set[str]:
    """The top-level packages that a new Python has loaded after a statement."""
    report = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    answer = subprocess.run(
        [sys.executable, "-c", report], cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=60
    )
    return set(answer.stdout.split())


def test_starting_the_program_loads_no_slow_package() -> None:
    loaded = loaded_packages("import janitor_daemon")
    assert {"click", "psycopg2", "providers", "jobs"} <= loaded
    assert loaded & set(SLOW_PACKAGES) == set()


def test_loading_a_provider_is_what_loads_its_package() -> None:
    assert "botocore" in loaded_packages("import janitor_daemon, providers.s3.provider")
