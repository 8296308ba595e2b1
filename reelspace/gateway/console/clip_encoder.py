"""An uploaded file to a vector, by the promoted `media_encoder` and within the limits that every client of /v2 has.

Legend: D dimension.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reelspace.serving.endpoint import SPACE_ID, Endpoint
from reelspace.serving.infer_request import InferRequest
from reelspace.serving.input_checks import InputChecks
from reelspace.serving.signatures import MEDIA, TEXT, Signature

MODEL: Final = "media_encoder"


@dataclass(frozen=True, slots=True, eq=False)
class EncodedClip:
    """The vector of a file, and the space that it lies in."""

    vector_D: NDArray[np.float32]
    space_id: str


class ClipEncoder:
    """The model behind the endpoint of /v2, which must have it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def max_bytes(self) -> int:
        """Give the size of the largest file."""
        return self._endpoint.models[MODEL].input(MEDIA).max_bytes

    async def encode(self, file: bytes, words: str) -> EncodedClip:
        """Encode a video, a picture or a sound with its caption, which may be empty.

        Raises:
            WireError: the file is refused; the message says why.
            ServerUnavailable: the model does not answer.
        """

        async def read(signature: Signature) -> InferRequest:
            checks = InputChecks(signature)
            for name, value in ((MEDIA, file), (TEXT, words.encode())):
                checks.add(checks.spec(name, "BYTES", [1, 1], name), np.array([[value]], dtype=np.object_), name)
            return InferRequest(None, checks.whole(), {})

        _, answer = await self._endpoint.infer(MODEL, "", read)
        space = answer.outputs[SPACE_ID].reshape(-1)[0]
        return EncodedClip(answer.outputs["EMBEDDING"][0], space.decode() if isinstance(space, bytes) else str(space))


def clip_encoder(endpoint: Endpoint | None) -> ClipEncoder | None:
    """Give the encoder of files where one is served."""
    return ClipEncoder(endpoint) if endpoint is not None and MODEL in endpoint.models else None
