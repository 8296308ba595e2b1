"""Settings of the crowd's signals, from parsing to labels."""

from typing import Literal

from pydantic import AwareDatetime, Field

from reelspace.core.settings import PLACE, Settings


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
    category_prior_works: float = Field(1.0, gt=0, description="Works that the mix of all categories counts for beside a tag's own works.")
    trend_window_days: float = Field(8.0, gt=0, description="Length of a news burst in days.")
    vectors: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Artifact id of works' vectors that tags are held against; None: no model yet."
    )
    rare_uses: int = Field(2, ge=1, description="A tag with at most so many works is rare and needs backing by neighbours.")
    neighbour_share: float = Field(0.03, gt=0, lt=1, description="Share of works, the nearest in context, that may back a rare tag.")


AddedName = Literal["begging", "begging_patterns", "promotions", "query_templates", "comment_spam"]


class AddedLexicon(Settings):
    """Entries of a user's own beside a shipped lexicon."""

    name: AddedName = Field(description="Lexicon they join.")
    version: int = Field(ge=1, description="Version of the added entries, told in the report.")
    entries: tuple[str, ...] = Field(description="Entries in normal form: texts, or regular expressions where the lexicon has those.")


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
    position_eta: float = Field(1.0, ge=0, le=3, description="Without data, a result at position k is looked at 1 / k^eta times as often.")
    max_position: int = Field(20, ge=2, le=100, description="Positions from this one on are taken as one.")
    position_prior_clicks: float = Field(50.0, gt=0, description="Clicks that 1 / k^eta counts for at each position.")
    max_click_weight: float = Field(5.0, ge=1, description="Most that a click counts for because its position is rarely looked at.")
    min_skips: int = Field(5, ge=1, description="Skips that make a query and a work that satisfied nobody a negative pair.")
    min_spelling_overlap: float = Field(0.5, gt=0, le=1, description="Least cosine of the works clicked for two spellings of one query.")
    confidence_prior: float = Field(2.0, gt=0, description="Queries, clicks and people that the mean pair counts for in a confidence.")


class CommentSettings(Settings):
    """Which comments speak for a work."""

    max_comments: int = Field(8, ge=1, description="Comments written per work.")
    min_letters: int = Field(4, ge=1, description="Least letters and digits in a comment (a Chinese character counts twice).")
    min_relevance: float = Field(0.2, ge=-1, le=1, description="Least cosine of a comment's words with the work's context.")
    relevance_share: float = Field(0.6, ge=0, le=1, description="Weight of relevance to the work against difference from chosen comments.")
    max_work_share: float = Field(0.02, gt=0, le=1, description="A text under a larger share of works is said about anything.")
    min_copy_similarity: float = Field(0.8, ge=0.5, le=1, description="Least Jaccard similarity of character 3-grams of near copies.")
    pool_size: int = Field(256, ge=1, description="Good comments kept per work, the most liked and the longest first.")
    min_label_comments: int = Field(3, ge=1, description="Different comments that must say a phrase or speak of an aspect.")
    min_label_contrast: float = Field(1.96, gt=0, description="Least z-score of a phrase's log-odds under the work against all works.")
    max_label_weight: float = Field(0.5, gt=0, le=0.5, description="Largest weight of a label that only comments give.")


class VocabularySettings(Settings):
    """Which cleaned tags and query words become labels."""

    min_works: int = Field(2, ge=1, description="Works a label must have.")
    max_spread: float = Field(0.65, gt=0, le=1, description="Normalised entropy of categories above which a query word names no topic.")
    max_work_share: float = Field(0.25, gt=0, le=1, description="A query word on a larger share of works names no topic.")
    previous: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Artifact id of the earlier labels whose ids are kept; None starts at id 0."
    )


class WeightSettings(Settings):
    """How labels weigh in training, and how often a work that a label fits carries it."""

    mode: Literal["works_as_documents", "windows_as_documents"] = Field(
        "works_as_documents", description="What the documents of TF-IDF are: works, or windows of time (new labels weigh more)."
    )
    half_life_days: float = Field(30.0, gt=0, description="Days after which a use counts half.")
    window_days: float = Field(7.0, gt=0, description="Length of a window in days; the current one ends at the moment of the weights.")
    min_weight: float = Field(0.01, ge=0, lt=1, description="Smallest weight of a label; at 0 a label could vanish from the loss.")
    max_weight: float = Field(10.0, gt=1, description="Largest weight of a label; the mean is 1.")
    propensity_slope: float = Field(0.55, gt=0, description="A of the propensity curve, for labels without enough overlap of sources.")
    propensity_offset: float = Field(1.5, ge=0, description="B of the propensity curve, in works.")
    min_both_works: int = Field(5, ge=1, description="Works with a label from tags and queries both, below which the curve is used.")


class GraphSettings(Settings):
    """Which pairs of labels are written, and which of them are neighbours."""

    min_count: int = Field(2, ge=1, description="Works that two labels must share.")
    mean_neighbours: float = Field(5.0, gt=0, description="Neighbours a label shall have on average; tau is chosen to come nearest.")
    tau: float | None = Field(None, gt=0, le=1, description="Least p of a neighbour; None chooses it by mean_neighbours.")
    symmetry: Literal["directed", "max", "mean"] = Field("directed", description="What is compared with tau: p_ij, or one value of both.")
    variant: Literal["paper", "official"] = Field("paper", description="ML-GCN's adjacency as in its paper or as in its official code.")
    neighbour_share: float = Field(0.2, gt=0, lt=1, description="Share of a label's row that its neighbours get together (p of the paper).")


class EngineSettings(Settings):
    """Where the jobs on large tables run; the result is the same."""

    engine: Literal["polars", "daft"] = Field("polars", description="polars on this machine, or daft, which also runs on Ray.")
    ray: str | None = Field(None, min_length=1, description="Where daft runs: `local` starts a Ray here, else the cluster's address.")


class SignalsSettings(Settings):
    """Settings of the step preprocess_signals."""

    as_of: AwareDatetime | None = Field(None, description="Nothing from this moment on is used: works, searches, clicks, comments.")
    lexicons: tuple[AddedLexicon, ...] = Field((), description="Entries added to the shipped lexicons.")
    contexts: ContextSettings = Field(ContextSettings(), description="Context vectors of works and words.")
    hashtags: HashtagSettings = Field(HashtagSettings(), description="Cleaning of hashtags.")
    spellings: SpellingSettings = Field(SpellingSettings(), description="Merging of spellings and synonyms.")
    searches: SearchSettings = Field(SearchSettings(), description="Satisfied clicks.")
    comments: CommentSettings = Field(CommentSettings(), description="Choice of comments.")
    vocabulary: VocabularySettings = Field(VocabularySettings(), description="Labels.")
    weights: WeightSettings = Field(WeightSettings(), description="Weights of labels.")
    graph: GraphSettings = Field(GraphSettings(), description="Label graph.")
    engine: EngineSettings = Field(EngineSettings(), json_schema_extra=PLACE, description="Dataframe engine.")
