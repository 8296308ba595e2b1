"""What a place adds to a compiled pipeline is what kfp itself would have written for it."""

import json
from typing import Any

from kfp import dsl, kubernetes

from components.pretrain.component import pretrain
from pipelines.compiling.build import Choices, compile_component, compile_pipeline
from pipelines.compiling.compiled import Compiled
from pipelines.compiling.environment import with_environment, with_train_jobs
from pipelines.compiling.images_lock import ImagesLock
from pipelines.compiling.render import render_ir
from pipelines.resources import Size, on
from reelspace.train.cluster.settings import ClusterSettings, cluster_settings

LOCK = ImagesLock(images={})
VARIABLES = {"REELSPACE_STORE": "s3://bucket", "REELSPACE_RUN_ID": "0" * 32}
SECRETS = {"store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
CLUSTER = ClusterSettings.model_validate({"image": "train@sha256:1", "num_nodes": 2, "store_secret": "store"})


@dsl.component(base_image="one", install_kfp_package=False)
def step() -> None:
    pass


def compiled(*, own: dict[str, str], added: dict[str, str], secrets: dict[str, tuple[str, ...]]) -> Compiled:
    """A pipeline of two tasks with these variables, as kfp compiles it."""

    @dsl.pipeline(name="two-tasks")
    def pipeline() -> None:
        for task in (on(step(), Size.SMALL), on(step(), Size.SMALL)):
            for name, value in (own | added).items():
                task.set_env_variable(name, value)
            for secret, keys in secrets.items():
                kubernetes.use_secret_as_env(task, secret, {key: key for key in keys})

    return compile_component("two-tasks", pipeline, LOCK)


def test_variables_and_secrets_are_written_as_kfp_writes_them():
    plain = compiled(own={"OWN": "one"}, added={}, secrets={})
    before = render_ir(plain)
    more = with_environment(plain, VARIABLES, SECRETS)
    assert render_ir(more) == render_ir(compiled(own={"OWN": "one"}, added=VARIABLES, secrets=SECRETS))
    assert render_ir(plain) == before
    assert render_ir(with_environment(plain, {}, {})) == before


def test_what_a_task_has_already_stays():
    own = compiled(own={"REELSPACE_STORE": "own"}, added={}, secrets={"other": ("AWS_ACCESS_KEY_ID",)})
    more = with_environment(own, VARIABLES, SECRETS)
    rows = more.spec["deploymentSpec"]["executors"]["exec-step"]["container"]["env"]
    assert {row["name"]: row["value"] for row in rows} == VARIABLES | {"REELSPACE_STORE": "own"}
    secrets = more.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-step"]["secretAsEnv"]
    assert {row["envVar"]: one["secretName"] for one in secrets for row in one["keyToEnv"]} == {
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SECRET_ACCESS_KEY": "store",
    }


def passed(document: Compiled, component: str) -> dict[str, bool]:
    """What is handed to a component of its task, and whether the task's own pod gets it too."""
    rows = document.spec["components"][f"comp-{component}"].get("taskConfigPassthroughs", [])
    return {row["field"]: row.get("applyToTask", False) for row in rows}


def test_only_the_trainings_make_train_jobs_and_only_their_pods_get_what_is_asked_of_a_node():
    plain = compile_pipeline("train_and_publish", Choices(LOCK, "gpu8"))
    more = with_train_jobs(plain, CLUSTER)
    told: dict[str, Any] = {}
    for label, executor in more.spec["deploymentSpec"]["executors"].items():
        told[label] = {row["name"]: row["value"] for row in executor["container"].get("env", [])}
        assert executor["container"]["resources"] == plain.spec["deploymentSpec"]["executors"][label]["container"]["resources"]
    assert {label for label, variables in told.items() if variables} == {"exec-pretrain", "exec-distill"}
    assert cluster_settings(told["exec-pretrain"]) == CLUSTER
    assert json.loads(told["exec-distill"]["REELSPACE_TRAIN_JOB"]) == {"image": "train@sha256:1", "num_nodes": 2, "store_secret": "store"}
    of_node = {"RESOURCES", "KUBERNETES_AFFINITY", "KUBERNETES_NODE_SELECTOR", "KUBERNETES_TOLERATIONS"}
    for component in ("pretrain", "distill"):
        assert passed(plain, component) == dict.fromkeys((*of_node, "ENV", "KUBERNETES_VOLUMES"), True)
        assert passed(more, component) == dict.fromkeys(of_node, False) | {"ENV": True, "KUBERNETES_VOLUMES": True}
    assert passed(plain, "embed") == {}


def test_what_is_not_for_the_tasks_own_pod_is_written_as_kfp_writes_it():
    rows = with_train_jobs(compile_pipeline("train_and_publish", Choices(LOCK)), CLUSTER).spec["components"]["comp-pretrain"]
    fields = [getattr(dsl.TaskConfigField, row["field"]) for row in rows["taskConfigPassthroughs"]]
    both = (dsl.TaskConfigField.ENV, dsl.TaskConfigField.KUBERNETES_VOLUMES)
    handed = [dsl.TaskConfigPassthrough(field=field, apply_to_task=field in both) for field in fields]
    again = dsl.component(base_image="one", install_kfp_package=False, task_config_passthroughs=handed)(pretrain.python_func)

    @dsl.pipeline(name="one-task")
    def pipeline(shards: dsl.Input[dsl.Artifact], labels: dsl.Input[dsl.Artifact]) -> None:
        again(shards=shards, labels=labels, settings="{}")

    own = compile_component("one-task", pipeline, LOCK).spec["components"]["comp-pretrain"]
    assert rows["taskConfigPassthroughs"] == own["taskConfigPassthroughs"]
