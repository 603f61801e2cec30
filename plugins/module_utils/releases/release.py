# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The Ollama release that is planned for: one face for all eras of releases/."""

from __future__ import annotations

from ..placement.errors import PlacementError
from . import engine_start, faults, settings, v0_30, versions
from .before_0_30 import common_rules

DEFAULT_BATCH = 512  # every release before 0.30, where the request names none
# The releases whose rules were read and compared with recordings; an era ends where the next one's first version begins.
OLDEST_CHECKED = (0, 5, 13)
NEWEST_CHECKED = (0, 32, 15)
LEAST_CAPABILITY = (
    5,
    0,
)  # discover/gpu.go (CudaComputeMajorMin) to 0.12.10; from 0.13 on what the CUDA library is built for


class Release:
    """One Ollama version.

    Args:
        version: text such as "0.32.15".

    Attributes:
        numbers: tuple of three integers; era: module of releases/; engine: the program that holds a model;
        engine_splits: whether llama.cpp deals the layers (0.30 and later), so that LLAMA_ARG_* and a forced num_gpu
        act on it.

    Raises:
        PlacementError: not a version, or one before all eras.
    """

    def __init__(self, version):
        try:
            self.numbers = versions.parse_version(version)
        except ValueError as error:
            raise PlacementError(str(error))
        self.version = str(version).strip().lstrip("v")
        self.era = versions.era_for(version)
        if self.era is None:
            raise PlacementError(
                "The placement rules of Ollama %s are not known to this collection; use a later release." % version
            )
        self.engine_splits = self.era is v0_30
        self.engine = "llama-server" if self.engine_splits else "ollama runner"
        self.effects = versions.effects(version)

    def decide(self, model, gpus, options=None, environment=None, beside_others=False):
        """What this release does with one load, see `v0_30.decide`.

        Args:
            beside_others: whether other models are loaded, which a release before 0.30 would rather unload than divide
                this one between GPUs and CPU; `gpus` then have the memory that those leave.
        """
        return self.era.decide(
            model, gpus, options, environment, residents=[{}] if beside_others else None, version=self.numbers
        )

    def unchecked(self):
        """A sentence where the rules of this very release were not read, or None."""
        if self.numbers > NEWEST_CHECKED:
            return (
                "Ollama %s is newer than the releases whose placement this collection has checked; it is planned by the rules of %s, and "
                "placement_check tells whether they still hold." % (self.version, settings.version_text(NEWEST_CHECKED))
            )
        if self.numbers < OLDEST_CHECKED:
            return (
                "Ollama %s is older than the releases whose placement this collection has checked; it is planned by the rules of %s: "
                "better use a later release." % (self.version, settings.version_text(OLDEST_CHECKED))
            )
        return None

    def flash(self, wanted, gpus):
        """What the engine is told of flash attention for a model on these GPUs: "on", "off" or "auto". The user's word counts."""
        if wanted["flash_attention"] is not None:
            return "on" if wanted["flash_attention"] else "off"
        return engine_start.flash_attention(gpus, {}, self.numbers) if self.engine_splits else "auto"

    def batch(self, wanted, free, context_length, flash="auto"):
        """(tokens of a batch, surcharge in bytes): the user's, or what this release chooses with `free` bytes per GPU."""
        if not self.engine_splits:
            return wanted["ubatch"] or min(DEFAULT_BATCH, context_length), 0
        total = context_length * wanted["parallel"]
        return v0_30.batch_of(
            wanted["facts"], wanted["ubatch"], context_length, total, [{"free_bytes": size} for size in free], flash
        )

    def serial(self, facts):
        """Whether this release serves a model one request at a time whatever is asked for."""
        if not self.engine_splits:
            return common_rules.serial(facts.architecture, self.numbers) or v0_30.embeds(facts)
        return v0_30.slots(facts, {"OLLAMA_NUM_PARALLEL": "2"}) == 1

    def evicts(self, wanted, free, context_length):
        """Whether 0.30 or later would unload the models that are loaded to load another, with `free` bytes left per GPU.

        What an earlier release would do is confirm.evicts.
        """
        needed = (
            v0_30.predicted_bytes(wanted["facts"], context_length * wanted["parallel"])
            + self.batch(wanted, free, context_length)[1]
        )
        return v0_30.evicts(needed, [{"free_bytes": size} for size in free], wanted["facts"], {}, {})

    def refused_gpu(self, compute_capability, driver_version):
        """Why this release leaves a GPU out, or None."""
        if not self.engine_splits:
            if compute_capability and tuple(compute_capability) < LEAST_CAPABILITY:
                return "Ollama needs compute capability %d.%d, it has %s" % (
                    LEAST_CAPABILITY + (".".join(str(part) for part in compute_capability),)
                )
            return None
        return v0_30.refused_gpu(self.numbers, compute_capability, driver_version)

    def faults(self):
        """Known faults of this release's placement: list of {name, text, remedy}."""
        return faults.known_faults(self.numbers)
