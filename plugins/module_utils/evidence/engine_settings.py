# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The settings that an engine runs with, beside those of the plan. Pure.

The engine is llama-server (Ollama 0.30 and later). Its command line is Ollama's (llm/llama_server.go), and it reads
LLAMA_ARG_* of the service for what is not on it. What is neither there nor there has llama-server's default.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, Optional, Sequence

from .shapes import EngineProcess

#: Settings that decide where the bytes of a model are: name -> (flags, variable, default of llama-server).
_SETTINGS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "context": (("-c", "--ctx-size"), "LLAMA_ARG_CTX_SIZE", "0"),
    "slots": (("-np", "--parallel"), "LLAMA_ARG_N_PARALLEL", "1"),
    "cache_type_k": (("-ctk", "--cache-type-k"), "LLAMA_ARG_CACHE_TYPE_K", "f16"),
    "cache_type_v": (("-ctv", "--cache-type-v"), "LLAMA_ARG_CACHE_TYPE_V", "f16"),
    "batch": (("-b", "--batch-size"), "LLAMA_ARG_BATCH", "2048"),
    "ubatch": (("-ub", "--ubatch-size"), "LLAMA_ARG_UBATCH", "512"),
    "gpu_layers": (("-ngl", "--gpu-layers", "--n-gpu-layers"), "LLAMA_ARG_N_GPU_LAYERS", "auto"),
    "tensor_split": (("-ts", "--tensor-split"), "LLAMA_ARG_TENSOR_SPLIT", "auto"),
    "split_mode": (("-sm", "--split-mode"), "LLAMA_ARG_SPLIT_MODE", "layer"),
    "speculation": (("--spec-type",), "LLAMA_ARG_SPEC_TYPE", "none"),
    "drafted": (("--spec-draft-n-max",), "LLAMA_ARG_SPEC_DRAFT_N_MAX", "3"),
    "draft": (("--spec-draft-model", "-md", "--model-draft"), "LLAMA_ARG_SPEC_DRAFT_MODEL", "none"),
    "flash_attention": (("-fa", "--flash-attn"), "LLAMA_ARG_FLASH_ATTN", "auto"),
}
#: Settings that put parts of a model elsewhere. The plan has them only where its environment has.
_ELSEWHERE = (
    "LLAMA_ARG_OVERRIDE_TENSOR",
    "LLAMA_ARG_CPU_MOE",
    "LLAMA_ARG_N_CPU_MOE",
    "LLAMA_ARG_NO_KV_OFFLOAD",
    "LLAMA_ARG_KV_OFFLOAD",
    "LLAMA_ARG_KV_UNIFIED",
    "LLAMA_ARG_DEVICE",
    "LLAMA_ARG_SWA_FULL",
    "LLAMA_ARG_RPC",
)
_ELSEWHERE_FLAGS = (
    "-ot",
    "--override-tensor",
    "-cmoe",
    "--cpu-moe",
    "-ncmoe",
    "--n-cpu-moe",
    "-nkvo",
    "--no-kv-offload",
    "-dev",
    "--device",
    "-kvu",
    "--kv-unified",
    "--swa-full",
    "--rpc",
)
_ADAPTER_FLAGS = ("--lora", "--lora-scaled")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of an engine: as planned and as it is, in words; `matches` is None where it is unknown."""

    name: str
    planned: str
    observed: Optional[str]
    matches: Optional[bool]


def compare(instance: Mapping[str, Any], model: Mapping[str, Any], engine: EngineProcess) -> list[Setting]:
    """Return the settings of a model's engine beside those of the plan.

    Args:
        instance: of the plan.
        model: of that instance.
        engine: the process that serves the model.

    Returns:
        One entry for each setting that the plan decides; [] for an engine before llama-server.
    """
    if "runner" in engine.arguments[:3]:
        return []
    environment = instance.get("environment") or {}
    found = []
    for name, (planned, fits) in _planned(environment, model).items():
        observed = _value(engine, name)
        found.append(Setting(name, planned, observed, None if observed is None else fits(observed)))
    if "adapters" in model:  # not in plans of before
        found.append(_adapters(model["adapters"], engine))
    return found + [_elsewhere(environment, engine)]


def _planned(environment: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, tuple[str, Callable[[str], bool]]]:
    """Return {setting: (planned, whether a value fits)} for what the plan decides."""
    predicted, parameters = model.get("predicted") or {}, model.get("parameters") or {}
    slots, found = model.get("parallel") or 1, {}
    if model.get("context_length"):
        found["context"] = _exactly(model["context_length"] * slots)
    found["slots"] = _exactly(slots)
    cache_type = model.get("kv_cache_type") or "f16"
    found["cache_type_k"], found["cache_type_v"] = _exactly(cache_type), _exactly(cache_type)
    if predicted.get("ubatch"):
        # Where the plan does not set it, Ollama lowers it by the memory that is free when it loads, which takes less.
        limit = _exactly if parameters.get("num_batch") else _at_most
        found["ubatch"] = limit(predicted["ubatch"])
        found["batch"] = limit(predicted["ubatch"])
    found["gpu_layers"] = _layers(parameters.get("num_gpu"), predicted)
    found["tensor_split"] = _split(environment.get(_SETTINGS["tensor_split"][1]))
    devices = [device for device in predicted.get("devices") or [] if device.get("layers")]
    if len(devices) > 1:
        found["split_mode"] = (environment.get("LLAMA_ARG_SPLIT_MODE") or "layer"), lambda mode: mode != "none"
    if "speculation" in model:
        found.update(_speculation(model["speculation"]))
    flash = {"1": "on", "true": "on", "0": "off", "false": "off"}.get(
        str(environment.get("OLLAMA_FLASH_ATTENTION", "")).lower()
    )
    if flash:
        found["flash_attention"] = _exactly(flash)
    return found


def _speculation(planned: Optional[Mapping[str, Any]]) -> dict[str, tuple[str, Callable[[str], bool]]]:
    """Return the settings of speculative decoding; `planned`: of a model of the plan, None where it has none."""
    if not planned:
        return {"speculation": _exactly("none")}
    has_draft = bool(planned.get("draft"))
    return {
        "speculation": _exactly(planned.get("type")),
        "drafted": _exactly(planned.get("tokens")),
        "draft": ("the model's" if has_draft else "none", lambda text: (text != "none") == has_draft),
    }


def _exactly(value: Any) -> tuple[str, Callable[[str], bool]]:
    return str(value), lambda text: text == str(value)


def _at_most(value: int) -> tuple[str, Callable[[str], bool]]:
    return "at most %d" % value, lambda text: text.isdigit() and int(text) <= value


def _layers(asked: Any, predicted: Mapping[str, Any]) -> tuple[str, Callable[[str], bool]]:
    """Return the layers that Ollama tells the engine to put on GPUs: the parameter num_gpu, or nothing."""
    if asked is not None and int(asked) >= 0:
        return _exactly(int(asked))
    least = predicted.get("gpu_layers") or 0
    return "auto", lambda text: text == "auto" or (text.isdigit() and int(text) >= least)


def _split(planned: Any) -> tuple[str, Callable[[str], bool]]:
    if not planned:
        return "auto", lambda text: text == "auto"
    return str(planned), lambda text: _shares(text) == _shares(str(planned))


def _shares(text: str) -> Optional[list[float]]:
    """Return the numbers of a tensor split as shares of their sum; None where it is none."""
    try:
        numbers = [float(part) for part in text.replace("/", ",").split(",")]
    except ValueError:
        return None
    total = sum(numbers)
    return [round(number / total, 6) for number in numbers] if total > 0 else None


def _value(engine: EngineProcess, name: str) -> Optional[str]:
    """Return a setting of an engine; None where its command line or environment cannot be read."""
    flags, variable, default = _SETTINGS[name]
    if not engine.arguments or engine.environment is None:
        return None
    for flag, value in zip(reversed(engine.arguments[:-1]), reversed(engine.arguments[1:])):
        if flag in flags:  # the last one counts
            return value
    return engine.environment.get(variable) or default


def _adapters(planned: Sequence[Mapping[str, Any]], engine: EngineProcess) -> Setting:
    """Return whether the engine has the adapters of the plan, in their order: their blobs are named after digests."""
    digests = [str(one.get("digest") or "unknown").replace(":", "-") for one in planned]
    words = _names(digests)
    if not engine.arguments:
        return Setting("adapters", words, None, None)
    pairs = zip(engine.arguments[:-1], engine.arguments[1:])
    observed = [path.rpartition("/")[2] for flag, path in pairs if flag in _ADAPTER_FLAGS]
    # A model that was read from a server comes without the digests.
    same = [there for there, digest in zip(observed, digests) if digest in (there, "unknown")]
    return Setting("adapters", words, _names(observed), len(same) == len(observed) == len(digests))


def _names(files: Sequence[str]) -> str:
    return ", ".join(file[:19] for file in files) or "none"


def _elsewhere(environment: Mapping[str, Any], engine: EngineProcess) -> Setting:
    """Return whether the engine has only those settings for parts of a model elsewhere that the plan has."""
    planned = {name: str(environment[name]) for name in _ELSEWHERE if environment.get(name)}
    if not engine.arguments or engine.environment is None:
        return Setting("elsewhere", _words(planned), None, None)
    observed = {name: engine.environment[name] for name in _ELSEWHERE if engine.environment.get(name)}
    observed.update({flag: "" for flag in engine.arguments if flag in _ELSEWHERE_FLAGS})
    return Setting("elsewhere", _words(planned), _words(observed), observed == planned)


def _words(settings: Mapping[str, str]) -> str:
    return ", ".join("%s %s" % pair for pair in sorted(settings.items())) or "nothing"
