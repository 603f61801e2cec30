# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Dimensions of the oracle's models, from their public configurations.

Short names: L blocks, E embedding width, H heads, KV key/value heads (a number, or one a block), D head size, F feed-forward width (a number, or
one a block), V vocabulary, X experts, U experts used, XF width of an expert, SF width of the shared expert, W window. The rest is said in
families.py, which turns them into key-values and tensors. `tied`: no output matrix of its own. `quant`: Q4_K_M (default), Q8_0, F16.
"""

from __future__ import annotations

from tests.oracle.engine.further import FURTHER


def _at(count, places, value, other=0):
    """A list with `value` at some places."""
    return [value if index in places else other for index in range(count)]


def _pattern(text, marks):
    """One value a letter of a hybrid pattern."""
    return [marks.get(letter, 0) for letter in text]


NEMOTRON_NANO_9B = "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
NEMOTRON_NANO_30B = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
QWEN_SSM = {"conv": 4, "state": 128, "groups": 16}

MODELS = {
    "llama3.1-8b": {"arch": "llama", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 128256},
    "llama3.1-8b-f16": {"arch": "llama", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 128256, "quant": "F16"},
    "llama3.2-1b": {"arch": "llama", "L": 16, "E": 2048, "H": 32, "KV": 8, "D": 64, "F": 8192, "V": 128256, "tied": True, "quant": "Q8_0"},
    "llama3.3-70b": {"arch": "llama", "L": 80, "E": 8192, "H": 64, "KV": 8, "D": 128, "F": 28672, "V": 128256},
    "mistral-7b": {"arch": "llama", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 32768},
    "mixtral-8x7b": {"arch": "llama", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 32000, "X": 8, "U": 2, "XF": 14336},
    "deci-49b": {"arch": "deci", "L": 80, "E": 8192, "H": [0 if 42 <= i < 70 and i % 3 else 64 for i in range(80)],
                 "KV": [0 if 42 <= i < 70 and i % 3 else 8 for i in range(80)], "D": 128, "V": 128256,
                 "F": [14336 if i % 7 == 3 else 28672 for i in range(80)]},
    "llama4-scout": {"arch": "llama4", "L": 48, "E": 5120, "H": 40, "KV": 8, "D": 128, "F": 16384, "V": 202048, "X": 16, "U": 1, "XF": 8192, "SF": 8192,
                     "step": 1},
    "llama4-maverick": {"arch": "llama4", "L": 48, "E": 5120, "H": 40, "KV": 8, "D": 128, "F": 16384, "V": 202048, "X": 128, "U": 1, "XF": 8192,
                        "SF": 8192, "step": 2},
    "mistral-small3.1": {"arch": "mistral3", "L": 40, "E": 5120, "H": 32, "KV": 8, "D": 128, "F": 32768, "V": 131072},
    "qwen2.5-7b": {"arch": "qwen2", "L": 28, "E": 3584, "H": 28, "KV": 4, "D": 128, "F": 18944, "V": 152064, "qkv_bias": True},
    "qwen2.5-32b": {"arch": "qwen2", "L": 64, "E": 5120, "H": 40, "KV": 8, "D": 128, "F": 27648, "V": 152064, "qkv_bias": True},
    "qwen1.5-moe": {"arch": "qwen2moe", "L": 24, "E": 2048, "H": 16, "KV": 16, "D": 128, "F": 5632, "V": 151936, "X": 60, "U": 4, "XF": 1408, "SF": 5632,
                    "qkv_bias": True},
    "qwen3-0.6b": {"arch": "qwen3", "L": 28, "E": 1024, "H": 16, "KV": 8, "D": 128, "F": 3072, "V": 151936, "tied": True},
    "qwen3-14b": {"arch": "qwen3", "L": 40, "E": 5120, "H": 40, "KV": 8, "D": 128, "F": 17408, "V": 151936},
    "qwen3-30b-a3b": {"arch": "qwen3moe", "L": 48, "E": 2048, "H": 32, "KV": 4, "D": 128, "F": 6144, "V": 151936, "X": 128, "U": 8, "XF": 768},
    "qwen3-next-80b": {"arch": "qwen3next", "L": 48, "E": 2048, "H": 16, "KV": 2, "D": 256, "F": 5120, "V": 151936, "X": 512, "U": 10, "XF": 512, "SF": 512,
                       "ssm": dict(QWEN_SSM, inner=4096, rank=32), "interval": 4, "rot": 64},
    "qwen3.5-27b": {"arch": "qwen35", "L": 64, "E": 5120, "H": 24, "KV": 4, "D": 256, "F": 17408, "V": 248320, "ssm": dict(QWEN_SSM, inner=6144, rank=48),
                    "interval": 4, "rot": 64},
    "gemma2-9b": {"arch": "gemma2", "L": 42, "E": 3584, "H": 16, "KV": 8, "D": 256, "F": 14336, "V": 256000, "W": 4096, "tied": True},
    "gemma3-4b": {"arch": "gemma3", "L": 34, "E": 2560, "H": 8, "KV": 4, "D": 256, "F": 10240, "V": 262208, "W": 1024, "tied": True},
    "gemma3-27b": {"arch": "gemma3", "L": 62, "E": 5376, "H": 32, "KV": 16, "D": 128, "F": 21504, "V": 262208, "W": 1024, "tied": True},
    "gemma3n-e4b": {"arch": "gemma3n", "L": 35, "E": 2048, "H": 8, "KV": 2, "D": 256, "F": 16384, "V": 262144, "W": 512, "tied": True, "altup": 4,
                    "laurel": 64, "per_layer": 256},
    "gemma4-e4b": {"arch": "gemma4", "L": 42, "E": 2560, "H": 8, "KV": 2, "D": 512, "D_window": 256, "F": 10240, "V": 262144, "W": 512, "tied": True,
                   "per_layer": 256,
                   "shared_kv": 18},
    "gemma4-31b": {"arch": "gemma4", "L": 60, "E": 5376, "H": 32, "KV": [4 if i % 6 == 5 else 16 for i in range(60)], "D": 512, "D_window": 256,
                   "F": 21504, "V": 262144,
                   "W": 1024, "tied": True, "per_layer": 0, "k_is_v": True},
    "gpt-oss-20b": {"arch": "gpt-oss", "L": 24, "E": 2880, "H": 64, "KV": 8, "D": 64, "F": 2880, "V": 201088, "X": 32, "U": 4, "XF": 2880, "W": 128},
    "gpt-oss-120b": {"arch": "gpt-oss", "L": 36, "E": 2880, "H": 64, "KV": 8, "D": 64, "F": 2880, "V": 201088, "X": 128, "U": 4, "XF": 2880, "W": 128},
    "phi4-14b": {"arch": "phi3", "L": 40, "E": 5120, "H": 40, "KV": 10, "D": 128, "F": 17920, "V": 100352},
    "phi3-mini": {"arch": "phi3", "L": 32, "E": 3072, "H": 32, "KV": 32, "D": 96, "F": 8192, "V": 32064, "W": 2047},
    "command-r7b": {"arch": "cohere2", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 256000, "W": 4096, "tied": True},
    "command-r-35b": {"arch": "command-r", "L": 40, "E": 8192, "H": 64, "KV": 64, "D": 128, "F": 22528, "V": 256000, "tied": True},
    "deepseek-v2-lite": {"arch": "deepseek2", "L": 27, "E": 2048, "H": 16, "F": 10944, "V": 102400, "X": 64, "U": 6, "XF": 1408, "shared": 2, "lead": 1,
                         "nope": 128, "rope": 64, "value": 128, "kv_rank": 512, "absorbed": True},
    "deepseek-r1": {"arch": "deepseek2", "L": 61, "E": 7168, "H": 128, "F": 18432, "V": 129280, "X": 256, "U": 8, "XF": 2048, "shared": 1, "lead": 3,
                    "nope": 128, "rope": 64, "value": 128, "kv_rank": 512, "q_rank": 1536, "absorbed": True},
    "deepseek-r1-old": {"arch": "deepseek2", "L": 61, "E": 7168, "H": 128, "F": 18432, "V": 129280, "X": 256, "U": 8, "XF": 2048, "shared": 1, "lead": 3,
                        "nope": 128, "rope": 64, "value": 128, "kv_rank": 512, "q_rank": 1536, "absorbed": False},
    "minicpm3-4b": {"arch": "minicpm3", "L": 62, "E": 2560, "H": 40, "F": 6400, "V": 73448, "nope": 64, "rope": 32, "value": 64, "kv_rank": 256, "q_rank": 768},
    "glm4-9b": {"arch": "glm4", "L": 40, "E": 4096, "H": 32, "KV": 2, "D": 128, "F": 13696, "V": 151552, "qkv_bias": True, "rot": 64},
    "glm4.5-air": {"arch": "glm4moe", "L": 47, "E": 4096, "H": 96, "KV": 8, "D": 128, "F": 10944, "V": 151552, "X": 128, "U": 8, "XF": 1408, "SF": 1408,
                   "lead": 1, "nextn": 1,
                   "qkv_bias": True, "rot": 64},
    "mamba-2.8b": {"arch": "mamba", "L": 64, "E": 2560, "V": 50280, "ssm": {"conv": 4, "inner": 5120, "state": 16, "rank": 160}, "tied": True, "quant": "F16"},
    "mamba-codestral-7b": {"arch": "mamba2", "L": 64, "E": 4096, "V": 32768, "ssm": {"conv": 4, "inner": 8192, "state": 128, "rank": 128, "groups": 8}},
    "jamba-mini": {"arch": "jamba", "L": 32, "E": 4096, "H": 32, "KV": _at(32, (4, 12, 20, 28), 8), "D": 128, "F": 14336, "V": 65536, "X": 16, "U": 2,
                   "ssm": {"conv": 4, "inner": 8192, "state": 16, "rank": 256}},
    "nemotron-nano-9b-v2": {"arch": "nemotron_h", "L": 56, "E": 4480, "H": 40, "KV": _pattern(NEMOTRON_NANO_9B, {"*": 8}), "D": 128,
                            "F": _pattern(NEMOTRON_NANO_9B, {"-": 15680}), "V": 131072,
                            "ssm": {"conv": 4, "inner": 10240, "state": 128, "rank": 128, "groups": 8}},
    "nemotron-3-nano-30b": {"arch": "nemotron_h_moe", "L": 52, "E": 2688, "H": 32, "KV": _pattern(NEMOTRON_NANO_30B, {"*": 2}), "D": 128,
                            "F": _pattern(NEMOTRON_NANO_30B, {"E": 1856}), "V": 131072, "X": 128, "U": 6, "XF": 1856, "SF": 3712,
                            "ssm": {"conv": 4, "inner": 4096, "state": 128, "rank": 64, "groups": 8}},
    "falcon-h1-7b": {"arch": "falcon-h1", "L": 44, "E": 3072, "H": 12, "KV": 2, "D": 128, "F": 12288, "V": 130048,
                     "ssm": {"conv": 4, "inner": 3072, "state": 256, "rank": 24, "groups": 1}},
    "granite4-small": {"arch": "granitehybrid", "L": 40, "E": 4096, "H": 32, "KV": _at(40, (5, 15, 25, 35), 8), "D": 128, "F": 768, "V": 100352, "X": 72,
                       "U": 10, "XF": 768,
                       "SF": 1536, "ssm": {"conv": 4, "inner": 8192, "state": 128, "rank": 128, "groups": 1}, "tied": True},
    "granite3.3-8b": {"arch": "granite", "L": 40, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 12800, "V": 49159, "tied": True},
    "granite3.1-moe-3b": {"arch": "granitemoe", "L": 32, "E": 1536, "H": 24, "KV": 8, "D": 64, "F": 512, "V": 49155, "X": 40, "U": 8, "XF": 512, "tied": True},
    "lfm2-1.2b": {"arch": "lfm2", "L": 16, "E": 2048, "H": 32, "KV": _at(16, (2, 5, 8, 10, 12, 14), 8), "D": 64, "F": 8192, "V": 65536, "conv_cache": 3,
                  "tied": True},
    "lfm2-8b-a1b": {"arch": "lfm2moe", "L": 24, "E": 2048, "H": 32, "KV": _at(24, (2, 6, 10, 14, 18, 21), 8), "D": 64, "F": 7168, "V": 65536,
                    "conv_cache": 3, "tied": True,
                    "X": 32, "U": 4, "XF": 1792, "lead": 2},
    "olmo2-13b": {"arch": "olmo2", "L": 40, "E": 5120, "H": 40, "KV": 40, "D": 128, "F": 13824, "V": 100352},
    "starcoder2-15b": {"arch": "starcoder2", "L": 40, "E": 6144, "H": 48, "KV": 4, "D": 128, "F": 24576, "V": 49152, "qkv_bias": True},
    "exaone4-32b": {"arch": "exaone4", "L": 64, "E": 5120, "H": 40, "KV": 8, "D": 128, "F": 27392, "V": 102400, "W": 4096},
    "smollm3-3b": {"arch": "smollm3", "L": 36, "E": 2048, "H": 16, "KV": 4, "D": 128, "F": 11008, "V": 128256, "tied": True},
    "seed-oss-36b": {"arch": "seed_oss", "L": 64, "E": 5120, "H": 80, "KV": 8, "D": 128, "F": 27648, "V": 155136, "qkv_bias": True},
    "hunyuan-a13b": {"arch": "hunyuan-moe", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 3072, "V": 128167, "X": 64, "U": 8, "XF": 3072,
                     "SF": 3072, "tied": True},
    "qwen3-vl-8b": {"arch": "qwen3vl", "L": 36, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 12288, "V": 151936, "deepstack": 3},
    "qwen3-vl-30b-a3b": {"arch": "qwen3vlmoe", "L": 48, "E": 2048, "H": 32, "KV": 4, "D": 128, "F": 6144, "V": 151936, "X": 128, "U": 8, "XF": 768,
                         "deepstack": 3},
    "phi2": {"arch": "phi2", "L": 32, "E": 2560, "H": 32, "KV": 32, "D": 80, "F": 10240, "V": 51200, "qkv_bias": True, "rot": 32},
}

# Models that were not looked at when the graphs were written: the product is compared with them, nothing was changed until it had been.
HELD_OUT = {
    "llama3.1-405b": {"arch": "llama", "L": 126, "E": 16384, "H": 128, "KV": 8, "D": 128, "F": 53248, "V": 128256},
    "gemma-7b": {"arch": "gemma", "L": 28, "E": 3072, "H": 16, "KV": 16, "D": 256, "F": 24576, "V": 256000, "tied": True},
    "gemma3-1b": {"arch": "gemma3", "L": 26, "E": 1152, "H": 4, "KV": 1, "D": 256, "F": 6912, "V": 262144, "W": 512, "tied": True},
    "gemma3-12b": {"arch": "gemma3", "L": 48, "E": 3840, "H": 16, "KV": 8, "D": 256, "F": 15360, "V": 262208, "W": 1024, "tied": True},
    "gemma4-26b-a4b": {"arch": "gemma4", "L": 30, "E": 2816, "H": 16, "KV": [2 if i % 6 == 5 else 8 for i in range(30)], "D": 512, "D_window": 256, "F": 2112,
                       "V": 262144, "W": 1024, "tied": True, "per_layer": 0, "k_is_v": True, "X": 128, "U": 8, "XF": 704},
    "qwen2.5-0.5b": {"arch": "qwen2", "L": 24, "E": 896, "H": 14, "KV": 2, "D": 64, "F": 4864, "V": 151936, "qkv_bias": True, "tied": True},
    "qwen3-235b-a22b": {"arch": "qwen3moe", "L": 94, "E": 4096, "H": 64, "KV": 4, "D": 128, "F": 12288, "V": 151936, "X": 128, "U": 8, "XF": 1536},
    "qwen3.5-35b-a3b": {"arch": "qwen35moe", "L": 40, "E": 2048, "H": 16, "KV": 2, "D": 256, "F": 5120, "V": 248320, "X": 256, "U": 8, "XF": 512, "SF": 512,
                        "ssm": dict(QWEN_SSM, inner=4096, rank=32), "interval": 4, "rot": 64},
    "deepseek-v3-groups": {"arch": "deepseek2", "L": 61, "E": 7168, "H": 128, "F": 18432, "V": 129280, "X": 256, "U": 8, "XF": 2048, "shared": 1, "lead": 3,
                           "nope": 128, "rope": 64, "value": 128, "kv_rank": 512, "q_rank": 1536, "absorbed": True, "expert_groups": (8, 4)},
    "granite4-h-1b": {"arch": "granitehybrid", "L": 40, "E": 1536, "H": 12, "KV": _at(40, (5, 15, 25, 35), 4), "D": 128, "F": 4096, "V": 100352,
                      "ssm": {"conv": 4, "inner": 3072, "state": 128, "rank": 48, "groups": 1}, "tied": True},
    "falcon-h1-34b": {"arch": "falcon-h1", "L": 72, "E": 5120, "H": 20, "KV": 4, "D": 128, "F": 21504, "V": 261120,
                      "ssm": {"conv": 4, "inner": 4096, "state": 256, "rank": 32, "groups": 2}},
    "internlm2-20b": {"arch": "internlm2", "L": 48, "E": 6144, "H": 48, "KV": 8, "D": 128, "F": 16384, "V": 92544},
    "olmoe-7b": {"arch": "olmoe", "L": 16, "E": 2048, "H": 16, "KV": 16, "D": 128, "F": 1024, "V": 50304, "X": 64, "U": 8, "XF": 1024},
    "phi3.5-moe": {"arch": "phimoe", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 6400, "V": 32064, "X": 16, "U": 2, "XF": 6400, "qkv_bias": True},
    "ernie4.5-21b-a3b": {"arch": "ernie4_5-moe", "L": 28, "E": 2560, "H": 20, "KV": 4, "D": 128, "F": 12288, "V": 103424, "X": 64, "U": 6, "XF": 1536,
                         "SF": 3072, "lead": 1, "tied": True},
    "command-r-plus": {"arch": "command-r", "L": 64, "E": 12288, "H": 96, "KV": 8, "D": 128, "F": 33792, "V": 256000, "tied": True, "wide_head_norms": True},
    "lfm2-2.6b": {"arch": "lfm2", "L": 30, "E": 2048, "H": 32, "KV": _at(30, (2, 5, 9, 13, 17, 21, 24, 27), 8), "D": 64, "F": 10752, "V": 65536,
                  "conv_cache": 3, "tied": True},
    "mamba2-130m": {"arch": "mamba2", "L": 24, "E": 768, "V": 50288, "ssm": {"conv": 4, "inner": 1536, "state": 128, "rank": 24, "groups": 1}, "tied": True,
                    "quant": "F16"},
    "minimax-m2": {"arch": "minimax-m2", "L": 62, "E": 3072, "H": 48, "KV": 8, "D": 128, "F": 1536, "V": 200064, "X": 256, "U": 8, "XF": 1536, "rot": 64},
    "dots1-142b": {"arch": "dots1", "L": 62, "E": 4096, "H": 32, "KV": 32, "D": 128, "F": 10944, "V": 152064, "X": 128, "U": 6, "XF": 1408, "SF": 2816,
                   "lead": 1},
    "nemotron-4-mini": {"arch": "nemotron", "L": 32, "E": 3072, "H": 24, "KV": 8, "D": 128, "F": 9216, "V": 256000, "rot": 64},
    "exaone3.5-7.8b": {"arch": "exaone", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 102400},
    "ernie4.5-0.3b": {"arch": "ernie4_5", "L": 18, "E": 1024, "H": 16, "KV": 2, "D": 128, "F": 3072, "V": 103424, "tied": True},
    "afm-4.5b": {"arch": "arcee", "L": 36, "E": 2560, "H": 20, "KV": 4, "D": 128, "F": 18432, "V": 128004},
    "hunyuan-7b": {"arch": "hunyuan-dense", "L": 32, "E": 4096, "H": 32, "KV": 8, "D": 128, "F": 14336, "V": 128167, "tied": True},
    "qwen2.5-vl-7b": {"arch": "qwen2vl", "L": 28, "E": 3584, "H": 28, "KV": 4, "D": 128, "F": 18944, "V": 152064, "qkv_bias": True},
    "deepseek-moe-16b": {"arch": "deepseek", "L": 28, "E": 2048, "H": 16, "KV": 16, "D": 128, "F": 10944, "V": 102400, "X": 64, "U": 6, "XF": 1408, "SF": 2816,
                         "lead": 1, "shared_experts": 2},
    "stablelm2-1.6b": {"arch": "stablelm", "L": 24, "E": 2048, "H": 32, "KV": 32, "D": 64, "F": 5632, "V": 100352, "qkv_bias": True, "rot": 16},
    "stablelm2-12b": {"arch": "stablelm", "L": 40, "E": 5120, "H": 32, "KV": 8, "D": 160, "F": 13824, "V": 100352, "rot": 40, "wide_head_norms": True},
    "exaone4-1.2b": {"arch": "exaone4", "L": 30, "E": 2048, "H": 32, "KV": 8, "D": 64, "F": 4096, "V": 102400, "W": 0, "tied": True},
}


def of_model(name):
    """Dimensions of a model of either group; KeyError for another name."""
    return MODELS.get(name) or HELD_OUT.get(name) or FURTHER[name]
