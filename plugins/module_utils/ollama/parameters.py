# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parameters of a model: their types, and the text in which /api/show and a Modelfile give them. Pure.

Source: Ollama 0.32 api/types.go (Options, Runner). The server accepts an unknown name without a word, and a wrong type until the model is loaded
(ollama-0.32.15-api.json: create-unknown-parameter, create-num-gpu-string, generate-bad-type), so both are refused here.
"""

from __future__ import annotations

import ast
import difflib

INTEGER = "an integer"
NUMBER = "a number"
BOOLEAN = "true or false"
TEXTS = "a text or a list of texts"

TYPES = dict(
    [
        (name, INTEGER)
        for name in (
            "num_ctx",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "num_thread",
            "num_keep",
            "seed",
            "num_predict",
            "top_k",
            "repeat_last_n",
            "draft_num_predict",
            "mirostat",
            "num_gqa",
        )
    ]
    + [
        (name, NUMBER)
        for name in (
            "top_p",
            "min_p",
            "typical_p",
            "temperature",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
            "mirostat_eta",
            "mirostat_tau",
            "tfs_z",
        )
    ]
    + [
        (name, BOOLEAN)
        for name in (
            "use_mmap",
            "use_mlock",
            "numa",
            "low_vram",
            "f16_kv",
            "vocab_only",
            "logits_all",
            "penalize_newline",
        )
    ]
    + [("stop", TEXTS)]
)
# Names that earlier versions knew; the server takes them and nothing comes of it.
RETIRED = frozenset(
    (
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "tfs_z",
        "penalize_newline",
        "numa",
        "low_vram",
        "f16_kv",
        "vocab_only",
        "use_mlock",
        "num_gqa",
        "logits_all",
    )
)


class InvalidParameter(ValueError):
    """A parameter that Ollama would ignore, or refuse when the model is loaded. The text is one sentence."""


def hint(name):
    """Words for a name that is not in TYPES: the nearest one that is, or all of them."""
    current = sorted(set(TYPES) - RETIRED)
    near = difflib.get_close_matches(str(name), current, 1)
    return "did you mean %s?" % near[0] if near else "the known ones are %s." % ", ".join(current)


def check(parameters):
    """`parameters` (dict) as they go to /api/create: `stop` always a list. Raises InvalidParameter; a number given as text is refused, not guessed."""
    checked = {}
    for name, value in (parameters or {}).items():
        if name not in TYPES:
            raise InvalidParameter(
                "parameter %r is unknown to Ollama, which would keep it without effect; %s" % (name, hint(name))
            )
        kind = TYPES[name]
        if kind == TEXTS:
            values = list(value) if isinstance(value, (list, tuple)) else [value]
            fits = all(isinstance(item, str) for item in values)
            value = values
        elif kind == BOOLEAN:
            fits = isinstance(value, bool)
        else:
            fits = isinstance(value, int if kind == INTEGER else (int, float)) and not isinstance(value, bool)
        if not fits:
            raise InvalidParameter(
                "parameter %s must be %s, but is %r; Ollama would take it and then fail to load the model"
                % (name, kind, value)
            )
        checked[name] = value
    return checked


def of_modelfile(name, text):
    """Value of the line `PARAMETER name text` with the type that the parameter has; `check` judges the name and what does not convert."""
    kind = TYPES.get(name)
    try:
        if kind == INTEGER:
            return int(text)
        if kind == NUMBER:
            return float(text)
    except ValueError:
        return text
    if kind == BOOLEAN and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def of_show(text):
    """Parameters of the field `parameters` of /api/show: one `%-30s %#v` (Go) a line, in random order, a key once for each of its values."""
    parameters = {}
    for line in (text or "").splitlines():
        name, unused, value = line.strip().partition(" ")
        if not name:
            continue
        value = _go_value(value.strip())
        if name == "stop":
            parameters.setdefault(name, []).append(value)
        else:
            parameters[name] = value
    return parameters


def _go_value(text):
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        try:
            return ast.literal_eval(text)  # Go's escapes are a part of Python's
        except (ValueError, SyntaxError):
            return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def comparable(parameters):
    """`parameters` in one form, whoever gave them: `stop` as a sorted list, whole floats as they are equal to ints."""
    result = dict(parameters)
    if "stop" in result:
        values = result["stop"] if isinstance(result["stop"], list) else [result["stop"]]
        result["stop"] = sorted(str(value) for value in values)
    return result
