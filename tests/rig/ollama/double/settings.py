# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The settings of the service: environment variables as envconfig of this release reads them, and the `server config`
line.
"""

from __future__ import annotations

import os

from . import gotext

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_LOCAL = ("localhost", "127.0.0.1", "0.0.0.0")
_APPS = ("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*")
# The variables of the `server config` line: as they are, truth values, and numbers with their default.
_AS_GIVEN = (
    "CUDA_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "HIP_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LLAMA_ARG_FIT",
    "LLAMA_ARG_FIT_TARGET",
    "NO_PROXY",
    "OLLAMA_EDITOR",
    "OLLAMA_IGPU_ENABLE",
    "OLLAMA_LLM_LIBRARY",
    "ROCR_VISIBLE_DEVICES",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_BOOLEANS = (
    "OLLAMA_DEBUG_LOG_REQUESTS",
    "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_NOHISTORY",
    "OLLAMA_NOPRUNE",
    "OLLAMA_NO_CLOUD",
    "OLLAMA_SCHED_SPREAD",
)
_NUMBERS = {
    "OLLAMA_CONTEXT_LENGTH": 0,
    "OLLAMA_GPU_OVERHEAD": 0,
    "OLLAMA_MAX_LOADED_MODELS": 0,
    "OLLAMA_MAX_QUEUE": 512,
    "OLLAMA_MAX_TRANSFER_STREAMS": 4,
    "OLLAMA_NUM_PARALLEL": 1,
}


def var(name):
    """A variable without surrounding spaces and quotes; "" when unset."""
    return os.environ.get(name, "").strip().strip("\"'")


def boolean(name, default=False):
    """A Go bool; any other text that is not empty is true."""
    text = var(name)
    if not text:
        return default
    return text not in _FALSE


def unsigned(name, default):
    """A number; for any other text the default, with a warning."""
    text = var(name)
    if not text:
        return default
    if text.isdigit():
        return int(text)
    gotext.log(
        "WARN", "config.go:263", "invalid environment variable, using default", key=name, value=text, default=default
    )
    return default


FOREVER = (1 << 63) / 1e9  # seconds in the longest Go duration


def _seconds(text, default):
    try:
        return gotext.duration(text)
    except ValueError:
        pass
    try:
        return float(int(text))
    except ValueError:
        return default


def keep_alive():
    """OLLAMA_KEEP_ALIVE in seconds. A negative value means forever, an invalid one five minutes."""
    seconds = _seconds(var("OLLAMA_KEEP_ALIVE"), 300.0)
    return FOREVER if seconds < 0 else seconds


def load_timeout():
    """OLLAMA_LOAD_TIMEOUT in seconds without progress. Zero or less means forever."""
    seconds = _seconds(var("OLLAMA_LOAD_TIMEOUT"), 300.0)
    return FOREVER if seconds <= 0 else seconds


def host():
    """OLLAMA_HOST as (scheme, address, port). An invalid port becomes 11434 without a warning."""
    text, default_port, scheme = var("OLLAMA_HOST"), 11434, "http"
    if "://" in text:
        scheme, text = text.split("://", 1)
        default_port = 443 if scheme == "https" else 80
    text = text.split("/", 1)[0]
    address, port = text, str(default_port)
    if text.startswith("["):
        address, _sep, rest = text[1:].partition("]")
        port = rest[1:] or port
    elif text.count(":") == 1:
        address, port = text.split(":")
    if not port.isdigit() or int(port) > 65535:
        gotext.log("WARN", "config.go:51", "invalid port, using default", port=port, default=default_port)
        port = str(default_port)
    return scheme, address or "127.0.0.1", int(port)


def models_dir():
    """OLLAMA_MODELS, or ~/.ollama/models."""
    return var("OLLAMA_MODELS") or os.path.join(os.path.expanduser("~"), ".ollama", "models")


def flash_attention():
    """True, False, or None if the user has not set it."""
    return boolean("OLLAMA_FLASH_ATTENTION") if var("OLLAMA_FLASH_ATTENTION") else None


def overhead():
    """OLLAMA_GPU_OVERHEAD in bytes. It affects only the default context."""
    return unsigned("OLLAMA_GPU_OVERHEAD", 0)


def origins():
    """OLLAMA_ORIGINS and the built-in ones."""
    given = var("OLLAMA_ORIGINS").split(",") if var("OLLAMA_ORIGINS") else []
    return (
        given
        + ["%s://%s%s" % (scheme, name, port) for name in _LOCAL for port in ("", ":*") for scheme in ("http", "https")]
        + list(_APPS)
    )


def _bool_text(name, default=False):
    return "true" if boolean(name, default) else "false"


def as_map():
    """Every variable of the `server config` line with its effective value, as text."""
    scheme, address, port = host()
    names = {name: var(name) for name in _AS_GIVEN}
    names.update({name: _bool_text(name) for name in _BOOLEANS})
    names.update({name: str(unsigned(name, default)) for name, default in _NUMBERS.items()})
    names.update(
        {
            "OLLAMA_DEBUG": "DEBUG" if boolean("OLLAMA_DEBUG") else "INFO",
            "OLLAMA_GO_TEMPLATE": _bool_text("OLLAMA_GO_TEMPLATE", True),
            "OLLAMA_HOST": "%s://%s:%d" % (scheme, address, port),
            "OLLAMA_KEEP_ALIVE": _duration_text(keep_alive()),
            "OLLAMA_KV_CACHE_TYPE": var("OLLAMA_KV_CACHE_TYPE").lower(),
            "OLLAMA_LOAD_TIMEOUT": _duration_text(load_timeout()),
            "OLLAMA_MODELS": models_dir(),
            "OLLAMA_ORIGINS": "[%s]" % " ".join(origins()),
            "OLLAMA_REMOTES": "[%s]" % " ".join((var("OLLAMA_REMOTES") or "ollama.com").split(",")),
            "OLLAMA_VULKAN": _bool_text("OLLAMA_VULKAN", True),
        }
    )
    return names


def _duration_text(seconds):
    return "2562047h47m16.854775807s" if seconds == FOREVER else gotext.duration_text(seconds)


def config_text():
    """The env of the `server config` line: `map[NAME:value ...]`, sorted as Go sorts a map."""
    return "map[%s]" % " ".join("%s:%s" % (name, value) for name, value in sorted(as_map().items()))


def rig_seconds(name):
    """How long something takes by the rig's state file (gpus/README.md), which has it in milliseconds; 0 without it."""
    try:
        with open(os.environ.get("GPU_RIG_STATE") or "/dev/gpu-rig/state", encoding="utf-8") as stream:
            found = [line.split() for line in stream if line.startswith(name + " ")]
        return float(found[-1][1]) / 1000 if found else 0.0
    except (OSError, ValueError):
        return 0.0
