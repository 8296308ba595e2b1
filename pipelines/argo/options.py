"""What a pipeline's definition does not say and a cluster needs: where artifacts lie, who runs, how often."""

from pydantic import Field

from reelspace.core.settings import Settings


class Variable(Settings):
    """One environment variable of every step."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the variable.")
    value: str = Field(description="Its value; Argo's placeholders, such as {{workflow.uid}}, are filled in.")


class ClaimMount(Settings):
    """A claim that every step sees, such as one with a Python environment or with the media."""

    claim: str = Field(min_length=1, description="PersistentVolumeClaim in the namespace of the workflow.")
    path: str = Field(pattern=r"^/[^{}]*[^{}/]$", description="Where steps see it.")
    sub_path: str | None = Field(None, min_length=1, description="Folder of the claim that is seen; None is all of it.")
    writable: bool = Field(
        False, description="Whether steps may write; Kubernetes then gives every file of some kinds of volumes to their group."
    )


class S3Options(Settings):
    """An S3 server that holds artifacts and logs."""

    endpoint: str = Field(min_length=1, description="Host and port, without a scheme.")
    bucket: str = Field(min_length=3, description="Bucket, which must exist.")
    prefix: str = Field("argo", pattern=r"^[^{}]*[^{}/]$", description="First part of every key; workflow and pod names follow.")
    secret: str = Field(min_length=1, description="Secret with the credentials, in the namespace of the workflow.")
    access_key: str = Field("accesskey", min_length=1, description="Key of the secret that holds the access key.")
    secret_key: str = Field("secretkey", min_length=1, description="Key of the secret that holds the secret key.")
    region: str | None = Field(None, description="Region; None leaves it to the server.")
    insecure: bool = Field(False, description="Plain HTTP instead of TLS.")


class ArgoOptions(Settings):
    """How a WorkflowTemplate runs."""

    namespace: str | None = Field(None, description="Namespace written into the object; None leaves it to whoever applies it.")
    service_account: str | None = Field(
        None, description="Account of the pods, which may write workflowtaskresults; None is the default one."
    )
    s3: S3Options | None = Field(None, description="Where artifacts and logs go; None is the repository that the controller has.")
    archive_logs: bool = Field(False, description="Keep the logs of every pod beside the artifacts.")
    user_id: int = Field(65532, ge=1, description="User and group of every container; never root.")
    environment: tuple[Variable, ...] = Field((), description="Variables of every step; a task's own ones win.")
    environment_secrets: tuple[str, ...] = Field((), description="Secrets whose keys all become variables of every step.")
    mounts: tuple[ClaimMount, ...] = Field((), description="Claims that every step sees.")
    images: dict[str, str] = Field({}, description="Image of a task: what runs instead of it.")
    scratch_size: str | None = Field(None, description="Limit of /tmp, as a Kubernetes quantity; None is the node's.")
    retries: int = Field(0, ge=0, description="Tries after the first for tasks that state none.")
    retried_exit_codes: tuple[int, ...] = Field(
        (75, 137, 143), min_length=1, description="Exit codes worth another try: the surroundings failed, or the process was killed."
    )


class CronOptions(Settings):
    """When a CronWorkflow starts a WorkflowTemplate."""

    schedule: str = Field(pattern=r"^\S+( \S+){4}$", description="Five cron fields.")
    timezone: str = Field("UTC", min_length=1, description="Time zone of the schedule, as in the tz database.")
    late_s: int = Field(3600, ge=0, description="Seconds after the time within which a missed start is made up for.")
    kept_successes: int = Field(3, ge=0, description="Finished workflows kept.")
    kept_failures: int = Field(3, ge=0, description="Failed workflows kept.")
    suspended: bool = Field(False, description="Written down, but not started.")
    arguments: tuple[Variable, ...] = Field((), description="Parameters of the pipeline.")
