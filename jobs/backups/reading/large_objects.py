"""Large objects as statements: their bytes, owner, comment and rights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobs.backups.templates import render
from sql.snapshots import SnapshotSession

PIECE_BYTES = 1024 * 1024
AT_A_TIME = 8

Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class LargeObject:
    """One large object; `first_piece` is all of it if it is shorter than a piece."""

    oid: int
    owner: bytes
    comment: bytes
    holders: bytes
    """Who may have rights as soon as it was made again: its owner, and whoever gets them by default privileges."""
    grants: tuple[bytes, ...] | None
    """`None`: nobody ever granted or revoked anything."""
    first_piece: bytes

    def digest(self, session: SnapshotSession) -> str:
        """A hash of everything about it."""
        found = hashlib.sha256(repr((self.owner, self.comment, self.grants and tuple(sorted(self.grants)))).encode())
        for piece in self.pieces(session):
            found.update(piece)
        return found.hexdigest()

    def pieces(self, session: SnapshotSession) -> Iterator[bytes]:
        """Its bytes, piece by piece."""
        piece, offset = self.first_piece, 0
        while piece:
            yield piece
            offset += len(piece)
            if len(piece) < PIECE_BYTES:
                return
            ((read,),) = session.query("read_large_object", {"oid": self.oid, "offset": offset})
            piece = bytes(read)

    def write(self, session: SnapshotSession, write: Write) -> None:
        """The statements that make it."""
        write(render("large_object_create", oid=self.oid))
        offset = 0
        for piece in self.pieces(session):
            write(render("large_object_put", oid=self.oid, offset=offset, bytes=piece.hex()))
            offset += len(piece)
        write(render("large_object_owner", oid=self.oid, owner=self.owner, comment=self.comment))
        if self.grants is not None:
            write(render("large_object_revoke", oid=self.oid, holders=self.holders))
            for grant in self.grants:
                write(render("large_object_grant", grant=grant))


def large_objects(session: SnapshotSession) -> Iterator[LargeObject]:
    """All of the snapshot, in the order of their oids."""
    for oid, owner, comment, holders, has_rights, grants, piece in session.each("list_large_objects", AT_A_TIME):
        rights = tuple(map(bytes.fromhex, grants)) if has_rights else None
        yield LargeObject(oid, bytes(owner), bytes(comment), bytes(holders), rights, bytes(piece))
