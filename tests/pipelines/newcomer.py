"""The guide for newcomers as tests follow it: the files it says to write and the lines it says to run."""

import re

from tests.pipelines.checkout import ROOT

GUIDE = (ROOT / "docs/guides/add-a-step.md").read_text()


def blocks(language: str, *headings: str) -> list[str]:
    """Give the blocks of code in a language, of the whole guide or of the parts under some headings."""
    parts = re.split(r"^## (.*)\n", GUIDE, flags=re.MULTILINE)
    texts = [text for heading, text in zip(["", *parts[1::2]], parts[::2], strict=True) if not headings or heading in headings]
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)]


def files_of_the_guide() -> dict[str, str]:
    """Give the text of every file that the guide says to write, by path."""
    named = re.findall(r"^`([\w/]+\.py)`:$", GUIDE, flags=re.MULTILINE)
    return {**dict(zip(named, blocks("python"), strict=True)), "components/count_labels/__init__.py": ""}
