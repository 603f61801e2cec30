# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The option `files` of the modules that put files in place, and what they return of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..common.differences import differences
from .files import FileOutcome, WantedFile
from .ownership import FilesError, Ownership, parse_mode


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


def diffs_of(outcomes: Sequence[FileOutcome], details: bool) -> list[dict[str, str]]:
    """Return the differences of several paths, in Ansible's form; see common/differences.py."""
    entries = [(outcome.path, before, after) for outcome in outcomes for before, after in outcome.differences]
    return differences(entries, "directories, links, owners and modes", details)


def file_result(outcome: FileOutcome) -> dict[str, Any]:
    """Return what is told of one path."""
    return dict(path=outcome.path, changed=outcome.changed, action=outcome.action, backup_file=outcome.backup_file)


def without_contents(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries as they may be shown: each entry decides what its difference shows."""
    return [dict(entry, content=None) for entry in entries]
