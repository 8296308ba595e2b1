"""The guide of TrainJobs: its example is read as it stands, and it names every key."""

import json
import re
from pathlib import Path

from reelspace.train.cluster.runtime import GRACE_S
from reelspace.train.cluster.settings import ApiSettings, ClusterSettings, TaskConfig, cluster_settings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "train-job.md").read_text()


def test_the_environment_in_the_guide_is_read_as_it_stands():
    variables = dict(re.findall(r"^(REELSPACE_\w+)='(.*)'$", GUIDE, re.MULTILINE))
    settings = cluster_settings(variables)
    assert settings is not None
    assert settings.num_nodes == json.loads(variables["REELSPACE_TRAIN_JOB"])["num_nodes"]
    assert settings.task_config.resources == {"limits": {"nvidia.com/gpu": "8"}}


def test_the_guide_names_every_key_of_the_place_and_the_seconds_to_save():
    keys = [*ClusterSettings.model_fields, *TaskConfig.model_fields, *ApiSettings.model_fields]
    assert [key for key in keys if f"`{key}`" not in GUIDE] == []
    assert f"{GRACE_S} seconds to save" in GUIDE
