# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a module answers from a host: its documented result in bounded size, and nothing else.

Ansible acts on more keys of an answer than the result: facts become variables, and older releases let any module add
hosts and groups.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import is_harmless

MAX_BYTES = 16 * 1024 * 1024  # the largest real answer, of a host with 8 GPUs and 100 models, has some 100 KiB
MAX_DEPTH = 64  # real answers nest up to 12 levels
MAX_VALUES = 250 * 1000
MAX_ENTRIES = 5000  # of one list; tasks loop over some of them
MAX_NUMBER = 2**63

#: What each module returns and must return when it does not fail: {module: {key: (type, always)}}. A test compares it
#: with the documentation of the modules.
RESULTS: dict[str, dict[str, tuple[type, bool]]] = {
    "benchmark_info": {"benchmark": (dict, True)},
    "benchmark_untouched": {"benchmark": (dict, True)},
    "diagnosis_info": {"findings": (list, True), "looked_at": (list, True), "lines": (list, True)},
    "firewall_openings": {"opened": (list, True), "closed": (list, True)},
    "gateway_drain": {"servers": (list, True), "under_way": (int, True)},
    "gpu_facts": {"ansible_facts": (dict, True)},
    "host_info": {"host": (dict, True), "kept_plan": (dict, False), "secrets": (dict, False)},
    "instance_files": {"files": (list, True)},
    "instance_models": {"models": (list, True), "held_back": (list, True)},
    "instance_switch": {
        "seconds_without_answer": (dict, True),
        "seconds_until_quiet": (float, True),
        "files": (list, True),
        "models": (list, True),
        "evidence": (dict, False),
        "evidence_before": (dict, False),
        "went_back": (list, True),
    },
    "libraries": {
        "found": (dict, False),
        "needed": (list, False),
        "directory": (str, True),
        "python_version": (str, True),
    },
    "model": {"action": (str, True), "digest": (str, True), "pulled_bytes": (int, True), "loaded": (dict, True)},
    "model_file": {"have_bytes": (int, True), "sent_bytes": (int, False)},
    "model_info": {"model": (dict, False), "adapter": (dict, False), "bytes_read": (int, True)},
    "placement_check": {"verdict": (str, True), "instances": (list, True), "diagnosis": (list, True)},
    "placement_info": {"placement": (dict, True)},
    "plan_history": {"number": (int, True), "path": (str, True)},
    "program_file": {"path": (str, True), "needed": (bool, True), "interpreter": (str, True)},
    "release_files": {"directory": (str, True), "members": (int, False), "size_bytes": (int, False)},
    "server_info": {"server": (dict, False), "servers": (dict, False)},
}
#: The only facts of a module.
FACTS = {"gpu_facts": {"gpu_inventory": (dict, True)}}
#: Keys that every module may answer. The texts are for people, who read only so much.
_COMMON = ("changed", "failed", "diff", "invocation", "rc", "warnings", "deprecations")
_TEXTS = ("msg", "module_stdout", "module_stderr")
_LONGEST_TEXT = 64 * 1024
#: How a module says that a library is missing (module_utils/common/libraries.py).
_MISSING = ("missing_library", "missing_reason", "python_version")
#: What ansible-core's own wrapper answers for a module that runs in the background.
_ASYNC = ("ansible_job_id", "started", "finished", "results_file")


#: What is wrong with an answer that has more levels than MAX_DEPTH.
TOO_DEEP = "nests more than %d levels deep" % MAX_DEPTH


class AnswerError(Exception):
    """An answer that no module gives. The text is a phrase about it ("has 133 MiB, and at most 16 MiB are taken")."""


def harmless(text: str) -> str:
    """Return what a host printed without what a terminal obeys. The texts in its JSON have escapes in place of it.

    Raises:
        AnswerError: It is too long to be an answer.
    """
    if len(text) > MAX_BYTES:
        raise AnswerError("has %d bytes, and at most %d are taken" % (len(text), MAX_BYTES))
    return _JSON_ESCAPE.sub(_shown, text.translate(_CONTROL))


#: Control characters but the tabulator and the ends of lines, and those of C1; JSON has none of them.
_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"}
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")


def _shown(escape: re.Match[str]) -> str:
    """Return an escape of JSON, as the text of an escape where its character is one that a terminal obeys."""
    whole, code = escape.group(0), escape.group(1)
    obeyed = whole in ("\\b", "\\f") if code is None else not is_harmless(chr(int(code, 16)))
    return "\\" + whole if obeyed else whole


def cleaned(module: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a module documents of its answer.

    Args:
        module: Name of the module.
        answer: What came from the host.

    Raises:
        AnswerError: It is too large, or a value has another type than the documented one.
    """
    _check_bounds(answer)
    name = module.split(".")[-1]
    documented = RESULTS.get(name)
    if documented is None:  # of ansible-core, for an action itself
        return dict(answer)
    background = _ASYNC if "ansible_job_id" in answer else ()
    kept = {key: answer[key] for key in (*documented, *_COMMON, *_MISSING, *background) if key in answer}
    kept.update((key, str(answer[key])[:_LONGEST_TEXT]) for key in _TEXTS if answer.get(key) is not None)
    kept["changed"], kept["failed"] = bool(answer.get("changed")), bool(answer.get("failed"))
    partial = kept["failed"] or bool(background)
    _check_types(kept, documented, partial)
    facts = FACTS.get(name)
    if facts and kept.get("ansible_facts") is not None:
        kept["ansible_facts"] = {fact: kept["ansible_facts"][fact] for fact in facts if fact in kept["ansible_facts"]}
        _check_types(kept["ansible_facts"], facts, partial)
    return kept


def _check_types(answer: Mapping[str, Any], documented: Mapping[str, tuple[type, bool]], partial: bool) -> None:
    for key, (kind, always) in documented.items():
        value = answer.get(key)
        if value is None:
            if always and not partial and key not in answer:
                raise AnswerError("lacks %s" % key)
        elif not isinstance(value, kind):
            raise AnswerError("has %s as %s, which is a %s" % (key, type(value).__name__, kind.__name__))


def _check_bounds(answer: Mapping[str, Any]) -> None:
    """Refuse an answer that nests too deep, has too many values or impossible numbers."""
    level: list[Any] = [answer]
    count = 0
    for _depth in range(MAX_DEPTH):
        below: list[Any] = []
        for value in (value for container in level for value in _values(container)):
            count += 1
            if isinstance(value, (dict, list)):
                if isinstance(value, list) and len(value) > MAX_ENTRIES:
                    raise AnswerError("has a list of %d entries, and at most %d are taken" % (len(value), MAX_ENTRIES))
                below.append(value)
            elif _impossible(value):
                raise AnswerError("has a number beyond all sizes")
        if count > MAX_VALUES:
            raise AnswerError("has more than %d values" % MAX_VALUES)
        if not below:
            return
        level = below
    raise AnswerError(TOO_DEEP)


def _values(container: Any) -> Iterator[Any]:
    return iter(container.values() if isinstance(container, dict) else container)


def _impossible(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and abs(value) > MAX_NUMBER
