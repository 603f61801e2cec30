# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a longer context may and may not do to the predicted bytes of a device.

Weights and KV cache never shrink, nor does a device's total where the whole model is on devices. With layers on the
host the engine itself can take less for a longer context: its allocator takes the hole that fits best (ggml-alloc.c).
The product follows it, in the same rows.
"""

from __future__ import annotations

import collections

from ansible_collections.gpufleet.ollama.plugins.module_utils.memory import estimate
from ansible_collections.gpufleet.ollama.plugins.module_utils.memory.load import Load
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import record, table
from tests.oracle.engine.dimensions import HELD_OUT, MODELS

CASES = settings(max_examples=150, derandomize=True)
NAMES = st.sampled_from(sorted(MODELS) + sorted(HELD_OUT))
CONTEXTS = st.one_of(st.sampled_from([256, 2048, 8192, 32768]), st.integers(1, 262144))
MORE = st.one_of(st.sampled_from([1, 256, 4096]), st.integers(1, 131072))
SHARES = st.sampled_from([[1], [1, 1], [3, 1], [1, 2, 1]])
ATTENTION = st.sampled_from([("f16", True), ("q8_0", True), ("f16", False)])
SETTINGS = st.tuples(
    st.sampled_from([1, 2, 4]), st.sampled_from([512, 1024, 2048]), SHARES, ATTENTION, st.booleans()
)  # as devices() takes them


def devices(name, context, settings_, gpu_layers=None):
    """memory.estimate of a model of the oracle."""
    parallel, ubatch, shares, (cache_type, flash), unified = settings_
    load = Load(context, parallel, ubatch, cache_type, flash_attention=flash, unified=unified)
    return estimate.estimate(table.facts(name), shares, load, gpu_layers).devices


def lasting(device):
    """Bytes that stay whatever is computed."""
    return device.weight_bytes + device.kv_bytes


@CASES
@given(NAMES, CONTEXTS, MORE, SETTINGS)
def test_with_the_whole_model_on_devices_no_device_takes_less_for_more_context(name, context, more, rest):
    for before, after in zip(devices(name, context, rest), devices(name, context + more, rest)):
        assert lasting(before) + before.compute_bytes <= lasting(after) + after.compute_bytes


@CASES
@given(NAMES, CONTEXTS, MORE, SETTINGS, st.integers(0, 130))
def test_weights_and_kv_cache_never_shrink_however_many_layers_are_offloaded(name, context, more, rest, layers):
    for before, after in zip(devices(name, context, rest, layers), devices(name, context + more, rest, layers)):
        assert before.weight_bytes == after.weight_bytes
        assert before.kv_bytes <= after.kv_bytes


def test_where_the_engine_takes_less_for_more_context_so_does_the_product():
    asked = collections.defaultdict(list)
    for row in table.rows():
        if row["model"] in record.FALLING:
            question = {key: value for key, value in row.items() if key not in ("mib", "layers", "n_outputs_max")}
            if question in list(record.falling_sample(row["model"])):
                asked[row["model"]].append(row)
    assert set(asked) == set(record.FALLING)
    fell = set()
    for name, (shorter, longer) in asked.items():
        for (engine, ours, unused, unused_too), (engine_longer, ours_longer, unused, unused_too) in zip(
            table.devices(shorter), table.devices(longer)
        ):
            assert abs(sum(ours) - sum(engine)) < 3 and abs(sum(ours_longer) - sum(engine_longer)) < 3, name
            assert (sum(engine_longer) < sum(engine)) == (sum(ours_longer) < sum(ours)), name
            if sum(engine_longer) < sum(engine):
                fell.add(name)
    assert fell
