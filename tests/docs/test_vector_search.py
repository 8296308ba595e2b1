"""What the guide of vector search shows runs."""

import re
from pathlib import Path

from reelspace.core.local_store import LocalStore
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector

from ..unit.search.access.serving import serving

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "vector-search.md").read_text()


def test_the_example_of_the_guide_finds_its_point(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    store = LocalStore(tmp_path)
    names: dict[str, object] = {}
    with serving(store, connector(GatewaySettings(store=store.url, backend="local"), store)) as url:
        code = example.replace("http://127.0.0.1:8000", url).replace("\nclient.query_points", "\nfound = client.query_points")
        exec(compile(code, "vector-search.md", "exec"), names)  # noqa: S102 - it is our own guide
        names["client"].close()  # type: ignore[attr-defined]
    assert [(point.id, point.payload) for point in names["found"].points] == [(1, {"kind": "video"})]  # type: ignore[attr-defined]
