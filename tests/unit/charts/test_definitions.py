"""The definitions that charts share take what Kubernetes takes, and refuse what would fail only when pods are made."""

from typing import Any

import pytest

from charts.generate import REFERENCE, Validator, definitions, schemas


def spread(**more: Any) -> dict[str, Any]:
    return {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", **more}


SHA = "sha256:" + "0a" * 32
GOOD: dict[str, list[Any]] = {
    "affinity": [{}, {"nodeAffinity": {"x": 1}, "podAffinity": {}, "podAntiAffinity": {}}],
    "annotations": [{}, {"a/b": "x\ny", "c": ""}],
    "cpu": ["500m", "2", "0.5", "0.25", "1.5", "0.125", 1, 0.5],
    "dnsName": ["a", "a-1", "0", "a" * 63],
    "endpointUrl": ["", "http://a", "https://s3.a.example:9000", "http://[::1]:9000", "http://10.0.0.1:80"],
    "extraEnv": [[], [{"name": "_A1", "value": ""}, {"name": "b", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]],
    "extraObjects": [[], [{"apiVersion": "v1", "kind": "Secret", "data": {}}, "kind: X"]],
    "extraVolumeMounts": [[], [{"name": "a", "mountPath": "/a", "readOnly": True}]],
    "extraVolumes": [[], [{"name": "a", "emptyDir": {}}]],
    "groupName": ["a", "0", "gpu-a", "a" * 15],
    "hostName": ["a", "cluster.local", "a-b.c.example"],
    "image": [
        {},
        {"registry": "", "repository": "a", "tag": "", "digest": "", "pullPolicy": "Never"},
        {"registry": "r.example:5000/m", "repository": "a/b-c_d", "tag": "0.1.0", "digest": SHA, "pullPolicy": "IfNotPresent"},
    ],
    "imagePullSecrets": [[], [{"name": "a.b"}]],
    "labels": [{}, {"a": "", "app.kubernetes.io/Name_1": "A.b-c_1", "a" * 63: "b" * 63}],
    "nodeSelector": [{"kubernetes.io/arch": "amd64"}],
    "optionalName": ["", "a-b"],
    "port": [1024, 65535],
    "probe": [{}, {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 0}],
    "quantity": ["512Mi", "4Gi", "1G", "1.5Gi", "1024", "1k", "1e9", "0.5Gi"],
    "resourceList": [{"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": 1}],
    "resources": [{}, {"requests": {}, "limits": {"memory": "1Gi", "nvidia.com/mig-1g.5gb": 2}}],
    "secretKey": ["a", "keys.json", "-_.A1"],
    "storeUrl": ["s3://abc", "s3://a.b-c/d", "s3://abc/d/e_f.g=1"],
    "tolerations": [[], [{}, {"key": "a/b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}, {"value": ""}]],
    "topologySpreadConstraints": [[], [spread(), spread(labelSelector={"matchLabels": {}}, minDomains=2, matchLabelKeys=["a"])]],
}
BAD: dict[str, list[Any]] = {
    "affinity": [None, [], {"node": {}}, {"nodeAffinity": None}],
    "annotations": [None, {"a b": "x"}, {"a": 1}, {"a": None}, {"/a": "x"}, {"a/b/c": "x"}],
    "cpu": ["", "0", "0m", "0.0", "1.5m", "-1", "1 ", "1\n", "2Gi", "0.0001", 0, -1, None, True],
    "dnsName": ["", "A", "-a", "a-", "a.b", "a_b", "a\n", "a" * 64, 1],
    "endpointUrl": ["a", "ftp://a", "http://", "http://a/", "http://a/b", "http://a:", "http://a:1/", "http://u@a", "http://a\n", None],
    "extraEnv": [
        {},
        [{"name": "A"}],
        [{"value": "x"}],
        [{"name": "A", "value": 1}],
        [{"name": "1A", "value": "x"}],
        [{"name": "A-B", "value": "x"}],
        [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {}}}],
        [{"name": "A", "value": "x", "more": 1}],
        [{"name": "A", "valueFrom": {}}],
        [{"name": "A", "valueFrom": {"secret": {}}}],
    ],
    "extraObjects": [{}, [{}], [{"kind": "Secret"}], [{"apiVersion": "v1"}], [{"apiVersion": "", "kind": "X"}], [""], [1], [None]],
    "extraVolumeMounts": [
        {},
        [{}],
        [{"name": "a"}],
        [{"mountPath": "/a"}],
        [{"name": "A", "mountPath": "/a"}],
        [{"name": "a", "mountPath": ""}],
    ],
    "extraVolumes": [{}, [{}], ["a"], [{"name": "A"}], [{"emptyDir": {}}]],
    "groupName": ["", "A", "a.b", "-a", "a" * 16],
    "hostName": ["", "*.a", "https://a", "a:80", "A", "a..b", ".a", "a.", "a/b", "a\n", "a." * 127 + "a"],
    "image": [
        None,
        {"tag": "latest"},
        {"tag": "a b"},
        {"tag": 1.0},
        {"tag": "a" * 129},
        {"repository": "a:1"},
        {"repository": "a@" + SHA},
        {"repository": ""},
        {"repository": "A"},
        {"repository": "/a"},
        {"registry": "https://a"},
        {"registry": "a/"},
        {"digest": "sha256:0"},
        {"digest": SHA.upper()},
        {"digest": SHA + "\n"},
        {"pullPolicy": "always"},
        {"name": "a"},
    ],
    "imagePullSecrets": [{}, ["a"], [{}], [{"name": ""}], [{"name": "a", "b": 1}]],
    "labels": [
        None,
        {"a": 1},
        {"a": None},
        {"a": "b c"},
        {"a": "-b"},
        {"a": "b\n"},
        {"a": "b" * 64},
        {"a" * 64: ""},
        {"A.b/": ""},
        {"A/b": ""},
    ],
    "nodeSelector": [[], {"a": True}],
    "optionalName": ["A", " ", None, "a" * 64],
    "port": [80, 1023, 65536, "8080", 8080.5, None],
    "probe": [
        None,
        {"periodSeconds": 0},
        {"timeoutSeconds": 0},
        {"failureThreshold": 0},
        {"initialDelaySeconds": -1},
        {"periodSeconds": "1"},
        {"successThreshold": 1},
    ],
    "quantity": ["4GB", "4 Gi", "4gi", "4K", "Gi", "", "-1Gi", "0", "0Mi", "1Gi\n", "1.Gi", 4, 1.5, None],
    "resourceList": [{"memory": 1}, {"gpu": 1}, {"nvidia.com/gpu": 0}, {"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": None}, {"cpu": None}],
    "resources": [None, [], {"limit": {}}, {"limits": None}, {"requests": {"memory": "4GB"}}, {"requests": {"mem": "4Gi"}}],
    "secretKey": ["", "a/b", "a b", "a\n", "a" * 254],
    "storeUrl": ["", "s3://", "s3://ab", "s3://abc/", "s3://abc//d", "S3://abc", "s3://Abc", "http://abc", "s3://abc/d ", "s3://abc\n"],
    "tolerations": [{}, [None], [{"operator": "In"}], [{"effect": "No"}], [{"tolerationSeconds": -1}], [{"key": ""}], [{"seconds": 1}]],
    "topologySpreadConstraints": [
        {},
        [{}],
        [spread(maxSkew=0)],
        [spread(whenUnsatisfiable="Never")],
        [spread(more=1)],
        [spread(topologyKey="")],
    ],
}


def examples(of: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(name, one, id=f"{name}-{place}") for name, ones in of.items() for place, one in enumerate(ones)]


def shared(name: str) -> Any:
    return Validator({"$ref": REFERENCE + name, "definitions": definitions()})


@pytest.mark.parametrize(("name", "one"), examples(GOOD))
def test_a_definition_takes_what_kubernetes_takes(name: str, one: Any) -> None:
    assert [error.message for error in shared(name).iter_errors(one)] == []


@pytest.mark.parametrize(("name", "one"), examples(BAD))
def test_a_definition_refuses_what_would_fail_later(name: str, one: Any) -> None:
    assert not shared(name).is_valid(one)


def test_every_definition_is_shown_closed_and_with_patterns_of_the_whole_text() -> None:
    known = definitions()
    assert known.keys() == GOOD.keys() == BAD.keys()
    assert list(known) == sorted(known)
    for one in schemas([*known.values()]):
        assert "properties" not in one or "additionalProperties" in one
        assert all(pattern[0] == "^" and pattern[-1] == "$" for pattern in (one.get("pattern", "^$"), *one.get("patternProperties", {})))
