"""Every block of the README and the docs runs as it stands.

Python blocks of one page run in order in one interpreter, in an empty folder. A Python or YAML block that begins with
``# search_spaces/name.py`` (any relative path) is written to that file instead, so that later blocks can use it.
In console blocks each ``$ `` line whose command is quick (`QUICK`) runs in that folder too. An HTML comment
``<!-- not run: reason -->`` before a block leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(<!-- not run: [^>]+-->\s*)?^```(python|console|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
FILE = re.compile(r"# ((?:[\w.-]+/)*[\w.-]+\.(?:py|yaml))\n")
QUICK = ("zoo", "show", "export")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return (language, text) of the blocks to run."""
    return [
        (language, text)
        for skip, language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if not skip
    ]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    program: list[str] = []
    for language, text in blocks(page):
        named = FILE.match(text)
        if named:
            file = tmp_path / named.group(1)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif language == "python":
            program.append(text)
        elif language == "console":
            for command in commands(text):
                _run([*command.split()], tmp_path)
    if program:
        (tmp_path / "page.py").write_text("\n".join(program), encoding="utf-8")
        _run([sys.executable, "page.py"], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    near = [target for target in targets if "://" not in target]
    assert [target for target in near if not (page.parent / target).exists()] == []


def commands(text: str) -> list[str]:
    """Return the quick nasflow commands of a console block, to be run by this interpreter."""
    lines = text.replace("\\\n", " ").splitlines()
    prefix = "$ python -m nasflow "
    found = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    plain = [re.sub(r"\s#.*|\s*[|>].*", "", line).replace("'", "") for line in found]
    return [
        f"{sys.executable} -m nasflow {line}"
        for line in plain
        if line.split()[0] in QUICK and "run=" not in line
    ]


def test_commands_picks_what_is_quick() -> None:
    text = "$ python -m nasflow zoo match='a*' | head\n$ python -m nasflow search\n$ make test\n"
    assert commands(text) == [f"{sys.executable} -m nasflow zoo match=a*"]


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
