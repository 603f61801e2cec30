# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The keys of a model in placement_info and in the role, and what is wrong with the structure of a list of models.

The keys are written as Ansible's argument specification, which placement_info uses. Ansible's own words for a list that
does not fit it name neither the model nor the remedy, so that it is looked at here first. Pure.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Optional

from ...ollama import parameters
from ...ollama.own_file import KINDS
from ..shapes import STRATEGIES

Options = dict[str, dict[str, Any]]

#: Keys that only placement_info has; the role reads the headers itself.
ONLY_OF_THE_MODULE = ("model", "parameters")
_EXAMPLE = "give a list of models, for example [{name: 'llama3.1:8b'}]"
_KINDS = {"int": "a whole number", "bool": "true or false", "str": "a text", "dict": "a mapping", "list": "a list"}
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_BOOLEANS = ("y", "yes", "on", "1", "true", "t", "n", "no", "off", "0", "false", "f")
# Keys of a text that may be written as a number.
_NUMBERS_TOO = ("context_length", "cpu_experts")
# Names that Ollama has for what is a key here.
_OTHER_NAMES = {"num_ctx": "context_length", "num_parallel": "parallel", "num_batch": "ubatch", "model": "name"}


def model_options() -> Options:
    """Return the options of a model in placement_info."""
    optimized = dict(
        suffix=dict(type="str", default="-optimized"),
        parameters=dict(type="dict"),
        system=dict(type="str"),
        template=dict(type="str"),
        adapters=dict(type="list", elements="dict", options=_file_options()),
    )
    speculative = dict(
        type=dict(type="str", required=True, choices=["none", "mtp", "draft"]),
        draft=dict(type="str"),
        tokens=dict(type="int", no_log=False),
    )
    return dict(
        name=dict(type="str", required=True),
        model=dict(type="dict"),
        context_length=dict(type="str"),
        parallel=dict(type="int", default=1),
        kv_cache_type=dict(type="str"),
        flash_attention=dict(type="bool"),
        ubatch=dict(type="int"),
        strategy=dict(type="str", default="auto", choices=list(STRATEGIES)),
        replicas=dict(type="int"),
        speculative=dict(type="dict", options=speculative),
        allow_cpu_offload=dict(type="bool", default=False),
        cpu_experts=dict(type="str"),
        headroom_bytes=dict(type="int"),
        keep_alive=dict(type="raw", default=-1),
        resident=dict(type="bool", default=True),
        insecure=dict(type="bool", default=False),
        digest=dict(type="str"),
        refresh=dict(type="bool", default=False),
        source=dict(type="dict", options=_file_options()),
        aliases=dict(type="list", elements="str"),
        optimized=dict(type="dict", options=optimized),
        parameters=dict(type="dict"),
    )


def _file_options() -> Options:
    """Return the options that say where a file of the user is."""
    return {name: dict(type="str") for name in (*KINDS, "sha256")}


def role_options() -> Options:
    """Return the options of a model in the role."""
    return {key: option for key, option in model_options().items() if key not in ONLY_OF_THE_MODULE}


def structure_problems(models: Any, options: Options) -> list[str]:
    """Return one sentence for each key and value in a list of models that cannot be.

    Args:
        models: what the user gave.
        options: of one model, as `model_options` has them.
    """
    if not isinstance(models, (list, tuple)):
        return ["The models are %s: %s." % (_shown(models), _EXAMPLE)]
    problems = []
    for number, model in enumerate(models, 1):
        if not isinstance(model, dict):
            problems.append("Model %d is %s: %s." % (number, _shown(model), _instead(model)))
            continue
        name = model.get("name")
        named = isinstance(name, str) and name
        found = mapping_problems(model, options, "Model %s" % (name if named else number))
        problems += found
        if name in (None, "") and not any(
            "did you mean name?" in problem or "write name" in problem for problem in found
        ):
            problems.append("Model %d has no name: give one, for example name: llama3.1:8b." % number)
    return problems


def _instead(model: Any) -> str:
    """Return what to write in place of an entry that is no mapping."""
    return "write {name: '%s'}" % model if isinstance(model, str) and model else "give a mapping with a name"


def mapping_problems(given: dict[Any, Any], options: Options, what: str) -> list[str]:
    """Return one sentence for each key and value of a mapping that cannot be.

    Args:
        given: the mapping.
        options: its keys, as Ansible's argument specification.
        what: words that say what it is, to begin a sentence with.
    """
    problems = [
        "%s has no %s: give one." % (what, key)
        for key, option in options.items()
        if option.get("required") and key != "name" and given.get(key) is None
    ]
    for key, value in given.items():
        if key not in options:
            problems.append("%s has the unknown key %s%s" % (what, key, _remedy(key, options)))
        elif value is not None and not (key == "name" and value == ""):
            problems += value_problems(value, options[key], "%s of %s" % (key, what[:1].lower() + what[1:]), key)
    return problems


def value_problems(value: Any, option: dict[str, Any], what: str, key: str) -> list[str]:
    """Return one sentence for each thing that is wrong with the value of an option.

    Args:
        value: what the user gave.
        option: as Ansible's argument specification has it.
        what: words that say what it is, to begin a sentence with.
        key: its name.
    """
    kind, keys = option.get("type", "str"), option.get("options") or {}
    if not _fits(value, kind, key in _NUMBERS_TOO):
        wanted = _KINDS[kind] + (" with %s" % ", ".join(keys) if keys else "")
        if key in _NUMBERS_TOO:
            wanted = "a number or a text"
        leave = "" if option.get("required") else ", or leave it out"
        return ["%s is %s: give %s%s." % (what, _shown(value), wanted, leave)]
    choices = option.get("choices")
    if choices and value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        remedy = "did you mean %s?" % near[0] if near else "give one of %s." % ", ".join(choices)
        return ["%s is %s: %s" % (what, _shown(value), remedy)]
    if keys and kind == "list":
        wrong = [
            "%s has %s: give mappings with %s." % (what, _shown(one), ", ".join(keys))
            for one in value
            if not isinstance(one, dict)
        ]
        return wrong + [
            problem for one in value if isinstance(one, dict) for problem in mapping_problems(one, keys, what)
        ]
    if keys:
        return mapping_problems(value, keys, what)
    # Ansible makes texts of numbers, and nobody sees what a file says then (1.10 is 1.1).
    return [
        "%s has %s: give texts." % (what, _shown(element))
        for element in (value if option.get("elements") == "str" else ())
        if not isinstance(element, str)
    ]


def _fits(value: Any, kind: str, number_too: bool) -> bool:
    """Return whether a value is one of a type, or can be made one as Ansible does.

    Args:
        value: what the user gave.
        kind: the type of the option.
        number_too: whether a text may be written as a number.
    """
    if kind == "int":
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return (whole and not isinstance(value, bool)) or bool(isinstance(value, str) and _INTEGER.match(value.strip()))
    if kind == "bool":
        return isinstance(value, bool) or str(value).strip().lower() in _BOOLEANS
    if kind == "str":
        return isinstance(value, str) or (number_too and _fits(value, "int", False))
    return kind == "raw" or isinstance(value, dict if kind == "dict" else (list, tuple))


def _remedy(key: Any, options: Options) -> str:
    """Return what to write in place of an unknown key."""
    text = str(key)
    if _OTHER_NAMES.get(text) in options:
        return ": write %s." % _OTHER_NAMES[text]
    if text in parameters.TYPES and "optimized" in options:
        return ": a parameter belongs into optimized, as {parameters: {%s: ...}}." % text
    if text in parameters.TYPES and "parameters" in options:
        return ": a parameter belongs into parameters, as {%s: ...}." % text
    near: Optional[str] = next(iter(difflib.get_close_matches(text.lower(), list(options), 1)), None)
    return ": did you mean %s?" % near if near else ": it takes %s." % ", ".join(sorted(options))


def _shown(value: Any) -> str:
    """Return a value in words: a text in quotes, of a mapping or list what it is."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return str(value).lower() if isinstance(value, bool) else repr(value)[:80]
