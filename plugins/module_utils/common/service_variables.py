# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The environment variables of the service: who sets each, which releases read it, what an adoption carries over. Pure.

This is the only table of them. Its rules:

* A variable of the PLAN cannot be set by the user. The plan has an option for what it does, which `advice` names.
* A REFUSED variable would make the plan's figures void or load other code than the verified release. Most of them are
  in common/refused_variables.py.
* A USER variable may be set, in the role and in placement_info alike. Four of them (context length, slots, type of the
  KV cache, flash attention) are defaults of the models: the plan takes them into account, and a model's own option has
  precedence. OLLAMA_KEEP_ALIVE is what the server takes for requests that name no time. These five are not carried over
  from an Ollama that is adopted: they were chosen for another layout, and the user has an option of a model for each.
* An UNKNOWN variable has a prefix of Ollama or llama-server, and neither reads it: it would be ignored silently.
* All other names (proxies, CUDA_LAUNCH_BLOCKING) are the user's.

Sources: envconfig/config.go at every release tag from 0.1.40 to 0.32.15; `llama-server --help`, llama.cpp build 11669.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Tuple

from . import engine_variables, refused_variables

Version = Tuple[int, int, int]

# Owners.
PLAN = "plan"
USER = "user"
REFUSED = "refused"
UNKNOWN = "unknown"

# Types of values.
TEXT = "text"
NUMBER = "number"
SWITCH = "switch"
DURATION = "duration"

#: The variables of the service that say how a server reaches registries (Go, net/http and crypto/x509).
NETWORK_VARIABLES = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@dataclass(frozen=True)
class Variable:
    """One environment variable of the service.

    Attributes:
        name: its name.
        owner: PLAN, USER, REFUSED or UNKNOWN.
        advice: the end of a sentence. PLAN: what to do instead. REFUSED: what is wrong with it. USER: the option of a
            model that goes before it, where there is one.
        type: TEXT, NUMBER, SWITCH or DURATION.
        first: the first release that reads it; (0, 0, 0) = all that the collection knows.
        last: the last release that reads it; None = it is still read.
        carried: whether it is carried over from an Ollama that is adopted.
    """

    name: str
    owner: str
    advice: str = ""
    type: str = TEXT
    first: Version = (0, 0, 0)
    last: Optional[Version] = None
    carried: bool = False

    def known_to(self, version: Version) -> bool:
        """Return whether a release reads it."""
        return self.owner != UNKNOWN and self.first <= version and (self.last is None or version <= self.last)


def _planned(name: str, option: str, first: Version = (0, 0, 0)) -> Variable:
    return Variable(name, PLAN, "use %s instead" % option, first=first)


def _always(name: str, value: str, first: Version = (0, 0, 0)) -> Variable:
    return Variable(name, PLAN, "it is always %s" % value, first=first)


def _user(name: str, type: str = TEXT, first: Version = (0, 0, 0), last: Optional[Version] = None) -> Variable:
    return Variable(name, USER, "", type, first, last, carried=True)


def _default(name: str, option: str, type: str, first: Version = (0, 0, 0)) -> Variable:
    return Variable(name, USER, "set %s of a model" % option, type, first)


_SELECTORS = "the GPU selectors"
_ENGINE = (0, 30, 0)  # the first release that runs llama-server

_TABLE = (
    # What the plan decides.
    _planned("OLLAMA_HOST", "listen_address and base_port"),
    _planned("OLLAMA_MODELS", "models_dir"),
    _planned("OLLAMA_SCHED_SPREAD", "strategy: spread of a model", (0, 1, 45)),
    _always("OLLAMA_MAX_LOADED_MODELS", "the number of models planned"),
    # 1 would bring GPUs back that CUDA_VISIBLE_DEVICES hides, so that models land outside the plan.
    _always("OLLAMA_VULKAN", "0", (0, 12, 11)),
    _planned("CUDA_VISIBLE_DEVICES", _SELECTORS),
    _always("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
    _always("CUDA_CACHE_PATH", "in the directory of the instance, the only place that the service may write"),
    _planned("NVIDIA_VISIBLE_DEVICES", _SELECTORS),
    _planned("HIP_VISIBLE_DEVICES", _SELECTORS),
    _planned("ROCR_VISIBLE_DEVICES", _SELECTORS),
    _planned("GPU_DEVICE_ORDINAL", _SELECTORS),
    _planned("GGML_VK_VISIBLE_DEVICES", _SELECTORS),
    _planned("LLAMA_ARG_TENSOR_SPLIT", "strategy: split or spread of a model", _ENGINE),
    _planned("LLAMA_ARG_FIT_TARGET", "headroom_bytes", _ENGINE),
    _planned("LLAMA_ARG_FIT", "allow_cpu_offload of a model", _ENGINE),
    _planned("LLAMA_ARG_SPEC_TYPE", "speculative of a model", _ENGINE),
    _planned("LLAMA_ARG_SPEC_DRAFT_N_MAX", "speculative.tokens of a model", _ENGINE),
    _planned("LLAMA_ARG_DRAFT_MAX", "speculative.tokens of a model", _ENGINE),  # its former name
    _planned("LLAMA_ARG_SPLIT_MODE", "strategy of a model", _ENGINE),
    _planned("LLAMA_ARG_MAIN_GPU", "strategy: single of a model and the GPU selectors", _ENGINE),
    _planned("LLAMA_ARG_N_GPU_LAYERS", "allow_cpu_offload of a model", _ENGINE),
    _planned("LLAMA_ARG_DEVICE", _SELECTORS, _ENGINE),
    _planned("LLAMA_ARG_CTX_SIZE", "context_length of a model", _ENGINE),
    _planned("LLAMA_ARG_UBATCH", "ubatch of a model", _ENGINE),
    _planned("LLAMA_ARG_BATCH", "ubatch of a model", _ENGINE),
    _planned("LLAMA_ARG_CACHE_TYPE_K", "kv_cache_type of a model", _ENGINE),
    _planned("LLAMA_ARG_CACHE_TYPE_V", "kv_cache_type of a model", _ENGINE),
    _planned("LLAMA_ARG_FLASH_ATTN", "flash_attention of a model", _ENGINE),
    _planned("LLAMA_ARG_N_PARALLEL", "parallel of a model", _ENGINE),
    _planned("LLAMA_ARG_MODEL", "the list of models", _ENGINE),
    _planned("LLAMA_ARG_HOST", "listen_address", _ENGINE),
    _planned("LLAMA_ARG_PORT", "base_port", _ENGINE),
    # What would make every prediction void.
    Variable(
        "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
        REFUSED,
        "lets a model overflow into the host's memory, which the plan does not count",
    ),
    # Defaults of models.
    _default("OLLAMA_CONTEXT_LENGTH", "context_length", NUMBER, (0, 5, 13)),
    _default("OLLAMA_NUM_PARALLEL", "parallel", NUMBER),
    _default("OLLAMA_KV_CACHE_TYPE", "kv_cache_type", TEXT, (0, 5, 0)),
    _default("OLLAMA_FLASH_ATTENTION", "flash_attention", SWITCH),
    _default("OLLAMA_KEEP_ALIVE", "keep_alive", DURATION),
    # The user's.
    _user("OLLAMA_ORIGINS"),
    _user("OLLAMA_LOAD_TIMEOUT", DURATION, (0, 3, 10)),
    _user("OLLAMA_MAX_QUEUE", NUMBER),
    _user("OLLAMA_GPU_OVERHEAD", NUMBER, (0, 3, 10)),
    _user("OLLAMA_LLM_LIBRARY"),
    _user("OLLAMA_IGPU_ENABLE", TEXT, (0, 30, 0)),
    _user("OLLAMA_DEBUG"),
    _user("OLLAMA_DEBUG_LOG_REQUESTS", SWITCH, (0, 18, 3)),
    _user("OLLAMA_GO_TEMPLATE", SWITCH, (0, 30, 0)),
    _user("OLLAMA_NOPRUNE", SWITCH),
    _user("OLLAMA_NOHISTORY", SWITCH),
    _user("OLLAMA_NO_CLOUD", SWITCH, (0, 16, 2)),
    _user("OLLAMA_REMOTES", TEXT, (0, 12, 0)),
    _user("OLLAMA_MAX_TRANSFER_STREAMS", NUMBER, (0, 23, 3)),
    _user("OLLAMA_AUTH", SWITCH, (0, 8, 0)),
    _user("OLLAMA_EDITOR", TEXT, (0, 16, 0)),
    # Those that only earlier releases read.
    _user("OLLAMA_MULTIUSER_CACHE", TEXT, (0, 3, 13), (0, 24, 0)),
    _user("OLLAMA_NEW_ENGINE", TEXT, (0, 5, 12), (0, 24, 0)),
    _user("OLLAMA_NEW_ESTIMATES", TEXT, (0, 11, 5), (0, 11, 10)),
    _user("OLLAMA_INTEL_GPU", TEXT, (0, 1, 45), (0, 12, 10)),
    _user("OLLAMA_MAX_VRAM", TEXT, (0, 1, 40), (0, 6, 8)),
    _user("OLLAMA_RUNNERS_DIR", TEXT, (0, 1, 40), (0, 3, 10)),
    _user("OLLAMA_TMPDIR", TEXT, (0, 1, 40), (0, 5, 1)),
)
#: All variables that have a line of their own, by name.
TABLE = {variable.name: variable for variable in _TABLE}

#: What an installer writes into its unit for the process itself.
OF_THE_PROCESS = frozenset(("PATH", "HOME", "USER", "LOGNAME", "SHELL"))

# What decides where a server puts its models.
_OF_THE_SERVER = ("OLLAMA_", "CUDA_", "LLAMA_ARG_")
# What a server reads of its environment; the rest (INVOCATION_ID ...) is systemd's.
_READ_BY_SERVER = ("OLLAMA_", "CUDA_", "LLAMA_", "GGML_", "NVIDIA_", "HTTP", "NO_PROXY", "http", "no_proxy")


def find(name: str) -> Variable:
    """Return what is known of a variable; also for names without a line in TABLE, by the rules above."""
    if name in TABLE:
        return TABLE[name]
    loads, breaks = refused_variables.loads_code(name), refused_variables.breaks_plan(name)
    if loads or breaks:
        return Variable(name, REFUSED, loads or breaks or "")
    if name.startswith(engine_variables.PREFIX):
        return _engine_variable(name)
    if name.upper().startswith("OLLAMA_"):
        return Variable(name, UNKNOWN)
    return Variable(name, USER, carried=name not in OF_THE_PROCESS)


def _engine_variable(name: str) -> Variable:
    word = name[len(engine_variables.PREFIX) :]
    today = engine_variables.known_word(word)
    if today not in (word, None):
        return _other_name(name, find("%s%s" % (engine_variables.PREFIX, today)))
    if word in engine_variables.EXPERTS:
        return Variable(name, REFUSED, "is what cpu_experts of a model sets", first=_ENGINE)
    if word in engine_variables.MOVE_MEMORY:
        return Variable(name, REFUSED, "moves memory that the plan counts on", first=_ENGINE)
    if word in engine_variables.NAMES:
        return _user(name, TEXT, _ENGINE)
    return Variable(name, UNKNOWN)


def _other_name(name: str, meant: Variable) -> Variable:
    """Return what is known of the negation or the former name of a variable: who may set it is the same."""
    if meant.owner in (PLAN, REFUSED):
        return replace(meant, name=name)
    return Variable(name, REFUSED, "is a former name or the negation of %s, which is the one to set" % meant.name)


def span(variable: Variable) -> str:
    """Return the releases that read a variable in words: "from 0.5.12 to 0.24.0"."""
    first = "from %s" % version_text(variable.first)
    return first + (" on" if variable.last is None else " to %s" % version_text(variable.last))


def version_text(numbers: Version) -> str:
    """Return a version as it is written: (0, 30, 0) is "0.30.0"."""
    return ".".join(str(number) for number in numbers)


def is_of_the_server(name: str) -> bool:
    """Return whether a variable is Ollama's, CUDA's or llama-server's: those that decide where models go."""
    return name.startswith(_OF_THE_SERVER)


def is_read_by_server(name: str) -> bool:
    """Return whether a variable is one that a server reads, by its prefix: unlike what systemd sets for every unit."""
    return name.startswith(_READ_BY_SERVER)
