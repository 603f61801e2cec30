# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the pages for users show: code blocks, and the command lines in them.

Tests take commands and blocks from here and run them, so that a page and what is tested cannot differ:
`acceptance.Site.play_shown` and `acceptance.run_shown` run one command line, `shown.command` gives one to run
elsewhere, `shown.commands` gives all of a page, and `shown.block` gives a block. tests/unit/test_shown.py looks which
of them the tests ask for, by the texts with which they call these functions, and fails for a block that no test asks
for.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
import re
import textwrap

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
GUIDES = CHECKOUT / "docs" / "docsite" / "rst"
#: Languages of blocks that are command lines of a shell.
COMMANDS = ("shell", "console")
#: Functions that run what they are called with, or return it to be run.
ASKING = ("play_shown", "run_shown", "shown.command", "shown.commands", "shown.block")
_RST = re.compile(r"^\.\. code-block:: (\S+)\n\n((?:[ ]+\S.*\n|\n)+)", re.MULTILINE)
_MARKDOWN = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"\n\n((?: {4}\S.*\n)(?: {4}.*\n|\n)*)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block: `number` counts the blocks of the page in the same language from 0."""

    page: str
    language: str
    number: int
    text: str

    @property
    def name(self) -> str:
        return "%s, %s %d" % (self.page, self.language, self.number)


def pages() -> dict[str, pathlib.Path]:
    """{name of a page: its file}: a guide has its name alone, other pages their path."""
    found = {path.stem: path for path in sorted(GUIDES.glob("*.rst"))}
    others = ["README.md", "CONTRIBUTING.md", "plugins/README.md"]
    others += [str(path.relative_to(CHECKOUT)) for path in sorted(CHECKOUT.glob("roles/*/README.md"))]
    return {**found, **{name: CHECKOUT / name for name in others}}


@functools.lru_cache(maxsize=None)
def blocks(page: str) -> tuple[Block, ...]:
    """The code blocks of a page, in order."""
    path = pages()[page]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rst":
        found = _RST.findall(text)
    else:
        found = _MARKDOWN.findall(text)
        found += [("indented", one) for one in _INDENTED.findall(_MARKDOWN.sub("", text))]
    counted: dict[str, int] = {}
    made = []
    for language, content in found:
        number = counted.setdefault(language, 0)
        counted[language] += 1
        made.append(Block(page, language, number, textwrap.dedent(content).strip("\n") + "\n"))
    return tuple(made)


def block(page: str, language: str, number: int = 0) -> str:
    """The text of a block."""
    (found,) = [one for one in blocks(page) if (one.language, one.number) == (language, number)]
    return found.text


def command_lines(one: Block) -> list[str]:
    """The command lines of a block, without prompts and comments, and those that go on in the next line as one."""
    text = re.sub(r" *\\\n\s*", " ", one.text)
    lines = [re.sub(r"(^|\s+)# .*", "", line.removeprefix("$ ")).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def commands(page: str) -> list[str]:
    """All command lines of a page, each once."""
    lines = [line for one in blocks(page) if one.language in COMMANDS for line in command_lines(one)]
    return list(dict.fromkeys(lines))


def all_commands() -> dict[str, list[str]]:
    """{command line: pages that show it}."""
    found: dict[str, list[str]] = {}
    for page in pages():
        for line in commands(page):
            found.setdefault(line, []).append(page)
    return found


def command(line: str) -> str:
    """The line itself, which a page has to show."""
    assert line in all_commands(), "no page shows the command %s" % line
    return line


def asked_for() -> dict[str, set[tuple]]:
    """{function: the texts and numbers with which the tests call it}, of ASKING."""
    found: dict[str, set[tuple]] = {name: set() for name in ASKING}
    for path in sorted((CHECKOUT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "shown" in text and path != pathlib.Path(__file__):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    name = name if name in found else name.rpartition(".")[2]
                    values = [one.value for one in node.args if isinstance(one, ast.Constant)]
                    if name in found and values and values[0] == getattr(node.args[0], "value", None):
                        found[name].add(tuple(values))
    return found
