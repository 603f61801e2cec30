# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model as the user wants it: what ask/ makes of an entry of the list of models. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union

from ..common.sizes import GIB
from ..memory.load import DEFAULT_CACHE_TYPE
from ..model.schema import ModelFacts

#: The strategy that decides between the others.
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A model as the user wants it, checked and with the defaults filled in.

    Attributes:
        name: as the user wrote it.
        create_as: name of the optimized model that is created from it and served; no two models of a plan share it.
        facts: the model's facts.
        context_length: tokens of one slot; with `auto_context` those to begin with.
        auto_context: whether the context grows to the largest that fits.
        parallel: number of slots.
        one_at_a_time: whether this Ollama version gives the model one slot whatever is asked for.
        kv_cache_type: None = Ollama's default.
        flash_attention: forced on or off, or None = the engine decides.
        ubatch: tokens of a batch, or None = Ollama chooses.
        strategy: one of STRATEGIES.
        replicas: number of instances, or None = the strategy's default.
        cpu_experts: the first layers whose experts stay on the host: a number, "all", or None.
        headroom_bytes: what stays free on every GPU that serves the model.
        resident: whether it stays loaded; one that does not is loaded by the first request and keeps no memory.
        keep_alive: seconds (negative = for ever), or a duration as text.
        digest: the manifest's digest to insist on, or None.
        parameters: parameters of the Modelfile, without those that have a field of their own here.
        num_gpu: number of layers that the user puts on GPUs, or None.
        speculative: who is to propose further tokens, as the user says (ask/speculative.py), or None.
        draft_name: name of the model whose file becomes the draft model (its facts are `facts.draft`), or None.
        drafted: draft_num_predict, the most tokens that are proposed at once, of the user or the model; None = not set.
        system, template: of the Modelfile.
        aliases: further names that clients use, as /api/tags shows them.
        source: the file of the user that it comes from, as a plan tells it; None for a model of a registry.
        adapters: its LoRA adapters, as a plan tells them; their facts are `facts.adapters`.
        refresh: whether the model of the facts replaces another one that the host has under the name.
    """

    name: str
    create_as: str
    facts: ModelFacts
    context_length: int
    auto_context: bool = False
    parallel: int = 1
    one_at_a_time: bool = False
    kv_cache_type: Optional[str] = None
    flash_attention: Optional[bool] = None
    ubatch: Optional[int] = None
    strategy: str = AUTO
    replicas: Optional[int] = None
    allow_cpu_offload: bool = False
    cpu_experts: Union[int, str, None] = None
    headroom_bytes: int = GIB
    resident: bool = True
    keep_alive: Union[int, str] = -1
    insecure: bool = False
    digest: Optional[str] = None
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    num_gpu: Optional[int] = None
    speculative: Optional[str] = None
    draft_name: Optional[str] = None
    drafted: Optional[int] = None
    system: Optional[str] = None
    template: Optional[str] = None
    aliases: tuple[str, ...] = ()
    refresh: bool = False
    source: Optional[dict[str, Any]] = None
    adapters: tuple[dict[str, Any], ...] = ()

    @property
    def cache_type(self) -> str:
        """Type of the KV cache that the engine uses."""
        return self.kv_cache_type or DEFAULT_CACHE_TYPE
