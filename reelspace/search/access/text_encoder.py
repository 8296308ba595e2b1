"""Words to a vector, through the promoted text encoder on Triton."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray

from reelspace.core.errors import InternalError
from reelspace.search.access.replicas import Replicas, ReplicaSettings, Told, untold
from reelspace.search.access.triton_shard import PROBE_S, infer

MODEL: Final = "text_encoder"


class TextEncoder:
    """The text encoder at one version on one or several Triton servers, whose vectors may be compared with those of one space."""

    def __init__(
        self,
        replicas: Sequence[triton.InferenceServerClient],
        version: int,
        space_id: str,
        settings: ReplicaSettings | None = None,
        tell: Told = untold,
    ) -> None:
        self._replicas = Replicas(tuple(replicas), self._probe, settings, tell)
        self._version = str(version)
        self._space_id = space_id

    async def encode(self, text: str, timeout_s: float) -> NDArray[np.float32]:
        """Give the vector of a text.

        Raises:
            ModelRefused: the encoder can read nothing of the text.
            InternalError: the encoder embeds into another space than the collection's.
            ShardTimeout, ShardFailed: Triton did not answer.
        """
        result = await self._replicas.ask(lambda replica, left_s: self._infer(replica, text, left_s), timeout_s)
        space = result.as_numpy("SPACE_ID").reshape(-1)[0].decode()
        if space != self._space_id:
            raise InternalError(f"{MODEL} version {self._version} embeds into space {space}, the collection is of {self._space_id}")
        vector_D: NDArray[np.float32] = result.as_numpy("EMBEDDING")[0]
        return vector_D

    def close(self) -> None:
        """Look after servers no more; what is asked is still answered."""
        self._replicas.close()

    async def _probe(self, replica: triton.InferenceServerClient) -> None:
        await self._infer(replica, "probe", PROBE_S)

    async def _infer(self, replica: triton.InferenceServerClient, text: str, timeout_s: float) -> Any:
        inputs: dict[str, NDArray[Any]] = {"TEXT": np.array([[text.encode()]], dtype=np.object_)}
        return await infer(replica, MODEL, self._version, inputs, ["EMBEDDING", "SPACE_ID"], timeout_s)
