"""What a candidate must keep to, so that it may take the place of the version that serves."""

from pydantic import Field

from reelspace.core.settings import Settings


class Gates(Settings):
    """Bars for a candidate, and how long it is looked at; it is compared with the stable version on the same requests."""

    max_failures: float = Field(0.01, ge=0, lt=1, description="Share of requests that it may fail where the stable version answers.")
    max_slowdown: float = Field(2.0, gt=1, description="How many times as long as the stable version it may take.")
    slack_s: float = Field(0.005, ge=0, description="Seconds that it may take longer in any case: what is asked seldom has cold caches.")
    min_agreement: float = Field(0.9, ge=-1, le=1, description="Cosine of the two versions' vectors below which they disagree.")
    max_disagreeing: float = Field(0.1, ge=0, lt=1, description="Share of compared requests in which they may disagree.")
    min_compared: int = Field(50, ge=1, description="Requests compared in each stage before the next.")
    min_stage_s: float = Field(5.0, ge=0, description="Shortest time of each stage with live requests, seconds.")
    stage_s: float = Field(600.0, gt=0, description="Longest time of each stage, seconds; what is not proven by then is rolled back.")
    settle_s: float = Field(5.0, ge=0, description="Time between the flip and the unloading of the version before, seconds.")
