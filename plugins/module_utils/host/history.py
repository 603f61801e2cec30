# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plans that were in force on a host, each with all that a rollback to it needs: its environment files with their
true values, the unit, and what its proof has found.

A kept plan is a directory of root's (`paths.kept_files`). Its record is written last, so one without a record is left
from a run that was killed. The plans are in the order in which they came into force; one that comes into force again
gets the last place and keeps its number.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Dict, List, Mapping, Optional

from ..common import environment_file, paths, secrets
from ..common.json_text import json_text
from ..common.regular import read_regular
from . import managed, places
from .files import Files, WantedFile
from .json_file import read_object
from .ownership import FilesError, Ownership, group_name, user_name

_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")
#: Of the directories and records: the copies of the environment files have the true values.
_CLOSED, _RECORD_MODE = 0o700, 0o600


@dataclass(frozen=True)
class PlanRecord:
    """What is known of a kept plan.

    Attributes:
        number: of the plan; it stays the same.
        order: place in the order in which the plans came into force, the last is the highest.
        time: when it was proven, in UTC ("2026-11-28T22:40:00Z").
        release: of Ollama.
        checksum: the SHA-256 of the release's archive, or the address of the sha256sum.txt that it was checked with;
            None where it is not known.
        verdict: of the proof, "pass" or "unproven".
        tokens_per_second: {instance: {model: of the proof's generation}}; without models that generate nothing.
        load_seconds: {instance: {model: how long its last load took}}, of those that the proof could tell.
        seconds_without_answer: {instance: how long its last switch took}, of those that were switched.
        rolled_back_from: number of the plan that was given up for this one; None where it was not a rollback.
    """

    number: int
    order: int
    time: str
    release: str
    checksum: Optional[str] = None
    verdict: str = "pass"
    tokens_per_second: Dict[str, Dict[str, float]] = field(default_factory=dict)
    rolled_back_from: Optional[int] = None
    load_seconds: Dict[str, Dict[str, float]] = field(default_factory=dict)
    seconds_without_answer: Dict[str, float] = field(default_factory=dict)


_KEYS = tuple(one.name for one in fields(PlanRecord))


def read_history(root: str = "/") -> Dict[str, Any]:
    """Return the plans that are kept on a host, the last one in force at the end.

    Args:
        root: / except in tests.

    Returns:
        {plans, leftovers}: `plans` are records as dictionaries, each with `files`, {file in force: SHA-256 of its copy,
        None where that is missing}; `leftovers` are paths of what is no complete plan.
    """
    found: List[Dict[str, Any]] = []
    leftovers: List[str] = []
    for name in _names(root):
        record = _record(name, root)
        if record is None:
            leftovers.append("%s/%s" % (paths.PLANS, name))
        else:
            found.append(dict(asdict(record), files=_digests(record.number, root)))
    return {"plans": sorted(found, key=lambda plan: (plan["order"], plan["number"])), "leftovers": leftovers}


def digest_of(plan: Mapping[str, Any]) -> str:
    """Return the SHA-256 by which a plan is told from others: of its text as the role writes it."""
    return hashlib.sha256(json_text(plan).encode("ascii")).hexdigest()


def digest_in_force(root: str = "/") -> Optional[str]:
    """Return `digest_of` the plan that is written on this host, however its file is formatted; None without a file.

    What is no plan has the SHA-256 of its bytes, which is that of no plan.

    Args:
        root: / except in tests.
    """
    return _digest_of_plan(paths.PLAN, root)


def kept_digest(number: int, root: str = "/") -> Optional[str]:
    """Return the digest of a kept plan, as `digest_in_force` does.

    Args:
        number: of the plan.
        root: / except in tests.
    """
    return _digest_of_plan(_kept_plan_file(number), root)


def kept_plan(number: int, root: str = "/") -> Dict[str, Any]:
    """Return a kept plan, as it was written.

    Args:
        number: of the plan.
        root: / except in tests.

    Raises:
        FilesError: it is not there, or is damaged.
    """
    return _read_plan(_kept_plan_file(number), root)


def kept_secrets(plan: Mapping[str, Any], number: int, root: str = "/") -> Dict[str, str]:
    """Return the values of the variables that a kept plan hides, by name.

    Args:
        plan: of `kept_plan`.
        number: of the plan.
        root: / except in tests.

    Raises:
        FilesError: an environment file is missing.
    """
    found: Dict[str, str] = {}
    for name in _instances(plan):
        path = "%s/%s" % (paths.kept_plan(number), paths.kept_name(paths.environment_file(name)))
        try:
            text = read_regular(paths.below(root, path), follow=False).decode("utf-8")
        except (OSError, ValueError) as error:
            raise FilesError("the environment of %s cannot be read from %s (%s)" % (name, path, error)) from error
        found.update(secrets.secret_values(environment_file.parse(text)))
    return found


def is_kept(number: int, root: str = "/") -> bool:
    """Return whether a plan is the last one in the history, and the files in force are those that are kept of it."""
    plans = read_history(root)["plans"]
    if not plans or plans[-1]["number"] != number:
        return False
    kept: Dict[str, Optional[str]] = plans[-1]["files"]
    return all(digest and digest == _digest(path, root) for path, digest in kept.items())


def keep(files: Files, record: PlanRecord, root: str = "/") -> None:
    """Put the plan in force into the history, with its record at the end.

    Args:
        files: puts files in place.
        record: of the plan; its `order`, `release` and `checksum` are replaced by what the host says.
        root: / except in tests.

    Raises:
        FilesError: the plan or one of its files is missing, or cannot be copied.
    """
    plan = _read_plan(paths.PLAN, root)
    directory = paths.kept_plan(record.number)
    if _record(str(record.number), root) is None:
        files.put(WantedFile(paths.below(root, directory), "absent", show_content=False))
    for path in (paths.PLANS, directory, directory + "/" + os.path.basename(paths.ENVIRONMENT_DIRECTORY)):
        files.put(WantedFile(paths.below(root, path), "directory", ownership=Ownership(mode=_CLOSED)))
    for source, target in paths.kept_files(record.number, _instances(plan)).items():
        files.put(_copy(source, target, root))
    release = str(plan.get("ollama_version"))
    orders = [entry["order"] for entry in read_history(root)["plans"]]
    written = dict(
        asdict(record), order=max(orders, default=0) + 1, release=release, checksum=_release_checksum(release, root)
    )
    content = json_text(written)
    path = "%s/%s" % (directory, paths.PLAN_RECORD)
    files.put(
        WantedFile(paths.below(root, path), "file", content.encode("utf-8"), ownership=Ownership(mode=_RECORD_MODE))
    )


def now() -> str:
    """Return the time as a record has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _names(root: str) -> List[str]:
    """Names in the directory of the plans; those of drafts begin with a dot and are none."""
    place = paths.below(root, paths.PLANS)
    if places.problem(place + "/x", False, root) is not None:
        return []
    try:
        return sorted(name for name in os.listdir(place) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _record(name: str, root: str) -> Optional[PlanRecord]:
    """The record of a kept plan; None where there is none, or it is damaged."""
    if not _NUMBER.match(name):
        return None
    path = paths.below(root, "%s/%s" % (paths.kept_plan(int(name)), paths.PLAN_RECORD))
    found = read_object(path) or {}
    try:
        # A later version of the collection may know more of a plan.
        record = PlanRecord(**{key: found[key] for key in _KEYS if key in found})
    except TypeError:
        return None
    return record if _is_sound(record) and record.number == int(name) else None


def _is_sound(record: PlanRecord) -> bool:
    """Whether what a record says has the types that everybody relies on."""
    numbers = (record.number, record.order, *filter(None, [record.rolled_back_from]))
    texts = (record.time, record.release, record.verdict, *filter(None, [record.checksum]))
    of_models = (record.tokens_per_second, record.load_seconds)
    return (
        all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(measured, dict) and all(map(_are_numbers, measured.values())) for measured in of_models)
        and _are_numbers(record.seconds_without_answer)
    )


def _are_numbers(measured: Any) -> bool:
    return isinstance(measured, dict) and all(isinstance(value, (int, float)) for value in measured.values())


def _digests(number: int, root: str) -> Dict[str, Optional[str]]:
    """{file in force: SHA-256 of its copy} of a kept plan; one whose plan is damaged has that file alone."""
    try:
        names = _instances(kept_plan(number, root))
    except FilesError:
        return {paths.PLAN: None}
    kept = paths.kept_files(number, names)
    return {source: _digest(target, root) for source, target in kept.items()}


def _kept_plan_file(number: int) -> str:
    return "%s/%s" % (paths.kept_plan(number), paths.kept_name(paths.PLAN))


def _digest_of_plan(path: str, root: str) -> Optional[str]:
    plan = read_object(paths.below(root, path))
    return _digest(path, root) if plan is None else digest_of(plan)


def _digest(path: str, root: str) -> Optional[str]:
    digest: Optional[str] = managed.describe(paths.below(root, path))["digest"]
    return digest


def _instances(plan: Mapping[str, Any]) -> List[str]:
    """Names of a plan's instances that are names of files."""
    named = [entry.get("name") for entry in plan["instances"] if isinstance(entry, dict)]
    return [name for name in named if isinstance(name, str) and name and "/" not in name and not name.startswith(".")]


def _read_plan(path: str, root: str) -> Dict[str, Any]:
    try:
        plan = json.loads(read_regular(paths.below(root, path), follow=False).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise FilesError("the plan in %s cannot be read (%s)" % (path, error)) from error
    if not isinstance(plan, dict) or not isinstance(plan.get("instances"), list):
        raise FilesError("%s is damaged: it has no list of instances" % path)
    return plan


def _copy(source: str, target: str, root: str) -> WantedFile:
    """The copy of a file in force, with its owner and mode. What it holds is never shown."""
    place = paths.below(root, source)
    try:
        status, content = os.lstat(place), read_regular(place, follow=False)
    except OSError as error:
        raise FilesError("%s cannot be kept (%s): run the role again" % (source, error.strerror or error)) from error
    ownership = Ownership(user_name(status.st_uid), group_name(status.st_gid), stat.S_IMODE(status.st_mode))
    return WantedFile(paths.below(root, target), "file", content, ownership=ownership, show_content=False)


def _release_checksum(version: str, root: str) -> Optional[str]:
    """The checksum that a release on the host was verified with."""
    checksum = (read_object(paths.below(root, paths.release_marker(version))) or {}).get("checksum")
    return checksum if isinstance(checksum, str) else None
