# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about where the models are: the GPUs that servers found, and the memory that their engines hold. Pure."""

from __future__ import annotations

from typing import Any, Iterator, Optional

from ..common import secrets
from ..common.arguments import option
from ..common.sizes import gib
from ..ollama.staleness import effective_context
from ..releases import variable_values
from .kinds import remedy_of
from .shapes import CERTAIN, LIKELY, POSSIBLE, Engine, Finding, HostEvidence, Server
from .visible import release, usable

_MODELS = "ollama_multigpu_models[]."
_SPREAD = "OLLAMA_SCHED_SPREAD"
#: How far the shares of equal GPUs may be from equal.
_MOST_UNEVEN = 0.15
#: Ollama 0.15.5 made the default context depend on the memory of all GPUs (server/routes.go).
_TIERS_SINCE = (0, 15, 5)
#: The shortest default that is longer than the one before these releases. A shorter context takes little memory.
_LEAST_LONG = 32768
_LAYERS = "-ngl"


def placement_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield where models are not on the GPUs that a user would expect."""
    if not evidence.gpus:
        return
    for server in evidence.servers:
        if not server.pid or not server.wants_gpus:
            continue
        yield from _discovered(server, evidence)
        yield from _problems(server)
        for engine in server.engines:
            yield from _engine(engine, server, evidence)


def _discovered(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    found, expected = server.log.gpus, usable(server, evidence)
    if found is None or not expected:
        return
    if not found:
        yield Finding(
            "started_without_gpu",
            "%s found no GPU when it started, by its log, and the driver lists %d for it now"
            % (server.name, len(expected)),
            CERTAIN,
            "Restart the service: it looks for GPUs only when it starts. If this happens after each boot, let the "
            "service wait for the device nodes, as ollama-gpus.service of the role does.",
            subject=server.name,
        )
        return
    known = {one.pci_bus_id for one in found if one.pci_bus_id}
    if known:
        missing = [gpu["uuid"] for gpu in expected if gpu.get("pci_bus_id") not in known]
    else:
        missing = [gpu["uuid"] for gpu in expected][len(found) :]
    if missing:
        yield Finding(
            "server_misses_gpu",
            "by its log, %s found %d of the %d GPUs that CUDA shows it%s"
            % (server.name, len(found), len(expected), " (missing: %s)" % ", ".join(missing) if known else ""),
            CERTAIN if known else LIKELY,
            "Restart the service. If the GPU is still missing, set OLLAMA_DEBUG=1: the log then says why it is left "
            "out.",
            subject=server.name,
        )


def _problems(server: Server) -> Iterator[Finding]:
    for kind, (line, times) in sorted(server.log.problems.items()):
        if kind not in _LOGGED or (kind in _FORESEEN and server.planned is not None):
            continue
        confidence, remedy, variable = _LOGGED[kind]
        seen = "%s has logged%s: %s" % (
            server.name,
            "" if times == 1 else " %d times, last" % times,
            secrets.without_credentials(line.strip()),
        )
        yield Finding(kind, seen, confidence, remedy, variable, server.name)


#: Problems that are not reported for an instance of a plan: the plan has decided for it.
_FORESEEN = ("host_memory_short",)
#: Problems in the log of a server -> (confidence, remedy, variable).
_LOGGED = {
    "out_of_gpu_memory": (
        CERTAIN,
        "Use a shorter context, a quantized KV cache or more GPUs, and check which other processes hold memory of the "
        "GPU.",
        _MODELS + "context_length",
    ),
    "cuda_error": (
        CERTAIN,
        "Look for Xid in journalctl -k, and restart the service. If it happens again and always on the same GPU, "
        "exclude that GPU.",
        "ollama_multigpu_exclude",
    ),
    # Ollama 0.32, server/sched.go: the file is larger than the free memory. A model on GPUs then loads more slowly.
    "host_memory_short": (
        POSSIBLE,
        "Free memory of the host, or keep the model loaded: while its file does not fit into free memory, each load "
        "reads it from the disk.",
        _MODELS + "keep_alive",
    ),
}


# -- one engine -------------------------------------------------------------------------------------------------------


def _engine(engine: Engine, server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    expected = usable(server, evidence)
    if not expected:
        return  # another finding says why there is no GPU
    if engine.held is not None and not engine.held and not _unknown_somewhere(evidence):
        yield _on_cpu(engine, server)
        return
    yield from _layers(engine, server, evidence)
    if server.planned is None:  # an instance of a plan is compared with the plan instead (proven.py)
        yield from _one_gpu(engine, server, expected)
        yield from _balance(engine, server, expected)
        yield from _tier(engine, server)


def _unknown_somewhere(evidence: HostEvidence) -> bool:
    """Whether NVML does not tell the memory of some process: an engine without listed memory may then hold some."""
    processes = [one for gpu in evidence.gpus for one in gpu.get("processes") or []]
    return any(one.get("used_bytes") is None for one in processes)


def _on_cpu(engine: Engine, server: Server) -> Finding:
    log, loaded = engine.log, engine.loaded or {}
    layers = "%s/%s" % (log.layers, log.layers_total) if log and log.layers else "no"
    number = option(engine.process.arguments, _LAYERS)
    return Finding(
        "model_on_cpu",
        "process %d of %s holds no memory of any GPU (its log says that %s layers are on GPUs; /api/ps says that %s "
        "of %s are in GPU memory%s)"
        % (
            engine.process.pid,
            engine.name,
            layers,
            gib(loaded.get("size_vram")),
            gib(loaded.get("size")),
            "; -ngl %s" % number if number else "",
        ),
        CERTAIN,
        "Remove num_gpu from the model and from requests, and load the model again."
        if number == "0"
        else remedy_of("model_on_cpu", SERVICE=server.name),
        subject=server.name,
    )


def _layers(engine: Engine, server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    log = engine.log
    if log is None or log.layers is None or log.layers_total is None or log.layers >= log.layers_total:
        return
    number = option(engine.process.arguments, _LAYERS)
    seen = "%d of %d layers of %s are on GPUs" % (log.layers, log.layers_total, engine.name)
    if number and number.isdigit() and int(number) < log.layers_total:
        yield Finding(
            "layers_limited",
            "%s: the model or a request sets num_gpu %s, which is a number of layers" % (seen, number),
            CERTAIN,
            "Remove num_gpu from the model, from requests and from the settings of the client.",
            _MODELS + "allow_cpu_offload",
            server.name,
        )
        return
    free = ", ".join(
        "%s of %s" % (gib((one.get("memory") or {}).get("free_bytes")), one["uuid"]) for one in usable(server, evidence)
    )
    context = (engine.loaded or {}).get("context_length")
    slots = variable_values.number(server.variables, "OLLAMA_NUM_PARALLEL", 1)
    yield Finding(
        "layers_on_cpu",
        "%s; free memory: %s; context: %s tokens%s"
        % (seen, free or "no GPUs", context or "unknown", " in each of %d slots" % slots if slots > 1 else ""),
        CERTAIN,
        "Use a shorter context, fewer slots, a quantized KV cache (q8_0) or more GPUs, and load the model again.",
        _MODELS + "context_length",
        server.name,
    )
    arguments = engine.process.arguments
    draft = next(
        (word for word in arguments if word.startswith(("--spec-draft", "--spec-type", "--model-draft"))), None
    )
    if draft:
        yield Finding(
            "draft_takes_memory",
            "%s, and speculative decoding (%s %s) holds GPU memory too" % (seen, draft, option(arguments, draft) or ""),
            LIKELY,
            "Turn speculative decoding off: while layers are on the CPU, it costs more time than it saves.",
            _MODELS + "speculative",
            server.name,
        )


def _one_gpu(engine: Engine, server: Server, expected: list[dict[str, Any]]) -> Iterator[Finding]:
    if option(engine.process.arguments, "--split-mode") != "none" or len(expected) < 2:
        return
    if variable_values.boolean(server.variables, _SPREAD):
        yield Finding(
            "main_gpu_given",
            "%s runs with --split-mode none although %s is set: the model or a request sets main_gpu"
            % (engine.name, _SPREAD),
            CERTAIN,
            "Remove main_gpu from the model, from requests and from the settings of the client.",
            subject=server.name,
        )
        return
    yield Finding(
        "fits_on_one_gpu",
        "%s is on one of %d GPUs (--split-mode none): Ollama uses one GPU for a model that needs at most 80 %% of its "
        "free memory" % (engine.name, len(expected)),
        POSSIBLE,
        "This is the fastest way for one request. For more requests at a time, run one instance for each GPU (strategy "
        "replicate). To use all GPUs for one model, set OLLAMA_SCHED_SPREAD=1 (strategy spread).",
        _MODELS + "strategy",
        server.name,
    )


def _balance(engine: Engine, server: Server, expected: list[dict[str, Any]]) -> Iterator[Finding]:
    held = engine.held or {}
    sizes = {(gpu.get("memory") or {}).get("total_bytes") for gpu in expected}
    is_split = option(engine.process.arguments, "--split-mode") != "none"
    if len(expected) < 2 or len(sizes) != 1 or not held or not is_split:
        return
    if any(name in server.variables for name in ("LLAMA_ARG_TENSOR_SPLIT", "LLAMA_ARG_MAIN_GPU")):
        return
    total = sum(held.values())
    shares = {gpu["uuid"]: held.get(gpu["uuid"], 0) / total for gpu in expected}
    if any(abs(share - 1 / len(shares)) > _MOST_UNEVEN for share in shares.values()):
        yield Finding(
            "unbalanced_split",
            "%s holds very different amounts on equal GPUs: %s"
            % (
                engine.name,
                ", ".join("%s (%d %%) on %s" % (gib(held.get(one, 0)), 100 * shares[one], one) for one in shares),
            ),
            CERTAIN,
            "llama.cpp splits a model by the free memory of the GPUs at its load. Stop other programs on the GPUs and "
            "load the model again. If the model does not fit with 1 GiB to spare on each GPU, use a shorter context.",
            _MODELS + "strategy",
            server.name,
        )


def _tier(engine: Engine, server: Server) -> Iterator[Finding]:
    found, loaded = release(server), (engine.loaded or {}).get("context_length")
    default = server.log.default_context
    if found is None or found.numbers < _TIERS_SINCE or not loaded or "OLLAMA_CONTEXT_LENGTH" in server.variables:
        return
    if not default or engine.asked_context is not None or loaded < _LEAST_LONG:
        return
    if loaded != effective_context(default, engine.trained_context):
        return
    spilled = _spilled(engine)
    words = "its longest, because the default is %d" % default if loaded < default else "the default"
    yield Finding(
        "context_of_the_tier",
        "%s has a context of %d tokens, %s that Ollama %s derives from the memory of all GPUs%s"
        % (engine.name, loaded, words, server.version, ", and some layers are on the CPU" if spilled else ""),
        LIKELY if spilled else POSSIBLE,
        "Set OLLAMA_CONTEXT_LENGTH to the length that you need. Before Ollama 0.15.5, the default was 4096.",
        _MODELS + "context_length",
        server.name,
    )


def _spilled(engine: Engine) -> Optional[bool]:
    log = engine.log
    return bool(log and log.layers is not None and log.layers_total and log.layers < log.layers_total)
