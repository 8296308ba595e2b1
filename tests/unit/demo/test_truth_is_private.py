"""Only `evaluate` (and the generator itself) may read a world's truth."""

import ast
from pathlib import Path

import reelspace

ROOT = Path(reelspace.__file__).parent
ALLOWED = ("demo/", "evaluate/", "steps/evaluate.py", "cli/")


def _string_constants(tree: ast.AST) -> set[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    }


def test_no_other_module_names_a_truth_file() -> None:
    modules = [path for path in sorted(ROOT.rglob("*.py")) if not str(path.relative_to(ROOT)).startswith(ALLOWED)]
    assert len(modules) > 20
    readers = {
        str(path.relative_to(ROOT))
        for path in modules
        if any(text == "truth" or "truth/" in text or "ceilings.json" in text for text in _string_constants(ast.parse(path.read_text())))
    }
    assert readers == set()
