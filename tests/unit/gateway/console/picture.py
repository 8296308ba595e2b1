"""Draws docs/guides/console.png: the console's page over made-up figures, in a headless browser.

`python -m tests.unit.gateway.console.picture docs/guides/console.png`
"""

import base64
import io
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from reelspace.gateway.console.page import console_page
from reelspace.gateway.console.query_markup import QueryBox
from reelspace.gateway.console.question import Answer, Hit, Question
from reelspace.gateway.console.replica_states import ReplicaView
from reelspace.gateway.console.views import CollectionView, ShardView, StatusView
from reelspace.search.compute.queries import ShardFacts

from ....browser import browsing
from ....http_server import answering

WIDTH, COLOURS, SIDE = 1200, 96, 72
TITLES = ("ramen soup at night", "how the broth is made", "noodles pulled by hand", "a bowl in the rain", "street food, episode 4")


def main(path: str) -> None:
    """Write the picture."""
    page = made_up_page().encode()
    files = {name: resources.files("reelspace.gateway.console").joinpath(name).read_bytes() for name in ("console.css", "console.js")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            self.send_response(200)
            self.send_header("Content-Type", {"console.css": "text/css", "console.js": "text/javascript"}.get(name, "text/html"))
            self.end_headers()
            self.wfile.write(files.get(name, page))

        def log_message(self, *_: object) -> None: ...

    with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url, browsing() as browser:
        browser.show(WIDTH, 900)
        browser.open(f"{url}/console")
        picture = browser.picture()
    small = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(f"{path}: {small.width} x {small.height}, {Path(path).stat().st_size:,} bytes")


def made_up_page() -> str:
    """Give the page of a gateway before two servers, one of which is out for a shard, with what is like a work."""
    random = np.random.default_rng(5)
    works = CollectionView(
        "works@6f1c0a92",
        ("works",),
        tuple(_shard(random, 412_000 + int(random.integers(9_000)), target, low=shard == 2) for shard, target in enumerate([0.95] * 4)),
        {"": "256 numbers, cosine"},
        ("text_encoder",),
    )
    music = CollectionView("music", (), tuple(_shard(random, 52_300, 0.95, low=False) for _ in range(2)), {"": "128 numbers, dot"})
    replicas = (
        ReplicaView("triton-0.triton:8001", "trusted", 0, 0, {"hedged": 214, "moved": 3}, None),
        ReplicaView("triton-1.triton:8001", "out", 1, 4, {"hedged": 180, "moved": 61, "doubted": 9, "out": 2, "back": 1}, ("out", 12.0)),
    )
    refusals = {"deadline": 2, "overloaded": 37}
    status = StatusView((works, music, CollectionView("drafts")), 3, works, None, replicas, 3, refusals, 4121, 93_000.0)
    asked = _hit(random, 0, None)
    hits = tuple(_hit(random, place, 0.93 - 0.041 * place) for place in range(1, 5))
    answer = Answer(hits, asked, works.num_rows, works.num_rows, 0.006)
    return console_page(status, QueryBox(works, True, 16 << 20, Question(works.name, "id", "", 4, asked.id), answer), has_keys=True)


def _shard(random: np.random.Generator, num_rows: int, target: float, *, low: bool) -> ShardView:
    wander = 0.012 * np.cumsum(random.normal(size=360)) / 8
    recalls = np.clip(0.978 + wander - wander.mean() - (np.linspace(0, 0.11, 360) if low else 0), 0, 1)
    facts = ShardFacts(num_rows, num_rows - 900, 18_000 + int(random.integers(900)), 12, num_rows * 1_300, 900, float(recalls[-1]), target)
    return ShardView(facts, 0, tuple(float(one) for one in recalls))


def _hit(random: np.random.Generator, place: int, score: float | None) -> Hit:
    payload = f"title: {TITLES[place]} · kind: video · created_at: 2025-03-{11 + place}T18:20:00Z"
    return Hit(str(7_301_442_000 + int(random.integers(10**6))), score, payload, _thumbnail(random))


def _thumbnail(random: np.random.Generator) -> str:
    """Draw a bowl on a table, in colours that are drawn by lot."""
    y_H1, x_1W = np.mgrid[0:SIDE, 0:SIDE][0][:, :1], np.arange(SIDE)[None]
    table, bowl, soup = random.integers(40, 220, (3, 3))
    away_HW = np.hypot(x_1W - random.integers(28, 44), y_H1 - random.integers(30, 44))
    picture_HWC = np.where((away_HW < 24)[..., None], bowl, table + (y_H1 * 0.5)[..., None])
    picture_HWC = np.where((away_HW < 18)[..., None], soup, picture_HWC)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture_HWC, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main(sys.argv[1])
