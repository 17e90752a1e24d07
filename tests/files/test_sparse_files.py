"""What is written with its zeros left out is the same file."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from files.sparse_files import BLOCK_BYTES, DiffersFromFile, SparseWriter
from providers import build_provider
from tests.destinations import Destination
from tests.executions.restores import contents, restore_copy, store_copy

MEBIBYTE = 1024 * 1024


def write(path: Path, pieces: list[bytes], there: bytes = b"") -> None:
    path.write_bytes(there)
    with path.open("r+b") as file:
        writer = SparseWriter(file.fileno(), len(there))
        for piece in pieces:
            writer.write(piece)
        writer.finish()


def cut(content: bytes, next_size_bytes: Callable[[], int]) -> list[bytes]:
    """The content in pieces."""
    pieces = []
    start = 0
    while start < len(content):
        end = start + next_size_bytes()
        pieces.append(content[start:end])
        start = end
    return pieces


def random_content(dice: random.Random) -> bytes:
    """Runs of zeros and of other bytes, on the boundaries of blocks and off them."""
    runs = []
    for _ in range(dice.randrange(1, 12)):
        sizes = (1, 7, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, dice.randrange(40_000))
        size = dice.choice(sizes)
        runs.append(dice.choice((bytes(size), bytes(size), dice.randbytes(size), b"\0x" * size)))
    return b"".join(runs)


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_in_any_pieces_come_out_as_they_are(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 repeatable
    content = random_content(dice)
    sizes = (1, 100, 4096) if len(content) < 9000 else (4096, 32_768, 65_521, 200_000)
    there = content[: dice.choice((0, 0, 1, len(content) // 2, len(content)))]
    write(tmp_path / "file", cut(content, lambda: dice.choice(sizes)), there)
    assert (tmp_path / "file").read_bytes() == content


def test_zeros_take_no_room(tmp_path: Path) -> None:
    """Pieces end anywhere: those of a network do."""
    content = bytes(4 * MEBIBYTE) + b"x" * BLOCK_BYTES + bytes(4 * MEBIBYTE)
    for piece_bytes in (MEBIBYTE, 32_768, 65_521):
        write(tmp_path / "file", cut(content, partial(int, piece_bytes)))
        assert (tmp_path / "file").read_bytes() == content
        assert (tmp_path / "file").stat().st_blocks * 512 <= 4 * BLOCK_BYTES, piece_bytes


def test_single_blocks_of_zeros_among_others_take_no_room(tmp_path: Path) -> None:
    content = (b"x" * BLOCK_BYTES + bytes(3 * BLOCK_BYTES)) * 64
    write(tmp_path / "file", [content])
    assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "file").stat().st_blocks * 512 <= len(content) // 2


@pytest.mark.parametrize("there", [b"other", b"y", b"\0"])
def test_what_the_file_holds_already_is_compared_and_not_replaced(tmp_path: Path, there: bytes) -> None:
    with pytest.raises(DiffersFromFile):
        write(tmp_path / "file", [b"xo", b"ther bytes"], there)
    assert (tmp_path / "file").read_bytes() == there


@pytest.mark.parametrize("name", ["s3-rclone", "azure", "gcs", "sftp-openssh", "local"])
def test_a_sparse_file_comes_back_sparse_from_every_kind_of_destination(
    new_destination: Callable[[str], Destination], tmp_path: Path, name: str
) -> None:
    content = b"begin" + bytes(24 * MEBIBYTE) + os.urandom(10_000) + bytes(8 * MEBIBYTE)
    with closing(build_provider(new_destination(name).provider_row())) as provider:
        store_copy(provider, {"disk.img": content})
        restore_copy(provider, tmp_path / "restored")
    assert contents(tmp_path / "restored") == {"disk.img": content}
    assert (tmp_path / "restored" / "disk.img").stat().st_blocks * 512 < MEBIBYTE
