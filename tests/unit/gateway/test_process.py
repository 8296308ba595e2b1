"""Which models a gateway offers, of those that were promoted."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from reelspace.core.local_store import LocalStore
from reelspace.gateway.process import offered_models
from reelspace.search.scheduling.create import create_collection
from reelspace.search.storage.layout import SPACE_POINTER, Collection, SpacePointer, VectorSettings, json_bytes
from reelspace.serving.signatures import EncoderSizes, config_of_signature, graph_signature, media_signature

from ...http_server import answering

COLLECTION = Collection(name="videos", space_id="00112233aabbccdd", vectors={"": VectorSettings(dimension=4)}, num_shards=1)
SIZES = EncoderSizes(dimension=4, num_frames=2, height=16, width=16, num_samples=1_000)
MEDIA = media_signature("media_encoder", SIZES, 3, max_bytes=5_000)
SIGNATURES = {"media_encoder": MEDIA, "video_encoder_graph": graph_signature("video_encoder_graph", SIZES, 8, video=True)}


class Triton(BaseHTTPRequestHandler):
    """Answers with the configuration of every model."""

    def do_GET(self) -> None:
        data = json.dumps(config_of_signature(SIGNATURES[self.path.split("/")[3]])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def test_promoted_models_are_offered_with_their_limits_and_graphs_are_not(tmp_path: Path) -> None:
    store, versions = LocalStore(tmp_path), dict.fromkeys(SIGNATURES, 4)
    create_collection(store, COLLECTION)
    pointer = SpacePointer(
        space_id=COLLECTION.space_id, encoders=versions, collection=COLLECTION.full_name, alias="videos", generation=1, previous=None
    )
    store.put(SPACE_POINTER, json_bytes(pointer))
    with answering(HTTPServer(("127.0.0.1", 0), Triton)) as url:
        models = offered_models(store, url.removeprefix("http://"))
    assert models.signatures == {"media_encoder": MEDIA}
    assert models.versions["media_encoder"] == 4


def test_nothing_is_offered_where_nothing_was_promoted(tmp_path: Path) -> None:
    assert offered_models(LocalStore(tmp_path), "127.0.0.1:9").signatures == {}
