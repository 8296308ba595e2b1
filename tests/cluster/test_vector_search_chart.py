"""The chart vector-search as real pods, two groups of two Tritons: no query fails while they are killed, drained, rolled and upgraded."""

import http.client
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from reelspace.gateway.keys import new_key

from .control_plane import Cluster
from .helm import Release
from .object_store import ObjectStore
from .product_image import IMAGE, write_product_image
from .real_node import NODE, RealNode
from .tools import need_tools

pytestmark = pytest.mark.cluster

NUM_ROWS, SIZE, NUM_SHARDS = 400, 8, 2
RESOURCES = {
    "requests": {"cpu": "20m", "memory": "1Gi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "2Gi"},
}
REGISTRY, REPOSITORY = IMAGE.split("/", 1)
PRODUCT = {"registry": REGISTRY, "repository": REPOSITORY.partition(":")[0], "tag": "0.1.0", "pullPolicy": "Never"}
READY_S = 180.0


@pytest.fixture(scope="module")
def product_image(shared_node: RealNode, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The node has our image."""
    shared_node.load(write_product_image(tmp_path_factory.mktemp("image") / "product.tar"))


def values(store: ObjectStore, bucket: str) -> dict[str, object]:
    """The values of an installation on one small node."""
    probe = {"periodSeconds": 3, "timeoutSeconds": 3, "failureThreshold": 100}
    return {
        "image": PRODUCT,
        "store": {"url": f"s3://{bucket}/search", "endpoint": f"http://{store.endpoint}", "existingSecret": "store-keys"},
        "auth": {"existingSecret": "api-keys"},
        "test": {"existingSecret": "test-key"},
        "gateway": {"replicas": 2, "resources": RESOURCES, "startupProbe": probe},
        "shards": {
            "image": PRODUCT,
            "groups": [{"name": "a"}, {"name": "b"}],
            "replicas": 2,
            "resources": RESOURCES,
            "scratch": "1Gi",
            "minReadySeconds": 5,
        },
        "controller": {"replicas": 1, "resources": RESOURCES, "scratch": "1Gi", "startupProbe": probe},
        "networkPolicy": {"storeCidrs": [f"{store.endpoint.partition(':')[0]}/32"]},
    }


def secrets_of(store: ObjectStore) -> tuple[list[dict[str, Any]], str]:
    """Give the Secrets that the chart asks for, and the API key."""
    key, line = new_key("test", ["admin", "read", "write"], ["*"], None)
    credentials = f"[default]\naws_access_key_id = {store.access_key}\naws_secret_access_key = {store.secret_key}\n"
    data = {
        "store-keys": {"credentials": credentials},
        "api-keys": {"keys.json": json.dumps([line.model_dump(mode="json", exclude_none=True)])},
        "test-key": {"key": key},
    }
    made = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": one} for name, one in data.items()]
    return made, key


class Gateway:
    """What clients see, at the address of the Service."""

    def __init__(self, host: str, key: str) -> None:
        self._host, self._key = host, key

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Give the status and the answer; 0 where there was none."""
        headers = {"Content-Type": "application/json", "api-key": self._key}
        try:
            with closing(http.client.HTTPConnection(self._host, 6333, timeout=30)) as connection:
                connection.request(method, path, None if body is None else json.dumps(body), headers)
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())
        except OSError as error:
            return 0, repr(error)

    def done(self, method: str, path: str, body: object = None) -> Any:
        """Give the result, which must be there."""
        status, answer = self.ask(method, path, body)
        assert status == 200, (path, status, answer)
        return answer["result"]


def row(number: int) -> list[float]:
    return [random.Random(number * SIZE + axis).gauss(0, 1) for axis in range(SIZE)]


@contextmanager
def asking(gateway: Gateway) -> Iterator[Counter[str]]:
    """Search for rows by their own vectors, again and again, while the block runs; counts what came."""
    outcomes: Counter[str] = Counter()
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            number = random.randrange(NUM_ROWS)
            status, answer = gateway.ask("POST", "/collections/things/points/query", {"query": row(number), "limit": 1})
            if status != 200:
                outcomes[re.sub(r"[0-9.]{2,}", "N", f"{status} {answer}")[:160]] += 1
            else:
                outcomes["right" if answer["result"]["points"][0]["id"] == number else f"wrong: {answer}"] += 1
            time.sleep(0.02)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)


@contextmanager
def told(cluster: Cluster) -> Iterator[None]:
    """Print the last lines of every pod where the block fails."""
    try:
        yield
    except BaseException:
        for pod in cluster.pods():
            name = pod["metadata"]["name"]
            print(f"== {name}\n{cluster.kubectl('logs', name, '--tail=60')}")
        raise


@pytest.mark.timeout(1500)
def test_no_query_fails_while_pods_are_killed_drained_rolled_and_upgraded(
    product_image: None, real_node: RealNode, pod_store: ObjectStore, tmp_path: Path
) -> None:
    need_tools("helm")
    cluster = real_node.cluster
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    with told(cluster):
        made, key = secrets_of(pod_store)
        cluster.apply(*made)
        release, given = Release(cluster, "vector-search", "search"), tmp_path / "values.json"
        given.write_text(json.dumps(values(pod_store, pod_store.make_bucket())))
        begun_s = time.monotonic()
        release.install(given, wait_s=READY_S)
        print(f"installed in {time.monotonic() - begun_s:.0f} s")
        assert "searched and deleted" in release.test()

        gateway = Gateway(cluster.get("service", "search-vector-search")["spec"]["clusterIP"], key)
        gateway.done("PUT", "/collections/things", {"vectors": {"size": SIZE, "distance": "Cosine"}, "shard_number": NUM_SHARDS})
        points = [{"id": number, "vector": row(number)} for number in range(NUM_ROWS)]
        gateway.done("PUT", "/collections/things/points?wait=true", {"points": points})

        def ready() -> bool:
            return all(pod["status"]["containerStatuses"][0]["ready"] for pod in cluster.pods()) and len(cluster.pods()) == 7

        def rolled(kind: str, *names: str) -> None:
            for name in names:
                cluster.kubectl("rollout", "status", f"{kind}/{name}", "--timeout=110s")

        shards = ("search-vector-search-shards-a", "search-vector-search-shards-b")
        with asking(gateway) as outcomes:
            time.sleep(5)
            for name in (f"{shards[0]}-0", f"{shards[1]}-1"):
                cluster.kubectl("delete", "pod", name, "--grace-period=0", "--force")
                cluster.wait_until(ready, "pods after a kill", READY_S)
            print("killed", outcomes)
            drained = f"statefulset.kubernetes.io/pod-name={shards[0]}-1"
            cluster.kubectl("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", f"--pod-selector={drained}")
            cluster.kubectl("uncordon", NODE)
            cluster.wait_until(ready, "pods after a drain", READY_S)
            for name in shards:
                cluster.kubectl("rollout", "restart", f"statefulset/{name}")
            rolled("statefulset", *shards)
            print("rolled", outcomes)
            release.upgrade(given, sets={"gateway.accessLog": True, "shards.drainSeconds": 6, "controller.keepSeconds": 30})
            cluster.wait_until(ready, "pods after an upgrade", READY_S)
            print("upgraded", outcomes)
            time.sleep(5)
        failed = {what: count for what, count in outcomes.items() if what != "right"}
        print(f"{outcomes['right']} queries answered right, others: {failed}")
        assert not failed
        assert outcomes["right"] > 1000
        assert "shards.groups: b is gone" in release.refused_upgrade(given, sets={"shards.groups": [{"name": "a"}]})
        release.uninstall()
        cluster.wait_until(lambda: not cluster.pods(), "no pod left")
