"""How much one key may ask for, and how that is told and counted."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from reelspace.gateway.allowance import Allowance, TooMuchAsked
from reelspace.gateway.keys import ApiKey, new_key

from .guarded import VECTORS, KeysFile, guarded


def key(name: str = "a", **limits: object) -> ApiKey:
    return new_key(name, ["read"], ["*"])[1].model_copy(update=limits)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def num_allowed(allowance: Allowance, one: ApiKey, tries: int) -> int:
    done = 0
    for _ in range(tries):
        try:
            with allowance.used(one):
                done += 1
        except TooMuchAsked:
            continue
    return done


def test_a_key_gets_its_requests_a_second_and_no_more() -> None:
    clock = Clock()
    allowance, limited = Allowance(clock), key(requests_per_s=4.0)
    assert num_allowed(allowance, limited, 20) == 4
    for passed_s, allowed in ((0.125, 0), (0.125, 1), (1.0, 4), (3600.0, 4)):
        clock.now_s += passed_s
        assert num_allowed(allowance, limited, 20) == allowed, passed_s
    assert num_allowed(allowance, key("b", requests_per_s=4.0), 20) == 4
    assert num_allowed(allowance, key("free"), 50) == 50


def test_a_slow_rate_says_how_long_to_wait() -> None:
    clock = Clock()
    allowance, limited = Allowance(clock), key(requests_per_s=0.1)
    assert num_allowed(allowance, limited, 1) == 1
    clock.now_s += 4.0
    with pytest.raises(TooMuchAsked) as refused, allowance.used(limited):
        pass
    assert refused.value.retry_after_s == 6
    clock.now_s += 6.01
    assert num_allowed(allowance, limited, 2) == 1


def test_so_many_requests_of_a_key_run_at_a_time_and_one_that_fails_makes_room() -> None:
    allowance, limited = Allowance(Clock()), key(concurrent=2)

    def fail() -> None:
        with allowance.used(limited):
            with pytest.raises(TooMuchAsked, match="2 requests"), allowance.used(limited):
                pass
            allowance.keep(set())
            assert num_allowed(allowance, limited, 1) == 0, "what runs is not forgotten with its key"
            raise KeyError

    with allowance.used(limited):
        with pytest.raises(KeyError):
            fail()
        assert num_allowed(allowance, limited, 1) == 1


def test_limits_are_told_over_both_faces_and_counted_by_reason(tmp_path: Path) -> None:
    keys = KeysFile(tmp_path / "keys.json")
    keys.add("all")
    keys.add("slow", ["read"], requests_per_s=0.05)
    keys.add("alone", concurrent=1)
    with guarded(tmp_path, keys) as gateway:
        assert gateway.ask("all", "PUT", "/collections/mine", VECTORS).status_code == 200
        assert gateway.ask("slow", "GET", "/collections").status_code == 200
        refused = gateway.ask("slow", "GET", "/collections")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "20")
        assert "requests a second" in refused.json()["status"]["error"]
        assert gateway.ask("slow", "GET", "/v2").json() == {"error": refused.json()["status"]["error"], "field": "api-key"}
        call = gateway.call("slow", "/qdrant.Collections/List")
        assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(call.trailing_metadata())["retry-after"] == "20"

        gateway.ask("all", "POST", "/collections/mine/points/count")
        [[shard]] = gateway.backend.shards.values()
        shard.pause_s, num_calls = 0.5, len(shard.calls)
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(gateway.ask, "alone", "POST", "/collections/mine/points/count")
            while len(shard.calls) == num_calls:
                time.sleep(0.001)
            assert gateway.ask("alone", "GET", "/collections").status_code == 429
            assert slow.result().status_code == 200
        assert gateway.ask("alone", "GET", "/collections").status_code == 200
        gateway.ask(None, "GET", "/collections")
        gateway.ask("slow", "PUT", "/collections/x")
        lines = [line for line in gateway.client.get("/metrics").text.splitlines() if line.startswith("reelspace_")]
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert counts['reelspace_refusals_total{reason="concurrent"}'] == 1
    assert counts['reelspace_refusals_total{reason="rate"}'] == 4
    assert counts['reelspace_refusals_total{reason="unauthenticated"}'] == 1
    assert 'reelspace_requests_total{method="gRPC",route="/qdrant.Collections/List",status="RESOURCE_EXHAUSTED"}' in counts
    # Only what shards hold is told by the name of a collection.
    assert not [line for line in lines if ("mine" in line or "slow" in line) and not line.startswith("reelspace_search_shard_")]
