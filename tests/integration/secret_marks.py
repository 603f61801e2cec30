# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Secrets that are easily found again, and where they turn up: output, journal, files and process lists."""

from __future__ import annotations

import base64
import contextlib
import os
import pathlib
import re
import threading

from tests.rig.hosts import podman

#: Begins every secret of these tests.
MARK = "MARK-3f2a-"
#: Directories of a host that are file systems of their own and hold files.
_ROOTS = ("/", "/run", "/tmp", "/dev/shm", "/var/tmp")
_LARGEST = "50M"
_FIND = "find %s -xdev -type f -size -%s -not -path '*/journal/*' -print0 | xargs -0 -r grep -lsaE -- '%s'; true"
# Ollama itself writes the addresses of proxies there, whatever the collection does; the plan warns of it.
_OWN_LINE = re.compile(r"msg=\"server config\"")


def mark(name: str) -> str:
    """Return the secret of a variable."""
    return MARK + name.replace("_", "-").lower()


def pattern() -> str:
    """Return the regular expression (grep -E) of all secrets, also in base64 as HTTP sends a password."""
    # Three alignments; the first and last digits depend on what stands beside it.
    encoded = [base64.b64encode(b"x" * shift + MARK.encode())[4 if shift else 0 : -4].decode() for shift in range(3)]
    return "|".join([MARK, *encoded])


def found_in(text: str) -> list[str]:
    """Return the lines of a text that hold a secret, shortened."""
    seen = re.compile(pattern())
    return [line[:400] for line in text.splitlines() if seen.search(line)]


def found_on_host(container: str) -> set[str]:
    """Return the files of a host that hold a secret; the journal is searched by `found_in_journal`."""
    command = _FIND % (" ".join(_ROOTS), _LARGEST, pattern())
    return set(podman.podman("exec", container, "sh", "-c", command).stdout.decode().splitlines())


def found_in_journal(container: str) -> list[str]:
    """Return the entries of a host's journal that hold a secret, in all of their fields."""
    command = "journalctl --all --no-pager --output=json | grep -aE -- '%s'; true" % pattern()
    text = podman.podman("exec", container, "sh", "-c", command).stdout.decode("utf-8", "replace")
    return [line[:2000] for line in text.splitlines() if not _OWN_LINE.search(line.replace('\\"', '"'))]


def found_below(directory: pathlib.Path, but: tuple[str, ...] = ()) -> list[str]:
    """Return the files below a directory of the controller that hold a secret, but for those of the names `but`."""
    seen = re.compile(pattern().encode())
    found = []
    for path in sorted(pathlib.Path(parent, name) for parent, _below, names in os.walk(directory) for name in names):
        with contextlib.suppress(OSError):  # other runs of Ansible remove their files meanwhile
            if path.is_file() and path.name not in but and path.stat().st_size < 50 * 1024 * 1024:
                found += [str(path)] if seen.search(path.read_bytes()) else []
    return found


class ProcessWatch:
    """Looks at the arguments of all processes of this machine, those in its containers among them, while a block runs.

    `found` are the arguments that held a secret.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        seen = re.compile(pattern().encode())
        known: set[tuple[str, bytes]] = set()
        while not self._over.wait(0.05):
            for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = place.read_bytes()
                    if (place.parent.name, words) not in known and seen.search(words):
                        self.found.add(words.replace(b"\0", b" ").decode("utf-8", "replace")[:400])
                    known.add((place.parent.name, words))
