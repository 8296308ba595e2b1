"""Triton's python-based backend of the label head; the work is in reelspace.serving.scorer."""

import triton_python_backend_utils as triton

from reelspace.serving.scorer import LabelScorer, ScorerVersion
from reelspace.serving.triton_backend import Backend


class TritonPythonModel:
    """One instance of one model; the class name and the methods' names are Triton's."""

    def initialize(self, args):
        """Open the version directory that Triton names."""
        self._backend = Backend(triton, args)
        ScorerVersion.open(self._backend.directory)
        self._scorer = LabelScorer(self._backend.directory)

    def execute(self, requests):
        """Answer a batch of requests; a bad one fails alone."""
        return self._backend.execute(requests, self._scorer.score_requests)
