# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the environment variables of a server: of its process, of its unit, and their effect. Pure."""

from __future__ import annotations

from typing import Iterator

from ..common import go_values, secrets, service_variables
from ..common.visible_devices import VISIBLE_DEVICES
from ..releases import setting_effects, variable_values
from ..releases.libraries import compute_capability
from .kinds import remedy_of
from .shapes import CERTAIN, LIKELY, POSSIBLE, Finding, HostEvidence, Server
from .visible import library, listed, release, visible
from .visible_devices import hidden_from_all, visible_devices

_VULKAN = "OLLAMA_VULKAN"
#: Ollama's own engine program since 0.30 is llama-server.
_LLAMA_SERVER = (0, 30, 0)
#: ggml/src/ggml-cuda/fattn.cu, ggml_cuda_fattn_kv_type_supported: these need a build with GGML_CUDA_FA_ALL_QUANTS,
#: which Ollama's is not (llama/server/CMakePresets.json), or have none at all.
_TYPES_WITHOUT_KERNEL = ("q4_1", "q5_0", "q5_1", "iq4_nl")
_SWITCHES = ("OLLAMA_SCHED_SPREAD", "OLLAMA_VULKAN")


def settings_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield which settings of servers are not in force, have no effect, or keep models from the GPUs."""
    for server in evidence.servers:
        yield from _applied(server)
        yield from visible_devices(server, evidence)
        yield from _vulkan(server, evidence)
        yield from _library(server, evidence)
        yield from _kv_cache(server, evidence)
        yield from _values(server)
        yield from _copies(server, evidence)
    yield from hidden_from_all(evidence)


# -- environment of the process against unit and plan -----------------------------------------------------------------


def _applied(server: Server) -> Iterator[Finding]:
    if server.properties.get("NeedDaemonReload") == "yes":
        drop_ins = server.properties.get("DropInPaths") or "none"
        seen = "the files of %s have changed since systemd read them (drop-ins: %s)" % (server.name, drop_ins)
        remedy = remedy_of("unit_not_reloaded", SERVICE=server.name)
        yield Finding("unit_not_reloaded", seen, CERTAIN, remedy, "", server.name)
    if server.process is None:
        return
    if server.unit is not None:
        differs = [
            _difference(name, server.process.get(name), server.unit.get(name))
            for name in sorted(set(server.process) | set(server.unit))
            if _counts(name, server.unit) and server.process.get(name) != server.unit.get(name)
        ]
        if differs:
            yield Finding(
                "environment_not_applied",
                "the process of %s runs with %s" % (server.name, "; ".join(differs)),
                CERTAIN,
                remedy_of("environment_not_applied", SERVICE=server.name),
                "ollama_multigpu_environment",
                server.name,
            )
    planned = (server.planned or {}).get("environment") or {}
    differs = [
        _difference(name, server.process.get(name), str(value))
        for name, value in sorted(planned.items())
        if value != secrets.HIDDEN and server.process.get(name) != str(value)
    ]
    if differs:
        yield Finding(
            "environment_not_planned",
            "%s differs from its plan: %s (drop-ins: %s)"
            % (server.name, "; ".join(differs), server.properties.get("DropInPaths") or "none"),
            CERTAIN,
            "Remove the drop-in that sets the variable, and run the playbook gpufleet.ollama.site.",
            "ollama_multigpu_environment",
            server.name,
        )


def _counts(name: str, unit: dict[str, str]) -> bool:
    """Whether a difference of a variable counts: systemd itself may give a process more than its unit says."""
    wanted = service_variables.is_read_by_server(name) if name in unit else service_variables.is_of_the_server(name)
    return wanted or name.startswith("GGML_")


def _difference(name: str, has: str | None, wanted: str | None) -> str:
    if has is None:
        return "no %s (wanted: %s)" % (name, secrets.shown(name, wanted))
    if wanted is None:
        return "%s=%s (not wanted any more)" % (name, secrets.shown(name, has))
    return "%s=%s (wanted: %s)" % (name, secrets.shown(name, has), secrets.shown(name, wanted))


# -- libraries --------------------------------------------------------------------------------------------------------


def _vulkan(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    found, gpus = release(server), server.log.gpus or []
    if found is None or not evidence.gpus or not server.wants_gpus:
        return
    by_vulkan = [one for one in gpus if one.library.lower() == "vulkan"]
    shown, hidden = visible(server, evidence), len(listed(evidence)) - len(visible(server, evidence))
    on = found.numbers >= _LLAMA_SERVER and variable_values.boolean(server.variables, _VULKAN, True)
    if on and hidden > 0 and VISIBLE_DEVICES in server.variables:
        yield Finding(
            "vulkan_shows_hidden_gpu",
            "%s hides %d of the %d GPUs from CUDA, but not from Vulkan, because %s is not 0%s"
            % (
                server.name,
                hidden,
                len(listed(evidence)),
                _VULKAN,
                "; its log lists %d Vulkan devices" % len(by_vulkan) if by_vulkan else "",
            ),
            CERTAIN if by_vulkan else LIKELY,
            "Set OLLAMA_VULKAN=0, as the role does, and restart the service.",
            subject=server.name,
        )
    elif by_vulkan and len(by_vulkan) == len(gpus) and shown:
        yield Finding(
            "vulkan_instead_of_cuda",
            "%s found %d GPUs through Vulkan and none through CUDA" % (server.name, len(by_vulkan)),
            CERTAIN,
            "Check that the release has CUDA libraries (lib/ollama/cuda_v*) and that the driver is new enough for it. "
            "Then set OLLAMA_VULKAN=0 and restart the service.",
            subject=server.name,
        )


def _library(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    """GPUs that the release leaves out without an error."""
    found = release(server)
    if found is None or not server.wants_gpus:
        return
    seen, driver = (
        {gpu.get("pci_bus_id") for gpu in visible(server, evidence)},
        evidence.inventory.get("driver_version"),
    )
    for gpu in evidence.gpus:
        if gpu.get("pci_bus_id") not in seen:
            continue
        numbers = compute_capability(gpu.get("compute_capability"))
        refused = found.refused_gpu(numbers, driver, library(server))
        if refused is None:
            continue
        kind = "driver_too_old" if not refused.lasting else "gpu_not_built_for"
        variable = "ollama_multigpu_version"
        if refused.lasting and library(server) and not found.refused_gpu(numbers, driver, ""):
            kind, variable = "library_leaves_gpu_out", "ollama_multigpu_environment"
        what, _semicolon, remedy = refused.reason.partition("; ")
        yield Finding(
            kind,
            "%s: %s (compute capability %s): %s" % (server.name, gpu.get("uuid"), gpu.get("compute_capability"), what),
            CERTAIN,
            sentence(refused.advice or remedy or "use another GPU"),
            variable,
            gpu.get("uuid") or "",
        )


# -- values -----------------------------------------------------------------------------------------------------------


def _kv_cache(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    name, found = "OLLAMA_KV_CACHE_TYPE", release(server)
    given = variable_values.text(server.variables, name).lower()
    if not evidence.gpus or not server.wants_gpus:
        return
    planned = (server.planned or {}).get("models") or []
    types = {given} | {str(model.get("kv_cache_type")) for model in planned}
    slow = sorted(types & set(_TYPES_WITHOUT_KERNEL))
    if slow and (found is None or found.numbers >= _LLAMA_SERVER):
        yield Finding(
            "kv_cache_without_kernel",
            "%s uses the KV cache type %s: Ollama's CUDA library has attention kernels only for f16, bf16, q8_0 and "
            "q4_0, so attention runs on the CPU" % (server.name, ", ".join(slow)),
            CERTAIN,
            "Use q8_0, q4_0 or f16.",
            "ollama_multigpu_models[].kv_cache_type",
            server.name,
        )
    if given not in ("", "f16") and found is not None and found.numbers < _LLAMA_SERVER:
        if not variable_values.boolean(server.variables, "OLLAMA_FLASH_ATTENTION"):
            yield Finding(
                "kv_cache_type_ignored",
                "%s has %s=%s without OLLAMA_FLASH_ATTENTION=1: Ollama %s then uses f16 for models of llama.cpp"
                % (server.name, name, given, server.version),
                LIKELY,
                "Set OLLAMA_FLASH_ATTENTION=1 as well.",
                "ollama_multigpu_models[].flash_attention",
                server.name,
            )


def _values(server: Server) -> Iterator[Finding]:
    found = release(server)
    for name, value in sorted(server.variables.items()):
        variable = service_variables.find(name)
        text = variable_values.text(server.variables, name)
        is_switch = variable.type == service_variables.SWITCH or name in _SWITCHES
        if text and is_switch and go_values.boolean(text) is None:
            yield _not_understood(server, name, value, "Ollama takes every value that is not a boolean for true")
        elif text and variable.type == service_variables.NUMBER and not text.isdigit():
            yield _not_understood(server, name, value, "Ollama uses its default, because the value is not a number")
        # A plan says itself where a variable that it sets has no effect.
        if found is None or server.planned or not name.startswith(("OLLAMA_", "LLAMA_ARG_")):
            continue
        effect = found.effects.get(name, "")
        if variable.owner == service_variables.UNKNOWN:
            effect = "no effect: neither Ollama nor llama-server reads it"
        elif not variable.known_to(found.numbers):
            effect = setting_effects.no_effect(name)
        if effect.startswith("no effect"):
            yield Finding(
                "variable_without_effect",
                "%s has %s=%s. On Ollama %s: %s"
                % (server.name, name, secrets.shown(name, value), server.version, effect),
                POSSIBLE,
                "Remove it from the unit. The guide Releases of Ollama lists what the release reads instead.",
                "ollama_multigpu_environment",
                server.name,
            )


def sentence(words: str) -> str:
    """Return words with a capital letter and a full stop."""
    return words[:1].upper() + words[1:].rstrip(".") + "."


def _not_understood(server: Server, name: str, value: str, why: str) -> Finding:
    return Finding(
        "value_not_understood",
        "%s has %s=%s: %s" % (server.name, name, secrets.shown(name, value), why),
        CERTAIN,
        "Set a value that Ollama understands, or remove the variable. Then restart the service.",
        "ollama_multigpu_environment",
        server.name,
    )


def _copies(server: Server, evidence: HostEvidence) -> Iterator[Finding]:
    """Peer-to-peer copies (llama.cpp #21910) and unified memory. Both variables count with any value."""
    seen = {gpu["uuid"] for gpu in visible(server, evidence)}
    links = [one for one in evidence.inventory.get("topology") or [] if set(one.get("uuids") or []) <= seen]
    if "GGML_CUDA_P2P" in server.variables and len(seen) > 1:
        without = [one for one in links if not one.get("nvlinks")]
        refused = sorted({one["peer_access"] for one in without if one.get("peer_access") not in (None, "ok")})
        yield Finding(
            "peer_to_peer_on",
            "%s has GGML_CUDA_P2P=%s, which turns on direct copies between GPUs, whatever its value; %s"
            % (
                server.name,
                server.variables["GGML_CUDA_P2P"],
                "%d of %d pairs have no NVLink%s"
                % (len(without), len(links), " (NVML: %s)" % ", ".join(refused) if refused else "")
                if links
                else "how the GPUs are connected is not known",
            ),
            LIKELY if without or not links else POSSIBLE,
            "Remove the variable and restart the service: on some boards and with some settings of the IOMMU, the "
            "copied data is damaged, and nothing is logged.",
            "ollama_multigpu_environment",
            server.name,
        )
    if "GGML_CUDA_ENABLE_UNIFIED_MEMORY" in server.variables and evidence.gpus:
        yield Finding(
            "unified_memory_on",
            "%s has GGML_CUDA_ENABLE_UNIFIED_MEMORY=%s: data that does not fit goes to the host's memory without an "
            "error" % (server.name, server.variables["GGML_CUDA_ENABLE_UNIFIED_MEMORY"]),
            LIKELY,
            "Remove the variable and restart the service.",
            "ollama_multigpu_environment",
            server.name,
        )
