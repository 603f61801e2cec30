# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares a recorded answer with that of the double, and lists what is not compared."""

from __future__ import annotations

import re

# Field -> why its value is left out. Its presence and its type are compared all the same.
LEFT_OUT = {
    "created_at": "a time",
    "modified_at": "a time",
    "expires_at": "a time",
    "created": "a time",
    "total_duration": "a duration",
    "load_duration": "a duration",
    "prompt_eval_duration": "a duration",
    "eval_duration": "a duration",
    "size": "depends on the tiny file, and in /api/ps on the engine's rows",
    "size_vram": "the engine's rows",
    "total": "depends on the tiny file",
    "completed": "depends on the tiny file",
    "digest": "depends on the tiny file (exact ones: test_double_store.py)",
    "context": "generated",
    "prompt_eval_count": "the stand-in has no tokenizer",
    "eval_count": "the stand-in may stop elsewhere",
    "response": "generated text",
    "content": "generated text",
    "done_reason": "where text was generated: noise decides between stop and length",
    "tensors": "a cut array: its first elements are compared",
}
# Keys of model_info that only the rig's tiny has in its header.
MODEL_INFO_EXTRA = {"general.quantization_version", "llama.rope.freq_base"}
_CUT = re.compile(r"\.\.\. \d+ more")
_HEX = re.compile(r"(sha256[:-])[0-9a-f]{64}")
_NAME_SERVER = re.compile(r" on [0-9a-fA-F.:]+:53: ")
_PULLING = re.compile(r"pulling [0-9a-f]{12}")


def normal(text: str, replaced: dict[str, str]) -> str:
    """A text without the parts that differ between runs: digests, name servers, and the given addresses and paths."""
    for old, new in replaced.items():
        text = text.replace(old, new)
    return _NAME_SERVER.sub(" on <name server>:53: ", _HEX.sub(r"\1<hex>", text))


def _without_pulling(lines):
    """Without `pulling <hex>` lines, whose presence depends on timing."""
    return [line for line in lines if not (isinstance(line, dict) and _PULLING.fullmatch(line.get("status", "")))]


def _sorted_lines(text: str) -> list[str]:
    return sorted(text.splitlines())


def differences(want, got, replaced: dict[str, str], field: str = "", generated: bool = False) -> list[str]:
    """The differences, one sentence each. `generated`: the answer contains generated text."""
    if (
        field in LEFT_OUT
        and field != "tensors"
        and not (field in ("response", "content", "done_reason") and not generated)
    ):
        return [] if isinstance(got, type(want)) else ["%s: %r is no %s" % (field, got, type(want).__name__)]
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return ["%s: %r is no object" % (field, got)]
        keys = set(got) ^ set(want)
        if field == "model_info":
            keys -= MODEL_INFO_EXTRA
        found = ["%s: only one side has %s" % (field, sorted(keys))] if keys else []
        return found + [
            line for key in set(want) & set(got) for line in differences(want[key], got[key], replaced, key, generated)
        ]
    if isinstance(want, list):
        if not isinstance(got, list):
            return ["%s: %r is no list" % (field, got)]
        want, got = _without_pulling(want), _without_pulling(got)
        if want and isinstance(want[-1], str) and _CUT.fullmatch(want[-1]):
            return [] if not want[:-1] or type(got[0]) is type(want[0]) else ["%s: elements of another type" % field]
        if field in ("models", "data"):
            want, got = sorted(want, key=_identity), sorted(got, key=lambda value: normal(_identity(value), replaced))
        if len(want) != len(got):
            return ["%s: %d elements instead of %d: %r, %r" % (field, len(got), len(want), got, want)]
        return [line for one, other in zip(want, got) for line in differences(one, other, replaced, field, generated)]
    if isinstance(want, str) and isinstance(got, str):
        want, got = normal(want, replaced), normal(got, replaced)
        if field in ("parameters", "modelfile"):  # parameters come in random order
            want, got = _sorted_lines(want), _sorted_lines(got)
    return [] if want == got and type(want) is type(got) else ["%s: %r instead of %r" % (field, got, want)]


def _identity(value):
    return value.get("name") or value.get("id") or ""
