"""How names are written where a store cannot hold them: reversible, and as rclone writes them."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from pathlib import Path

import pytest

from demo.servers.s3 import rclone_program
from providers.base import part_size_for
from providers.names import (
    BACKSLASH,
    CONTROL_CHARACTERS,
    DELETE_CHARACTER,
    FINAL_PERIOD,
    LINE_ENDS,
    QUOTE,
    NameEncoding,
)

S3 = NameEncoding()
GCS = NameEncoding(LINE_ENDS)
AZURE = NameEncoding(BACKSLASH, DELETE_CHARACTER, CONTROL_CHARACTERS, final_period=True)

ENCODINGS = {
    "s3": (S3, "Slash,InvalidUtf8,Dot"),
    "gcs": (GCS, "Slash,CrLf,InvalidUtf8,Dot"),
    "azure": (AZURE, "Slash,BackSlash,Del,Ctl,RightPeriod,InvalidUtf8"),
}
"""Our encoding, and what rclone calls its default one for that kind of store."""

each_encoding = pytest.mark.parametrize("encoding", [S3, GCS, AZURE], ids=["s3", "gcs", "azure"])

PIECES = [
    "a",
    "ñ",
    ".",
    "\\",
    "\n",
    "\r",
    "\x01",
    "\x7f",
    "\uff3c",
    "\u240a",
    "\u2421",
    "F",
    "E",
    "0",
    QUOTE,
    FINAL_PERIOD,
]
PIECES += [os.fsdecode(bytes([byte])) for byte in (0x80, 0xC3, 0xFE)]


def is_name(text: str) -> bool:
    """Whether a file can have this name, as `os.fsdecode` gives it."""
    return text not in {"", ".", ".."} and os.fsdecode(os.fsencode(text)) == text


SHORT_NAMES = [
    name for length in (1, 2, 3) for name in map("".join, itertools.product(PIECES, repeat=length)) if is_name(name)
]
"""Every name of up to three of the pieces that an encoding may stumble over."""


@each_encoding
def test_every_short_name_comes_back(encoding: NameEncoding) -> None:
    for name in SHORT_NAMES:
        assert encoding.decode(encoding.encode(name)) == name, ascii(name)


@each_encoding
def test_no_two_names_are_written_alike(encoding: NameEncoding) -> None:
    assert len({encoding.encode(name) for name in SHORT_NAMES}) == len(SHORT_NAMES)


@each_encoding
def test_random_paths_come_back(encoding: NameEncoding) -> None:
    chooser = random.Random(7)  # noqa: S311 not a secret
    for _ in range(2_000):
        path = os.fsdecode(chooser.randbytes(chooser.randrange(1, 40)).replace(b"\0", b"/"))
        assert encoding.decode(encoding.encode(path)) == path, ascii(path)


@each_encoding
def test_what_is_written_is_unicode_and_keeps_its_slashes(encoding: NameEncoding) -> None:
    for name in SHORT_NAMES:
        written = encoding.encode(f"a/{name}/b")
        written.encode("utf-8", "strict")
        assert written.startswith("a/")
        assert written.endswith("/b")
        assert written.count("/") == 2


def test_azure_never_sees_what_it_cannot_hold() -> None:
    refused = {"\\", "\x7f", *map(chr, range(32))}
    for name in SHORT_NAMES:
        written = AZURE.encode(name)
        assert not refused & set(written), ascii(name)
        assert not written.endswith("."), ascii(name)


@each_encoding
def test_ordinary_names_stay_as_they_are(encoding: NameEncoding) -> None:
    for name in ("resultado final.csv", ".hidden", "#%?+&\"'", "ñ", "n\u0303", "日本", "x" * 255):
        assert encoding.encode(f"a/{name}") == f"a/{name}"


@pytest.mark.parametrize("kind", ENCODINGS)
def test_rclone_writes_the_same_names(kind: str, quick_directory: Path) -> None:
    """rclone copies files of odd names to a directory, writing them as it would for that kind of store."""
    encoding, rclone_encoding = ENCODINGS[kind]
    original, copy = quick_directory / "original", quick_directory / "copy"
    original.mkdir()
    # In a local directory, rclone takes the quote character for one that it has written itself. And to names of which
    # nothing but the look is that of `.` and `..` it adds a quote character, in case it has to write those.
    names = [name for name in SHORT_NAMES if QUOTE not in name and name not in {FINAL_PERIOD, FINAL_PERIOD * 2}]
    for name in names:
        os.mknod(f"{original}/{name}")
    environment = {"RCLONE_CONFIG": "", "RCLONE_LOCAL_ENCODING": "None", "RCLONE_NO_UNICODE_NORMALIZATION": "true"}
    subprocess.run(
        [str(rclone_program()), "--quiet", "copy", original, f":local,encoding='{rclone_encoding}':{copy}"],
        check=True,
        env={**os.environ, **environment},
        timeout=120,
    )
    assert sorted(encoding.encode(name) for name in names) == sorted(os.listdir(copy))


@pytest.mark.parametrize(
    ("size_bytes", "part_mebibytes"),
    [(0, 8), (80_000 * 1024 * 1024, 8), (80_000 * 1024 * 1024 + 1, 9), (5 * 1024**4, 525)],
)
def test_parts_grow_so_that_ten_thousand_are_enough(size_bytes: int, part_mebibytes: int) -> None:
    part_size_bytes = part_size_for(size_bytes)
    assert part_size_bytes == part_mebibytes * 1024 * 1024
    assert part_size_bytes * 10_000 >= size_bytes
