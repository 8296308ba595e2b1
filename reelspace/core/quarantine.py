"""The quarantine: what came in went out or lies here with a reason, and the sum is checked."""

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from reelspace.core.errors import InternalError, UserError

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class BadItem:
    """One rejected item: reason is a short code, detail a sentence, byte_range (start, end) where it lay in its container."""

    id: str
    reason: str
    detail: str
    sha256: str
    byte_range: tuple[int, int] | None


class Ledger:
    """Counts items in and out of a step, and stops the step when too many are bad."""

    def __init__(self, max_bad_ratio: float, max_consecutive: int = 100) -> None:
        self._max_bad_ratio = max_bad_ratio
        self._max_consecutive = max_consecutive
        self._accepted: set[str] = set()
        self._bad: dict[str, BadItem] = {}
        self._consecutive = 0

    @property
    def num_out(self) -> int:
        """Items accepted so far."""
        return len(self._accepted)

    @property
    def num_quarantined(self) -> int:
        """Items rejected so far."""
        return len(self._bad)

    @property
    def bad_items(self) -> tuple[BadItem, ...]:
        """The rejected items, by id."""
        return tuple(self._bad[item_id] for item_id in sorted(self._bad))

    def accept(self, item_id: int | str) -> None:
        """Count an item that went out."""
        self._accepted.add(self._new(item_id))
        self._consecutive = 0

    def reject(self, item_id: int | str, reason: str, detail: str, sha256: str = "", byte_range: tuple[int, int] | None = None) -> None:
        """Count an item that did not, with why.

        Raises:
            UserError: as many in a row were rejected as are allowed: the reader is broken rather than the items.
        """
        name = self._new(item_id)
        self._bad[name] = BadItem(name, reason, " ".join(detail.split()), sha256, byte_range)
        self._consecutive += 1
        if self._consecutive >= self._max_consecutive:
            raise UserError(f"{self._consecutive} items in a row are bad, the last is {name} ({reason}: {detail})")

    def finish(self, num_in: int | None = None) -> None:
        """Close the books.

        Args:
            num_in: how many items the caller handed in, counted on its own; None if it has no count.

        Raises:
            InternalError: in is not out + quarantined.
            UserError: more than max_bad_ratio of the items are bad; the message gives the reasons.
        """
        total = self.num_out + self.num_quarantined
        if num_in is not None and num_in != total:
            raise InternalError(f"{num_in} items came in, but {self.num_out} went out and {self.num_quarantined} are in quarantine")
        if total and self.num_quarantined / total > self._max_bad_ratio:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self._reasons().items())
            raise UserError(
                f"{self.num_quarantined} of {total} items are bad ({reasons}), "
                f"more than the allowed share of {self._max_bad_ratio:g}: repair the input or raise max_bad_ratio"
            )

    def write(self, directory: Path) -> None:
        """Write `ledger.json` and `quarantine/<id>.json` per bad item; the bytes do not depend on the order of the calls."""
        directory.mkdir(parents=True, exist_ok=True)
        summary = {
            "in": self.num_out + self.num_quarantined,
            "out": self.num_out,
            "quarantined": self.num_quarantined,
            "reasons": self._reasons(),
        }
        (directory / "ledger.json").write_text(_json(summary), encoding="utf-8")
        for item in self._bad.values():
            path = directory / "quarantine" / f"{item.id}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(_json(asdict(item)), encoding="utf-8")

    def _new(self, item_id: int | str) -> str:
        name = str(item_id)
        if not _SAFE_ID.fullmatch(name):
            raise InternalError(f"item id {name[:80]!r} cannot name a file: expected letters, digits, '.', '_' and '-'")
        if name in self._accepted or name in self._bad:
            raise InternalError(f"item {name} was counted twice")
        return name

    def _reasons(self) -> dict[str, int]:
        return dict(sorted(Counter(item.reason for item in self._bad.values()).items()))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
