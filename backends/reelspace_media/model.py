"""Triton's python-based backend of the encoder of files; the work is in reelspace.serving.media_encoder."""

import triton_python_backend_utils as triton

from reelspace.serving.encoder import Encoder
from reelspace.serving.media_encoder import MediaEncoder
from reelspace.serving.triton_backend import Backend


class TritonPythonModel:
    """One instance of one model; the class name and the methods' names are Triton's."""

    def initialize(self, args):
        """Open the version directory that Triton names, and start the processes that decode."""
        self._backend = backend = Backend(triton, args)
        encoder = Encoder(backend.directory, backend.num_threads, backend.graph)
        self._model = MediaEncoder.open(encoder, backend.directory, backend.parameters)

    def finalize(self):
        """End the processes that decode."""
        self._model.close()

    def execute(self, requests):
        """Answer a batch of requests; a bad one fails alone."""
        return self._backend.execute(requests, self._model.encode_requests)
