# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How a model is loaded: context, slots, batch and KV cache, as llama-server is told. Pure."""

from __future__ import annotations

import dataclasses
from typing import Optional

PADDING = 256  # cells; llama.cpp pads the cells of a stream to a multiple of this (src/llama-context.cpp)
DEFAULT_CACHE_TYPE = "f16"
HEADS = "draft-mtp"  # --spec-type: blocks of the model (or of its draft) that predict further tokens
DRAFT = "draft-simple"  # --spec-type: a smaller model of the same vocabulary


def pad(cells: int) -> int:
    """Round a number of cells up to a multiple of PADDING."""
    return -(-cells // PADDING) * PADDING


@dataclasses.dataclass(frozen=True)
class Load:
    """The settings of one load that decide how much memory it takes beside its weights.

    Attributes:
        context_length: tokens of one slot (one request). The engine is given context_length * parallel (`-c`).
        parallel: number of slots, the requests served at once (`-np`).
        ubatch: physical batch in tokens, as asked for (`-ub`). The engine takes `batch`.
        cache_type: type of the KV cache, a name of kv_cache.CACHE_TYPES (`-ctk`).
        cache_type_v: type of V where it is not that of K (`-ctv`); Ollama sets both alike.
        flash_attention: whether the engine uses it ("auto" counts as on: llama.cpp takes it where the device can).
        unified: whether the slots share one stream of the KV cache (`--kv-unified`). Ollama never passes it but lets
            LLAMA_ARG_KV_UNIFIED through. The shared cells are as many as the slots' own would be, and one slot may
            then use them all: the engine's n_ctx_seq becomes context_length * parallel (src/llama-context.cpp).
        outputs: rows of logits that the engine has room for, where those are less than the tokens of a batch; None =
            one for every token. What a release's engine has: `releases.release.Release.outputs`.
        embedding: whether the engine is told to embed (`--embedding`): its graph then ends before the logits.
        op_offload: whether the first device computes large batches for the weights on the host, on copies of them.
            CUDA does unless --no-op-offload is given (ggml-cuda.cu `ggml_backend_cuda_device_offload_op`); a device
            without that function (RPC) does not.
        speculation: who proposes further tokens (`--spec-type`): HEADS, DRAFT, another of llama.cpp's names; None =
            nobody.
        drafted: most tokens that are proposed at once for a slot (`--spec-draft-n-max`).
    """

    context_length: int
    parallel: int = 1
    ubatch: int = 512
    cache_type: str = DEFAULT_CACHE_TYPE
    cache_type_v: Optional[str] = None
    flash_attention: bool = True
    unified: bool = False
    outputs: Optional[int] = None
    embedding: bool = False
    op_offload: bool = False
    speculation: Optional[str] = None
    drafted: int = 0

    @property
    def total_context(self) -> int:
        """Tokens of all slots together."""
        return self.context_length * self.parallel

    @property
    def streams(self) -> int:
        """Number of streams of the KV cache: one per slot, or one for all."""
        return 1 if self.unified else self.parallel

    @property
    def cells(self) -> int:
        """Cells of one stream in a layer with full attention."""
        return pad(self.total_context // self.streams)

    @property
    def batch(self) -> int:
        """Tokens of a batch: never more than the cells of all streams (src/llama-context.cpp)."""
        return min(self.ubatch, self.cells * self.streams)

    @property
    def value_type(self) -> str:
        """Type of the V cache."""
        return self.cache_type_v or self.cache_type
