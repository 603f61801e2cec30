# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What an architecture does that its tensors do not show. Pure.

Most of a graph follows from the tensors of its blocks; this table has the rest, from `graph` in llama.cpp
src/models/ARCHITECTURE.cpp.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Sequence, Set, Tuple, Union

from ...model import architecture
from ...model.schema import ModelFacts
from .kinds import Kind

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
NORM_NOT_READ = (
    "qwen2moe",
    "llama4",
    "jamba",
) + architecture.GPT_OSS  # the header's word on norming experts is not read
LATE_OUTPUTS = ("gemma3n",)  # the rows that are wanted are picked after the last block, not inside it
# Blocks without rotary positions: "full" those that are not windowed, a number n every n-th, "all" every block.
NO_POSITIONS: Dict[str, Union[str, int]] = {
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
ROTATED_BAICHUAN = 32  # blocks of the 7B; others add a bias to the scores instead (src/models/baichuan.cpp)
# Mixer (0), feed-forward part (1) and what came in (2), in the order in which a block adds them; the first two may be
# written over. Others than command-r's order (src/models/falcon.cpp, phi2.cpp).
PARALLEL_ORDER = {"falcon": (1, 0, 2), "phi2": (0, 1, 2)}
PLACES_ADDED = ("starcoder", "gpt2")  # positions are added to the token embeddings instead
# Whether what came in is the first term of the sum: after the mixer, after the feed-forward part.
RESIDUAL_FIRST = {"phi3": (False, True), "jamba": (True, True), "lfm2": (True, True), "lfm2moe": (True, True)}
# Architectures whose graphs were compared with the engine's (tests/oracle/engine-table.jsonl); others are estimated.
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


@dataclasses.dataclass(frozen=True)
class Traits:
    """What the builders ask of an architecture.

    Attributes:
        known: whether the graphs of the architecture were compared with the engine's.
        layer_norm: layer norms instead of root-mean-square norms.
        bare_norms: norms without weights.
        norm_bias: norms with a bias.
        encoder: every token sees every other one, and nothing is cached.
        scaled_input: the token embeddings are scaled.
        residual_scaled: what a part of a block made is scaled before it is added.
        softcap: the scores of attention are capped.
        windowed: the model has windowed layers.
        values_normed: V is normed.
        norm_after_rope: q and k are normed after their rotation.
        norm_without_weights: q and k are normed without weights, after their rotation.
        residual_first: whether what came in is the first term of the sum after the mixer, and of the one after the
            feed-forward part.
        queries_scaled: q is scaled.
        scaled_queries: q of blocks without positions is scaled by the position's temperature.
        gated_queries: q has a gate beside every head.
        repeats_keys: a delta net repeats its keys for every head.
        parallel: mixer and feed-forward part work on the same input, and their results are added.
        parallel_order: order of that sum, as PARALLEL_ORDER says.
        post_norms: norms after the parts of a block.
        squared: the feed-forward part squares its activation.
        gating: of the experts: softmax, sigmoid, or late (softmax over the chosen ones).
        normed_experts: the weights of the chosen experts are normed.
        weighs_before: experts are weighed before they are computed.
        shared_first: the shared expert is computed before the others.
        shared_gate_first: the gate of the shared expert is computed before it.
        places_added: positions are added to the token embeddings.
        no_positions: blocks without rotary positions, as NO_POSITIONS names them.
        outputs_late: the rows of the output are picked after the last block, not inside it.
        keeps_last: what the last block made is an output as well.
        scaled_output: the result is scaled before the output layer.
        altup: several versions of the residual stream (gemma3n).
        per_layer: an embedding per layer.
        gemma4: blocks of gemma4.
    """

    known: bool
    layer_norm: bool
    bare_norms: bool
    norm_bias: bool
    encoder: bool
    scaled_input: bool
    residual_scaled: bool
    softcap: bool
    windowed: bool
    values_normed: bool
    norm_after_rope: bool
    norm_without_weights: bool
    residual_first: Tuple[bool, bool]
    queries_scaled: bool
    scaled_queries: bool
    gated_queries: bool
    repeats_keys: bool
    parallel: bool
    parallel_order: Tuple[int, int, int]
    post_norms: bool
    squared: bool
    gating: str
    normed_experts: bool
    weighs_before: bool
    shared_first: bool
    shared_gate_first: bool
    places_added: bool
    no_positions: Union[str, int, None]
    outputs_late: bool
    keeps_last: bool
    scaled_output: bool
    altup: bool
    per_layer: bool
    gemma4: bool


def traits_of(model: ModelFacts, kinds: Sequence[Optional[Kind]]) -> Traits:
    """The traits of a model.

    Args:
        model: the ModelFacts.
        kinds: the tensors of its blocks (kinds.kinds_of).
    """
    name = model.architecture
    present: Set[str] = set()
    for kind in kinds:
        if kind:
            present.update(kind)

    def hyper(key):
        return architecture.hyperparameter(model, key)

    return Traits(
        known=name in KNOWN,
        layer_norm=name in LAYER_NORM,
        bare_norms=name == "olmo",
        norm_bias="attn_norm.bias" in present,
        encoder=name in architecture.UNCACHED,
        scaled_input=name.startswith("gemma") or bool(hyper("embedding_scale")) or name in ("minicpm", "minicpm3"),
        residual_scaled=name in ("minicpm", "minicpm3"),
        softcap=bool(hyper("attn_logit_softcapping")),
        windowed=architecture.window_tokens(model) is not None,
        values_normed=name in ("gemma3n", "gemma4"),
        norm_after_rope=name.startswith("hunyuan"),
        norm_without_weights=name == "llama4" and (model.expert_count or 0) != 128,
        residual_first=RESIDUAL_FIRST.get(name, (False, False)),
        queries_scaled=name in ("phi2", "phi3", "gemma2", "gemma3"),
        scaled_queries=name == "llama4",
        gated_queries=name in ("qwen3next", "qwen35", "qwen35moe"),
        repeats_keys=name == "qwen3next",
        parallel=_is_parallel(name, present),
        parallel_order=PARALLEL_ORDER.get(name, (1, 2, 0)),
        post_norms=_has_post_norms(name, present),
        squared=name.startswith("nemotron") or name == "arcee",
        gating=_gating(name, hyper("expert_gating_func")),
        normed_experts=_normed_experts(name, hyper("expert_weights_norm")),
        weighs_before=name == "llama4",
        shared_first=name.startswith("hunyuan"),
        shared_gate_first=name == "qwen2moe",
        places_added=name in PLACES_ADDED,
        no_positions="all" if name == "baichuan" and model.block_count != ROTATED_BAICHUAN else NO_POSITIONS.get(name),
        outputs_late=name in LATE_OUTPUTS,
        keeps_last=name in architecture.GPT_OSS,
        scaled_output=name == "minicpm3",
        altup="altup_router.weight" in present,
        per_layer="inp_gate.weight" in present,
        gemma4=name == "gemma4" or "layer_output_scale.weight" in present,
    )


def _gating(name: str, function: Any) -> str:
    """How the weights of experts are made; the header's number, where it has one, and what architectures fix."""
    if name in architecture.GPT_OSS:
        return "late"
    if name in SIGMOID:
        return "sigmoid"
    return {2: "sigmoid", 3: "late"}.get(function) or "softmax"


def _normed_experts(name: str, said: Any) -> bool:
    """Whether the weights of the chosen experts are normed; `said`: what the header says, or None."""
    if said is None or name in NORM_NOT_READ or name in NORMED_EXPERTS:
        return name in NORMED_EXPERTS
    return bool(said)


def _has_post_norms(name: str, present: Set[str]) -> bool:
    if name in ("bert", "nomic-bert"):
        return False
    return "post_ffw_norm.weight" in present or {"post_attention_norm.weight", "ffn_norm.weight"} <= present


def _is_parallel(name: str, present: Set[str]) -> bool:
    return (
        {"attn_norm.weight", "ffn_down.weight"} <= present
        and not present & {"ffn_norm.weight", "ffn_norm", "post_attention_norm.weight"}
        and not name.startswith("nemotron_h")
    )
