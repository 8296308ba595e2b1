"""Hashtags: the uses parsed out of captions, in columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.core.captions import parse_caption
from reelspace.signals.normal_forms import NormalForms


@dataclass(frozen=True, slots=True)
class TagUses:
    """U uses of hashtags in the order of works, then captions.

    Legend: V works, U uses, T distinct tags. `work_U` and `tag_U` are row numbers in V and T.
    """

    work_U: NDArray[np.int64]
    raws: tuple[str, ...]
    tag_U: NDArray[np.int64]
    tags: tuple[str, ...]

    def num_works_T(self) -> NDArray[np.int64]:
        """The number of different works of each tag."""
        pairs = np.unique(np.stack([self.tag_U, self.work_U], axis=1), axis=0)
        return np.bincount(pairs[:, 0], minlength=len(self.tags)).astype(np.int64)

    def merged(self, canonical: Mapping[str, str]) -> "TagUses":
        """The same uses under the canonical tag of each tag; tags without one stay."""
        return tag_uses(self.work_U, self.raws, [canonical.get(self.tags[tag], self.tags[tag]) for tag in self.tag_U])


def tag_uses(work_U: NDArray[np.int64], raws: Sequence[str], names: Sequence[str]) -> TagUses:
    """Number the tags of uses: T in the order of text."""
    tags = tuple(sorted(set(names)))
    number = {tag: index for index, tag in enumerate(tags)}
    return TagUses(work_U, tuple(raws), np.array([number[name] for name in names], dtype=np.int64), tags)


def parse_hashtags(captions: Sequence[str], forms: NormalForms) -> tuple[tuple[str, ...], TagUses]:
    """Split V captions into the words without hashtags and the uses of hashtags in normal form."""
    parsed = [parse_caption(caption) for caption in captions]
    work_U = np.array([row for row, caption in enumerate(parsed) for _ in caption.tags], dtype=np.int64)
    raws = [tag for caption in parsed for tag in caption.tags]
    normal = forms.tags(raws)
    return tuple(caption.text for caption in parsed), tag_uses(work_U, raws, [normal[raw] for raw in raws])
