"""DeepSpeed's JSON, written from our settings, which are the only source of both."""

from typing import Any

from reelspace.train.settings import RunSettings

_NEVER = 10**9


def deepspeed_config(settings: RunSettings, world_size: int) -> dict[str, Any]:
    """Give the configuration of a training of `world_size` processes.

    bf16_autocast is no mode of DeepSpeed here: the objective itself computes in bfloat16 over float32 weights, as with the plain engine.
    """
    config: dict[str, Any] = {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": settings.batch_size // (world_size * settings.micro_batches),
        "gradient_accumulation_steps": settings.micro_batches,
        "gradient_clipping": settings.optimizer.clip_norm,
        "zero_optimization": _zero(settings),
        "steps_per_print": _NEVER,
    }
    if settings.offload != "none":
        # The optimizer is torch's own: DeepSpeed's for the CPU needs a compiler at run time unless its wheel was built with it.
        config["zero_force_ds_cpu_optimizer"] = False
    if settings.precision in ("bf16", "bf16_all"):
        is_all = settings.precision == "bf16_all"
        config["bf16"] = {"enabled": True, "bf16_master_weights_and_grads": is_all, "bf16_optimizer_states": is_all}
    return config


def _zero(settings: RunSettings) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": settings.zero_stage, "overlap_comm": False}
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if settings.offload == "parameters":
        zero["offload_param"] = {"device": "cpu"}
    if settings.zero_stage == 3:
        # A parameter below this many numbers stays whole on every process: scales and biases are not worth a message.
        zero["stage3_param_persistence_threshold"] = 10_000
    return zero
