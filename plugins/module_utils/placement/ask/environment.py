# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The user's further service variables: known names, types, and those that a plan must own.

Ollama ignores unknown names silently, replaces bad integers by defaults and takes a bad port for 11434, so everything
is checked before it is written. Source of names and types: Ollama envconfig/config.go (0.32.15).
"""

from __future__ import annotations

import difflib
import re

from ...releases import settings
from ..errors import PlacementError
from . import engine_variables
from .parameters import DURATION, whole_number

_SWITCH_VALUES = {
    "1": "1",
    "true": "1",
    "yes": "1",
    "on": "1",
    "t": "1",
    "0": "0",
    "false": "0",
    "no": "0",
    "off": "0",
    "f": "0",
}

KNOWN = {
    "OLLAMA_ORIGINS": "text",
    "OLLAMA_KEEP_ALIVE": "duration",
    "OLLAMA_LOAD_TIMEOUT": "duration",
    "OLLAMA_CONTEXT_LENGTH": "number",
    "OLLAMA_NUM_PARALLEL": "number",
    "OLLAMA_MAX_QUEUE": "number",
    "OLLAMA_GPU_OVERHEAD": "number",
    "OLLAMA_FLASH_ATTENTION": "switch",
    "OLLAMA_KV_CACHE_TYPE": "text",
    "OLLAMA_LLM_LIBRARY": "text",
    "OLLAMA_VULKAN": "switch",
    "OLLAMA_IGPU_ENABLE": "text",
    "OLLAMA_DEBUG": "text",
    "OLLAMA_DEBUG_LOG_REQUESTS": "switch",
    "OLLAMA_GO_TEMPLATE": "switch",
    "OLLAMA_NOPRUNE": "switch",
    "OLLAMA_NOHISTORY": "switch",
    "OLLAMA_NO_CLOUD": "switch",
    "OLLAMA_REMOTES": "text",
    "OLLAMA_MAX_TRANSFER_STREAMS": "number",
    "OLLAMA_AUTH": "switch",
    "OLLAMA_EDITOR": "text",
}
# What a plan decides itself, and what to use instead.
PLANNED = {
    "OLLAMA_HOST": "listen_address and base_port",
    "OLLAMA_MODELS": "models_dir",
    "OLLAMA_SCHED_SPREAD": "strategy: spread of a model",
    "OLLAMA_MAX_LOADED_MODELS": "the list of models; it is always the number of models planned",
    "CUDA_VISIBLE_DEVICES": "the GPU selectors",
    "CUDA_DEVICE_ORDER": "nothing; it is always PCI_BUS_ID",
    "LLAMA_ARG_TENSOR_SPLIT": "strategy: split or spread of a model",
    "LLAMA_ARG_FIT_TARGET": "headroom_bytes",
    "LLAMA_ARG_FIT": "allow_cpu_offload of a model",
    "LLAMA_ARG_SPLIT_MODE": "strategy of a model",
    "LLAMA_ARG_MAIN_GPU": "strategy: single of a model and the GPU selectors",
    "LLAMA_ARG_N_GPU_LAYERS": "allow_cpu_offload of a model",
    "LLAMA_ARG_DEVICE": "the GPU selectors",
    "LLAMA_ARG_CTX_SIZE": "context_length of a model",
    "LLAMA_ARG_UBATCH": "ubatch of a model",
    "LLAMA_ARG_BATCH": "ubatch of a model",
    "LLAMA_ARG_CACHE_TYPE_K": "kv_cache_type of a model",
    "LLAMA_ARG_CACHE_TYPE_V": "kv_cache_type of a model",
    "LLAMA_ARG_FLASH_ATTN": "flash_attention of a model",
    "LLAMA_ARG_N_PARALLEL": "parallel of a model",
    "LLAMA_ARG_MODEL": "the list of models",
    "LLAMA_ARG_HOST": "listen_address",
    "LLAMA_ARG_PORT": "base_port",
}
PLANNED.update(
    dict.fromkeys(
        (
            "NVIDIA_VISIBLE_DEVICES",
            "HIP_VISIBLE_DEVICES",
            "ROCR_VISIBLE_DEVICES",
            "GPU_DEVICE_ORDINAL",
            "GGML_VK_VISIBLE_DEVICES",
        ),
        "the GPU selectors",
    )
)
# What makes every prediction of a plan void, and why.
REFUSED = {
    "LD_PRELOAD": "puts code of its own into the server and its engine",
    "LD_AUDIT": "puts code of its own into the server and its engine",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "lets a model overflow into the host's memory, which the plan does not count",
}
# Names that earlier versions knew.
RETIRED = frozenset(name for name, (dummy_first, last) in settings.KNOWN.items() if last)
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_environment(environment, release):
    """Check the user's variables.

    Args:
        environment: dict of name to value (text, number or boolean), or None.
        release: the Release planned for.

    Returns:
        (dict of name to text, list of warnings).

    Raises:
        PlacementError: unknown or misspelt name, a name that the plan owns, or a value that does not fit.
    """
    if not isinstance(environment or {}, dict):
        raise PlacementError(
            "environment is %r, which is not a dictionary; give for example OLLAMA_DEBUG: 1." % (environment,)
        )
    checked = {}
    warnings = []
    for name, value in sorted((environment or {}).items(), key=lambda item: str(item[0])):
        if value is None:
            continue
        _check_name(name)
        if isinstance(value, (dict, list, tuple)):
            raise PlacementError(
                "Environment variable %s is a %s; give one text."
                % (name, "dictionary" if isinstance(value, dict) else "list")
            )
        text = ("1" if value else "0") if isinstance(value, bool) else str(value)
        if _CONTROL.search(text):
            raise PlacementError(
                "The value of environment variable %s holds a line break or a control character; give it on one line."
                % name
            )
        if name in RETIRED and not settings.knows(release.numbers, name):
            warnings.append("%s is not known to Ollama %s and has no effect." % (name, release.version))
        if not text.strip() and KNOWN.get(name) in ("number", "switch", "duration"):
            continue  # as Ollama takes it: not set
        checked[name] = _typed(name, text)
    if "LD_LIBRARY_PATH" in checked:
        warnings.append(
            "LD_LIBRARY_PATH=%s is searched after Ollama's own libraries; a CUDA from there takes other memory than the plan predicts."
            % checked["LD_LIBRARY_PATH"]
        )
    if checked.get("OLLAMA_VULKAN") == "1":
        warnings.append(
            "OLLAMA_VULKAN=1 brings GPUs back that CUDA_VISIBLE_DEVICES hides, so models may land outside the plan."
        )
    return checked, warnings


def _check_name(name):
    if not isinstance(name, str) or not _NAME.match(name) or "\n" in name:
        raise PlacementError("Environment variable name %r is not one; use letters, digits and '_'." % (name,))
    if name in PLANNED:
        raise PlacementError("Environment variable %s is set by the plan; use %s instead." % (name, PLANNED[name]))
    if name in REFUSED:
        raise PlacementError("Environment variable %s %s; leave it out." % (name, REFUSED[name]))
    if name in KNOWN or name in RETIRED:
        return
    engine = name.startswith(engine_variables.PREFIX)
    if engine and name[len(engine_variables.PREFIX) :] in engine_variables.MOVE_MEMORY:
        raise PlacementError("Environment variable %s moves memory that the plan counts on; leave it out." % name)
    if engine and name[len(engine_variables.PREFIX) :] in engine_variables.NAMES:
        return
    candidates = (
        [engine_variables.PREFIX + word for word in sorted(engine_variables.NAMES)]
        if engine
        else list(KNOWN) + list(PLANNED)
    )
    near = [word for word in difflib.get_close_matches(name.upper(), candidates, 1, 0.85) if word != name]
    if near and (engine or not name.startswith("CUDA_")):
        raise PlacementError("Environment variable %s is unknown to Ollama: did you mean %s?" % (name, near[0]))
    if engine or name.upper().startswith("OLLAMA_"):
        program = "llama-server" if engine else "Ollama"
        raise PlacementError(
            "Environment variable %s is unknown to %s, which would ignore it silently; leave it out." % (name, program)
        )


def _typed(name, text):
    kind = KNOWN.get(name)
    if name == engine_variables.UNIFIED and text not in engine_variables.ON + engine_variables.OFF:
        raise PlacementError(
            "Environment variable %s is '%s', at which llama-server would not start; give 1 or 0." % (name, text)
        )
    if kind == "number":
        return str(whole_number(text, "Environment variable %s" % name, 0))
    if kind == "switch":
        if text.strip().lower() not in _SWITCH_VALUES:
            raise PlacementError(
                "Environment variable %s is '%s', which Ollama would take for true; give 1 or 0." % (name, text)
            )
        return _SWITCH_VALUES[text.strip().lower()]
    if kind == "duration" and not DURATION.match(text.strip()):
        raise PlacementError(
            "Environment variable %s is '%s', which is not a duration and would be ignored; give one such as 30m, 24h or -1."
            % (name, text)
        )
    if name == "OLLAMA_KEEP_ALIVE" and not re.search("[1-9]", text):
        raise PlacementError(
            "Environment variable %s is '%s', which would unload every model after each request; give one such as 30m or -1."
            % (name, text)
        )
    if name == "OLLAMA_LLM_LIBRARY" and text and not text.startswith("cuda"):
        raise PlacementError(
            "Environment variable %s is '%s', which keeps Ollama off NVIDIA GPUs; give one such as cuda_v12, or leave it out."
            % (name, text)
        )
    return text
