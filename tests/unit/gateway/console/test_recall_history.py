"""Recall over the last hour: bounded however long a gateway runs and however much it serves; drawn with gaps where nothing was known."""

import asyncio
import re

from reelspace.gateway.console.recall_history import MAX_SERIES, NUM_SAMPLES, RecallHistory, sampling
from reelspace.gateway.console.sparkline import HEIGHT, WIDTH, sparkline
from reelspace.search.compute.queries import ShardFacts


def facts(*recalls: float | None) -> list[ShardFacts]:
    return [ShardFacts(1, 1, 1, 1, 0, recall=recall) for recall in recalls]


def test_the_last_hour_is_kept_and_no_more() -> None:
    history = RecallHistory()
    for number in range(NUM_SAMPLES + 50):
        history.add({"works": facts(number / 1_000, None)})
    assert history.of("works", 0) == tuple((50 + number) / 1_000 for number in range(NUM_SAMPLES))
    assert history.of("works", 1) == (), "a recall that was never known costs nothing"


def test_a_recall_that_is_known_no_more_leaves_a_gap() -> None:
    history = RecallHistory()
    for recall in (0.9, None, 0.8):
        history.add({"works": facts(recall)})
    assert history.of("works", 0) == (0.9, None, 0.8)


def test_collections_that_are_closed_are_forgotten() -> None:
    history = RecallHistory()
    history.add({"works": facts(0.9), "others": facts(0.8)})
    history.add({"others": facts(0.7)})
    assert history.of("works", 0) == ()
    assert history.of("others", 0) == (0.8, 0.7)


def test_beyond_the_most_shards_the_first_ones_go_on() -> None:
    history = RecallHistory()
    for _ in range(2):
        history.add({"works": facts(*[0.9] * (MAX_SERIES + 10))})
    assert history.of("works", MAX_SERIES - 1) == (0.9, 0.9)
    assert history.of("works", MAX_SERIES) == ()


def test_samples_are_taken_while_the_gateway_runs_and_not_after() -> None:
    history, taken = RecallHistory(), []

    def tell() -> dict[str, list[ShardFacts]]:
        taken.append(1)
        return {"works": facts(0.9)}

    async def run() -> int:
        async with sampling(history, tell, every_s=0.001):
            while len(taken) < 5:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        num = len(taken)
        await asyncio.sleep(0.02)
        return num

    assert asyncio.run(run()) == len(taken) == len(history.of("works", 0))


def test_a_line_is_drawn_for_every_run_of_known_samples_within_the_picture() -> None:
    svg = sparkline([0.9, 0.95, None, 0.5, None, 1.0, 0.99], 0.95)
    lines = re.findall(r'points="([^"]*)"', svg)
    assert [line.count(",") for line in lines] == [2, 2]
    assert svg.count("<circle") == 1
    assert svg.count('class="target"') == 1
    places = [tuple(map(float, point.split(","))) for line in lines for point in line.split(" ")]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert places == sorted(places), "time goes to the right"
    assert places[0][1] > places[1][1], "more is higher"


def test_nothing_is_drawn_where_nothing_was_known() -> None:
    assert sparkline([], 0.95) == sparkline([None, None], 0.95) == ""
