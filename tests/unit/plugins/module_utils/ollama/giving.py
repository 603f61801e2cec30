# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Give a directory and all in it to a user, and say who owns what."""

from __future__ import annotations

import os


def everything(path):
    """Every path below a directory, and the directory itself; no link is followed."""
    found = [str(path)]
    for directory, directories, files in os.walk(str(path)):
        found += [os.path.join(directory, name) for name in directories + files]
    return found


def give(path, account):
    for one in everything(path):
        os.chown(one, account.uid, account.gid, follow_symlinks=False)


def owners(path):
    return {os.lstat(one).st_uid for one in everything(path)}
