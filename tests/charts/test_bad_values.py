"""Wrong values end at render, with the key named: by the schema, or by the checks of the templates."""

from pathlib import Path

import pytest

from .helm import CHARTS, refusal, render

CHART = CHARTS / "vector-search"
MINIMAL = CHART / "ci" / "minimal-values.yaml"
DIGEST = "sha256:" + "0" * 64

# Number of the case in the list that this follows, the values, what the refusal must name.
BAD: list[tuple[str, dict[str, object], str]] = [
    ("misspelt key", {"gatway.replicas": 2}, "gatway"),
    ("misspelt inner key", {"gateway.replica": 2}, "replica"),
    ("replicas as a word", {"gateway.replicas": "two"}, "gateway/replicas"),
    ("no replicas", {"gateway.replicas": 0}, "gateway/replicas"),
    ("fewer than no replicas", {"shards.replicas": -1}, "shards/replicas"),
    ("budget as large as the pods", {"gateway.replicas": 2, "gateway.maxUnavailable": 2}, "gateway.maxUnavailable"),
    ("budget as large as a group", {"shards.replicas": 2, "shards.maxUnavailable": 2}, "shards.maxUnavailable"),
    ("no group stays", {"shards.groups": [{"name": "a", "leaving": True}]}, "shards.groups"),
    ("a group twice", {"shards.groups": [{"name": "a"}, {"name": "a"}]}, "shards.groups"),
    ("no groups", {"shards.groups": []}, "shards/groups"),
    ("image without tag or digest", {"image.tag": "", "image.digest": ""}, "image"),
    ("image latest", {"image.tag": "latest"}, "image/tag"),
    ("tag inside the repository", {"image.repository": "reelspace/search:1"}, "image/repository"),
    ("digest of another kind", {"image.digest": "md5:1"}, "image/digest"),
    ("memory 4GB", {"gateway.resources.limits.memory": "4GB"}, "gateway/resources"),
    ("memory as a number", {"gateway.resources.limits.memory": 4}, "gateway/resources"),
    ("memory with a space", {"gateway.resources.limits.memory": "4 Gi"}, "gateway/resources"),
    ("limit below request", {"gateway.resources.limits.memory": "512Mi"}, "gateway.resources.limits.memory"),
    ("no ephemeral limit", {"shards.resources.limits.ephemeral-storage": None}, "shards.resources.limits.ephemeral-storage"),
    ("gpu as a boolean", {"shards.gpu": False}, "shards/gpu"),
    ("half a gpu", {"shards.gpu.count": 0.5}, "shards/gpu/count"),
    ("resources null", {"gateway.resources": "none"}, "gateway/resources"),
    ("size of a volume", {"shards.scratch": "foobar"}, "shards/scratch"),
    ("shared memory", {"shards.sharedMemory": "64MB"}, "shards/sharedMemory"),
    ("store without scheme", {"store.url": "bucket/search"}, "store/url"),
    ("store with a slash at its end", {"store.url": "s3://bucket/search/"}, "store/url"),
    ("endpoint without scheme", {"store.endpoint": "minio:9000"}, "store/endpoint"),
    ("endpoint with a slash at its end", {"store.endpoint": "http://minio:9000/"}, "store/endpoint"),
    ("endpoint http on 443", {"store.endpoint": "http://minio:443"}, "store.endpoint"),
    ("a secret in the values", {"store.secretAccessKey": "abc"}, "secretAccessKey"),
    ("an API key in the values", {"auth.apiKey": "abc"}, "apiKey"),
    ("no Secret of the store", {"store.existingSecret": ""}, "store.existingSecret"),
    ("an empty key of the Secret", {"store.secretKey": ""}, "store/secretKey"),
    ("no keys", {"auth.existingSecret": ""}, "auth.existingSecret"),
    ("everyone let in, not meant", {"auth.existingSecret": "", "auth.withoutKeys": True}, "auth.iUnderstand"),
    ("keys and none", {"auth.withoutKeys": True, "auth.iUnderstand": True}, "auth.withoutKeys"),
    ("TLS without a certificate", {"tls.enabled": True}, "tls.existingSecret"),
    ("two certificates", {"tls.enabled": True, "tls.existingSecret": "t", "tls.certManager.enabled": True}, "tls.certManager.enabled"),
    ("no issuer", {"tls.enabled": True, "tls.certManager.enabled": True}, "tls.certManager.issuer"),
    ("a certificate without TLS", {"tls.existingSecret": "t"}, "tls.enabled"),
    ("a long name", {"fullnameOverride": "x" * 64}, "fullnameOverride"),
    ("a name in upper case", {"nameOverride": "Search"}, "nameOverride"),
    ("a name with a dot", {"nameOverride": "a.b"}, "nameOverride"),
    ("a label that is a number", {"commonLabels": {"team": 7}}, "commonLabels/team"),
    ("an annotation that is a number", {"gateway.podAnnotations": {"example.com/x": 7}}, "gateway/podAnnotations"),
    ("a managed variable again", {"gateway.extraEnv": [{"name": "AWS_REGION", "value": "x"}]}, "gateway.extraEnv"),
    ("a variable twice", {"shards.extraEnv": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]}, "shards.extraEnv"),
    ("root", {"securityContext.runAsUser": 0}, "securityContext/runAsUser"),
    ("privileged", {"securityContext.privileged": True}, "privileged"),
    ("host network", {"gateway.hostNetwork": True}, "hostNetwork"),
    ("node port", {"gateway.service.type": "NodePort"}, "gateway/service/type"),
    ("tolerations as a map", {"gateway.tolerations": {"key": "x"}}, "gateway/tolerations"),
    ("a toleration of another shape", {"shards.tolerations": [{"keys": "x"}]}, "shards/tolerations"),
    ("affinity of another shape", {"gateway.affinity": {"nodes": {}}}, "gateway/affinity"),
    ("a probe's period", {"gateway.readinessProbe.periodSeconds": 0}, "gateway/readinessProbe/periodSeconds"),
    ("a probe longer than its period", {"gateway.readinessProbe.timeoutSeconds": 30}, "gateway.readinessProbe.timeoutSeconds"),
    (
        "less time to end than to drain",
        {"gateway.terminationGracePeriodSeconds": 10, "gateway.drainSeconds": 20},
        "gateway.terminationGrace",
    ),
    ("ingress without names", {"ingress.enabled": True}, "ingress.hosts"),
    ("ingress of everything", {"ingress.enabled": True, "ingress.hosts": ["*"]}, "ingress/hosts"),
    ("ingress twice the same", {"ingress.enabled": True, "ingress.hosts": ["a.b", "a.b"]}, "ingress/hosts"),
    (
        "scaling upside down",
        {"gateway.autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}},
        "gateway.autoscaling.minReplicas",
    ),
    ("a line break in a name", {"store.region": "eu\nx: y"}, "store/region"),
    ("a template in a name", {"fullnameOverride": "{{ .Release.Name }}"}, "fullnameOverride"),
    ("a list where a map is", {"gateway": ["x"]}, "gateway"),
    ("an object without kind", {"extraObjects": [{"apiVersion": "v1"}]}, "extraObjects"),
    ("an address of the store", {"networkPolicy.storeCidrs": ["everywhere"]}, "networkPolicy/storeCidrs"),
]


@pytest.mark.parametrize(("sets", "named"), [pytest.param(sets, named, id=what) for what, sets, named in BAD])
def test_wrong_values_are_refused_by_name(sets: dict[str, object], named: str) -> None:
    told = refusal(CHART, MINIMAL, sets=sets)
    assert named.replace("/", ".") in told.replace("/", ".").replace("'", ""), told


def test_an_old_kubernetes_is_refused() -> None:
    assert "1.30" in refusal(CHART, MINIMAL, kube_version="1.29.0")


def test_values_of_all_scenarios_render(tmp_path: Path) -> None:
    assert render(CHART, MINIMAL, sets={"image.digest": DIGEST, "image.tag": ""})
