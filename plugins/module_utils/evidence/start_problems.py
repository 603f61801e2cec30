# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Why a service ended right after its start, by what systemd and its journal say, and what to do about it. Pure."""

from __future__ import annotations

import re
from typing import Mapping, Optional, Sequence

from ..common import paths

MOST_LINES = 12
LONGEST_LINE = 300

_ANYTHING = "Look at the whole journal: journalctl --unit=%(unit)s."
_RULES = re.escape(paths.FIREWALL_RULES)
_FAILED_BEFORE = "Failed in ExecStartPre: "
_RELEASE = "Remove the release's directory below " + paths.RELEASES + " and run again, and check the archive"
#: (what a line or the result of the unit says, remedy with %(unit)s and the groups of the expression).
_KINDS = (
    (
        # Each message of nft has the path of the file, and "Error".
        _FAILED_BEFORE + paths.NFT + ": .*" + _RULES + "|Error: .*" + _RULES + "|" + _RULES + r"\S* Error: |"
        "Failed to locate executable " + paths.NFT,
        "The rules of who may connect (ollama_multigpu_allow_from) cannot be loaded, and without them the instance is "
        "not started, because it would be open to everybody. " + paths.NFT + " -f " + paths.FIREWALL_RULES + " says "
        "why; systemd starts the instance by itself once that works.",
    ),
    (
        _FAILED_BEFORE + "(?P<program>.+?): ",
        "The command with %(program)s, which %(unit)s runs before its own program, fails: look at systemctl cat "
        "%(unit)s, and mend it%(removable)s.",
    ),
    (
        r"listen tcp \S*?:(?P<port>\d+): bind: address already in use",
        "Another process has port %(port)s: free it (ss -ltnp shows the process), or set ollama_multigpu_base_port to "
        "another.",
    ),
    (
        r"listen tcp (?P<address>\S+): bind: cannot assign requested address",
        "The host does not have the address of %(address)s: set ollama_multigpu_listen_address to one that it has.",
    ),
    (
        r"error while loading shared libraries: (?P<library>[^:\s]+)",
        "The library %(library)s is missing on the host: install its package. " + _RELEASE + " if it is the release's.",
    ),
    (
        r"version [`'](?P<library>GLIBC\w*_[\d.]+)' not found",
        "The host's C library is older than this release of Ollama needs (%(library)s): use a newer system.",
    ),
    (r"[Ee]xec format error", "The program is for another kind of machine, or damaged. " + _RELEASE + "."),
    (
        r"(?:status=203/EXEC|Failed to (?:execute|locate executable))",
        "systemd cannot run the program: it is missing, or its file system is mounted with noexec. " + _RELEASE + ".",
    ),
    (
        r"(?P<path>/[^\s:\"']+)\\?[\"']?: (?:permission denied|Permission denied)",
        "The user " + paths.USER + " may not use %(path)s: each directory above it must let other users enter "
        "(chmod o+x), and the store itself belongs to " + paths.USER + " (namei -l %(path)s shows where it ends).",
    ),
    (
        r"(?P<path>/[^\s:\"']+)\\?[\"']?: (?:read-only file system|Read-only file system)",
        "%(path)s is on a file system that is mounted read-only for the service: mount it read-write, or set "
        "ollama_multigpu_models_dir to another place.",
    ),
    (
        r"(?P<path>/[^\s:\"']+)\\?[\"']?: (?:no space left on device|No space left on device)",
        "The file system of %(path)s is full: free some space.",
    ),
    (
        r"status=226/NAMESPACE|Failed to set up mount namespacing",
        "systemd cannot set up the sandbox of the unit: the store is missing, or a drop-in names a path that is not "
        "there. Run the whole role again, and look at systemctl cat %(unit)s.",
    ),
    (r"status=217/USER", "The user " + paths.USER + " is missing: run the whole role again."),
    (r"oom-kill", "The kernel ended it because the host has too little memory: free some memory."),
    (
        r"status=\d+/ILL|signal=ILL|SIGILL",
        "The processor does not know an instruction that this release uses: use another release or machine.",
    ),
    (
        r"Control process exited",
        "A command that %(unit)s runs before or after the program fails: systemctl status %(unit)s names it, and the "
        "journal may say why (journalctl --unit=%(unit)s).",
    ),
)
#: A command in ExecStartPre whose failure ends the start: its program, with its arguments, and how it has ended; one
#: that has not has no code.
_BEFORE = re.compile(r"path=(.*?) ; argv\[\]=(.*?) ; ignore_errors=no ; [^\n]*?code=(\w+) ; status=(\d+)")
_WORKED, _TERMINATED = ("exited", "0"), ("killed", "15")


def cause(unit: str, properties: Mapping[str, str], lines: Sequence[str]) -> tuple[str, str]:
    """Return the line that says why a service ended, "" where there is none, and what to do about it.

    Args:
        unit: name of the unit.
        properties: of systemd.show; `Result` and `ExecStartPre` are looked at as well.
        lines: the end of its journal. The first kind of the table that any of them shows is the one, and the last line
            of that kind is told. Where none is known, it is the last line of all.
    """
    last = lines[-1] if lines else ""
    removable = ", or remove it: the collection has no such command" if paths.instance_of(unit) else ""
    for expression, words in _KINDS:
        for text in reversed([properties.get("Result", ""), *_failed_before(properties), *lines]):
            found = re.search(expression, text)
            if found:
                values = {"unit": unit, "removable": removable, **found.groupdict()}
                return text if text in lines else last, words % values
    return last, _ANYTHING % {"unit": unit}


def _failed_before(properties: Mapping[str, str]) -> list[str]:
    """A line about each command before the program that has failed. Its arguments may be secret: they are not told."""
    # Who stops a service ends its command by SIGTERM, and so does systemd where it takes too long.
    fine = [_WORKED] if properties.get("Result") == "timeout" else [_WORKED, _TERMINATED]
    return [
        "%s%s: %s" % (_FAILED_BEFORE, program, command)
        for program, command, code, status in _BEFORE.findall(properties.get("ExecStartPre", ""))
        if (code, status) not in fine
    ]


def has_ended(properties: Mapping[str, str], restarts: Optional[int]) -> bool:
    """Whether systemd says that a service ended, although it was started: it failed, or is or was started again.

    Args:
        properties: of systemd.show.
        restarts: its number of restarts at the first look, None at the first look.
    """
    if properties.get("Job", "0") not in ("", "0"):
        return False  # systemd is still stopping or starting it
    if properties.get("ActiveState") in ("failed", "inactive") or properties.get("SubState") == "auto-restart":
        return True
    return restarts is not None and number_of_restarts(properties) > restarts


def number_of_restarts(properties: Mapping[str, str]) -> int:
    """How often systemd has started a service again by itself; 0 where an old systemd does not tell."""
    text = properties.get("NRestarts", "")
    return int(text) if text.isdigit() else 0


def last_lines(lines: Sequence[str]) -> list[str]:
    """The end of a journal as a message shows it: bounded in lines and their length, without empty ones."""
    return [line[:LONGEST_LINE] for line in lines if line.strip()][-MOST_LINES:]
