"""What a task head is asked: loads without torch, for settings name it."""

from typing import Literal

Task = Literal["single_label", "multi_label"]
