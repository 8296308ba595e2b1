"""Rows that are written before anything goes wrong and never again: enough for an index with several lists."""

import httpx

from .doomed import row_of
from .owners import PATIENCE_S, Owner

FIRST_IDS = range(10_000, 10_700)


def put_first(url: str) -> Owner:
    """Write them through a gateway; gives their owner."""
    points = [{"id": id, "vector": row_of(id, 0)[0].tolist(), "payload": row_of(id, 0)[1]} for id in FIRST_IDS]
    response = httpx.put(f"{url}/collections/things/points?wait=true", json={"points": points}, timeout=PATIENCE_S)
    assert response.status_code == 200, response.text
    owner = Owner(FIRST_IDS.start)
    owner.rows = dict.fromkeys(FIRST_IDS, 0)
    return owner
