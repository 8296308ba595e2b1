"""What is told of servers becomes their state."""

from reelspace.gateway.console.replica_states import FORGOTTEN_S, NOW_S, ReplicaStates


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_server_is_trusted_until_something_is_told_of_it() -> None:
    (view,) = ReplicaStates(["a:1"], Clock()).views()
    assert (view.address, view.state, view.num_out, view.num_doubts, view.events, view.last) == ("a:1", "trusted", 0, 0, {}, None)


def test_a_doubt_passes_by_itself_and_is_counted_for_a_minute() -> None:
    clock = Clock()
    states = ReplicaStates(["a:1", "b:1"], clock)
    states.hear("a:1", "doubted")
    assert [one.state for one in states.views()] == ["doubted", "trusted"]
    clock.now_s += NOW_S
    assert (states.views()[0].state, states.views()[0].num_doubts) == ("trusted", 1)
    clock.now_s += 60
    assert states.views()[0].num_doubts == 0
    assert states.views()[0].events == {"doubted": 1}


def test_a_server_is_out_for_as_many_shards_as_were_put_out_until_each_is_back_or_left() -> None:
    clock = Clock()
    states = ReplicaStates(["a:1"], clock)
    for _ in range(2):
        states.hear("a:1", "doubted")
        states.hear("a:1", "out")
    assert (states.views()[0].state, states.views()[0].num_out) == ("out", 2)
    clock.now_s += 5
    states.hear("a:1", "back")
    assert (states.views()[0].state, states.views()[0].num_out, states.views()[0].last) == ("out", 1, ("back", 0.0))
    states.hear("a:1", "left")
    assert (states.views()[0].state, states.views()[0].num_out) == ("trusted", 0)


def test_calls_asked_of_others_are_counted_and_are_no_event_of_the_server() -> None:
    states = ReplicaStates(["a:1"], Clock())
    for event in ("hedged", "moved", "hedged"):
        states.hear("a:1", event)  # type: ignore[arg-type]
    (view,) = states.views()
    assert (view.events, view.last, view.state) == ({"hedged": 2, "moved": 1}, None, "trusted")


def test_what_is_kept_of_doubts_is_bounded() -> None:
    states = ReplicaStates(["a:1"], Clock())
    for _ in range(5_000):
        states.hear("a:1", "doubted")
    assert states.views()[0].num_doubts == 1_000
    assert states.views()[0].events == {"doubted": 5_000}


def test_servers_that_came_by_themselves_are_forgotten_when_they_have_gone() -> None:
    clock = Clock()
    states = ReplicaStates(["a:1"], clock)
    for address, event in (("b:1", "doubted"), ("c:1", "out")):
        states.hear(address, event)  # type: ignore[arg-type]
    assert [one.address for one in states.views()] == ["a:1", "b:1", "c:1"]
    clock.now_s += FORGOTTEN_S
    assert [one.address for one in states.views()] == ["a:1", "c:1"]
    states.hear("c:1", "left")
    clock.now_s += FORGOTTEN_S
    assert [one.address for one in states.views()] == ["a:1"]
