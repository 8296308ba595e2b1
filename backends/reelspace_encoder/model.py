"""Triton's python-based backend of the exported encoders; the work is in reelspace.serving.encoder."""

import triton_python_backend_utils as triton

from reelspace.serving.encoder import Encoder
from reelspace.serving.triton_backend import Backend


class TritonPythonModel:
    """One instance of one model; the class name and the methods' names are Triton's."""

    def initialize(self, args):
        """Open the version directory that Triton names."""
        self._backend = Backend(triton, args)
        self._encoder = Encoder(self._backend.directory, self._backend.num_threads, self._backend.graph)

    def execute(self, requests):
        """Answer a batch of requests; a bad one fails alone."""
        return self._backend.execute(requests, self._encoder.encode_requests)
