"""Change one thing at a time in a module and see whether its tests notice: `python tests/mutants.py fit --count 20`.

Not part of `make test`: a mutant costs a run of the module's tests. Prints every mutant that survived, and the share
that was killed. Docstrings, messages and type annotations are never changed.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "course_utils"
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def mutants(tree: ast.Module) -> list[tuple[str, ast.Module]]:
    """Every tree that differs in one operator, number, boolean or negation, with the line and the change in words."""
    places = [node for node in ast.walk(tree) if _can_change(node)]
    hidden = {id(part) for node in ast.walk(tree) for part in _not_code(node)}
    found = []
    for place in [place for place in places if id(place) not in hidden]:
        twin = copy.deepcopy(tree)
        node = next(n for n in ast.walk(twin) if _same(n, place))
        before = ast.unparse(node)
        _change(node)
        found.append((f"line {place.lineno}: {before} → {ast.unparse(node)}", twin))
    return found


def _same(node: ast.AST, other: ast.AST) -> bool:
    places = ("lineno", "col_offset", "end_lineno", "end_col_offset")
    return type(node) is type(other) and all(getattr(node, p, 0) == getattr(other, p, 1) for p in places)


def _not_code(node: ast.AST) -> list[ast.AST]:
    """The parts of a node that decide nothing: annotations, the text of errors, the settings of slots."""
    parts = [getattr(node, name, None) for name in ("annotation", "returns")]
    parts += [node.exc] if isinstance(node, ast.Raise) else []
    parts += [node] if isinstance(node, ast.JoinedStr) else []
    return [inner for part in parts if part is not None for inner in ast.walk(part)]


def _can_change(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in SWAPS
    if isinstance(node, (ast.BinOp, ast.BoolOp)):
        return type(node.op) in SWAPS
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (bool, int, float))
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _change(node) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, (ast.BinOp, ast.BoolOp)):
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd()
        node.operand = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
    elif isinstance(node.value, bool):
        node.value = not node.value
    else:
        node.value += 1


def tests_of(module: str) -> list[Path]:
    """The test files of a module: those named after it, else all that mention it."""
    name, tests = Path(module).name, ROOT / "tests"
    own = [*tests.glob(f"test_{name}*.py"), *tests.glob(f"test_checks_{name}*.py")]
    return sorted(own or [path for path in tests.glob("test_*.py") if name in path.read_text("utf-8")])


def survives(module: str, twin: ast.Module, files: list[Path], seconds: float) -> bool:
    """Run the tests on a copy of the package with this mutant in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copied = Path(folder) / "repo"
        shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", ".venv*", "build", "data", "__pycache__"))
        (copied / "data").mkdir()
        (copied / "course_utils" / f"{module}.py").write_text(ast.unparse(ast.fix_missing_locations(twin)), "utf-8")
        names = [str(path.relative_to(ROOT)) for path in files]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        environment = os.environ | {"PYTHONPATH": str(copied), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, cwd=copied, env=environment, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return False  # a mutant that never ends is noticed
        return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as metrics or checks/chapter_02; all of the package if none")
    parser.add_argument("--count", type=int, default=10, help="mutants of each module, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300, help="limit of one run of the tests")
    given = parser.parse_args()
    every = sorted(path.stem for path in PACKAGE.glob("[!_]*.py"))
    tried = killed = 0
    for module in given.modules or every:
        tree, files = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8")), tests_of(module)
        pool = mutants(tree)
        drawn = random.Random(given.seed).sample(pool, min(given.count, len(pool)))
        print(
            f"{module}: {len(drawn)} of {len(pool)} mutants against {', '.join(path.name for path in files)}",
            flush=True,
        )
        with ThreadPoolExecutor(given.jobs) as executor:
            runs = [executor.submit(survives, module, twin, files, given.seconds) for _, twin in drawn]
            results = [run.result() for run in runs]
        for (words, _), alive in zip(drawn, results, strict=True):
            print(f"  survived: {words}" * alive, end="\n" * alive, flush=True)
        tried, killed = tried + len(drawn), killed + results.count(False)
        print(f"  killed {results.count(False)} of {len(results)}", flush=True)
    print(f"killed {killed} of {tried}, {100 * killed / max(tried, 1):.0f} %")


if __name__ == "__main__":
    main()
