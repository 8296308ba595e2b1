"""Compile the pipelines of `pipelines/`, lint them, or check that the files written before are current; needs no cluster.

`python kfp_compile.py` writes pipelines/compiled/*.yaml, `python kfp_compile.py --check` compares, `python kfp_compile.py list` shows
what there is. Exit code 1: the lint found something or a file is not current, all of it listed; 2: an argument is wrong.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.compiling.build import Choices, compile_pipeline, parameters_of
from pipelines.compiling.definitions import chosen_names, load_pipeline, pipeline_names
from pipelines.compiling.images_lock import read_images_lock
from pipelines.compiling.lint import lint
from pipelines.compiling.parameters import read_assignments
from pipelines.compiling.render import FORMATS, file_name
from pipelines.resources import PROFILES
from reelspace.core.errors import SettingError, UserError

ROOT = Path(__file__).resolve().parent
COMMITTED = ROOT / "pipelines" / "compiled"
LOCK = ROOT / "images.lock"


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SettingError: other choices than the committed files were made with have no folder of their own to go to.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipelines", nargs="*", metavar="list | NAME", help="list the pipelines, or compile these; all without a name")
    parser.add_argument("--check", action="store_true", help="compare with the files written before instead of writing")
    parser.add_argument("--format", choices=FORMATS, default="ir", help="kfp's IR (default), Kubernetes objects, an Argo WorkflowTemplate")
    parser.add_argument("--profile", choices=PROFILES, default="cpu", help="what the steps ask of their nodes (default: cpu)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another default of a parameter of each pipeline")
    parser.add_argument("--images", type=Path, default=LOCK, metavar="FILE", help="digests of the images (default: images.lock)")
    parser.add_argument("--out", metavar="DIR", help="folder of the files, or - for stdout (default: pipelines/compiled)")
    parser.add_argument("--strict", action="store_true", help="take warnings of the lint as errors")
    arguments = parser.parse_args(given)
    others = [name for name in ("format", "profile", "set", "images") if getattr(arguments, name) != parser.get_default(name)]
    if others and not arguments.out and arguments.pipelines != ["list"]:
        raise SettingError(f"--{others[0]} makes other files than the committed ones: expected --out DIR (or --out -) beside it")
    if arguments.check and arguments.out == "-":
        raise SettingError("--check compares with files: expected a folder in --out, got -")
    return arguments


def print_list() -> None:
    """Print every pipeline with the number of its tasks, what it is for, and its parameters with their defaults."""
    for name in pipeline_names():
        component = load_pipeline(name, "cpu")
        print(f"{name}  {len(component.pipeline_spec.root.dag.tasks)} tasks  {component.description}")
        for parameter, definition in sorted(parameters_of(component).items()):
            default = f" = {definition['defaultValue']!r}" if "defaultValue" in definition else ""
            print(f"    {parameter}: {definition['parameterType']}{default}")


def compiled_files(arguments: argparse.Namespace) -> tuple[dict[str, str], bool]:
    """Compile what is asked for and print what the lint says of it; give file names with their texts, and whether the lint is content."""
    choices = Choices(read_images_lock(arguments.images), arguments.profile, read_assignments(arguments.set))
    texts, content = {}, True
    for name in chosen_names(arguments.pipelines):
        compiled = compile_pipeline(name, choices)
        findings = lint(compiled)
        for finding in findings:
            print(finding, file=sys.stderr)
        content &= not any(arguments.strict or not finding.warning for finding in findings)
        texts[file_name(name, arguments.format)] = FORMATS[arguments.format](compiled)
    return texts, content


def stale_files(folder: Path, texts: Mapping[str, str], every: bool) -> list[str]:
    """Give the files that differ or are missing, and, when every pipeline was compiled, those of pipelines that are gone."""
    stale = [name for name, text in texts.items() if not (folder / name).is_file() or (folder / name).read_text() != text]
    gone = [path.name for path in sorted(folder.glob("*.yaml")) if every and path.name not in texts]
    return stale + gone


def write_files(out: str | None, texts: Mapping[str, str]) -> None:
    """Write the files, to stdout when `out` is -."""
    if out == "-":
        print("---\n".join(texts.values()), end="")
        return
    folder = Path(out) if out else COMMITTED
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)


def run(arguments: argparse.Namespace) -> int:
    """List, compile or check; 0 when all is well, 1 when the lint found something or a file is not current."""
    if arguments.pipelines == ["list"]:
        print_list()
        return 0
    texts, content = compiled_files(arguments)
    if not content:
        print("not compiled: the lint found what is listed above (docs/guides/compiling.md)", file=sys.stderr)
        return 1
    if not arguments.check:
        write_files(arguments.out, texts)
        return 0
    stale = stale_files(Path(arguments.out or COMMITTED), texts, every=not arguments.pipelines and not arguments.out)
    if stale:
        print(f"not current: {', '.join(stale)}; {'compile again' if arguments.out else 'run `make compile`'}", file=sys.stderr)
    return 1 if stale else 0


def main(given: Sequence[str] | None = None) -> int:
    """Do what the command line asks and give the exit code."""
    try:
        return run(parse(given))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
