"""What a step that makes a TrainJob is told of its own task, for the pods of its training."""

from kfp import dsl

PASSED = [dsl.TaskConfigPassthrough(field=field, apply_to_task=True) for field in dsl.TaskConfigField]
"""All of it, and to the step's own pod too, which trains by itself where no TrainJob is asked for."""
