"""What is shown of collections is what they hold, from files and through a gateway."""

from pathlib import Path

import reelspace.search
from reelspace.core.local_store import LocalStore
from reelspace.search.tools.inspection import inspect_gateway, inspect_store, lines

from .worlds import gateway, vectors


def test_generations_rows_changes_and_log_numbers_are_shown(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert lines(inspect_store(store)) == ["no collection"]
    with reelspace.search.open(str(tmp_path)) as database:
        made = database.create_collection("things", 6)
        made.upsert(range(1200), vectors(1200))
        made.optimize()
        made.upsert([5000, 5001], vectors(2))
        made.delete([7])
    (found,) = inspect_store(store)
    (shard,) = found["shards"]
    assert (found["collection"], found["vectors"][""]["dimension"]) == ("things", 6)
    told = {name: shard[name] for name in ("generation", "generations", "rows", "unsealed", "contains_log", "floor", "last_log")}
    assert told == {"generation": 2, "generations": [1, 2], "rows": 1200, "unsealed": 3, "contains_log": 1, "floor": 0, "last_log": 3}
    assert shard["bytes"] > 1200 * 6 * 4
    assert lines([found])[1].split()[:6] == ["things", "0", "2", "of", "1,", "2"]
    with gateway(store) as client:
        client.ask("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "things", "alias_name": "a"}}]})
        (told,) = inspect_gateway(client)
    assert (told["collection"], told["status"], told["rows"], told["unsealed"]) == ("things", "green", 1201, 3)
    assert (told["generations"], told["recall"], told["aliases"]) == ([2], [None], ["a"])
    assert lines([told])[1].split() == ["things", "green", "1,201", "3", "2", "-", "a"]
