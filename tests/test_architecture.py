"""The rooms of the package, what each may import, and what no source file may hold."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import capsulegan

ROOT = Path(capsulegan.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FOUNDATIONS = ("allocator", "errors", "files", "lazy", "pictures", "randomness", "sizes", "tensors")
ROOMS = (
    "foundations",
    "capsules",
    "networks",
    "objectives",
    "data",
    "training",
    "published",
    "export",
    "evaluation",
    "study",
    "report",
    "web",
    "console",
    "bench",
    "commands",
    "cli",
)
"""A module imports from its own room and from those before it."""

MOST_LINES = 300


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


OURS = frozenset(map(name_of, FILES))


def room_of(module):
    """The room of a module of the package; None for the package itself, which is a lazy front to all."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in ("__main__", "__init__"):
        return None
    return "foundations" if parts[1] in FOUNDATIONS else parts[1]


def imports_of(path):
    """Names of the modules that a file imports anywhere but for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    exempt = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in exempt:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name"
            for alias in node.names:  # what is imported from a package may be a module of it
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in OURS else node.module


def ours(path):
    return [name for name in imports_of(path) if name.split(".")[0] == "capsulegan"]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_its_own_room_and_those_before_it(path):
    room = room_of(name_of(path))
    if room is None:
        return
    assert room in ROOMS, f"{name_of(path)} is in no known room"
    for imported in ours(path):
        if (other := room_of(imported)) is not None:
            assert ROOMS.index(other) <= ROOMS.index(room), f"{name_of(path)} imports {imported}"


def test_every_foundation_is_there():
    assert all((ROOT / f"{name}.py").is_file() for name in FOUNDATIONS)


@pytest.mark.parametrize("path", sorted((ROOT / "capsules").glob("*.py")), ids=name_of)
def test_the_capsule_library_needs_torch_alone(path):
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top == "triton" and path.name.startswith("fused"):  # imported only where a kernel can run
            continue
        assert top in sys.stdlib_module_names or top == "torch" or imported.startswith("capsulegan.capsules")


def test_the_modules_of_the_package_import_each_other_in_no_circle():
    needs = {name_of(path): set(ours(path)) & OURS - {"capsulegan"} for path in FILES}
    while ready := [name for name, wanted in needs.items() if not wanted & needs.keys()]:
        for name in ready:
            del needs[name]
    assert needs == {}


FORBIDDEN = {
    "pickle": r"\bpickle\b",
    "torch.load": r"\btorch\.load\b",
    "allow_pickle": r"allow_pickle\s*=\s*True",
    "eval": r"(?<![\w.])eval\(",
    "exec": r"(?<![\w.])exec\(",
}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_unpickles_or_runs_text_as_code(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # prose may speak of it
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0].value.value = ""
    code = ast.unparse(tree)
    assert [name for name, pattern in FORBIDDEN.items() if re.search(pattern, code)] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_says_what_it_is_and_is_short(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= MOST_LINES


MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "capsulegan.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["capsulegan", *MODULES])
def test_every_public_name_exists(name):
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert len(set(public)) == len(public)
    assert [each for each in public if not hasattr(module, each)] == []


LIGHT = [
    "capsulegan",
    "capsulegan.evaluation",
    "capsulegan.training.configuration",
    "capsulegan.evaluation.settings",
]


@pytest.mark.parametrize("name", LIGHT)
def test_names_and_settings_are_there_without_torch(name):
    program = (
        f"import sys, {name}; sys.exit(any(heavy in sys.modules for heavy in ('torch', 'sklearn', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
