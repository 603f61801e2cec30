# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs on a host and prints {path: fingerprint} of its files as JSON.

Leaves out the file systems of the kernel and the tmpfs mounts of systemd.
"""

from __future__ import annotations

import json
import os
import stat
import sys

# The root file system (not what is mounted below it), and the two tmpfs that a change could hide in.
ROOTS = ("/", "/tmp", "/dev/shm")


def fingerprint(info, path):
    """Kind, mode and owner. For files also the time of the last change, which no program can set back."""
    parts = [stat.filemode(info.st_mode), info.st_uid, info.st_gid]
    if stat.S_ISLNK(info.st_mode):
        parts.append(os.readlink(path))
    elif not stat.S_ISDIR(info.st_mode):
        # Hard links and reads leave the change time of a file's data; a rewrite with the same bytes does not.
        parts += [info.st_size, info.st_mtime_ns, info.st_ctime_ns]
    return " ".join(map(str, parts))


def walk(top, device, found, noise):
    """Add what is below top on the same device. `noise` is a tuple of paths that are left out with everything below
    them.
    """
    with os.scandir(top) as entries:
        for entry in entries:
            path = entry.path
            if path in noise:
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if info.st_dev != device and stat.S_ISDIR(info.st_mode):
                continue
            found[path] = fingerprint(info, path)
            if stat.S_ISDIR(info.st_mode):
                walk(path, device, found, noise)


def main(noise):
    """Print the fingerprints of all roots."""
    found = {}
    for root in ROOTS:
        walk(root, os.stat(root).st_dev, found, noise)
    json.dump(found, sys.stdout)


main(tuple(sys.argv[1:]))
