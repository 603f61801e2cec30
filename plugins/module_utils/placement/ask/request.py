# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the user wants, checked and with the defaults filled in. Everything after this room trusts it."""

from __future__ import annotations

import re

from ...memory import kv_cache
from .. import naming
from ..errors import PlacementError
from .model_facts import model_facts
from .parameters import DURATION, check_layers, check_parameters, whole_number

DEFAULT_CONTEXT = 8192
AUTO = "auto"
STRATEGIES = ("auto", "single", "replicate", "split", "spread")
GIB = 1024**3
_DIGEST = re.compile(r"^(?:sha256:)?[0-9a-f]{64}\Z")
_SUGGESTED_SWITCH = "give true, false or leave it out"


def wanted_models(models, environment=None, headroom_bytes=GIB):
    """Check the list of models and fill in defaults.

    Args:
        models: list of dicts as placement_info takes them.
        environment: the user's checked service variables; they give defaults (context, slots, cache type, ...).
        headroom_bytes: bytes kept free per GPU where a model says nothing else.

    Returns:
        (list of dicts, list of warnings). Each has: name, facts, context_length (tokens or "auto"), parallel,
        kv_cache_type (None = Ollama's default), flash_attention (None, True, False), ubatch (None = Ollama's choice),
        strategy, replicas (None = default), allow_cpu_offload, headroom_bytes, keep_alive, insecure, digest, suffix,
        parameters, system, template, served (name of the optimized model).

    Raises:
        PlacementError: the first value that cannot be.
    """
    environment = environment or {}
    headroom_bytes = whole_number(headroom_bytes, "headroom_bytes", 0)
    if not isinstance(models, (list, tuple)) or not models:
        raise PlacementError("No model is given; list at least one, for example - name: llama4:16x17b.")
    wanted = []
    warnings = []
    served = set()
    for entry in models:
        one, notes = _wanted(entry, environment, headroom_bytes)
        same = naming.same_name(one["served"])
        if same in served:
            raise PlacementError(
                "Model %s is listed twice; give it once, with replicas for more instances, or another optimized.suffix."
                % one["name"]
            )
        served.add(same)
        wanted.append(one)
        warnings.extend(notes)
    return wanted, warnings


def _wanted(entry, environment, headroom_bytes):
    if not isinstance(entry, dict):
        raise PlacementError("Model %r is not a dictionary; give for example - name: %s." % (entry, entry))
    name = naming.check_model_name(entry.get("name"))
    facts = model_facts(entry.get("model"), name)
    optimized = entry.get("optimized") or {}
    if not isinstance(optimized, dict):
        raise PlacementError(
            "optimized of %s is %r, which is not a dictionary; give for example parameters: {temperature: 0.2}."
            % (name, optimized)
        )
    suffix = optimized.get("suffix")
    suffix = naming.DEFAULT_SUFFIX if suffix is None else suffix
    parameters, warnings = check_parameters(entry.get("parameters"), name)
    winning, notes = check_parameters(optimized.get("parameters"), name)
    parameters.update(winning)
    warnings.extend(note for note in notes if note not in warnings)
    strategy = entry.get("strategy") or AUTO
    if strategy not in STRATEGIES:
        raise PlacementError("Strategy '%s' of %s is unknown; use one of %s." % (strategy, name, ", ".join(STRATEGIES)))
    allow_cpu_offload = _switch(entry.get("allow_cpu_offload"), "allow_cpu_offload of %s" % name) or False
    check_layers(parameters.get("num_gpu"), facts, allow_cpu_offload, name)
    if parameters.get("main_gpu") is not None:
        raise PlacementError(
            "main_gpu %d for %s would put the whole model on one GPU whatever the strategy; leave it out and use strategy: single with the GPU selectors."
            % (parameters["main_gpu"], name)
        )
    flash = _switch(entry.get("flash_attention"), "flash_attention of %s" % name)
    if flash is None and environment.get("OLLAMA_FLASH_ATTENTION"):
        flash = environment["OLLAMA_FLASH_ATTENTION"] == "1"
    replicas = _number(entry.get("replicas"), "replicas of %s" % name, 1)
    if replicas and replicas > 1 and strategy in ("split", "spread"):
        raise PlacementError(
            "replicas %d of %s does not go with strategy %s, which is one instance; use replicate, or leave replicas out."
            % (replicas, name, strategy)
        )
    own_headroom = _number(entry.get("headroom_bytes"), "headroom_bytes of %s" % name, 0)
    digest = entry.get("digest")
    if digest and not _DIGEST.match(str(digest)):
        raise PlacementError(
            "digest '%s' of %s is not a SHA-256; give sha256: and 64 hexadecimal digits." % (digest, name)
        )
    digest = "sha256:" + str(digest).rsplit(":", maxsplit=1)[-1] if digest else None
    if digest and facts.digest and digest != facts.digest:
        raise PlacementError(
            "%s has the digest %s and not the pinned %s; change the pin, or use a registry that keeps that model."
            % (name, facts.digest, digest)
        )
    one = {
        "name": name,
        "facts": facts,
        "context_length": _context(entry, parameters, environment, facts, name, warnings),
        "parallel": _number(entry.get("parallel"), "parallel of %s" % name, 1)
        or int(environment.get("OLLAMA_NUM_PARALLEL") or 0)
        or 1,
        "kv_cache_type": _cache_type(
            entry.get("kv_cache_type") or environment.get("OLLAMA_KV_CACHE_TYPE"), facts, flash, name
        ),
        "flash_attention": flash,
        "ubatch": _ubatch(entry, parameters, name),
        "strategy": strategy,
        "replicas": replicas,
        "allow_cpu_offload": allow_cpu_offload,
        "serial": False,
        "headroom_bytes": headroom_bytes if own_headroom is None else own_headroom,
        "keep_alive": _keep_alive(entry.get("keep_alive"), name),
        "insecure": _switch(entry.get("insecure"), "insecure of %s" % name) or False,
        "digest": digest,
        "parameters": {
            key: value for key, value in parameters.items() if key not in ("num_ctx", "num_batch", "num_gpu")
        },
        "num_gpu": parameters.get("num_gpu"),
        "system": optimized.get("system"),
        "template": optimized.get("template"),
        "served": naming.optimized_name(name, suffix),
    }
    return one, warnings


def _number(value, what, least):
    return None if value is None or value == "" else whole_number(value, what, least)


def _switch(value, what):
    if value is None or value == "" or value == AUTO:
        return None
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        return str(value).lower() in ("true", "yes", "on", "1")
    raise PlacementError("%s is %r; %s." % (what, value, _SUGGESTED_SWITCH))


def _keep_alive(value, name):
    """Seconds as a number (negative = for ever) or a duration as text; Ollama does not take the text "-1"."""
    if value is None or value == "":
        return -1
    text = str(value).strip()
    seconds = int(text) if re.match(r"^-?\d+$", text) else None
    if seconds is None and not DURATION.match(text):
        raise PlacementError(
            "keep_alive %r of %s is not a duration; give seconds, -1 for ever, or one such as 30m or 24h."
            % (value, name)
        )
    if not re.search("[1-9]", text):
        raise PlacementError(
            "keep_alive %s of %s would unload the model at once; give -1 for ever, or a duration such as 30m or 24h."
            % (value, name)
        )
    if seconds is not None:
        return seconds
    return text


def _context(entry, parameters, environment, facts, name, warnings):
    trained = facts.context_length
    asked = entry.get("context_length")
    if asked is None or asked == "":
        asked = parameters.get("num_ctx")
    elif parameters.get("num_ctx") is not None and str(asked) != str(parameters["num_ctx"]):
        raise PlacementError(
            "%s has context_length %s and num_ctx %d, which are the same setting; give one of them."
            % (name, asked, parameters["num_ctx"])
        )
    if asked is None:
        asked = environment.get("OLLAMA_CONTEXT_LENGTH")
        if asked in (None, "", "0"):
            return min(DEFAULT_CONTEXT, trained)
    if str(asked).strip().lower() == AUTO:
        return AUTO
    if not isinstance(asked, (int, float)) and not re.match(r"^[+-]?[0-9]+$", str(asked).strip()):
        raise PlacementError(
            "context_length %r of %s is not a number of tokens; give one such as 32768, or auto for the largest that fits."
            % (asked, name)
        )
    tokens = whole_number(asked, "context_length of %s" % name, 4)
    if tokens > trained:
        warnings.append(
            "%s was trained for %d tokens, so Ollama takes that instead of the context_length of %d."
            % (name, trained, tokens)
        )
        return trained
    return tokens


def _cache_type(value, facts, flash, name):
    if value is None or value == "":
        return None
    cache_type = str(value).strip().lower()
    if cache_type not in kv_cache.CACHE_TYPES:
        raise PlacementError(
            "kv_cache_type '%s' of %s is unknown; use one of %s."
            % (value, name, ", ".join(sorted(kv_cache.CACHE_TYPES)))
        )
    block = kv_cache.CACHE_TYPES[cache_type][0]
    if facts.key_length % block or facts.value_length % block:
        raise PlacementError(
            "kv_cache_type %s of %s has blocks of %d, which do not divide its head size of %d; use f16."
            % (cache_type, name, block, facts.key_length)
        )
    if block > 1 and flash is False:
        raise PlacementError(
            "kv_cache_type %s of %s needs flash attention, which is switched off; allow it or use f16."
            % (cache_type, name)
        )
    return cache_type


def _ubatch(entry, parameters, name):
    ubatch = _number(entry.get("ubatch"), "ubatch of %s" % name, 1)
    batch = parameters.get("num_batch")
    if ubatch is not None and batch is not None and ubatch != batch:
        raise PlacementError(
            "%s has ubatch %d and num_batch %d, which Ollama makes one setting; give one of them."
            % (name, ubatch, batch)
        )
    return batch if ubatch is None else ubatch
