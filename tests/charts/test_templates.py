"""What templates of the charts of servers, and those that all charts have, promise by fields of objects; `golden/` guards the rest."""

import json
from collections.abc import Mapping

import pytest

from . import goldens
from .helm import OPERATORS
from .releases import DAILY, INFERENCE, PIPELINES, SEARCH, TRAININGS, arguments, egress_ports, named, pod_of, release, values_of
from .workloads import of_kind, title, workloads

# The part of each server chart that has GPUs, with the kind and the end of the name of its object.
MODELS = {SEARCH: ("shards", "StatefulSet", "-shards-a"), INFERENCE: ("triton", "Deployment", "-triton")}
PORTS = {SEARCH: 6333, INFERENCE: 8080}
RUNS: dict[str, dict[str, object]] = {
    SEARCH: {"shards.replicas": 3, "shards.groups": [{"name": "a"}, {"name": "b"}]},
    INFERENCE: {"triton.replicas": 3},
}
FAMILIES = sorted(RUNS)
each_server_chart = pytest.mark.parametrize("chart", FAMILIES)


def test_shards_are_a_stateful_set_per_group_with_pods_of_its_own() -> None:
    objects = release(SEARCH, {"shards.groups": [{"name": "a"}, {"name": "b", "leaving": True}]})
    sets = of_kind(objects, "StatefulSet")
    assert {one["metadata"]["name"]: one["metadata"]["annotations"]["reelspace.io/leaving"] for one in sets} == {
        "r-vector-search-shards-a": "false",
        "r-vector-search-shards-b": "true",
    }
    for one, group in zip(sets, "ab", strict=True):
        assert one["spec"]["selector"]["matchLabels"]["reelspace.io/group"] == group
        assert named(objects, "Service", f"-shards-{group}")["spec"]["selector"] == one["spec"]["selector"]["matchLabels"]
        assert values_of(arguments(one), "--group") == [group]
        assert one["spec"]["serviceName"] == one["metadata"]["name"]
        assert "volumeClaimTemplates" not in one["spec"]


def test_gateway_and_controller_are_told_every_server() -> None:
    def servers(group: str) -> list[str]:
        service = f"r-vector-search-shards-{group}"
        return [f"{service}-{place}.{service}.ns.svc.example:8001" for place in range(3)]

    objects = release(SEARCH, RUNS[SEARCH] | {"clusterDomain": "example", "encoders.grpc": ["one:1", "two:2"]})
    gateway = arguments(named(objects, "Deployment", "-gateway"))
    assert values_of(gateway, "--triton-grpc") == servers("a")[:1]
    more = gateway.index("--triton-replicas")
    assert gateway[more + 1 : more + 3] == servers("a")[1:]
    assert gateway[gateway.index("--encoders-grpc") + 1 :][:2] == ["one:1", "two:2"]
    controller = arguments(named(objects, "Deployment", "-controller"))
    assert values_of(controller, "--triton") == servers("a")
    assert values_of(controller, "--group") == [f"{group}={','.join(servers(group))}" for group in "ab"]


def test_a_leaving_group_gets_no_shards_and_is_asked_by_no_one_first() -> None:
    objects = release(SEARCH, {"shards.groups": [{"name": "a", "leaving": True}, {"name": "b"}]})
    controller, gateway = (arguments(named(objects, "Deployment", f"-{part}")) for part in ("controller", "gateway"))
    assert [one.partition("=")[0] for one in values_of(controller, "--group")] == ["b"]
    assert all("-shards-b-0" in one for one in (*values_of(controller, "--triton"), *values_of(gateway, "--triton-grpc")))


@pytest.mark.parametrize(("chart", "part"), [(SEARCH, "gateway"), (INFERENCE, "gateway"), (INFERENCE, "triton")])
def test_an_autoscaler_is_the_only_one_that_counts(chart: str, part: str) -> None:
    assert named(release(chart, {f"{part}.replicas": 4}), "Deployment", f"-{part}")["spec"]["replicas"] == 4
    objects = release(chart, {f"{part}.autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 5}})
    deployment, scaler = (named(objects, kind, f"-{part}") for kind in ("Deployment", "HorizontalPodAutoscaler"))
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 5)
    assert named(objects, "PodDisruptionBudget", f"-{part}")["spec"]["maxUnavailable"] == 1


def test_a_queue_scales_by_the_time_that_requests_wait() -> None:
    queue = {"enabled": True, "metric": "queue", "queueMilliseconds": 7}
    objects = release(INFERENCE, {"triton.autoscaling": queue})
    (metric,) = named(objects, "HorizontalPodAutoscaler", "-triton")["spec"]["metrics"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "7"}
    (rule,) = named(objects, "PrometheusRule", "-triton")["spec"]["groups"][0]["rules"]
    assert rule["record"] == metric["pods"]["metric"]["name"]
    assert 'namespace="ns", pod=~"r-inference-triton-.+"' in rule["expr"]
    assert not of_kind(release(INFERENCE, {"triton.autoscaling": queue}, api_versions=()), "PrometheusRule")


@each_server_chart
def test_a_budget_is_there_from_two_pods_on(chart: str) -> None:
    assert not of_kind(release(chart), "PodDisruptionBudget")
    budgets = of_kind(release(chart, RUNS[chart]), "PodDisruptionBudget")
    servers = {SEARCH: ["r-vector-search-shards-a", "r-vector-search-shards-b"], INFERENCE: ["r-inference-triton"]}[chart]
    assert [one["metadata"]["name"] for one in budgets] == servers


@each_server_chart
def test_gpus_with_what_they_need_come_only_where_they_are_enabled(chart: str) -> None:
    part, kind, end = MODELS[chart]
    gpu = {"resourceName": "example.com/gpu", "count": 2, "runtimeClassName": "fast", "nodeSelector": {"a": "b"}, "tolerations": []}
    gpu["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
    kept = {f"{part}.nodeSelector": {"disk": "ssd"}, f"{part}.tolerations": [{"key": "batch", "operator": "Exists"}]}
    found = {}
    for enabled in (False, True):
        pod = pod_of(named(release(chart, {f"{part}.gpu": gpu | {"enabled": enabled}, **kept}), kind, end))
        limits = pod["containers"][0]["resources"]["limits"]
        keys = [one["key"] for one in pod["tolerations"]]
        found[enabled] = (limits.get("example.com/gpu"), keys, pod["nodeSelector"], pod.get("runtimeClassName"))
        assert limits["memory"]
    assert found[False] == (None, ["batch"], {"disk": "ssd"}, None)
    assert found[True] == (2, ["batch", "gpu"], {"disk": "ssd", "a": "b"}, "fast")


def test_shards_are_told_how_many_gpus_they_have() -> None:
    for sets, told in (({}, []), ({"shards.gpu.enabled": True, "shards.gpu.count": 4}, ["4"])):
        (container,) = pod_of(named(release(SEARCH, sets), "StatefulSet"))["containers"]
        assert [one["value"] for one in container["env"] if one["name"] == "REELSPACE_SHARD_DEVICES"] == told


@pytest.mark.parametrize("chart", [*FAMILIES, PIPELINES])
@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("https://s3.example", 443), ("http://s3.example", 80), ("http://s3.example:9000", 9000), ("https://[fd00::1]:9443", 9443)],
)
def test_the_way_to_the_store_is_open_at_the_port_of_its_address(chart: str, endpoint: str, port: int) -> None:
    objects = release(chart, {"store.endpoint": endpoint, "networkPolicy.storeCidrs": ["10.1.0.0/16"]})
    to_store = [{"ports": [{"port": port, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]
    for policy in of_kind(objects, "NetworkPolicy"):
        found = [rule for rule in policy["spec"]["egress"] if rule["to"] == to_store[0]["to"]]
        assert found == ([] if policy["metadata"]["name"].endswith("-test") else to_store), title(policy)


@each_server_chart
def test_only_pods_of_the_release_reach_tritons(chart: str) -> None:
    part, *_ = MODELS[chart]
    policy = named(release(chart), "NetworkPolicy", f"-{part}")["spec"]
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    assert {peer["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] for peer in peers} == {"r"}
    assert all(peer.keys() == {"podSelector"} for peer in peers)


@each_server_chart
def test_clients_and_monitoring_are_those_that_values_name(chart: str) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"name": "web"}}}
    policy = named(release(chart, {"networkPolicy.clients": [peer], "networkPolicy.monitoring": [peer]}), "NetworkPolicy", "-gateway")
    clients, monitoring = policy["spec"]["ingress"]
    assert peer in clients["from"]
    assert {"podSelector": {}} not in clients["from"]
    assert PORTS[chart] in {one["port"] for one in clients["ports"]}
    assert monitoring == {"ports": [{"port": 9090, "protocol": "TCP"}], "from": [peer]}
    assert {"podSelector": {}} in named(release(chart), "NetworkPolicy", "-gateway")["spec"]["ingress"][0]["from"]
    assert not of_kind(release(chart, {"networkPolicy.enabled": False}), "NetworkPolicy")


def test_gateways_reach_encoders_at_their_ports() -> None:
    ports = [
        egress_ports(named(release(SEARCH, sets), "NetworkPolicy", "-gateway")) for sets in ({}, {"encoders.grpc": ["one:7", "two:9"]})
    ]
    assert ports[1] - ports[0] == {7, 9}


@each_server_chart
@pytest.mark.parametrize(
    ("sets", "secret"),
    [
        ({"tls.enabled": True, "tls.existingSecret": "mine"}, "mine"),
        ({"tls.enabled": True, "tls.certManager.enabled": True, "tls.certManager.issuer": "ours"}, "r-CHART-tls"),
    ],
)
def test_certificates_are_files_of_the_secret_or_of_cert_managers(chart: str, sets: Mapping[str, object], secret: str) -> None:
    objects = release(chart, sets)
    secret = secret.replace("CHART", chart)
    gateway = named(objects, "Deployment", "-gateway")
    volumes = {one["name"]: one["secret"]["secretName"] for one in pod_of(gateway)["volumes"] if "secret" in one}
    assert volumes["tls"] == secret
    assert values_of(arguments(gateway), "--tls-cert") == ["/etc/reelspace/tls/tls.crt"]
    asked = of_kind(objects, "Certificate")
    assert [one["spec"]["secretName"] for one in asked] == ([secret] if "tls.certManager.issuer" in sets else [])
    for one in asked:
        assert one["spec"]["issuerRef"] == {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "ours"}
        assert f"{named(objects, 'Service', chart)['metadata']['name']}.ns.svc" in one["spec"]["dnsNames"]


@each_server_chart
def test_without_tls_there_is_neither_certificate_nor_option(chart: str) -> None:
    objects = release(chart)
    gateway = named(objects, "Deployment", "-gateway")
    assert not of_kind(objects, "Certificate")
    assert not [word for word in arguments(gateway) if word.startswith("--tls")]
    assert "tls" not in {one["name"] for one in pod_of(gateway)["volumes"]}


@each_server_chart
def test_keys_are_files_of_secrets_that_the_release_does_not_make(chart: str) -> None:
    objects = release(chart, {"auth.secretKey": "all.json", "store.secretKey": "file"})
    assert not of_kind(objects, "Secret")
    gateway = named(objects, "Deployment", "-gateway")
    assert values_of(arguments(gateway), "--keys-file") == ["/etc/reelspace/keys/all.json"]
    for pod in workloads(objects):
        volumes = {one["name"]: one["secret"] for one in pod.spec["volumes"] if "secret" in one}
        assert {name: one["secretName"] for name, one in volumes.items()} == (
            {}
            if pod.title.endswith("-test")
            else {"store": "store-keys", "keys": "api-keys"}
            if pod.title.endswith("-gateway")
            else {"store": "store-keys"}
        ), pod.title
        assert all(one["defaultMode"] == 0o440 for one in volumes.values())
        for mount in (one for container in pod.containers for one in container["volumeMounts"] if one["name"] in volumes):
            assert mount["readOnly"], pod.title


@each_server_chart
def test_everyone_is_let_in_only_when_that_is_said_twice(chart: str) -> None:
    objects = release(chart, {"auth.existingSecret": "", "auth.withoutKeys": True, "auth.iUnderstand": True})
    gateway = named(objects, "Deployment", "-gateway")
    assert "--without-keys" in arguments(gateway)
    assert "keys" not in {one["name"] for one in pod_of(gateway)["volumes"]}
    assert "--without-keys" not in arguments(named(release(chart), "Deployment", "-gateway"))


@pytest.mark.parametrize(
    ("chart", "sets", "kind"),
    [
        *((chart, {"monitoring.serviceMonitor.enabled": True}, "ServiceMonitor") for chart in FAMILIES),
        *((chart, {"monitoring.prometheusRule.enabled": True}, "PrometheusRule") for chart in FAMILIES),
        (PIPELINES, DAILY, "CronWorkflow"),
        (PIPELINES, TRAININGS, "ClusterTrainingRuntime"),
        (PIPELINES, {"queue.enabled": True, "queue.clusterQueue": "gpus"}, "LocalQueue"),
    ],
)
def test_objects_of_an_operator_are_there_only_where_the_cluster_knows_them(chart: str, sets: Mapping[str, object], kind: str) -> None:
    (group,) = {one["apiVersion"] for one in of_kind(release(chart, sets), kind)}
    without = release(chart, sets, api_versions=[one for one in OPERATORS if one != group])
    assert not of_kind(without, kind)
    assert without
    assert not of_kind(release(chart), kind)


@each_server_chart
def test_prometheus_finds_metrics_of_every_part_and_grafana_a_dashboard(chart: str) -> None:
    found_by = {"release": "prometheus"}
    monitor = {"enabled": True, "interval": "5s", "labels": found_by}
    sets = {"monitoring.serviceMonitor": monitor, "monitoring.dashboard.enabled": True}
    objects = release(chart, sets | {"monitoring.prometheusRule": {"enabled": True, "labels": found_by}})
    parts = {one.labels["app.kubernetes.io/component"] for one in workloads(objects) if one.is_serving}
    monitors = {one["metadata"]["name"].rpartition("-")[2]: one for one in of_kind(objects, "ServiceMonitor")}
    assert monitors.keys() == parts
    for one in monitors.values():
        assert found_by.items() <= one["metadata"]["labels"].items()
        assert one["spec"]["endpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "5s"}]
    assert named(objects, "PrometheusRule")["spec"]["groups"]
    dashboard = named(objects, "ConfigMap", "-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert all(json.loads(text)["panels"] for text in dashboard["data"].values())


@pytest.mark.parametrize("chart", [*FAMILIES, PIPELINES])
def test_one_registry_takes_the_place_of_every_other(chart: str) -> None:
    part = {SEARCH: "shards.image", INFERENCE: "triton.image", PIPELINES: "trainingRuntime.image"}[chart]
    own: dict[str, object] = {f"{part}.registry": "own.example", **(TRAININGS if chart == PIPELINES else {})}

    def pulled(sets: dict[str, object]) -> set[str]:
        return {container["image"] for one in workloads(release(chart, own | sets)) for container in one.containers}

    assert any(image.startswith("own.example/reelspace/") for image in pulled({}))
    mirrored = pulled({"imageRegistry": "mirror.example:5000/x"})
    assert mirrored
    assert all(image.startswith("mirror.example:5000/x/reelspace/python-") for image in mirrored)


@each_server_chart
def test_an_ingress_leads_every_name_to_the_gateways(chart: str) -> None:
    ingress = {"enabled": True, "hosts": ["a.example", "b.example"], "tlsSecret": "t", "className": "nginx"}
    objects = release(chart, {"ingress": ingress, "gateway.service.httpPort": 8181})
    spec = named(objects, "Ingress")["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"secretName": "t", "hosts": ["a.example", "b.example"]}]
    assert [rule["host"] for rule in spec["rules"]] == ["a.example", "b.example"]
    (backend,) = {json.dumps(rule["http"]["paths"][0]["backend"]["service"]) for rule in spec["rules"]}
    service = named(objects, "Service", chart)
    assert json.loads(backend) == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    assert {one["name"]: one["port"] for one in service["spec"]["ports"]}["http"] == 8181
    assert not of_kind(release(chart), "Ingress")


@each_server_chart
def test_the_chart_tests_what_it_installs_with_the_key_it_is_given(chart: str) -> None:
    objects = release(
        chart, {"test.existingSecret": "k", "tls.enabled": True, "tls.existingSecret": "mine", "gateway.service.httpPort": 8181}
    )
    pod = named(objects, "Pod")
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert any(word.startswith("https://") and word.endswith(f"r-{chart}.ns.svc:8181") for word in container["args"])
    assert {"--key-file=/etc/reelspace/key/key", "--ca-file=/etc/reelspace/tls/ca.crt"} <= {*container["args"]}
    assert pod["spec"]["activeDeadlineSeconds"] == 120


@each_server_chart
def test_no_pod_of_servers_may_ask_the_kubernetes_api(chart: str) -> None:
    objects = release(chart)
    assert not of_kind(objects, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    assert all(one["automountServiceAccountToken"] is False for one in of_kind(objects, "ServiceAccount"))
    assert all(pod.spec["automountServiceAccountToken"] is False for pod in workloads(objects))


@pytest.mark.parametrize("chart", [*FAMILIES, PIPELINES])
def test_labels_and_annotations_of_all_and_objects_of_ones_own_are_there(chart: str) -> None:
    extra = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-own"}, "data": {"a": "b"}}]
    sets = {"commonLabels": {"team": "x"}, "commonAnnotations": {"example.com/y": "z"}, "extraObjects": extra}
    objects = release(chart, sets)
    own = named(objects, "ConfigMap", "-own")
    assert own["metadata"] == {"name": "r-own"}
    ours = [one for one in objects if one is not own]
    assert {one["metadata"]["labels"]["team"] for one in ours} == {"x"}
    hooks = [one for one in ours if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["annotations"]["example.com/y"] for one in ours if one not in hooks} == {"z"}


@pytest.mark.parametrize("name", goldens.NAMES)
def test_the_minimal_release_is_as_it_was_last_looked_at(name: str) -> None:
    changed = goldens.difference(name)
    assert not changed, f"if this is meant, run .venv/bin/python -m tests.charts.goldens and look at its diff:\n{changed}"
