"""Every command of docs/guides/operate.md, in its order, on a cluster with a real node."""

import json
from pathlib import Path

import pytest

from .helm import Release
from .object_store import ObjectStore
from .operating import chapters, shell
from .real_node import NODE, RealNode
from .test_vector_search_chart import READY_S, Gateway, product_image, row, secrets_of, told, values
from .tools import need_tools

pytestmark = pytest.mark.cluster
__all__ = ["product_image"]

NUM_ROWS, SIZE = 60, 8


@pytest.mark.timeout(1800)
def test_every_command_of_the_guide_does_what_it_says(
    product_image: None, real_node: RealNode, pod_store: ObjectStore, tmp_path: Path
) -> None:
    need_tools("helm")
    cluster, bucket = real_node.cluster, pod_store.make_bucket()
    made, key = secrets_of(pod_store)
    texts: dict[str, str] = {name: text for secret in made for name, text in secret["stringData"].items()}
    third = {"shards": {"groups": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}
    texts |= {"values.yaml": json.dumps(values(pod_store, bucket)), "third.yaml": json.dumps(third)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    parts = chapters()
    assert sum(map(len, parts.values())) >= 20

    def ready() -> bool:
        return all(pod["status"]["containerStatuses"][0]["ready"] for pod in cluster.pods())

    with told(cluster), shell(cluster, tmp_path) as one:
        one.variables |= {"STORE": f"s3://{bucket}/search", "BACKUP": f"s3://{bucket}/backup", "NODE": NODE}
        for command in parts.pop("Install"):
            one.run(command)
        gateway = Gateway(cluster.get("service", "search-vector-search")["spec"]["clusterIP"], key)
        gateway.done("PUT", "/collections/works", {"vectors": {"size": SIZE, "distance": "Cosine"}, "shard_number": 3})
        points = [{"id": number, "vector": row(number)} for number in range(NUM_ROWS)]
        gateway.done("PUT", "/collections/works/points?wait=true", {"points": points})
        last = list(parts)[-1]
        for heading, commands in parts.items():
            for command in commands:
                print(f"{heading}: {command}")
                printed = one.run(command)
                if "search snapshot" in command:
                    one.variables["SNAPSHOT"] = printed.split()[-1]
                if "group list" in command:
                    assert "a: " in printed
                    assert "b: " in printed
            if heading == last:
                break
            cluster.wait_until(ready, f"pods after {heading!r}", READY_S)
            for number in (0, NUM_ROWS - 1):
                found = gateway.done("POST", "/collections/works/points/query", {"query": row(number), "limit": 1})
                assert found["points"][0]["id"] == number, heading
            if heading == "Back up and restore":
                assert gateway.done("POST", "/collections/restored/points/count", {})["count"] == NUM_ROWS
        assert (tmp_path / "plan.json").exists()
        cluster.wait_until(lambda: not cluster.pods(), "no pod left")
        Release(cluster, "vector-search", "again").install(tmp_path / "values.yaml", tmp_path / "third.yaml", wait_s=READY_S)
        gateway = Gateway(cluster.get("service", "again-vector-search")["spec"]["clusterIP"], key)
        assert gateway.done("POST", "/collections/works/points/count", {})["count"] == NUM_ROWS
