# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Proposed tokens (--spec-type draft-mtp): what the model and what proposes hold on each device, from recorded rows.

llama-server makes a second context for what proposes, and loads a draft model for it (--spec-draft-model) where the
heads are not the model's own. speculation-rows.json has both tables of its dry run, written by
`python -m tests.oracle.record rig`.
"""

from __future__ import annotations

from tests.rig.engine import sizes

ROWS = "speculation-rows.json"
MIB = sizes.MIB


class Proposing:
    """What proposes tokens: `header` of its file, whether that file is a `draft` model, and its `load`."""

    def __init__(self, header, draft):
        self.header, self.draft, self.load = header, draft, None

    def held(self, number):
        """Bytes that it adds on a device: the weights of the model's own heads are the model's."""
        part = self.load.parts[number]
        return part.total if self.draft else part.kv + part.compute


def load_for(header, options, devices, gpu_layers, ratios):
    """The Load of a model for which `options.proposing` proposes tokens; that gets its own Load.

    Raises NotRecorded where there is no row.
    """
    if not devices or gpu_layers <= header.blocks:
        raise sizes.NotRecorded(
            "the rig has engine rows of proposed tokens for whole models only, not for %d of %d layers on %d GPUs"
            % (gpu_layers, header.blocks + 1, devices)
        )
    proposing = options.proposing
    model, draft = sizes.row_model(header), sizes.row_model(proposing.header) if proposing.draft else None
    flash = "off" if options.flash_attention == "off" else "on"
    wanted = (model, draft, options.drafted, options.ctx, options.cache_type_k, flash, options.ubatch, options.parallel)
    keys = ("model", "draft", "drafted", "n_ctx", "cache_type", "flash_attn", "n_ubatch", "n_parallel")
    places = sizes.assign(header.blocks + 1, ratios)
    for row in sizes.rows_of(ROWS):
        if tuple(row[key] for key in keys) != wanted or options.cache_type_k != options.cache_type_v:
            continue
        if len(row["tensor_split"]) == devices and sizes.assign(header.blocks + 1, row["tensor_split"]) == places:
            proposing.load = _load(row["draft_mib"], proposing.header, row["tensor_split"])
            return _load(row["mib"], header, row["tensor_split"])
    raise sizes.NotRecorded(
        "the rig has no recorded engine row for --spec-type %s of %s with %s, -c %d, -ub %d, -np %d, "
        "--spec-draft-n-max %d and a cache of %s on %d devices: add it to tests/oracle/rig_rows.py, and record it with "
        "'%s'"
        % (
            options.spec_type,
            header.path,
            options.draft or "its own heads",
            options.ctx,
            options.ubatch,
            options.parallel,
            options.drafted,
            options.cache_type_k,
            devices,
            sizes.RECORDER,
        )
    )


def _load(mib, header, ratios):
    """The Load of one table of a row."""
    devices, layers = len(ratios), header.blocks + 1
    places = sizes.assign(layers, ratios)
    figures = [[number * MIB for number in mib["RPC%d" % device]] for device in range(devices)]
    parts = [
        sizes.Part(*values, layers=places.count(device), kv_layers=places[:-1].count(device))
        for device, values in enumerate(figures)
    ]
    return sizes.Load(parts, sizes.Part(*(number * MIB for number in mib["Host"])), places, layers, True)
