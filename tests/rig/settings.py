# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Directories of the rig, and messages about missing programs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess

#: Debian packages that the rig needs on the controller, by the program that proves each one.
DEBIAN_PACKAGES = {
    "podman": "podman",
    "runc": "runc",
    "conmon": "conmon",
    "iptables": "iptables",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
}
#: Installed with podman where recommendations are on; without them networks have no bridge and no names.
MORE_PACKAGES = ("netavark", "aardvark-dns")


class RigError(Exception):
    """A message for the user in one sentence: what is wrong and what to do."""


def cache_root() -> pathlib.Path:
    """Directory outside the checkout for the image, downloads and the state of the sets (set by GPUFLEET_CACHE)."""
    default = pathlib.Path.home() / ".cache" / "gpufleet-ollama"
    root = pathlib.Path(os.environ.get("GPUFLEET_CACHE") or default).absolute()
    root.mkdir(parents=True, exist_ok=True)
    return root


@contextlib.contextmanager
def locked(name: str):
    """Hold a lock in the cache, so that two rigs that start at the same time do not create the same thing twice."""
    with (cache_root() / f".{name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def set_directory(name: str) -> pathlib.Path:
    """State of one set of hosts: set.json, inventory, registry pid and logs."""
    return cache_root() / "sets" / name


def find_program(name: str) -> str | None:
    """As shutil.which, but also in directories that are not in a user's PATH (/usr/sbin)."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path)


def require_programs(*names: str) -> None:
    """Raise RigError with the names of the Debian packages if a program is missing."""
    missing = [name for name in names if not find_program(name)]
    if missing:
        packages = " ".join(
            [DEBIAN_PACKAGES[name] for name in missing] + (list(MORE_PACKAGES) if "podman" in missing else [])
        )
        raise RigError(
            f"The rig needs {', '.join(missing)}, which this machine lacks: "
            f"run 'apt-get install -y --no-install-recommends {packages}' as root and try again."
        )


def root_prefix() -> list[str]:
    """The words that run a command as root: none for root, sudo otherwise; RigError if neither is possible."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise RigError(
            "The rig's hosts need root and there is no sudo here: run this as root, or install sudo and allow it "
            "without a password."
        )
    if subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
        raise RigError(
            "The rig's hosts need root and sudo asks for a password: run this as root, or allow sudo without a "
            "password."
        )
    return ["sudo", "-n"]
