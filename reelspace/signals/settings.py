"""Settings of the crowd's signals, from parsing to labels."""

from pydantic import AwareDatetime, Field

from reelspace.core.settings import Settings


class ContextSettings(Settings):
    """How the words around works become vectors."""

    dimension: int = Field(48, ge=2, le=512, description="Numbers per context vector.")
    num_iterations: int = Field(3, ge=1, le=20, description="Power iterations of the randomised decomposition.")
    seed: int = Field(0, ge=0, description="Seed of its random start and of the works that agreement is compared with.")
    num_references: int = Field(1_000, ge=10, description="Works that agreement is compared with, at most.")


class HashtagSettings(Settings):
    """When a hashtag under a work is believed."""

    target_precision: float = Field(0.9, gt=0, lt=1, description="Share of relevant uses among the kept ones, on the judged sample.")
    min_judgements: int = Field(60, ge=10, description="Judged uses below which weights and threshold stay as shipped.")
    min_score: float = Field(0.5, gt=0, lt=1, description="Lowest threshold; the threshold itself when too few uses are judged.")
    num_folds: int = Field(5, ge=2, le=20, description="Parts of the judged sample; each is scored by weights fitted on the others.")
    weight_pull: float = Field(4.0, gt=0, description="Strength of the pull of fitted weights towards the shipped ones, in judged uses.")
    entropy_shrinkage: float = Field(5.0, ge=0, description="Uses that the mean entropy of all tags counts for in a tag's own entropy.")
    trend_window_days: float = Field(8.0, gt=0, description="Length of a news burst in days.")
    rare_uses: int = Field(2, ge=1, description="A tag with at most so many works is rare and needs backing by neighbours.")
    neighbour_share: float = Field(0.03, gt=0, lt=1, description="Share of works, the nearest in context, that may back a rare tag.")


class SpellingSettings(Settings):
    """When two tags are one label."""

    min_spelling_similarity: float = Field(0.85, ge=-1, le=1, description="Least cosine of contexts for tags that differ in a letter.")
    min_synonym_similarity: float = Field(0.97, ge=-1, le=1, description="Least cosine of contexts for tags that differ altogether.")
    min_synonym_works: int = Field(5, ge=1, description="Works each of two synonyms must have.")
    min_synonym_overlap: float = Field(0.4, ge=0, le=1, description="Least share of a tag's works around which people say its synonym.")


class SearchSettings(Settings):
    """When a click says that a query describes a work."""

    satisfied_dwell_ms: int = Field(7_000, ge=0, description="Least time on the work in ms for a satisfied click.")
    quick_return_ms: int = Field(5_000, ge=0, description="A return to the results within so many ms makes the click unsatisfied.")
    min_users: int = Field(5, ge=1, description="Different people who must have been satisfied with a work by a query.")
    max_queries: int = Field(16, ge=1, description="Queries written per work, those with the most people first.")


class CommentSettings(Settings):
    """Which comments speak for a work."""

    max_comments: int = Field(8, ge=1, description="Comments written per work.")
    min_letters: int = Field(4, ge=1, description="Least letters and digits in a comment (a Chinese character counts twice).")
    min_relevance: float = Field(0.2, ge=-1, le=1, description="Least cosine of a comment's words with the work's context.")
    relevance_share: float = Field(0.6, ge=0, le=1, description="Weight of relevance to the work against difference from chosen comments.")
    max_work_share: float = Field(0.02, gt=0, le=1, description="A text under a larger share of works is said about anything.")


class VocabularySettings(Settings):
    """Which cleaned tags and query words become labels."""

    min_works: int = Field(2, ge=1, description="Works a label must have.")
    max_spread: float = Field(0.65, gt=0, le=1, description="Normalised entropy of categories above which a query word names no topic.")
    max_work_share: float = Field(0.25, gt=0, le=1, description="A query word on a larger share of works names no topic.")


class WeightSettings(Settings):
    """How labels weigh in training."""

    half_life_days: float = Field(30.0, gt=0, description="Days after which a use counts half.")
    max_weight: float = Field(10.0, gt=1, description="Largest weight of a label; the mean is 1.")


class GraphSettings(Settings):
    """Which pairs of labels are written."""

    min_count: int = Field(2, ge=1, description="Works that two labels must share.")


class SignalsSettings(Settings):
    """Settings of the step preprocess_signals."""

    as_of: AwareDatetime | None = Field(None, description="Nothing from this moment on is used: works, searches, clicks, comments.")
    contexts: ContextSettings = Field(ContextSettings(), description="Context vectors of works and words.")
    hashtags: HashtagSettings = Field(HashtagSettings(), description="Cleaning of hashtags.")
    spellings: SpellingSettings = Field(SpellingSettings(), description="Merging of spellings and synonyms.")
    searches: SearchSettings = Field(SearchSettings(), description="Satisfied clicks.")
    comments: CommentSettings = Field(CommentSettings(), description="Choice of comments.")
    vocabulary: VocabularySettings = Field(VocabularySettings(), description="Labels.")
    weights: WeightSettings = Field(WeightSettings(), description="Weights of labels.")
    graph: GraphSettings = Field(GraphSettings(), description="Label graph.")
