"""What a gateway makes of the files of rollouts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from reelspace.core.errors import ServerUnavailable
from reelspace.core.local_store import LocalStore
from reelspace.serving.rollout import followed
from reelspace.serving.rollout.followed import FollowedRollouts
from reelspace.serving.rollout.state import Rollout, Seen, Stage, find_rollout, read_seen, write_rollout
from reelspace.serving.wire import Answer

MODEL, POLL_S = "text_encoder", 0.01


class Gateway:
    """A gateway's rollouts, and where it sends requests."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder)
        self.promoted: Mapping[str, int] = {MODEL: 3}
        self.pointed: list[int] = []
        self.rollouts = FollowedRollouts(self.store, [MODEL], lambda: self.promoted, POLL_S)
        self.rollouts.use_pointer(lambda _model, version: self.pointed.append(version))

    def write(self, stage: Stage, number: int = 1, beat: int = 0) -> None:
        rollout = Rollout(model=MODEL, number=number, stable=3, candidate=4, stage=stage, beat=beat)
        write_rollout(self.store, rollout, find_rollout(self.store, MODEL))

    def seen(self) -> Seen:
        """Give what this gateway wrote, nothing seen where it did not yet."""
        found = read_seen(self.store, MODEL)
        return found[0] if found else Seen(gateway="", beat=0, number=1, stage="loading", version=0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(POLL_S)


def run(folder: Path, look: Callable[[Gateway], Awaitable[None]]) -> None:
    async def main() -> None:
        gateway = Gateway(folder)
        async with gateway.rollouts:
            await look(gateway)

    asyncio.run(main())


def test_requests_go_where_the_pointer_says_when_the_stage_changes_and_the_promoter_is_told(tmp_path: Path) -> None:
    async def look(gateway: Gateway) -> None:
        assert (gateway.pointed, gateway.rollouts.candidate(MODEL)) == ([], 0)
        gateway.write("canary")
        await gateway.until(lambda: gateway.pointed == [3])
        assert gateway.rollouts.candidate(MODEL) == 4
        await gateway.until(lambda: gateway.seen().version == 3)
        gateway.promoted = {MODEL: 4}
        await asyncio.sleep(5 * POLL_S)
        assert gateway.pointed == [3]
        gateway.write("flipped")
        await gateway.until(lambda: gateway.pointed == [3, 4])
        await gateway.until(lambda: (gateway.seen().stage, gateway.seen().version) == ("flipped", 4))
        gateway.write("retired")
        await gateway.until(lambda: gateway.rollouts.candidate(MODEL) == 0)

    run(tmp_path, look)


def test_a_version_that_is_of_no_rollout_is_not_followed(tmp_path: Path) -> None:
    async def look(gateway: Gateway) -> None:
        gateway.promoted = {MODEL: 9}
        gateway.write("rolling_back")
        await gateway.until(lambda: bool(read_seen(gateway.store, MODEL)))
        assert gateway.pointed == []

    run(tmp_path, look)


def test_signs_of_life_end_with_the_rollout(tmp_path: Path) -> None:
    async def look(gateway: Gateway) -> None:
        gateway.write("flipped")
        await gateway.until(lambda: bool(read_seen(gateway.store, MODEL)))
        before = gateway.seen().beat
        await gateway.until(lambda: gateway.seen().beat > before)
        gateway.write("retired")
        await gateway.until(lambda: gateway.seen().stage == "retired")
        last = gateway.seen().beat
        await asyncio.sleep(10 * POLL_S)
        assert gateway.seen().beat == last

    run(tmp_path, look)


def test_a_gateway_that_starts_after_a_rollout_writes_nothing(tmp_path: Path) -> None:
    write_rollout(LocalStore(tmp_path), Rollout(model=MODEL, number=1, stable=2, candidate=3, stage="retired"), None)

    async def look(gateway: Gateway) -> None:
        await asyncio.sleep(5 * POLL_S)
        assert read_seen(gateway.store, MODEL) == []
        assert gateway.pointed == [3]

    run(tmp_path, look)


def test_a_trip_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(version: str) -> Answer:
        if version == "4":
            raise ServerUnavailable("HTTP 500")
        return Answer(MODEL, "3", {})

    async def look(gateway: Gateway) -> None:
        gateway.write("canary")
        live = gateway.rollouts.of(MODEL)
        await gateway.until(lambda: gateway.pointed == [3])
        monkeypatch.setattr(gateway.rollouts, "_poll_s", 60.0)
        await asyncio.sleep(3 * POLL_S)
        for _ in range(500):
            await live.answered(ask, None, None)
        await gateway.until(lambda: gateway.seen().tripped == "it failed 3 of 3 requests that the stable version answered (3 error)")

    run(tmp_path, look)


def test_without_a_sign_of_life_of_a_promoter_the_candidate_rests_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "UNATTENDED_S", 0.1)
    asked: list[str] = []

    async def ask(version: str) -> Answer:
        asked.append(version)
        return Answer(MODEL, version or "3", {})

    async def num_asked(gateway: Gateway) -> int:
        asked.clear()
        for _ in range(100):
            await gateway.rollouts.of(MODEL).answered(ask, None, None)
            await asyncio.sleep(0)
        return asked.count("4")

    async def look(gateway: Gateway) -> None:
        gateway.write("canary")
        await gateway.until(lambda: gateway.pointed == [3])
        assert await num_asked(gateway) > 0
        await asyncio.sleep(0.3)
        assert await num_asked(gateway) == 0
        gateway.write("canary", beat=1)
        await asyncio.sleep(5 * POLL_S)
        assert await num_asked(gateway) > 0

    run(tmp_path, look)


def test_a_file_that_is_damaged_changes_nothing(tmp_path: Path) -> None:
    async def look(gateway: Gateway) -> None:
        gateway.write("canary")
        await gateway.until(lambda: gateway.pointed == [3])
        found = find_rollout(gateway.store, MODEL)
        assert found is not None
        gateway.store.put(f"rollouts/{MODEL}.json", b"{")
        await asyncio.sleep(5 * POLL_S)
        assert gateway.pointed == [3]
        gateway.store.delete(f"rollouts/{MODEL}.json")
        gateway.promoted = {MODEL: 4}
        gateway.write("flipped")
        await gateway.until(lambda: gateway.pointed == [3, 4])

    run(tmp_path, look)
