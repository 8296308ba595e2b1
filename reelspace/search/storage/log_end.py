"""Ends the log of a shard whose collection moves into another."""

from reelspace.core.errors import PreconditionFailed
from reelspace.search.storage.log import Log
from reelspace.search.storage.marks import Mark
from reelspace.search.storage.reader import LogTail


def end_log(log: Log, to: str, after: int, at_us: int) -> int:
    """Set the mark at which a log ends, and give its number; a mark that is there stays.

    Writers go on meanwhile: whatever they bring into the log before the mark is below its number, and what they bring later they are
    refused, for they read the mark before they try a number behind it.

    Args:
        to: full name of the collection that goes on in place of the log's.
        after: a number of the log up to which there is no mark.

    Raises:
        LogGap: what comes after that number is dropped.
    """
    tail = LogTail(log, after)
    while True:
        # Nothing between the look at the next number and the try to take it: writers take one number after the other.
        while entries := tail.poll():
            if (mark := entries[-1].mark) is not None and mark.kind == "moved_to":
                log.confirm(tail.number)
                return tail.number
        try:
            log.append_mark(tail.number + 1, Mark("moved_to", to, at_us))
        except PreconditionFailed:
            continue
        # As a writer does: nothing below the floor counts.
        if log.floor() <= tail.number:
            return tail.number + 1
