"""Agreement: how well a work fits what a tag (or query word) is used for elsewhere.

The profile of a tag is the mean context of its works, those of the same creator left out (so that repeating a tag proves nothing),
plus what its own words mean. Agreement is told as a share: how many works of the corpus fit that profile at least as well.
A use that has nothing to do with the work gives a share spread evenly over 0 to 1; a relevant one gives a small share.
Legend: V works, U uses, T tags, R reference works, K dimension.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reelspace.core.rng import rng
from reelspace.signals.contexts import Contexts, unit
from reelspace.signals.settings import ContextSettings

_OWN_WORDS_COUNT_AS = 1.0  # works
_CHUNK_USES = 2_048
_ROUNDED_TO = 6  # machines differ in the last bits of a cosine; what is decided must not


def profiles_TK(tag_U: NDArray[np.int64], work_U: NDArray[np.int64], num_tags: int, contexts: Contexts) -> NDArray[np.float64]:
    """Sum of the contexts of each tag's uses."""
    sums = np.zeros((num_tags, contexts.works_VK.shape[1]))
    np.add.at(sums, tag_U, contexts.works_VK[work_U])
    return sums


def own_word_vectors_TK(words_of_tags: Sequence[Sequence[str]], contexts: Contexts) -> NDArray[np.float64]:
    """The direction of each tag's own words, as others use them; zero where they are unknown."""
    out = np.zeros((len(words_of_tags), contexts.works_VK.shape[1]))
    for row, words in enumerate(words_of_tags):
        vector = contexts.word_vector(words)
        if vector is not None:
            out[row] = vector
    return out


def elsewhere_UK(
    tag_U: NDArray[np.int64], work_U: NDArray[np.int64], creators_V: NDArray[np.int64], sums_TK: NDArray[np.float64], contexts: Contexts
) -> NDArray[np.float64]:
    """Per use, the sum of the contexts of the tag's works by other creators (an unknown creator made one work)."""
    groups_V = np.where(creators_V >= 0, creators_V, -1 - np.arange(len(creators_V)))
    _, group_U = np.unique(np.stack([tag_U, groups_V[work_U]], axis=1), axis=0, return_inverse=True)
    group_U = group_U.reshape(-1)
    own = np.zeros((int(group_U.max(initial=-1)) + 1, sums_TK.shape[1]))
    np.add.at(own, group_U, contexts.works_VK[work_U])
    return np.asarray(sums_TK[tag_U] - own[group_U])


def share_that_fits_U(
    profile_UK: NDArray[np.float64], work_U: NDArray[np.int64], contexts: Contexts, settings: ContextSettings
) -> NDArray[np.float64]:
    """Per use, the share of works that fit the profile at least as well as the use's own work; nan where either is unknown."""
    directions_UK = unit(profile_UK)
    known_U = (directions_UK != 0).any(axis=1) & contexts.has_context_V()[work_U]
    references_RK = reference_works(contexts, settings)
    out_U = np.full(len(work_U), np.nan)
    rows = np.flatnonzero(known_U)
    own = (directions_UK[rows] * contexts.works_VK[work_U[rows]]).sum(axis=1)
    out_U[rows] = share_as_near(directions_UK[rows], own, references_RK)
    return out_U


def share_as_near(
    directions_NK: NDArray[np.float64], own_N: NDArray[np.float64], references_RK: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Per direction, the share of references whose cosine with it is at least `own` (counting the own one), in bounded memory."""
    out_N = np.empty(len(directions_NK))
    own_N = own_N.round(_ROUNDED_TO)
    for start in range(0, len(directions_NK), _CHUNK_USES):
        part = slice(start, start + _CHUNK_USES)
        others = (directions_NK[part] @ references_RK.T).round(_ROUNDED_TO)
        out_N[part] = (1 + (others >= own_N[part, None]).sum(axis=1)) / (1 + len(references_RK))
    return out_N


def use_profiles_UK(elsewhere: NDArray[np.float64], own_words_TK: NDArray[np.float64], tag_U: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each use is compared with: the works of others plus the tag's own words."""
    return np.asarray(elsewhere + _OWN_WORDS_COUNT_AS * own_words_TK[tag_U])


def reference_works(contexts: Contexts, settings: ContextSettings) -> NDArray[np.float64]:
    """The contexts of the works that agreement is compared with: all, or a fixed sample of many."""
    return sample_rows(contexts.works_VK[contexts.has_context_V()], settings, "reference works")


def sample_rows(vectors_NK: NDArray[np.float64], settings: ContextSettings, purpose: str) -> NDArray[np.float64]:
    """At most `num_references` rows, the same ones for the same seed, in their order."""
    chosen = rng(settings.seed, purpose).permutation(len(vectors_NK))[: settings.num_references]
    return np.asarray(vectors_NK[np.sort(chosen)])
