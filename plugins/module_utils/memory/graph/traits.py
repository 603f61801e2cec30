# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What an architecture does that its tensors do not show. Pure.

Most of a graph follows from the tensors of its blocks; this table holds the rest: llama.cpp src/models/ARCHITECTURE.cpp, `graph`.
"""

from __future__ import annotations

from .. import kv_cache

LAYER_NORM = (
    "command-r",
    "cohere2",
    "starcoder2",
    "starcoder",
    "gpt2",
    "gptneox",
    "falcon",
    "bloom",
    "mpt",
    "phi2",
    "stablelm",
    "nemotron",
    "olmo",
    "codeshell",
    "jais",
    "orion",
    "refact",
    "dbrx",
)
SIGMOID = ("llama4", "glm4moe", "lfm2moe", "nemotron_h_moe", "dots1", "bailingmoe2", "minimax-m2", "afmoe")
NORMED_EXPERTS = (
    "llama",
    "qwen3moe",
    "qwen3next",
    "qwen35moe",
    "granitemoe",
    "granite",
    "granitehybrid",
    "lfm2moe",
    "hunyuan-moe",
    "phimoe",
    "phi3",
    "ernie4_5-moe",
    "gemma4",
    "mistral3",
    "dbrx",
)
LATE_OUTPUTS = ("gemma3n",)  # the rows that are wanted are picked after the last block, not inside it
# Blocks without rotary positions: "full" those that are not windowed, a number n every n-th, "all" every block.
NO_POSITIONS = {
    "cohere2": "full",
    "exaone4": "full",
    "exaone-moe": "full",
    "llama4": 4,
    "smollm3": 4,
    "nemotron_h": "all",
    "nemotron_h_moe": "all",
    "jamba": "all",
    "starcoder": "all",
    "gpt2": "all",
    "bert": "all",
}
PLACES_ADDED = ("starcoder", "gpt2")  # positions are added to the token embeddings instead
# order of the sum after mixing, after feed-forward
RESIDUAL_FIRST = {"phi3": (False, True), "jamba": (True, True), "lfm2": (True, True), "lfm2moe": (True, True)}
# Architectures whose graphs were compared with the engine's (tests/oracle/engine-table.jsonl); any other one is estimated.
KNOWN = frozenset(
    (
        "arcee",
        "baichuan",
        "chatglm",
        "cohere2",
        "command-r",
        "dbrx",
        "deci",
        "deepseek",
        "deepseek2",
        "dots1",
        "ernie4_5",
        "ernie4_5-moe",
        "exaone",
        "exaone4",
        "falcon",
        "falcon-h1",
        "gemma",
        "gemma2",
        "gemma3",
        "gemma3n",
        "gemma4",
        "glm4",
        "glm4moe",
        "gpt-oss",
        "gptoss",
        "granite",
        "granitehybrid",
        "granitemoe",
        "hunyuan-dense",
        "hunyuan-moe",
        "internlm2",
        "jamba",
        "lfm2",
        "lfm2moe",
        "llama",
        "llama4",
        "mamba",
        "mamba2",
        "minicpm",
        "minicpm3",
        "minimax-m2",
        "mistral3",
        "nemotron",
        "nemotron_h",
        "nemotron_h_moe",
        "olmo",
        "olmo2",
        "olmoe",
        "phi2",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2moe",
        "qwen2vl",
        "qwen3",
        "qwen35",
        "qwen35moe",
        "qwen3moe",
        "qwen3next",
        "qwen3vl",
        "qwen3vlmoe",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder",
        "starcoder2",
    )
)


def traits_of(model, kinds):
    """The traits of a model as a dictionary; every name that the builders ask for is there."""
    name = model.architecture
    present = set()
    for kind in kinds:
        if kind:
            present.update(kind)

    def hyper(key):
        return kv_cache.hyperparameter(model, key)

    gating = {2: "sigmoid", 3: "late"}.get(hyper("expert_gating_func"))
    if name in ("gpt-oss", "gptoss"):
        gating = "late"
    elif name in SIGMOID:
        gating = "sigmoid"
    normed = hyper("expert_weights_norm")
    if normed is None or name in ("qwen2moe", "llama4", "jamba", "gpt-oss", "gptoss") or name in NORMED_EXPERTS:
        normed = name in NORMED_EXPERTS
    post_norms = (
        "post_ffw_norm.weight" in present or "post_attention_norm.weight" in present and ("ffn_norm.weight" in present)
    )
    if name in ("bert", "nomic-bert"):
        post_norms = False
    return {
        "known": name in KNOWN,
        "layer_norm": name in LAYER_NORM,
        "bare_norms": name == "olmo",  # norms without weights, which no tensor shows
        "encoder": name in kv_cache.UNCACHED,
        "norm_bias": "attn_norm.bias" in present,
        "scaled_input": name.startswith("gemma") or bool(hyper("embedding_scale")) or name in ("minicpm", "minicpm3"),
        "residual_scaled": name in ("minicpm", "minicpm3"),
        "softcap": bool(hyper("attn_logit_softcapping")),
        "windowed": kv_cache.window_tokens(model) is not None,
        "values_normed": name in ("gemma3n", "gemma4"),
        "norm_after_rope": name.startswith("hunyuan"),
        "norm_without_weights": name == "llama4" and (model.expert_count or 0) != 128,
        "residual_first": RESIDUAL_FIRST.get(name, (False, False)),
        "queries_scaled": name in ("phi2", "phi3", "gemma2", "gemma3"),
        "scaled_queries": name == "llama4",
        "gated_queries": name in ("qwen3next", "qwen35", "qwen35moe"),
        "repeats_keys": name == "qwen3next",
        "parallel": "attn_norm.weight" in present
        and "ffn_down.weight" in present
        and not present & {"ffn_norm.weight", "ffn_norm", "post_attention_norm.weight"}
        and not name.startswith("nemotron_h"),
        "attention_first": name == "phi2",  # order of the sum of the parallel parts
        "post_norms": post_norms,
        "squared": name.startswith("nemotron") or name == "arcee",
        "gating": gating or "softmax",
        "normed_experts": bool(normed),
        "weighs_before": name == "llama4",
        "shared_first": name.startswith("hunyuan"),
        "shared_gate_first": name == "qwen2moe",
        "places_added": name in PLACES_ADDED,
        "no_positions": NO_POSITIONS.get(name),
        "outputs_late": name in LATE_OUTPUTS,
        "keeps_last": name in ("gpt-oss", "gptoss"),  # what the last block made is an output as well
        "scaled_output": name == "minicpm3",
        "altup": "altup_router.weight" in present,
        "per_layer": "inp_gate.weight" in present,
        "gemma4": name == "gemma4" or "layer_output_scale.weight" in present,
    }
