# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Keep what instances were before a run changes them, so that they can go back: files, links, services and manifests.

It is kept on the host until the plan is written, and belongs to the plan that is written there: a run that was killed
has kept what the next run needs, and what belongs to another plan is dropped. The first that is kept of an instance
counts, however often a run changes it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from ..common import paths
from ..common.regular import read_regular
from ..host import history, systemd
from ..host.files import Files, WantedFile
from ..host.json_file import read_object
from ..host.ownership import Ownership, group_name, user_name
from ..ollama.store import Store


@dataclass(frozen=True)
class KeptFile:
    """A file or link as it was; `kind` is file, link or absent, and `content` is encoded by base64."""

    kind: str
    content: str = ""
    target: str = ""
    owner: str = ""
    group: str = ""
    mode: str = ""
    changed_ns: int = 0


@dataclass(frozen=True)
class KeptInstance:
    """An instance as it was: whether it ran and started at boot, and the manifests of its store."""

    name: str
    active: bool
    enabled: bool
    store: str
    manifests: dict = field(default_factory=dict)


@dataclass
class KeptSwitch:
    """What is changed together: instances, and their files by path."""

    instances: list = field(default_factory=list)
    files: dict = field(default_factory=dict)


@dataclass
class Kept:
    """All that is kept on a host.

    `plan` is the digest of the plan that it belongs to (history.digest_in_force), "" where there is none; `shared` are
    the files that all instances have in common, by path; `switches` are in the order in which they were made.
    """

    plan: str = ""
    shared: dict = field(default_factory=dict)
    switches: list = field(default_factory=list)


def load() -> Kept:
    """Return what is kept for the plan that is written on this host. What is kept for another one counts for
    nothing."""
    digest = history.digest_in_force() or ""
    data = read_object(paths.BEFORE) or {}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if data["plan"] == digest:
            return Kept(
                digest,
                {name: KeptFile(**file) for name, file in data["shared"].items()},
                [
                    KeptSwitch(
                        [KeptInstance(**instance) for instance in switch["instances"]],
                        {name: KeptFile(**file) for name, file in switch["files"].items()},
                    )
                    for switch in data["switches"]
                ],
            )
    return Kept(digest)


def keep(kept: Kept, files: Files, names: Sequence[str], changed: Iterable[str], stores: dict[str, Store]) -> None:
    """Keep instances and files that are about to be changed, and are not kept yet.

    Args:
        kept: of `load`; what is new is added.
        files: puts the file in place that it is kept in.
        names: of the instances, those that the plan does not have any more among them.
        changed: paths of the files that are changed or removed.
        stores: of the instances, by name.

    Raises:
        FilesError, StoreError: something cannot be read or kept.
    """
    there = {instance.name for switch in kept.switches for instance in switch.instances}
    known = {*kept.shared, *(name for switch in kept.switches for name in switch.files)}
    of_instances = {
        path
        for name in names
        for path in (paths.environment_file(name), paths.instance_plan(name), paths.instance_release(name))
    }
    units = systemd.show([paths.unit(name) for name in names])
    enabled = systemd.enabled_instances()
    new = KeptSwitch()
    for name in names:
        if name not in there:
            active = units.get(paths.unit(name), {}).get("ActiveState") in systemd.RUNNING
            store = stores.get(name)
            manifests = store.kept() if store else {}
            new.instances.append(KeptInstance(name, active, name in enabled, store.path if store else "", manifests))
    # Also those that are not changed now: a run that was killed, or plans again, may change them later.
    for one in sorted({*changed, *of_instances} - known):
        (new.files if one in of_instances else kept.shared)[one] = _kept_file(one)
    if new.instances or new.files:
        kept.switches.append(new)
    content = json.dumps(asdict(kept), sort_keys=True).encode("utf-8")
    # It is made by root, and has environments in it.
    files.put(WantedFile(paths.BEFORE, content=content, ownership=Ownership(mode=0o600), show_content=False))


def put_back(kept_files: dict[str, KeptFile], files: Files) -> None:
    """Put files and links back as they were, with their times: systemd and a script know a file of before by its time.

    Raises:
        FilesError: one cannot be put back.
    """
    for path, file in kept_files.items():
        files.put(_wanted(path, file))
        if file.kind != "absent":
            os.utime(path, ns=(file.changed_ns, file.changed_ns), follow_symlinks=False)


def drop(files: Files) -> None:
    """Forget what is kept. Raises FilesError."""
    files.put(WantedFile(paths.BEFORE, "absent", show_content=False))


def _wanted(path: str, file: KeptFile) -> WantedFile:
    if file.kind == "absent":
        return WantedFile(path, "absent", show_content=False)
    if file.kind == "link":
        return WantedFile(path, "link", target=file.target, ownership=Ownership(file.owner, file.group), force=True)
    return WantedFile(
        path,
        content=base64.b64decode(file.content),
        ownership=Ownership(file.owner, file.group, int(file.mode, 8)),
        show_content=False,
    )


def _kept_file(path: str) -> KeptFile:
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return KeptFile("absent")
    owner, group = user_name(status.st_uid), group_name(status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return KeptFile("link", "", os.readlink(path), owner, group, "", status.st_mtime_ns)
    content = base64.b64encode(read_regular(path, follow=False)).decode("ascii")
    return KeptFile("file", content, "", owner, group, "%04o" % stat.S_IMODE(status.st_mode), status.st_mtime_ns)
