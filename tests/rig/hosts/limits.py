# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Limits of the machine that many hosts reach together.

systemd, D-Bus and udev of each host take inotify instances, and all hosts are processes of root: with the kernel's
default of 128, units of the tenth host fail and its systemd ends its start as 'degraded'.
"""

from __future__ import annotations

import pathlib
import subprocess

from tests.rig.settings import root_prefix

INOTIFY = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 8192


def raise_inotify(path: pathlib.Path = INOTIFY) -> str:
    """Raise fs.inotify.max_user_instances where it is too low; return '' or the sentence for a host that fails."""
    if int(path.read_text()) >= ENOUGH:
        return ""
    done = subprocess.run(
        [*root_prefix(), "sh", "-c", f"echo {ENOUGH} > {path}"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    return (
        f"fs.inotify.max_user_instances is {path.read_text().strip()} on this machine and may not be raised from here; "
        f"many hosts need more: run 'sysctl -w fs.inotify.max_user_instances={ENOUGH}' as root on the machine itself."
    )
