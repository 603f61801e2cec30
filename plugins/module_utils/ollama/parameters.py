# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parameters of a model: their types, and how to read them from /api/show, Modelfiles and manifests. Pure.

Source: Ollama 0.32 api/types.go (Options, Runner). The server accepts an unknown name silently, and a wrong type until
the model is loaded (ollama-0.32.15-api.json: create-unknown-parameter, create-num-gpu-string, generate-bad-type), so
both are refused here.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import math
import re
import struct
from typing import Any, Iterable

from ..common import go_values

INTEGER = "an integer"
NUMBER = "a number"
BOOLEAN = "true or false"
TEXTS = "a text or a list of texts"

#: Name of a parameter -> its type.
TYPES: dict[str, str] = {
    "num_ctx": INTEGER,
    "num_batch": INTEGER,
    "num_gpu": INTEGER,
    "main_gpu": INTEGER,
    "num_thread": INTEGER,
    "num_keep": INTEGER,
    "seed": INTEGER,
    "num_predict": INTEGER,
    "top_k": INTEGER,
    "repeat_last_n": INTEGER,
    "draft_num_predict": INTEGER,
    "mirostat": INTEGER,
    "num_gqa": INTEGER,
    "top_p": NUMBER,
    "min_p": NUMBER,
    "typical_p": NUMBER,
    "temperature": NUMBER,
    "repeat_penalty": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "mirostat_eta": NUMBER,
    "mirostat_tau": NUMBER,
    "tfs_z": NUMBER,
    "use_mmap": BOOLEAN,
    "use_mlock": BOOLEAN,
    "numa": BOOLEAN,
    "low_vram": BOOLEAN,
    "f16_kv": BOOLEAN,
    "vocab_only": BOOLEAN,
    "logits_all": BOOLEAN,
    "penalize_newline": BOOLEAN,
    "stop": TEXTS,
}
# Names of earlier versions; the server accepts them without effect.
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
# Of these, the names that PARAMETER accepts and drops (parser/parser.go, deprecatedParameters). It refuses the others.
DEPRECATED = RETIRED - frozenset(("numa", "num_gqa", "tfs_z"))
#: Parameters that older releases refuse in a Modelfile, and the first release that has each.
FIRST_RELEASES = {"min_p": (0, 3, 1), "draft_num_predict": (0, 30, 0)}

# Numbers as Go reads them (strconv): an underscore may stand between two digits of a fraction, not of an integer.
_GO_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_DIGITS = "[0-9](?:_?[0-9])*"
_HEX = "[0-9a-fA-F](?:_?[0-9a-fA-F])*"
_GO_DECIMAL = re.compile(r"[+-]?(?:{0}(?:\.(?:{0})?)?|\.{0})(?:[eE][+-]?{0})?\Z".format(_DIGITS))
_GO_HEX = re.compile(r"[+-]?0[xX](?:_?{0}(?:\.(?:{0})?)?|\.{0})[pP][+-]?{1}\Z".format(_HEX, _DIGITS))
_EXACT = 2**53  # /api/show writes numbers as float64


#: The most bytes of all parameter layers of a manifest; real ones have some hundred.
MAX_LAYER_BYTES = 256 * 1024


class InvalidParameter(ValueError):
    """A parameter that Ollama would ignore, or refuse when the model is loaded. The text is one sentence."""


def hint(name: object) -> str:
    """Return what to write in place of an unknown name: the most similar known one, or all of them."""
    current = sorted(set(TYPES) - RETIRED)
    near = difflib.get_close_matches(str(name), current, 1)
    return "did you mean %s?" % near[0] if near else "the known ones are %s." % ", ".join(current)


def check(parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Return parameters as /api/create takes them: `stop` is always a list.

    A null is kept: in a model that is created from another one it takes away what that has (Ollama api/types.go
    `Options.FromMap`).

    Raises:
        InvalidParameter: a name is unknown, or a value has the wrong type (a number that is given as text, too).
    """
    checked: dict[str, Any] = {}
    for name, value in (parameters or {}).items():
        if name not in TYPES:
            raise InvalidParameter(
                "parameter %r is unknown to Ollama, which would accept it without effect; %s" % (name, hint(name))
            )
        kind = TYPES[name]
        if value is None:
            checked[name] = None
            continue
        if kind == TEXTS:
            values = list(value) if isinstance(value, (list, tuple)) else [value]
            fits = all(isinstance(item, str) for item in values)
            value = values
        elif kind == BOOLEAN:
            fits = isinstance(value, bool)
        else:
            fits = isinstance(value, int if kind == INTEGER else (int, float)) and not isinstance(value, bool)
            fits = fits and (isinstance(value, int) or math.isfinite(value))
        if not fits:
            raise InvalidParameter(
                "parameter %s must be %s, but is %r; Ollama would accept it and then fail to load the model"
                % (name, kind, value)
            )
        checked[name] = value
    return checked


def of_modelfile(name: str, text: str) -> Any:
    """Return the value of the line `PARAMETER name text`, by the rules of Ollama 0.32.15 (api/types.go, FormatParams).

    `stop` gives a text: each line adds one.

    Raises:
        InvalidParameter: Ollama has no such parameter, or the text is no value of its type.
    """
    kind = TYPES.get(name) if name not in RETIRED else None
    if kind is None:
        raise InvalidParameter("parameter %s is unknown to Ollama; %s" % (ascii(name[:60]), hint(name)))
    if kind == TEXTS:
        return text
    value = _of_text(kind, text)
    if value is None:
        raise InvalidParameter(
            "parameter %s must be %s, but is %s in the Modelfile; Ollama would refuse it%s"
            % (name, kind, ascii(text[:60]), "" if kind != BOOLEAN else " (it takes true, t, 1, false, f and 0)")
        )
    return value


def _of_text(kind: str, text: str) -> Any:
    """Return a value of a kind from its text (Go: strconv.ParseInt, ParseFloat, ParseBool); None where it is none."""
    if kind == BOOLEAN:
        return go_values.boolean(text)
    if kind == INTEGER:
        number = int(text) if _GO_INTEGER.match(text) and len(text) <= 4000 else None
        return number if number is not None and -(2**63) <= number < 2**63 else None
    digits = text.replace("_", "")
    if _GO_DECIMAL.match(text):
        return _shortest(_float32(float(digits)))
    if _GO_HEX.match(text):
        with contextlib.suppress(OverflowError):
            return _shortest(_float32(float.fromhex(digits)))
    return None  # also for "inf" and "nan", which Ollama reads but cannot send as JSON


def _float32(number: float) -> float | None:
    """Return the float32 that is nearest to a number; None for one that is larger than all."""
    with contextlib.suppress(OverflowError):
        return None if math.isinf(number) else float(struct.unpack("<f", struct.pack("<f", number))[0])
    return None


def _shortest(single: float | None) -> float | None:
    """Return the number with the fewest digits whose float32 is a given one (Go, encoding/json)."""
    if single is None:
        return None
    texts = (float("%.*g" % (digits, single)) for digits in range(1, 10))
    return next(number for number in texts if _float32(number) == single)


def of_layers(blobs: Iterable[bytes]) -> dict[str, Any]:
    """Return the parameters in the parameter layers of a manifest, in its order.

    As Ollama reads them (server/images.go `GetModel`, Go's encoding/json): the first JSON value of each layer counts,
    a later layer wins key by key, and a layer that is null takes away what came before it.

    Raises:
        ValueError: a layer is no JSON object, so that Ollama cannot load the model. The text is a phrase about it ("is
            not JSON").
    """
    found: dict[str, Any] = {}
    for blob in blobs:
        value = _first_value(blob)
        if value is None:
            found = {}
        elif isinstance(value, dict):
            found.update(value)
        else:
            raise ValueError("is not a JSON object")
    return {_text(name): _plain(value) for name, value in found.items()}


def _first_value(blob: bytes) -> Any:
    """Return the first JSON value of a blob. Raises ValueError where it is none that Go reads."""
    try:
        value, _end = _DECODER.raw_decode(blob.decode("utf-8", "replace").lstrip(" \t\r\n"))
    except (RecursionError, ValueError):
        raise ValueError("is not JSON")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("%.20s is out of range" % text)
    return value


def _integer(text: str) -> int:
    _float(text)
    return int(text)


def _constant(name: str) -> Any:
    raise ValueError("%s is not JSON" % name)  # NaN and Infinity, which Python takes and Go refuses


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_constant)


def _text(text: str) -> str:
    """Return a text without half a surrogate pair, which no output takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any, inner: bool = False) -> Any:
    """Return a value; of what nests deeper than a list of texts, which no parameter does, only what it is."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list) and not inner:
        return [_plain(item, True) for item in value]
    return type(value)() if isinstance(value, (dict, list)) else value


def of_show(text: str | None) -> dict[str, Any]:
    """Return the parameters in the field `parameters` of /api/show.

    Each line is Go's `%-30s %#v`; the order is random, and a name is repeated for each of its values.
    """
    parameters: dict[str, Any] = {}
    for line in (text or "").splitlines():
        name, _space, value = line.strip().partition(" ")
        if not name:
            continue
        value = _go_value(value.strip())
        if name == "stop":
            parameters.setdefault(name, []).append(value)
        else:
            parameters[name] = value
    return parameters


def _go_value(text: str) -> Any:
    if text == "<nil>":
        return None
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


def comparable(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters in a form that can be compared, whatever their source: `stop` is a sorted list of texts.

    Large integers are rounded as /api/show rounds them.
    """
    result = {name: _as_shown(value) for name, value in parameters.items()}
    if "stop" in result:
        values = result["stop"] if isinstance(result["stop"], list) else [result["stop"]]
        result["stop"] = sorted(str(value) for value in values)
    return result


def _as_shown(value: Any) -> Any:
    """Return a value as a float64 where it is an integer that float64 does not have."""
    with contextlib.suppress(OverflowError):  # no float64 either
        return float(value) if isinstance(value, int) and abs(value) > _EXACT else value
    return value
