# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What Ansible needs to reach rig hosts: an inventory, and the collection with podman's connection plugin."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

from tests.rig.settings import RigError, cache_root, locked

#: The Python package that bundles the collections; this version's wheel is for any Python 3.
BUNDLE = "ansible==12.3.0"
COLLECTIONS = ("containers/podman",)


def collections(say=print) -> pathlib.Path:
    """Directory for ANSIBLE_COLLECTIONS_PATH with containers.podman, unpacked once from the wheel of the bundle.

    Ansible Galaxy need not be reachable: pip downloads the wheel from its package index.
    """
    root = cache_root() / "collections"
    with locked("collections"):
        if not all((root / "ansible_collections" / name / "MANIFEST.json").is_file() for name in COLLECTIONS):
            _download(root, say)
        return _with_connection(root)


def _download(root: pathlib.Path, say) -> None:
    """Unpack the collections out of the bundle."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="download-", dir=cache_root()) as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version=3.13",
            f"--dest={scratch}",
            BUNDLE,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise RigError(
                f"The collection containers.podman could not be taken from the Python package {BUNDLE}: {reason}"
            )
        wheel = next(pathlib.Path(scratch).glob("*.whl"))
        size = wheel.stat().st_size
        unpacked = pathlib.Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as bundle:
            wanted = tuple(f"ansible_collections/{name}/" for name in COLLECTIONS)
            bundle.extractall(unpacked, [name for name in bundle.namelist() if name.startswith(wanted)])
        for name in COLLECTIONS:
            target = root / "ansible_collections" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            (unpacked / "ansible_collections" / name).replace(target)
    say(
        f"Unpacked {', '.join(COLLECTIONS)} out of {BUNDLE} ({size / 1e6:.0f} MB downloaded) "
        f"in {time.monotonic() - started:.1f} s."
    )


def _with_connection(root: pathlib.Path) -> pathlib.Path:
    """Directory with links to them and the connection plugin of the rig, as the collection gpufleet_rig.hosts.

    Each state of the plugin has one, so that checkouts leave the plugins of one another alone.
    """
    source = (pathlib.Path(__file__).parent / "files" / "connection.py").read_bytes()
    place = root / f"with-connection-{hashlib.sha256(source).hexdigest()[:12]}"
    target = place / "ansible_collections" / "gpufleet_rig" / "hosts" / "plugins" / "connection" / "podman.py"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        for namespace in {name.partition("/")[0] for name in COLLECTIONS}:
            link = place / "ansible_collections" / namespace
            if not link.is_symlink():
                link.symlink_to(root / "ansible_collections" / namespace)
        temporary = target.with_name(f"{target.name}.{os.getpid()}")
        temporary.write_bytes(source)
        temporary.replace(target)
    return place


def write_inventory(
    path: pathlib.Path, hosts: dict[str, str], podman_program: pathlib.Path, variables: dict[str, object]
) -> None:
    """Write a YAML inventory of hosts {name: container}; the values are JSON strings, which are valid YAML.

    Ansible connects as the unprivileged user rig, and the tasks set become, as in the collection. The hosts have a
    group of their own: variables of 'all' would also apply to localhost, to which tasks are delegated.
    """
    common = {
        "ansible_connection": "gpufleet_rig.hosts.podman",
        "ansible_podman_executable": str(podman_program),
        "ansible_rig_set_directory": str(path.parent),
        "ansible_user": "rig",
        "ansible_become_method": "ansible.builtin.sudo",
        "ansible_python_interpreter": "/usr/bin/python3",
        **variables,
    }
    lines = ["---", "rig:", "  vars:", "    ansible_pipelining: true"]
    lines += [f"    {key}: {json.dumps(value)}" for key, value in common.items()]
    lines += ["  hosts:" if hosts else "  hosts: {}"]
    for name, container in hosts.items():
        lines += [f"    {name}:", f"      ansible_host: {json.dumps(container)}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(path)
