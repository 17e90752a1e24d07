"""The files that are moved: made once, copied for each run, compared with what arrived."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

SMALLEST_FILE_BYTES = 1024
LARGEST_FILE_BYTES = 64 * 1024
MEBIBYTE = 1024 * 1024


def make_small_files(directory: Path, executions: int, files: int) -> None:
    """A number of executions with a number of files of 1-64 KB each, the same in every run."""
    generator = random.Random(1)
    for execution in range(executions):
        target = _new_execution(directory, execution)
        for file in range(files):
            size_bytes = generator.randrange(SMALLEST_FILE_BYTES, LARGEST_FILE_BYTES)
            (target / f"{file:05}.csv").write_bytes(generator.randbytes(size_bytes))


def make_large_files(directory: Path, executions: int, files: int, size_mib: int) -> None:
    """Executions with files of one size each. No two blocks of a file are equal, nor two files."""
    generator = random.Random(2)
    for execution in range(executions):
        target = _new_execution(directory, execution)
        for file in range(files):
            block = generator.randbytes(MEBIBYTE)
            with (target / f"{file:05}.bin").open("wb") as stream:
                for number in range(size_mib):
                    stream.write(block[number:] + block[:number])


def _new_execution(directory: Path, number: int) -> Path:
    target = directory / f"execution-{number:05}"
    target.mkdir(parents=True)
    return target


def copy_into(original: Path, target: Path) -> None:
    """Copy what is in one directory into another one, with all times and modes; never as hard links."""
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{original}/.", str(target)], check=True)


def require_nothing_left(directory: Path) -> None:
    """Raises `RuntimeError` if there is still a file below `directory`."""
    left = sum(path.is_file() for path in directory.rglob("*"))
    if left:
        raise RuntimeError(f"{left} files were not moved out of {directory}")


def require_identical(original: Path, arrived: Path) -> None:
    """Raises `RuntimeError` unless every file of `original` is in `arrived` with the same bytes."""
    names = [path.relative_to(original) for path in original.rglob("*") if path.is_file()]
    different = [name for name in names if not _same_bytes(original / name, arrived / name)]
    if different or not names:
        raise RuntimeError(f"{len(different)} of {len(names)} files did not arrive as they were, {different[:3]} …")


def _same_bytes(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while block := left.read(MEBIBYTE):
            if block != right.read(len(block)):
                return False
    return True
