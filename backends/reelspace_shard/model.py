"""Triton's python-based backend of the search shards; the work is in reelspace.search.compute."""

import json
import os
from pathlib import Path

import triton_python_backend_utils as triton

from reelspace.core.errors import UserError
from reelspace.core.store import open_store
from reelspace.search.compute.freed_memory import share_heaps
from reelspace.search.compute.generation import Placement
from reelspace.search.compute.host import Hosting, ShardHost
from reelspace.search.compute.signature import INPUTS
from reelspace.search.compute.triton_requests import ShardRequest, answer_requests
from reelspace.search.storage.followed import FOLLOWED, FollowedShard
from reelspace.search.storage.layout import Collection, collection_key, parse, read_file


class TritonPythonModel:
    """One shard; the class name and the methods' names are Triton's."""

    def initialize(self, args):
        """Load the current generation of the shard that the version directory names, and follow its pointer and log.

        The store is the one that REELSPACE_STORE names; REELSPACE_SHARD_BYTES is the memory that its generations may take, if given;
        REELSPACE_SHARD_DEVICES are so many GPUs, over which shards are spread by their numbers, if given.
        """
        config = json.loads(args["model_config"])
        directory = Path(args["model_repository"]) / args["model_version"]
        share_heaps()
        followed = directory / FOLLOWED
        shard = parse(FollowedShard, followed.read_bytes(), str(followed))
        device = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        if num_devices := int(os.environ.get("REELSPACE_SHARD_DEVICES", "0")):
            device = shard.shard % num_devices
        num_threads = int(config["parameters"]["num_threads"]["string_value"])
        max_bytes = int(os.environ["REELSPACE_SHARD_BYTES"]) if "REELSPACE_SHARD_BYTES" in os.environ else None
        store = open_store(os.environ["REELSPACE_STORE"])
        collection = read_file(store, Collection, collection_key(shard.collection))
        self._host = ShardHost(store, collection, shard.shard, Hosting(Placement(device, num_threads), max_bytes=max_bytes))

    def finalize(self):
        """Stop following the log."""
        self._host.close()

    def execute(self, requests):
        """Answer a batch of requests; a bad one fails alone."""
        return [self._response(answer) for answer in answer_requests(self._host, [self._request(request) for request in requests])]

    def _request(self, request):
        tensors = {name: triton.get_input_tensor_by_name(request, name) for name in INPUTS}
        inputs = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
        return ShardRequest(inputs, frozenset(request.requested_output_names()))

    def _response(self, answer):
        if isinstance(answer, Exception):
            code = triton.TritonError.INVALID_ARG if isinstance(answer, UserError) else triton.TritonError.INTERNAL
            return triton.InferenceResponse(error=triton.TritonError(str(answer), code))
        return triton.InferenceResponse([triton.Tensor(name, tensor) for name, tensor in answer.items()])
