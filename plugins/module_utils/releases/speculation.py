# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""When an Ollama release has its engine propose several tokens at once (speculative decoding). Pure.

Source: Ollama llm/llama_server.go `appendDraftArgs`, `hasMTPDraft`, `externalDraftType`, and server/routes.go
`modelOptions`, the same in all releases from 0.30.0 to 0.32.15. LLAMA_ARG_SPEC_* of the service would act as well and
are refused (common/refused_variables.py).
"""

from __future__ import annotations

import dataclasses
from typing import Optional

from ..common.service_variables import Version
from ..memory import speculation as memory
from ..memory.load import HEADS
from ..model.schema import ModelFacts
from .engine_table import NEWEST_READ

DEFAULT_TOKENS = 4  # of draft_num_predict (api/types.go `DefaultOptions`), where the model has a draft layer
DFLASH = "draft-dflash"
DFLASH_ARCHITECTURE = "dflash"
DFLASH_SINCE = (0, 32, 7)  # before, a draft of the architecture dflash is started like any other one
MOST_TOKENS_APART = 128  # of two vocabularies (llama.cpp common/speculative.cpp, SPEC_VOCAB_MAX_SIZE_DIFFERENCE)
# Ollama's own older files of these have their heads as tensors mtp.*, which its engine renames when it loads them.
_RENAMED = ("qwen35", "qwen35moe")

# Architectures whose heads the engine can run: the models of llama.cpp with a `graph_mtp` (libllama of build 11669).
WITH_HEADS = frozenset(
    """
    bailingmoe3 cohere2moe deepseek2 deepseek32 deepseek4 gemma4-assistant glm-dsa glm4moe glm5-next hy_v3 mimo2
    nemotron_h_moe qwen35 qwen35moe qwen3next qwen4exp step35
    """.split()
)


@dataclasses.dataclass(frozen=True)
class Speculation:
    """What the engine is told: `--spec-type` and `--spec-draft-n-max`; `kind` None = it proposes nothing."""

    kind: Optional[str] = None
    tokens: int = 0


NONE = Speculation()


def has_renamed_heads(model: ModelFacts) -> bool:
    """Whether a model's heads are tensors that Ollama's engine renames; their context is not predicted."""
    named = any(name.startswith("mtp.") for name in model.other_sizes or ())
    return model.architecture in _RENAMED and named and not memory.has_heads(model)


def can_speculate(model: ModelFacts) -> bool:
    """Whether Ollama has its engine speculate with this model, if draft_num_predict says so."""
    return model.draft is not None or memory.has_heads(model) or has_renamed_heads(model)


def speculation_of(model: ModelFacts, asked: Optional[int], version: Version) -> Speculation:
    """What a release from 0.30 on tells its engine.

    Args:
        model: the model's facts.
        asked: draft_num_predict of the request or of the model, or None where neither sets it.
        version: the Ollama version.
    """
    tokens = asked if asked is not None else DEFAULT_TOKENS if model.draft is not None else 0
    if tokens <= 0 or not can_speculate(model):
        return NONE
    if model.draft is not None and model.draft.architecture == DFLASH_ARCHITECTURE and version >= DFLASH_SINCE:
        return Speculation(DFLASH, tokens)
    return Speculation(HEADS, tokens)


def cannot_start(model: ModelFacts, found: Speculation) -> bool:
    """Whether the engine ends when it loads this draft: "failed to create MTP context".

    It asks the draft for heads that predict further tokens; seen with llama-server of build 11669.
    """
    return found.kind == HEADS and model.draft is not None and not memory.has_heads(model.draft)


def has_no_graph(model: ModelFacts, found: Speculation) -> bool:
    """Whether a model's own heads are to propose, and the engine has nothing that runs heads of its architecture."""
    return found.kind == HEADS and model.draft is None and model.architecture not in WITH_HEADS


def never_runs_heads(model: ModelFacts, version: Version) -> bool:
    """Whether the engine of a release that was read has nothing that runs the heads of a model.

    Its build is older than the one that WITH_HEADS was read in.
    """
    return model.draft is None and model.architecture not in WITH_HEADS and version <= NEWEST_READ


def refused_draft(model: ModelFacts, version: Version) -> Optional[str]:
    """Why the engine of a release from 0.30 on does not propose tokens with a model's draft model.

    Ollama never starts an ordinary small model (`draft-simple`): it says draft-dflash for the architecture dflash, and
    draft-mtp for all others (llm/llama_server.go `externalDraftType`). What the engine asks of both: llama.cpp
    common/speculative.cpp, `common_speculative_impl_draft_mtp` and `common_speculative_impl_draft_dflash`.

    Args:
        model: the model's facts, with those of its draft model.
        version: the Ollama version.

    Returns:
        Words without a full stop, or None.
    """
    draft = model.draft
    if draft is None:
        return None
    if draft.architecture == DFLASH_ARCHITECTURE:
        if version < DFLASH_SINCE:
            return "a draft model of the architecture dflash is started from Ollama %d.%d.%d on" % DFLASH_SINCE
    elif not memory.has_heads(draft):
        return (
            "it has no heads that predict further tokens (nextn_predict_layers), and its architecture is %s; Ollama "
            "starts no ordinary model as a draft model, only one with such heads (gemma4-assistant has them) or, from "
            "%d.%d.%d on, of the architecture dflash, which is made for the model"
            % ((draft.architecture,) + DFLASH_SINCE)
        )
    return _made_for_another(model, draft)


def _made_for_another(model: ModelFacts, draft: ModelFacts) -> Optional[str]:
    """Why a draft model cannot belong to a model: the sizes of their vocabularies or of what the heads are given."""
    ours, theirs = model.vocab_size, draft.vocab_size
    if ours and theirs and abs(ours - theirs) > MOST_TOKENS_APART:
        return "its vocabulary has %d tokens and that of the model %d, so it was made for another model" % (
            theirs,
            ours,
        )
    width = (draft.hyperparameters or {}).get("embedding_length_out") or draft.embedding_length
    if width and width != model.embedding_length:
        return "it takes states of %d values and the model has %d, so it was made for another model" % (
            width,
            model.embedding_length,
        )
    return None
