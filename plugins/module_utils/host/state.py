# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role has put on a host, and what was there before it: read from files, without a service running."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import platform
import pwd
import shutil

from . import listeners, managed, systemd

CONFIGURATION = "etc/ollama-multigpu"
INSTALLATION = "usr/local/lib/ollama-multigpu"
COMMAND = "usr/local/bin/ollama"
#: Written into a release directory as its last file: a directory without it is the remains of a run that was killed.
MARKER = ".complete"


def host_state(models_dir, address=None, root="/"):
    """The state as the module host_info returns it. `models_dir` is the parent of the instances' stores, `address` an IP address to listen on.
    `root` is / except in tests."""
    units = systemd.show_units() if root == "/" else {}
    applied = _json(os.path.join(root, CONFIGURATION, "plan.json")) or {}
    return {
        "architecture": platform.machine(),
        "systemd": os.path.isdir(os.path.join(root, "run/systemd/system")),
        "zstd": shutil.which("zstd", path="/usr/local/bin:/usr/bin:/bin") is not None,
        "groups": sorted(entry.gr_name for entry in grp.getgrall() if entry.gr_name in ("render", "video", "ollama")),
        "installed": os.path.isdir(os.path.join(root, INSTALLATION)),
        "release": releases(root),
        "command": _command(root),
        "applied_plan": applied,
        "left_behind": left_behind(applied.get("models_dir"), models_dir),
        "adopted": _json(os.path.join(root, CONFIGURATION, "adopted.json")) or {},
        "existing": existing(units.get(systemd.EXISTING_UNIT) or {}, models_dir),
        "instances": instances(units, models_dir, root),
        "drop_ins": systemd.drop_ins(root),
        "files": managed.managed_files(models_dir, root),
        "user": managed.account(),
        "listeners": listeners.listeners(os.path.join(root, "proc")),
        "address_available": listeners.can_bind(address) if address else None,
    }


def releases(root="/"):
    """{current: version or null, complete: {version: the checksum it was verified with}, leftovers: [paths of killed installations]}."""
    parent = os.path.join(root, INSTALLATION, "releases")
    complete, leftovers = {}, []
    for name in sorted(os.listdir(parent)) if os.path.isdir(parent) else []:
        marker = _json(os.path.join(parent, name, MARKER))
        if marker is None:
            leftovers.append(os.path.join(parent, name))
        else:
            complete[name] = marker.get("checksum")
    try:
        current = os.path.basename(os.readlink(os.path.join(root, INSTALLATION, "current")))
    except OSError:
        current = None
    return {"current": current, "complete": complete, "leftovers": leftovers}


def instances(units, models_dir, root="/"):
    """[{name, active, enabled, env_file, store}] of every instance that left a trace: a unit, a link, an environment file or a store."""
    files = _names(os.path.join(root, CONFIGURATION, "instances"), ".env")
    stores = _names(os.path.join(models_dir, "instances"), "")
    enabled = systemd.enabled_instances(root)
    active = {
        systemd.instance_of(unit)
        for unit, properties in units.items()
        if properties.get("ActiveState") not in (None, "inactive")
    } - {None}
    return [
        {
            "name": name,
            "active": name in active,
            "enabled": name in enabled,
            "env_file": name in files,
            "store": name in stores,
        }
        for name in sorted(files | stores | enabled | active)
    ]


def existing(properties, models_dir):
    """The Ollama that another installer put here (ollama.service), adopted or not; None where there is none. `properties` are the unit's of systemctl show."""
    path = properties.get("FragmentPath")
    if properties.get("LoadState") != "loaded" or not path:
        return None
    drop_ins = properties.get("DropInPaths", "").split()
    environment = systemd.environment_of([path] + drop_ins)
    store = environment.get("OLLAMA_MODELS") or os.path.join(
        _home(systemd.user_of([path] + drop_ins)), ".ollama/models"
    )
    return {
        "unit": systemd.EXISTING_UNIT,
        "path": path,
        "drop_ins": drop_ins,
        "active": properties.get("ActiveState") in ("active", "activating", "reloading"),
        "enabled": properties.get("UnitFileState") in ("enabled", "enabled-runtime"),
        "environment": environment,
        "store": store,
        "same_file_system": _device(store) == _device(models_dir),
    }


def left_behind(before, models_dir):
    """{path, size_bytes, stores, same_file_system} of the instances' stores below the models directory of the applied plan, where that is another one than
    `models_dir`; None where it is the same, or has none. A blob that several stores share counts once."""
    if not isinstance(before, str) or os.path.normpath(before) == os.path.normpath(models_dir):
        return None
    parent = os.path.join(before, "instances")
    stores = [os.path.join(parent, name) for name in sorted(_names(parent, ""))]
    if not stores:
        return None
    sizes = {}
    for directory, _directories, names in os.walk(parent):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a part of a pull that has just ended
                status = os.lstat(os.path.join(directory, name))
                sizes[status.st_ino] = status.st_size
    return {
        "path": parent,
        "size_bytes": sum(sizes.values()),
        "stores": stores,
        "same_file_system": _device(parent) == _device(models_dir),
    }


def _command(root):
    """absent, ours (a link into our installation) or foreign: what /usr/local/bin/ollama is."""
    path = os.path.join(root, COMMAND)
    if not os.path.lexists(path):
        return "absent"
    return (
        "ours" if os.path.islink(path) and os.readlink(path).lstrip("/").startswith(INSTALLATION + "/") else "foreign"
    )


def _home(user):
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return "/usr/share/ollama"


def _device(path):
    """Number of the file system that holds `path`, or its nearest parent that exists."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return os.stat(path).st_dev


def _names(directory, suffix):
    """Names in `directory` that end in `suffix`, without it; nothing where there is no directory."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return {name[: len(name) - len(suffix)] for name in names if name.endswith(suffix) and not name.startswith(".")}


def _json(path):
    """The object in a JSON file; None where the file is missing, cut or no object: such a file was never finished."""
    try:
        with open(path, "r", encoding="utf-8") as handle:
            content = json.load(handle)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
