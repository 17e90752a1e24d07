"""Sends the files of an upload: in this process, and by the helpers of the run."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Mapping, Sequence
from itertools import chain

from config.models import PutReceipt
from providers.base import SMALL_TOGETHER_BYTES
from storage.helpers import BYTES_HANDED_OVER, FILES_HANDED_OVER, HelperLost, Helpers
from storage.sending import Assistance, FileToSend, Sender, batch_starts
from storage.uploading.found import Found
from storage.uploading.task import UploadTask


class FilesOfUpload:
    """Sends files by their positions, and notes their receipts."""

    def __init__(self, task: UploadTask, sender: Sender, assistance: Assistance | None) -> None:
        self._task = task
        self._provider = task.provider
        self._tree = task.tree
        self._receipts = task.receipts
        self._pool = task.pool
        self._interruption = task.interruption
        self._sender = sender
        self._assistance = assistance

    def send(self, positions: Sequence[int], found: Found) -> None:
        """Send the files at these positions, except those that were stored before. Raises `MigrationError`."""
        large, small = self._tree.divided_by_size(positions)
        here: list[Sequence[int]] = []
        if self._assistance is not None and self._are_worth_help(large, self._assistance.helpers):
            at_once = self._assistance.helpers.share_of(len(large))
            starts = self._starts(large, at_once, self._tree.size_bytes)
            self._send_by_helpers(large, self._assistance, starts, found)
        else:
            here.append(large)
        if self._assistance is not None and self._assistance.helpers.are_worth_while(len(small)):
            starts = self._starts(small, FILES_HANDED_OVER, BYTES_HANDED_OVER)
            self._send_by_helpers(small, self._assistance, starts, found)
        else:
            here.append(small)
        self._send_here(array("Q", chain(*here)), found)

    def _are_worth_help(self, large: Sequence[int], helpers: Helpers) -> bool:
        worth_bytes = self._provider.offload_threshold_bytes
        if worth_bytes is None or not helpers.are_there:
            return False
        return sum(map(self._tree.size_bytes_of, large)) >= worth_bytes

    def _send_here(self, positions: Sequence[int], found: Found) -> None:
        starts = self._starts(positions, self._provider.objects_at_once, SMALL_TOGETHER_BYTES)

        def send_batch(number: int) -> None:
            self._send_batch(positions[starts[number] : starts[number + 1]], found)

        self._pool.for_each(send_batch, range(len(starts) - 1), self._interruption)

    def _send_by_helpers(
        self, positions: Sequence[int], assistance: Assistance, starts: Sequence[int], found: Found
    ) -> None:
        def hand_over(number: int) -> None:
            part = positions[starts[number] : starts[number + 1]]
            files = self._files_to_send(part, found)
            kept = self._provider.hand_over_unfinished(file.key for file in files)
            descriptor = self._task.original.descriptor
            try:
                sent = assistance.send(files, self._task.place.probe_prefix, kept, descriptor, self._interruption)
            except HelperLost:
                self._sender.left_unfinished = self._sender.unanswered = True
                self._send_in_turn(part, found)
                return
            self._note(sent.receipts)
            self._sender.note_sent_elsewhere(sent)

        assistance.helpers.for_each(hand_over, range(len(starts) - 1), self._interruption)

    def _send_in_turn(self, positions: Sequence[int], found: Found) -> None:
        """Send, in the thread that handed them over, the files that a helper should have sent."""
        starts = self._starts(positions, self._provider.objects_at_once, SMALL_TOGETHER_BYTES)
        for start, end in itertools.pairwise(starts):
            self._send_batch(positions[start:end], found)

    def _starts(self, positions: Sequence[int], most: int, most_bytes: int) -> array[int]:
        """Where each batch begins, and where the last one ends."""
        sizes_bytes = map(self._tree.size_bytes_of, positions)
        return array("Q", chain(batch_starts(sizes_bytes, most, most_bytes), [len(positions)]))

    def _files_to_send(self, positions: Sequence[int], found: Found) -> list[FileToSend]:
        return [
            FileToSend(
                position,
                self._receipts.key(position),
                self._tree.entry(position),
                found.stored_before.of(position),
                bool(found.occupied[position]),
                self._task.objects_here_are_ours,
            )
            for position in positions
        ]

    def _send_batch(self, positions: Sequence[int], found: Found) -> None:
        self._note(self._sender.send(self._files_to_send(positions, found)))

    def _note(self, receipts: Mapping[int, PutReceipt]) -> None:
        for position, receipt in receipts.items():
            self._receipts.note(position, receipt)
