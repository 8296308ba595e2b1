"""Encoded files to vectors and labels: what the Triton backend of `media_encoder` calls. No torch.

Shapes: B rows, D dimension, K labels.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from reelspace.core.errors import ReelspaceError
from reelspace.serving.encoder import Encoder
from reelspace.serving.media_decoder import MediaDecoder
from reelspace.serving.media_job import Refusal, Upload
from reelspace.serving.media_limits import MediaFacts, MediaLimits
from reelspace.serving.preprocess import VideoQuery, video_tensors
from reelspace.serving.scorer import HEAD_FILE, LabelScorer
from reelspace.serving.signatures import MEDIA, TEXT, video_signature
from reelspace.serving.wire import Tensor, WireError

Answer = dict[str, Tensor] | ReelspaceError


class MediaEncoder:
    """An encoder of videos with what comes before it, the decoder of files, and after it, the label head if there is one."""

    def __init__(self, encoder: Encoder, decoder: MediaDecoder, scorer: LabelScorer | None) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._scorer = scorer
        self._signature = video_signature(encoder.version.model, encoder.version.sizes)
        self._running = ExitStack()

    @classmethod
    def open(cls, encoder: Encoder, directory: Path, parameters: Mapping[str, Any]) -> Self:
        """Open what a version directory has beside its encoder, and start the decoding processes; end with `close`.

        Args:
            parameters: those of the model's configuration, with the limits.

        Raises:
            CorruptArtifact: a file is missing or is not what an export writes.
            SettingError: a parameter is no limit.
        """
        decoder = MediaDecoder(MediaFacts.read(directory), MediaLimits.of_parameters(parameters))
        model = cls(encoder, decoder, LabelScorer(directory) if (directory / HEAD_FILE).exists() else None)
        model._running.enter_context(decoder)
        return model

    def close(self) -> None:
        """End the decoding processes."""
        self._running.close()

    def encode_requests(self, requests: Sequence[Mapping[str, Tensor]]) -> list[Answer]:
        """Answer requests in one inference: V2 output tensors, or the error of a request that is bad by itself.

        Raises:
            InternalError: no file can be decoded now.
        """
        files = [[bytes(file) for file in request[MEDIA].reshape(-1)] for request in requests]
        uploads = iter(self._decoder.decode([file for part in files for file in part]))
        prepared = [self._tensors([next(uploads) for _ in part], request[TEXT]) for part, request in zip(files, requests, strict=True)]
        encoded = iter(self._encoder.encode_requests([tensors for tensors in prepared if not isinstance(tensors, ReelspaceError)]))
        return [tensors if isinstance(tensors, ReelspaceError) else self._labelled(next(encoded)) for tensors in prepared]

    def _tensors(self, uploads: Sequence[Upload | Refusal], text_B1: Tensor) -> dict[str, Tensor] | WireError:
        """Give the tensors of the encoder of videos, or why one of a request's files cannot be encoded."""
        videos = []
        for row, upload in enumerate(uploads):
            if isinstance(upload, Refusal):
                return WireError(MEDIA, f"row {row}: {upload.reason}: {upload.detail}")
            videos.append(VideoQuery(upload.frames_FHWC, upload.audio_S, ""))
        return {**video_tensors(videos, self._signature), TEXT: text_B1}

    def _labelled(self, answer: Answer) -> Answer:
        if isinstance(answer, ReelspaceError) or self._scorer is None:
            return answer
        labels_BK, scores_BK = self._scorer.best(answer["EMBEDDING"])
        return {**answer, "LABELS": labels_BK, "LABEL_SCORES": scores_BK}
