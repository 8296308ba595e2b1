import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from reelspace.core.errors import SettingError, UserError
from reelspace.core.settings import read
from reelspace.search.planning.arithmetic import arithmetic, number, size
from reelspace.search.planning.cluster import cluster
from reelspace.search.planning.effort import effort
from reelspace.search.planning.plan import SearchPlan, exact_cost, make_plan
from reelspace.search.planning.request import gb, kinds, read_settings, whole
from reelspace.search.planning.settings import SearchPlanSettings
from reelspace.search.planning.table import as_json, lines

TALK = Path(__file__).resolve().parents[4] / "examples" / "plans" / "talk-search.json"


@pytest.fixture(scope="module")
def talk() -> SearchPlan:
    return make_plan(read_settings(TALK, {}, []))


def asked(**values: Any) -> SearchPlanSettings:
    return SearchPlanSettings.model_validate({"rows": 1_000_000, **values})


def test_the_talks_300_machines_of_24_gb_are_codes_and_ids_and_centres_make_one_more(talk: SearchPlan) -> None:
    (codes,) = [one for one in talk.choices if (one.cluster.kind, one.cluster.processor) == ("ivf_pq64", "gpu")]
    assert "100,000,000,000 x 72 B = 7.20 TB = 300 x 24 GB" in "\n".join(arithmetic(codes, talk.settings))
    # 2.5 sqrt(n) centres of 512 bytes for n rows: 0.07 bytes a row.
    assert (codes.cluster.num_shards, codes.cluster.num_machines) == (301, 301)
    # And what 72 bytes find at that size.
    assert not codes.reaches
    assert codes.cluster.effort.recall < 0.8 < effort("ivf_sq8", 128, talk.settings.rows, 10**9, 0.9).recall


def test_the_talks_exact_search_costs_billions_on_processors_and_less_in_batches_on_gpus(talk: SearchPlan) -> None:
    (cost,) = [cost for cost in talk.exact if cost.rate == talk.settings.rate]
    # 3,170 a second, 0.0165 s for half a million rows, 60 % load, 16 cores, 1.008 USD, 8,766 hours.
    assert cost.alone_usd == pytest.approx(3170 * 0.0165 * 200_000 / 0.6 / 16 * 1.008 * 8766)
    assert cost.alone_usd > 5e9
    assert 1e9 < cost.cpu_usd < 2e9
    assert cost.gpu_usd < 0.5e9
    assert [one.rate / talk.settings.rate for one in talk.exact] == pytest.approx([0.01, 0.1, 1, 10])


def test_an_exact_search_needs_the_machines_that_hold_the_vectors_however_slow() -> None:
    slow = exact_cost(asked(rows=10**9, margin=0.0, row_bytes=0.0, replicas=3), 0.0)
    # 512 GB on machines of 137.4 and of 24 GB.
    assert slow.alone_usd == slow.cpu_usd == pytest.approx(4 * 1.008 * 8766)
    assert slow.gpu_usd == pytest.approx(22 * 1.006 * 8766)


def test_money_is_that_of_machines_gateways_requests_and_storage() -> None:
    plan = asked(rate=1.0, gateways=3, cpu={"usd_per_hour": 2.0}, gpu={"usd_per_hour": 5.0})
    found = {(one.cluster.kind, one.cluster.processor): one for one in make_plan(plan).choices}
    on_cpu, on_gpu = found["ivf_sq8", "cpu"], found["ivf_sq8", "gpu"]
    assert (on_cpu.machine_usd, on_gpu.machine_usd, on_cpu.gateway_usd) == pytest.approx((2 * 730.5, 5 * 730.5, 6 * 730.5))
    assert on_cpu.usd == on_cpu.machine_usd + on_cpu.gateway_usd + on_cpu.bill.request_usd + on_cpu.bill.storage_usd


def test_the_best_is_the_simplest_of_those_that_reach_the_target_for_the_price_of_the_cheapest() -> None:
    small = make_plan(asked(rate=1.0))
    assert small.best is not None
    # One machine whatever the type: then exact, and on processors, which were measured.
    assert small.choices[0].cluster.processor == "gpu"
    assert (small.best.cluster.kind, small.best.cluster.processor) == ("flat", "cpu")
    large = make_plan(asked(rows=10**10, rate=1000.0, recall=0.98))
    assert large.best is next(one for one in large.choices if one.reaches)
    assert large.best is not large.choices[0]
    assert [one.usd for one in large.choices] == sorted(one.usd for one in large.choices)


def test_what_does_not_fit_is_told_and_the_rest_is_planned() -> None:
    plan = make_plan(asked(rows=10**9, dimension=100, shards=5))
    assert plan.impossible["ivf_pq64 on gpu"] == "64 parts do not divide 100 dimensions"
    assert "use 22 or more" in plan.impossible["flat on gpu"]
    assert {one.cluster.kind for one in plan.choices} == {"flat", "ivf_sq8", "ivf_pq_fastscan"}
    assert "hnsw on cpu            not possible: 5 shards take" in "\n".join(lines(plan))


def test_lines_show_every_part_and_json_the_same_figures() -> None:
    plan = make_plan(asked(rows=10**8, rate=2000.0, writes=500.0, payload_bytes=50))
    assert plan.best is not None
    text, told = "\n".join(lines(plan, ["hnsw"])), orjson.loads(orjson.dumps(as_json(plan)))
    for part in plan.best.cluster.parts:
        assert f"{part.size_bytes:.2f} B  {part.arithmetic}" in text
    assert f"best: {told['best']['kind']} on {told['best']['processor']}" in text
    assert "hnsw on cpu\n" in text
    assert f"{plan.best.usd:,.0f} USD a month" in text
    assert read(SearchPlanSettings, told["settings"]) == plan.settings
    for one, choice in zip(told["choices"], plan.choices, strict=True):
        assert one["usd"] == pytest.approx(
            sum(one[name] for name in ("machine_usd", "gateway_usd")) + one["bill"]["request_usd"] + one["bill"]["storage_usd"]
        )
        assert one["row_bytes"] == pytest.approx(sum(part["size_bytes"] for part in one["cluster"]["parts"]))
        assert one["num_machines"] == choice.cluster.num_machines


def test_a_search_is_planned_the_same_in_any_metric() -> None:
    bytes_of = {metric: cluster("ivf_sq8", "cpu", asked(metric=metric)).shard_bytes for metric in ("cosine", "dot", "euclid")}
    assert len(set(bytes_of.values())) == 1


@pytest.mark.parametrize(("text", "value"), [("1e11", 10**11), ("100_000", 100_000), ("12", 12), ("1.5e3", 1500)])
def test_large_numbers_are_read_exactly(text: str, value: int) -> None:
    assert whole("--rows", text) == value


@pytest.mark.parametrize("text", ["1.5", "many", "", "nan", "inf", "1e99999999"])
def test_numbers_that_are_not_whole_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--rows: expected a whole number such as 1e9"):
        whole("--rows", text)


def test_sizes_and_types_are_read_or_refused() -> None:
    assert gb("--memory", "24GB") == 24
    assert gb("--memory", "128GiB") == pytest.approx(137.438953472)
    assert gb("--memory", "1.5 TB") == 1500
    with pytest.raises(UserError, match="--memory: expected a size such as 24GB or 128GiB, got '24'"):
        gb("--memory", "24")
    assert kinds("--show", ["hnsw", "flat"]) == ["flat", "hnsw"]
    with pytest.raises(UserError, match=r"--show: expected one of flat, .*, got 'pq'"):
        kinds("--show", ["pq"])


def test_settings_come_from_a_file_then_options_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"rows": 5, "rate": 7, "metric": "dot"}')
    plan = read_settings(file, {"rows": 10**11, "rate": None, "metric": "euclid", "gpu.memory_gb": 40.0}, ["metric=cosine", "cpu.cores=4"])
    assert (plan.rows, plan.rate, plan.metric, plan.gpu.memory_gb, plan.cpu.cores) == (10**11, 7, "cosine", 40, 4)
    with pytest.raises(UserError, match="--settings: expected a readable JSON file"):
        read_settings(tmp_path / "none.json", {}, [])
    with pytest.raises(SettingError, match="'rows' is missing"):
        read_settings(None, {}, [])
    with pytest.raises(SettingError, match="recall"):
        read_settings(file, {"recall": 1.1}, [])


def test_numbers_and_sizes_are_written_for_people() -> None:
    assert [number(value) for value in (0.01234, 31.7, 999.4, 3170.2, 17_329_333)] == ["0.0123", "31.7", "999", "3,170", "17,329,333"]
    assert [size(value) for value in (1e6, 816.25e6, 24e9, 7.2e12)] == ["1.00 MB", "816.25 MB", "24.00 GB", "7.20 TB"]


def test_command_prints_json_and_exits_with_2_and_one_line_where_nothing_reaches_the_target() -> None:
    words = "plan search --rows 1e10 --shards 1 --recall 0.99 --rate 10 --json --set margin=0"
    result = subprocess.run([sys.executable, "-m", "reelspace.cli", *words.split()], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert orjson.loads(result.stdout)["best"] is None
    assert (
        "expected an index type that reaches a recall of 0.99, none does or fits: flat on cpu: 1 shards take 5,201.25 GB each"
        in result.stderr
    )
    assert "Traceback" not in result.stderr
