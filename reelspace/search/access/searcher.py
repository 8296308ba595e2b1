"""Answers checked queries over one served collection: words become vectors, points are looked up, shards are asked."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelspace.search.access.fanout import Fanout, Found
from reelspace.search.access.query_request import PointTarget, QueryRequest, TextTarget
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.access.served import Served
from reelspace.search.access.shard_client import ModelRefused, ShardQuery
from reelspace.search.access.text_encoder import TextEncoder
from reelspace.search.storage.layout import shard_of_ids


@dataclass(frozen=True, slots=True)
class Searcher:
    """A served collection and what answers for it; `text` is None when no text encoder was promoted."""

    served: Served
    fanout: Fanout
    text: TextEncoder | None

    async def search(self, request: QueryRequest, timeout_s: float) -> Found:
        """Answer one query within timeout_s.

        Raises:
            RequestRefused: no such point, or words where no text encoder was promoted.
            ShardTimeout, ShardFailed, Overloaded: see Fanout.search.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        vector_D = await self._vector(request, timeout_s)
        excluded = request.excluded
        if isinstance(request.target, PointTarget):
            excluded = tuple(dict.fromkeys((*excluded, request.target.point_id)))
        query = ShardQuery(vector_D, request.limit, excluded, request.with_payload)
        left_s = deadline - asyncio.get_running_loop().time()
        return await self.fanout.search(query, max(left_s, 0.001), allow_partial=request.allow_partial)

    async def probe(self, timeout_s: float) -> None:
        """Make every shard, and the text encoder, really work; raises what they raise."""
        vector_D = np.zeros(self.served.collection.dimension, dtype=np.float32)
        vector_D[0] = 1
        if self.text is not None:
            vector_D = await self.text.encode("probe", timeout_s)
        await self.fanout.search(ShardQuery(vector_D, 1), timeout_s)

    async def _vector(self, request: QueryRequest, timeout_s: float) -> NDArray[np.float32]:
        if isinstance(request.target, TextTarget):
            if self.text is None:
                raise RequestRefused(f"{request.where}query.text", "no text encoder was promoted with this collection")
            try:
                return await self.text.encode(request.target.text, timeout_s)
            except ModelRefused as error:
                # Which characters can be read only the encoder knows.
                raise RequestRefused(f"{request.where}query.text", str(error)) from error
        if isinstance(request.target, PointTarget):
            point_id = request.target.point_id
            shard = int(shard_of_ids(np.array([point_id]), self.served.collection.num_shards)[0])
            vector_D = await self.fanout.vector(shard, point_id, timeout_s)
            if vector_D is None:
                raise RequestRefused(f"{request.where}query", f"no point with id {point_id}", status=404)
            return vector_D
        return request.target.vector_D
