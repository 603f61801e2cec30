# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The command line of llama-server and its LLAMA_ARG_* variables, as far as Ollama and the environment of a unit use
them.
"""

from __future__ import annotations

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
#: attribute -> (names on the command line, variable, kind, default)
VALUES = {
    "model": (("--model", "-m"), "LLAMA_ARG_MODEL", str, None),
    "host": (("--host",), "LLAMA_ARG_HOST", str, "127.0.0.1"),
    "port": (("--port",), "LLAMA_ARG_PORT", int, 8080),
    "ctx": (("-c", "--ctx-size"), "LLAMA_ARG_CTX_SIZE", int, 0),
    "parallel": (("-np", "--parallel"), "LLAMA_ARG_N_PARALLEL", int, 1),
    "batch": (("-b", "--batch-size"), "LLAMA_ARG_BATCH", int, 2048),
    "ubatch": (("-ub", "--ubatch-size"), "LLAMA_ARG_UBATCH", int, 512),
    "gpu_layers": (("-ngl", "--gpu-layers", "--n-gpu-layers"), "LLAMA_ARG_N_GPU_LAYERS", str, None),
    "split_mode": (("--split-mode", "-sm"), "LLAMA_ARG_SPLIT_MODE", str, "layer"),
    "main_gpu": (("--main-gpu", "-mg"), "LLAMA_ARG_MAIN_GPU", int, 0),
    "tensor_split": (("--tensor-split", "-ts"), "LLAMA_ARG_TENSOR_SPLIT", str, None),
    "fit": (("-fit", "--fit"), "LLAMA_ARG_FIT", str, "on"),
    "fit_target": (("-fitt", "--fit-target"), "LLAMA_ARG_FIT_TARGET", str, None),
    "device": (("-dev", "--device"), "LLAMA_ARG_DEVICE", str, None),
    "flash_attention": (("--flash-attn", "-fa"), "LLAMA_ARG_FLASH_ATTN", str, "auto"),
    "cache_type_k": (("--cache-type-k", "-ctk"), "LLAMA_ARG_CACHE_TYPE_K", str, "f16"),
    "cache_type_v": (("--cache-type-v", "-ctv"), "LLAMA_ARG_CACHE_TYPE_V", str, "f16"),
    "load_mode": (("--load-mode",), "LLAMA_ARG_LOAD_MODE", str, "mmap"),
    "mmproj": (("--mmproj", "-mm"), "LLAMA_ARG_MMPROJ", str, None),
    "threads": (("-t", "--threads"), "LLAMA_ARG_THREADS", int, 0),
    "verbosity": (("--log-verbosity", "-lv"), "LLAMA_ARG_LOG_VERBOSITY", int, 3),
    "keep": (("--keep",), None, int, 0),
    "chat_template": (("--chat-template",), "LLAMA_ARG_CHAT_TEMPLATE", str, None),
    "n_cpu_moe": (("-ncmoe", "--n-cpu-moe"), "LLAMA_ARG_N_CPU_MOE", int, 0),
    "spec_type": (("--spec-type",), "LLAMA_ARG_SPEC_TYPE", str, None),
    "drafted": (("--spec-draft-n-max",), "LLAMA_ARG_SPEC_DRAFT_N_MAX", int, 3),
    "draft": (("--spec-draft-model", "-md", "--model-draft"), "LLAMA_ARG_SPEC_DRAFT_MODEL", str, None),
    "image_min_tokens": (("--image-min-tokens",), None, int, 0),
}
#: Given once for each: attribute -> names on the command line
LISTS = {"lora": ("--lora",)}
#: Variables of flags, which count where their value is one of TRUE.
FLAG_VARIABLES = {"cpu_moe": "LLAMA_ARG_CPU_MOE"}
TRUE = ("on", "enabled", "true", "1")
FLAGS = {
    "cpu_moe": ("-cmoe", "--cpu-moe"),
    "list_devices": ("--list-devices",),
    "embedding": ("--embedding", "--embeddings"),
    "no_mmproj_offload": ("--no-mmproj-offload",),
    "ignored": (
        "--no-webui",
        "--no-ui",
        "--offline",
        "--verbose",
        "-v",
        "--no-log-prefix",
        "--no-log-timestamps",
        "--no-jinja",
        "--jinja",
        "--context-shift",
        "--no-context-shift",
        "--no-mmap",
        "--mlock",
        "--kv-unified",
        "--no-warmup",
        "--spec-draft-backend-sampling",
        "--no-spec-draft-backend-sampling",
    ),
}


class OptionError(Exception):
    """A wrong argument. The text is what llama-server prints before it exits with status 1."""


class Options:
    """One attribute for each name in VALUES, LISTS and FLAGS.

    Attributes:
        proposing: what proposes tokens (speculation.Proposing), once the files were opened; None where nothing does.
    """

    proposing = None

    def experts_on_host(self, header):
        """The number of layers, of those at the front, whose experts stay on the host."""
        if not any("_exps." in name for name, _kind, _shape, _size in header.tensors):
            return 0
        return header.blocks if self.cpu_moe else min(self.n_cpu_moe, header.blocks)

    def targets(self, devices):
        """The fit's margin per device in MiB: one value for all, or a list."""
        numbers = [float(n) for n in (self.fit_target or "1024").split(",")]
        return numbers * devices if len(numbers) == 1 else (numbers + [1024.0] * devices)[:devices]

    def ratios(self, devices):
        """--tensor-split as a list of one number a device, or None."""
        if not self.tensor_split:
            return None
        numbers = [float(n) for n in self.tensor_split.replace("/", ",").split(",")]
        numbers = (numbers + [0.0] * devices)[:devices]
        return numbers if sum(numbers) > 0 else None


def _convert(kind, name, text):
    try:
        return kind(text)
    except ValueError:
        raise OptionError(
            'error while handling argument "%s": invalid value\n\n\nto show complete usage, run with -h' % name
        )


def _check_cache_type(short, letter, value):
    if value not in CACHE_TYPES:
        pad = " " * 40
        raise OptionError(
            'error while handling argument "--cache-type-%s": Unsupported cache type: %s\n\nusage:\n'
            "%s KV cache data type for %s\n%sallowed values: %s\n%s(default: f16)\n%s(env: LLAMA_ARG_CACHE_TYPE_%s)\n\n"
            "\n"
            "to show complete usage, run with -h"
            % (
                letter,
                value,
                ("%s,  --cache-type-%s TYPE" % (short, letter)).ljust(39),
                letter.upper(),
                pad,
                ", ".join(CACHE_TYPES),
                pad,
                pad,
                letter.upper(),
            )
        )


def parse(arguments, environment):
    """Options from the command line, the environment and the defaults, in this order. OptionError with the text of
    llama-server.
    """
    options = Options()
    by_name = {}
    for attribute, (names, variable, kind, default) in VALUES.items():
        value = environment.get(variable, "") if variable else ""
        setattr(options, attribute, _convert(kind, variable, value) if value else default)
        by_name.update((name, (attribute, kind)) for name in names)
    for attribute, names in FLAGS.items():
        setattr(options, attribute, environment.get(FLAG_VARIABLES.get(attribute, ""), "") in TRUE)
        by_name.update((name, (attribute, None)) for name in names)
    for attribute, names in LISTS.items():
        setattr(options, attribute, [])
        by_name.update((name, (attribute, list)) for name in names)
    rest = list(arguments)
    while rest:
        name = rest.pop(0)
        if name not in by_name:
            raise OptionError("error: invalid argument: %s" % name)
        attribute, kind = by_name[name]
        if kind is None:
            setattr(options, attribute, True)
        elif not rest:
            raise OptionError('error while handling argument "%s": expected value for argument' % name)
        elif kind is list:
            getattr(options, attribute).append(rest.pop(0))
        else:
            setattr(options, attribute, _convert(kind, name, rest.pop(0)))
    if options.n_cpu_moe < 0:
        raise OptionError(
            'error while handling argument "--n-cpu-moe": invalid value\n\n\nto show complete usage, run with -h'
        )
    _check_cache_type("-ctk", "k", options.cache_type_k)
    _check_cache_type("-ctv", "v", options.cache_type_v)
    if options.flash_attention not in ("on", "off", "auto"):
        options.flash_attention = {
            "1": "on",
            "true": "on",
            "enabled": "on",
            "0": "off",
            "false": "off",
            "disabled": "off",
        }.get(options.flash_attention, "auto")
    if options.gpu_layers in (None, "auto", "-1"):
        options.gpu_layers = None
    else:
        options.gpu_layers = 999 if options.gpu_layers == "all" else _convert(int, "-ngl", options.gpu_layers)
    return options
