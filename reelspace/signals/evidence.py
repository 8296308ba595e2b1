"""Evidence: all that the noise rules look at, gathered once.

Legend: V works, U uses of hashtags, T distinct tags, K dimension of contexts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reelspace.signals import agreement
from reelspace.signals.contexts import Contexts
from reelspace.signals.hashtags import TagUses
from reelspace.signals.lexicons import Lexicons
from reelspace.signals.settings import SignalsSettings
from reelspace.signals.tables import Works

_US_PER_DAY = 86_400e6
NO_CATEGORY = -1


@dataclass(frozen=True)
class Evidence:
    """What is known about every use of a hashtag.

    `said` holds per work the words of its caption, cover, satisfied queries and comments; `words_of_tags` the words a tag consists of.
    `embeddings_VD` are a model's unit vectors of works, zero where it gave none; None where there is no model.
    """

    uses: TagUses
    works: Works
    said: Sequence[frozenset[str]]
    words_of_tags: Sequence[tuple[str, ...]]
    contexts: Contexts
    lexicons: Lexicons
    settings: SignalsSettings
    embeddings_VD: NDArray[np.float64] | None = None

    @cached_property
    def num_works_T(self) -> NDArray[np.int64]:
        """Works of each tag."""
        return self.uses.num_works_T()

    @cached_property
    def days_V(self) -> NDArray[np.float64]:
        """Upload time of each work, in days."""
        return self.works.created_us_V / _US_PER_DAY

    @cached_property
    def category_V(self) -> NDArray[np.int64]:
        """Most general category of each work as a number, -1 where there is none."""
        return category_numbers(self.works)

    @cached_property
    def is_begging_T(self) -> NDArray[np.bool_]:
        """Which tags a lexicon names."""
        return np.array([self.lexicons.begs(tag) for tag in self.uses.tags], dtype=bool)

    @cached_property
    def own_words_TK(self) -> NDArray[np.float64]:
        """Direction of each tag's own words."""
        return agreement.own_word_vectors_TK(self.words_of_tags, self.contexts)

    @cached_property
    def sums_TK(self) -> NDArray[np.float64]:
        """Sum of the contexts of each tag's works."""
        uses = self.uses
        return agreement.profiles_TK(uses.tag_U, uses.work_U, len(uses.tags), self.contexts)

    @cached_property
    def elsewhere_UK(self) -> NDArray[np.float64]:
        """Per use, the contexts of the tag's works by other creators."""
        uses = self.uses
        return agreement.elsewhere_UK(uses.tag_U, uses.work_U, self.works.creators_V, self.sums_TK, self.contexts)

    @cached_property
    def profile_UK(self) -> NDArray[np.float64]:
        """Per use, what the tag is about elsewhere and by its own words."""
        return agreement.use_profiles_UK(self.elsewhere_UK, self.own_words_TK, self.uses.tag_U)

    @cached_property
    def share_that_fits_U(self) -> NDArray[np.float64]:
        """Per use, the share of works that fit the tag at least as well as its own; nan where unknown."""
        return agreement.share_that_fits_U(self.profile_UK, self.uses.work_U, self.contexts, self.settings.contexts)


def category_numbers(works: Works) -> NDArray[np.int64]:
    """Number the most general categories in the order of their names; -1 for works without one."""
    names = sorted({names[0] for names in works.categories if names})
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[names[0]] if names else NO_CATEGORY for names in works.categories], dtype=np.int64)
