"""Writers of rows of their own, which say afterwards what must be there."""

import http.client
import json
import random
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from reelspace.core.store import Store
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.queries import Scroll, ShardQuery
from reelspace.search.storage.ids import ids_of_words
from reelspace.search.storage.layout import Collection

from .doomed import NUM_IDS, row_of, rows_of_turn

PATIENCE_S = 60.0
Turns = dict[int, int | None]
"""The turn that each row is of, None where it is deleted."""


class Owner:
    """Rows that one writer writes, turn after turn: what was acknowledged, and what may or may not have happened."""

    def __init__(self, first_id: int) -> None:
        self.first_id, self.turn = first_id, 0
        self.rows: Turns = dict.fromkeys(range(first_id, first_id + NUM_IDS))
        self.pending: Turns = {}
        self.num_acknowledged = 0

    def begin(self, turn: int) -> None:
        self.turn, self.pending = turn, rows_of_turn(self.first_id, turn)

    def acknowledge(self) -> None:
        self.rows |= self.pending
        self.pending = {}
        self.num_acknowledged += 1

    def check(self, found: Turns) -> None:
        """Compare, and take what is there for what happened."""
        for id, turn in self.rows.items():
            assert found.get(id) in {turn, self.pending.get(id, turn)}, f"row {id} is of turn {found.get(id)}, expected {turn}"
            self.rows[id] = found.get(id)


class Client(threading.Thread):
    """Writes through gateways and sends again, under the same key, what was not answered."""

    def __init__(self, owner: Owner, urls: list[str]) -> None:
        super().__init__(daemon=True)
        self.owner, self.urls, self.stopping, self.error = owner, urls, False, ""
        self.start()

    def run(self) -> None:
        while not self.stopping and not self.error:
            if not self.owner.pending:
                self.owner.begin(self.owner.turn + 1)
            answer = self._send(self.urls[(self.owner.turn + random.randrange(2)) % len(self.urls)])
            if answer is not None and answer[0] == 200:
                self.owner.acknowledge()
            elif answer is not None and answer[0] < 500:
                self.error = answer[1].decode()

    def _send(self, url: str) -> tuple[int, bytes] | None:
        upserts = [{"id": id, "vector": row_of(id, turn)[0].tolist(), "payload": row_of(id, turn)[1]} for id, turn in self._those(True)]
        operations = [*({"upsert": {"points": [one]}} for one in upserts), *({"delete": {"points": [id]}} for id, _ in self._those(False))]
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{self.owner.first_id}-{self.owner.turn}"}
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        try:
            connection.request("POST", "/collections/things/points/batch?wait=true", orjson.dumps({"operations": operations}), headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            return None
        finally:
            connection.close()

    def _those(self, written: bool) -> list[tuple[int, Any]]:
        return [(id, turn) for id, turn in sorted(self.owner.pending.items()) if (turn is not None) == written]

    def until_acknowledged(self) -> None:
        """Wait until the turn that it is at, or the next, is acknowledged."""
        before, deadline_s = self.owner.num_acknowledged, time.monotonic() + PATIENCE_S
        while self.owner.num_acknowledged == before:
            assert not self.error, self.error
            assert time.monotonic() < deadline_s, "never answered"
            time.sleep(0.01)

    def end(self) -> None:
        """Let it stop after what it is at."""
        self.stopping = True
        self.join(PATIENCE_S)
        assert not self.error, self.error


def rows_of(store: Store, made: Collection) -> tuple[Turns, int]:
    """Load every shard anew, compare every row with what its turn wrote, and let each be found by its own vector through the index.

    Returns:
        The turn of every row, and the newest generation.
    """
    found: Turns = {}
    generation = 0
    for shard in range(made.num_shards):
        with ShardHost(store, made, shard, Hosting(poll_s=3600.0)) as host:
            generation = max(generation, host.generation)
            records = host.read(Scroll(b"", None, 10**6, with_vectors=("",)))
            assert isinstance(records, list)
            for record in records:
                assert isinstance(record.id, int)
                assert record.id not in found, "duplicate"
                payload = json.loads(record.payload or b"")
                vector_D, expected = row_of(record.id, payload["turn"])
                assert payload == expected
                assert np.array_equal((record.vectors or {})[""], vector_D)
                found[record.id] = payload["turn"]
            if records:
                answer = host.search([ShardQuery((one.vectors or {})[""], 1, "") for one in records])
                assert ids_of_words(answer.ids_QK3[:, 0]) == [one.id for one in records]
    return found, generation
