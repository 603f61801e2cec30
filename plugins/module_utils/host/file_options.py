# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The option `files` of the modules that put files in place, and what they return of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .files import FileOutcome, WantedFile
from .ownership import FilesError, Ownership, parse_mode

#: So many lines of a file that is new, or gone, are shown without -v.
LONGEST_NEW = 10
_WITHOUT_TEXT = "directories, links, owners and modes"


def file_options() -> dict[str, Any]:
    """Return the suboptions of an entry of `files`."""
    return dict(
        path=dict(type="path", required=True),
        state=dict(type="str", choices=["directory", "file", "link", "absent"], default="file"),
        content=dict(type="str", default=""),
        target=dict(type="str"),
        owner=dict(type="str"),
        group=dict(type="str"),
        mode=dict(type="raw"),
        backup=dict(type="bool", default=False),
        diff=dict(type="bool"),
        force=dict(type="bool", default=False),
        only_empty=dict(type="bool", default=False),
    )


def read_files(entries: list[dict[str, Any]]) -> list[WantedFile]:
    """Return the wanted files of checked options.

    Raises:
        FilesError: An entry is wrong; nothing was changed.
    """
    wanted = []
    for entry in entries:
        state = entry["state"]
        if state == "link" and not entry["target"]:
            raise FilesError("%s: a link needs target, the path that it points to" % entry["path"])
        wanted.append(
            WantedFile(
                path=entry["path"],
                state=state,
                content=entry["content"].encode("utf-8", "surrogateescape"),
                target=entry["target"] or "",
                ownership=Ownership(entry["owner"] or None, entry["group"] or None, parse_mode(entry["mode"])),
                backup=entry["backup"],
                show_content=entry["diff"] if entry["diff"] is not None else state == "file",
                force=entry["force"],
                only_empty=entry["only_empty"],
            )
        )
    return wanted


def diffs_of(outcomes: Sequence[FileOutcome], details: bool) -> list[dict[str, Any]]:
    """Return the differences of several paths, in Ansible's form.

    Each file with text has one, and what is no text (directories, links, owners and modes) shares one with a line for
    each path.

    Args:
        outcomes: of the paths.
        details: whether to show the text of long files that are new, or gone. It is that of the role, and not what a
            user has to look at.
    """
    found = []
    states: tuple[list[str], list[str]] = ([], [])
    for outcome in outcomes:
        for before, after in outcome.differences:
            if isinstance(before, dict):
                for lines, state in zip(states, (before, after)):
                    lines += ["%s: %s" % (outcome.path, _in_words(state))] if state.get("state") != "absent" else []
                continue
            texts = [before, after]
            if "" in texts and not details:
                texts = list(map(_shortened, texts))
            found.append(_diff(outcome.path, *texts))
    if states[0] or states[1]:
        found.append(_diff(_WITHOUT_TEXT, *("".join("%s\n" % line for line in lines) for lines in states)))
    return found


def _diff(header: str, before: str, after: str) -> dict[str, Any]:
    return dict(before=before, after=after, before_header=header, after_header=header)


def _in_words(state: dict[str, Any]) -> str:
    """{"state": "directory", "mode": "0755"} as "directory, mode 0755"."""
    return ", ".join(str(value) if key == "state" else "%s %s" % (key, value) for key, value in state.items())


def _shortened(text: str) -> str:
    lines = text.count("\n")
    return text if lines <= LONGEST_NEW else "(%d lines, which -v shows)\n" % lines


def file_result(outcome: FileOutcome) -> dict[str, Any]:
    """Return what is told of one path."""
    return dict(path=outcome.path, changed=outcome.changed, action=outcome.action, backup_file=outcome.backup_file)


def without_contents(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries as they may be shown: each entry decides what its difference shows."""
    return [dict(entry, content=None) for entry in entries]
