"""What the README shows works as it is shown."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from capsulegan.cli import COMMANDS, parse

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_the_first_python_example_trains_and_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = PYTHON[0].replace("images=64_000", 'images=320, precision="32"')
    assert quick != PYTHON[0]
    names = {}
    exec(quick, names)
    assert names["images"].shape == (64, 8, 8, 1)
    assert (tmp_path / "grid.png").exists()
    assert names["probability"].shape == (4,)


def test_the_capsule_example_has_the_shapes_that_it_says():
    import torch

    names = {}
    exec(PYTHON[1], names)
    capsules = names["primary"](torch.zeros(2, 256, 20, 20))
    assert capsules.shape == (2, 1152, 8)
    assert names["digits"](capsules).shape == (2, 10, 16)


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("capsulegan")])
def test_every_command_is_understood(line):
    command = parse(shlex.split(line)[1:])
    assert type(command) in COMMANDS.values()


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    for line in SHELL:
        if line.startswith("make "):
            assert f"\n{line.split()[1]}:" in makefile


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_tables_of_results_are_made_from_the_results():
    """Made anew by: python benchmarks/results_page.py."""
    made = runpy.run_path(str(ROOT / "benchmarks" / "results_page.py"))
    assert f"{made['BEGIN']}\n{made['tables_for_readme']()}\n{made['END']}" in README
    assert (ROOT / "docs" / "results.md").read_text() == made["page"]()
