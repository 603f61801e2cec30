# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role has put on a host, and what was there before it: read from files and from systemd.

`root` is / except in tests.
"""

from __future__ import annotations

import contextlib
import grp
import os
import platform
import pwd
import shutil
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ..common import paths, secrets
from . import entrance, file_system, firewall, history, listeners, managed, program_install, systemd
from .command import PROGRAM_PATH
from .default_address import default_address
from .json_file import read_object
from .last_check import last_check

#: Groups that matter for the service user: those of the GPUs' device nodes, and its own.
_GROUPS = ("render", "video", paths.USER)
#: Most files of another models directory whose sizes are added up.
_MOST_ENTRIES = 100000
_ENABLED = ("enabled", "enabled-runtime")


def host_state(
    models_dir: str,
    address: Optional[str] = None,
    root: str = "/",
    metrics_directory: str = "",
    allowed: Sequence[str] = (),
) -> Dict[str, Any]:
    """Return the state of a host as the module host_info returns it.

    Args:
        models_dir: the parent of the instances' stores.
        address: an IP address that an instance is to listen on, or None.
        root: see above.
        metrics_directory: where metrics are to be written, "" for nowhere.
        allowed: networks that may connect to the instances, as networks.canonical writes them.
    """
    metrics = metrics_directory_before(root)
    units = systemd.show_ours() if root == "/" else {}
    applied = applied_plan(root)
    return {
        "architecture": platform.machine(),
        "systemd": os.path.isdir(paths.below(root, "/run/systemd/system")),
        "zstd": shutil.which("zstd", path=PROGRAM_PATH) is not None,
        "groups": sorted(entry.gr_name for entry in grp.getgrall() if entry.gr_name in _GROUPS),
        "installed": os.path.isdir(paths.below(root, paths.INSTALLATION)),
        "release": releases(root),
        "command": _command(root),
        "applied_plan": applied,
        "history": history.read_history(root),
        "last_check": last_check(paths.below(root, paths.VERDICT)),
        "left_behind": left_behind(applied.get("models_dir"), models_dir),
        "adopted": read_object(paths.below(root, paths.ADOPTED)) or {},
        "made": made(root),
        "existing": existing(units.get(paths.EXISTING_UNIT) or {}),
        "default_address": default_address() if root == "/" else None,
        "fetch_server": (units.get(paths.FETCH_UNIT) or {}).get("ActiveState") in systemd.RUNNING,
        "instances": instances(units, models_dir, root),
        "check_timer": check_timer(units.get(paths.CHECK_TIMER) or {}),
        "firewall": firewall.state(units, root, allowed),
        "drop_ins": systemd.drop_ins(root),
        "metrics_directory": metrics,
        "files": managed.managed_files(
            models_dir, root, tuple(filter(None, [metrics, paths.directory(metrics_directory)]))
        ),
        "models_dir": dict(
            managed.models_directory(models_dir, root),
            closed=entrance.closed_directory(models_dir) if root == "/" else None,
        ),
        "file_systems": file_system.room([paths.RELEASES, models_dir.rstrip("/") or "/"], root),
        "user": managed.account(),
        "libraries": managed.libraries(root),
        "program": program_install.installed(paths.below(root, paths.PROGRAM)),
        "listeners": listeners.listeners(paths.below(root, "/proc")),
        "address_available": listeners.can_bind(address) if address else None,
    }


def applied_plan(root: str = "/") -> Dict[str, Any]:
    """Return the plan that was applied to its end, {} where there is none.

    Args:
        root: see above.
    """
    return read_object(paths.below(root, paths.PLAN)) or {}


def model_stores(state: Mapping[str, Any], models_dir: str) -> List[str]:
    """Return the stores that a host may have models in: those of the instances, that of the fetch server, those that a
    changed models directory leaves behind, and those of an Ollama from elsewhere.

    Args:
        state: of `host_state`.
        models_dir: the parent of the instances' stores.
    """
    adopted = state["adopted"].get("store")
    stores = [paths.store(models_dir, entry["name"]) for entry in state["instances"] if entry["store"]]
    fetch_store = (state.get("files") or {}).get(paths.fetch_store(models_dir)) or {}
    if fetch_store.get("kind") == "directory" and fetch_store["owner"] == paths.USER:
        stores.append(paths.fetch_store(models_dir))
    stores += (state["left_behind"] or {}).get("stores") or []
    stores += [(state["existing"] or {}).get("store") or ""]
    stores += [adopted] if isinstance(adopted, str) else []
    return [store for store in stores if store]


def secret_variables(state: Mapping[str, Any]) -> Dict[str, str]:
    """Return the secret variables of the Ollama that was adopted, or could be, with their values.

    Args:
        state: of `host_state`.
    """
    recorded = state["adopted"].get("environment")
    there = (state["existing"] or {}).get("environment")
    found = recorded if isinstance(recorded, dict) and recorded else there
    return secrets.secret_values(found or {})


def shown_state(state: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the state of a host as everybody may read it, with the names of what it hides in `secret_variables`.

    Args:
        state: of `host_state`.
    """
    return dict(
        state,
        applied_plan=secrets.shown_plan(state["applied_plan"]),
        instances=[dict(entry, plan=secrets.shown_plan(entry["plan"])) for entry in state["instances"]],
        adopted=_shown(state["adopted"]),
        existing=_shown(state["existing"]) if state["existing"] else None,
        secret_variables=sorted(secret_variables(state)),
    )


def _shown(record: Dict[str, Any]) -> Dict[str, Any]:
    environment = record.get("environment")
    return dict(record, environment=secrets.shown_environment(environment)) if isinstance(environment, dict) else record


def releases(root: str = "/") -> Dict[str, Any]:
    """Return the releases on a host.

    Returns:
        {current: version or None, complete: {version: the checksum that it was verified with},
        sizes: {version: bytes}, leftovers: [paths of installations that were killed]}.
    """
    parent = paths.below(root, paths.RELEASES)
    complete, sizes, leftovers = {}, {}, []
    for name in sorted(os.listdir(parent)) if os.path.isdir(parent) else []:
        marker = read_object(paths.below(root, paths.release_marker(name)))
        if marker is None or name.startswith("."):
            leftovers.append(os.path.join(parent, name))
        else:
            complete[name] = marker.get("checksum")
            sizes[name] = _size(os.path.join(parent, name))
    try:
        current = os.path.basename(os.readlink(paths.below(root, paths.CURRENT)))
    except OSError:
        current = None
    return {"current": current, "complete": complete, "sizes": sizes, "leftovers": leftovers}


def instances(units: Mapping[str, Mapping[str, str]], models_dir: str, root: str = "/") -> list[Dict[str, Any]]:
    """Return the instances that left a trace on a host: a unit, a link, an environment file, a release or a store.

    Args:
        units: of `systemd.show_ours`.
        models_dir: the parent of the instances' stores.
        root: see above.

    Returns:
        [{name, active, enabled, env_file, release, store, plan}], sorted by name; `release` is the version that its
        link names, None without a link; `plan` is the instance's own (`paths.instance_plan`), {} where there is none.
    """
    files = _names(paths.below(root, paths.ENVIRONMENT_DIRECTORY), ".env")
    stores = set(managed.stores(models_dir, root))
    links = _instance_releases(root)
    enabled = systemd.enabled_instances(root)
    running = (unit for unit, properties in units.items() if properties.get("ActiveState") not in (None, "inactive"))
    active = {name for name in map(paths.instance_of, running) if name}
    return [
        {
            "name": name,
            "active": name in active,
            "enabled": name in enabled,
            "env_file": name in files,
            "release": links.get(name),
            "store": name in stores,
            "plan": read_object(paths.below(root, paths.instance_plan(name))) or {},
        }
        for name in sorted(files | set(links) | stores | enabled | active)
    ]


def _instance_releases(root: str) -> Dict[str, str]:
    """{instance: version} of the links to the instances' releases."""
    found = {}
    for name in _names(paths.below(root, paths.INSTANCE_RELEASES), ""):
        with contextlib.suppress(OSError):  # no link
            found[name] = os.path.basename(os.readlink(paths.below(root, paths.instance_release(name))))
    return found


def check_timer(properties: Mapping[str, str]) -> Dict[str, bool]:
    """Return {active, enabled} of the timer of the checks.

    Args:
        properties: of the timer, by `systemd.show_ours`.
    """
    return {
        "active": properties.get("ActiveState") in systemd.RUNNING,
        "enabled": properties.get("UnitFileState") in _ENABLED,
    }


def made(root: str = "/") -> List[str]:
    """Return the directories outside its own that the collection has made, as it wrote them down."""
    directories = (read_object(paths.below(root, paths.MADE)) or {}).get("directories")
    return [path for path in directories if isinstance(path, str)] if isinstance(directories, list) else []


def metrics_directory_before(root: str = "/") -> str:
    """Return the directory in which the checks of the host write their metrics, "" for none."""
    found = (read_object(paths.below(root, paths.METRICS_SETTINGS)) or {}).get("directory")
    return found if isinstance(found, str) and not paths.metrics_directory_problem(found) else ""


def existing(properties: Mapping[str, str]) -> Optional[Dict[str, Any]]:
    """Return the Ollama that another installer put here, adopted or not; None where there is none.

    Args:
        properties: of its unit, by `systemd.show_ours`.
    """
    path = properties.get("FragmentPath")
    if properties.get("LoadState") != "loaded" or not path:
        return None
    environment = systemd.environment(properties)
    store = environment.get("OLLAMA_MODELS") or os.path.join(_home(systemd.user(properties)), ".ollama/models")
    return {
        "unit": paths.EXISTING_UNIT,
        "path": path,
        "drop_ins": properties.get("DropInPaths", "").split(),
        "active": properties.get("ActiveState") in systemd.RUNNING,
        "enabled": properties.get("UnitFileState") in _ENABLED,
        "environment": environment,
        "store": store,
    }


def left_behind(before: Any, models_dir: str) -> Optional[Dict[str, Any]]:
    """Return the instances' stores in the models directory of the applied plan, where that is another one than now.

    Args:
        before: models directory of the applied plan; whatever that file says.
        models_dir: the parent of the instances' stores now.

    Returns:
        {path, size_bytes, stores, same_file_system}; None where the directory is the same, or has no stores. A blob
        that several stores share counts once.
    """
    if not isinstance(before, str) or os.path.normpath(before) == os.path.normpath(models_dir):
        return None
    parent = paths.stores(before)
    stores = [os.path.join(parent, name) for name in sorted(_names(parent, ""))] if not os.path.islink(parent) else []
    stores = [store for store in stores if not os.path.islink(store)]
    if not stores:
        return None
    return {
        "path": parent,
        "size_bytes": _size(parent),
        "stores": stores,
        "same_file_system": file_system.device(parent) == file_system.device(models_dir),
    }


def _size(directory: str) -> int:
    """Bytes of the files below a directory; a file with several names counts once.

    What lies there belongs to others: no link is followed, and the most entries that are looked at is _MOST_ENTRIES.
    """
    sizes: Dict[int, int] = {}
    left = _MOST_ENTRIES
    for _path, directories, names, descriptor in os.fwalk(directory, follow_symlinks=False):
        for name in names[:left]:
            with contextlib.suppress(FileNotFoundError):  # a part of a pull that has just ended
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                sizes[status.st_ino] = status.st_size
        left = max(left - len(names) - len(directories), 0)
        if not left:
            break
    return sum(sizes.values())


def _command(root: str) -> str:
    """What paths.COMMAND is: "absent", "ours" (a link into our installation) or "foreign"."""
    path = paths.below(root, paths.COMMAND)
    if not os.path.lexists(path):
        return "absent"
    ours = os.path.islink(path) and os.readlink(path).startswith(paths.INSTALLATION + "/")
    return "ours" if ours else "foreign"


def _home(user: str) -> str:
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return paths.UPSTREAM_HOME


def _names(directory: str, suffix: str) -> Set[str]:
    """Names in `directory` that end in `suffix`, without it; none where there is no directory."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return {name[: len(name) - len(suffix)] for name in names if name.endswith(suffix) and not name.startswith(".")}
