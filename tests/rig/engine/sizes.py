# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The bytes of a load per device: recorded engine rows for large models, computed from the header for models below 1
GiB.

The rows (engine-rows.json, and further-rows.json with experts on the host) are those of llama-server of llama.cpp
build 11669, which keeps rows of logits for its slots only (`n_outputs_max`). The formulas for small models belong to
the rig. Their numbers (UNITS) come from loads of `tiny` and `small` by the same llama-server, over one to four devices
and with layers on the host.
"""

from __future__ import annotations

import json
import pkgutil
import re

MIB = 1024 * 1024
COMPUTED_BELOW = 1024 * MIB
#: bytes an element and elements a block of a KV cache type
CACHE = {
    "f32": (4.0, 1),
    "f16": (2.0, 1),
    "bf16": (2.0, 1),
    "q8_0": (34 / 32, 32),
    "q5_1": (24 / 32, 32),
    "q5_0": (22 / 32, 32),
    "q4_1": (20 / 32, 32),
    "q4_0": (18 / 32, 32),
    "iq4_nl": (18 / 32, 32),
}

EXPERT_TENSOR = re.compile(r"blk\.(\d+)\.ffn_(?:gate|up|down)_exps\.")  # of common/arg.cpp, with their biases

#: Width of a model -> its compute buffers without the mask of the attention, counted in tensors of one batch of that
#: width (4 * ubatch * width bytes). `one`: the only device. `first`, `middle`, `last`: of several, where `last_block`
#: is a last one with one block and the output. `helper`, `part`: the first device of a load that leaves layers on the
#: host, for whose weights it computes, and the others. `host`, `hosts`: the host of one device and of several; `cpu`:
#: of none.
UNITS = {
    64: dict(
        one=8.1, first=21.4, middle=12.3, last=12.3, last_block=7.3, helper=10, part=8, host=4.16, hosts=10.5, cpu=11.1
    ),
    768: dict(one=12, first=24, middle=15, last=15, last_block=7, helper=16, part=10, host=4, hosts=10, cpu=13),
}


#: The command that writes further-rows.json.
RECORDER = "python -m tests.oracle.record rig"


class NotRecorded(Exception):
    """There is no row for this load. The text names the command that records one."""


class Part:
    """What one device (or the host) holds, in bytes: model, kv, compute; and its layers (the output counts as one)."""

    def __init__(self, model=0.0, kv=0.0, compute=0.0, layers=0, kv_layers=0):
        self.model, self.kv, self.compute, self.layers, self.kv_layers = model, kv, compute, layers, kv_layers

    @property
    def total(self):
        return self.model + self.kv + self.compute


class Load:
    """A load: `parts` one per device, `host`, `layers` on GPUs of `of`, `recorded` (from a row).

    `places`: device of each layer that is on one, the last of `of` layers. `ranges`: bytes of each range of the file
    that stays on the host; together they are the weights of `host`.
    """

    def __init__(self, parts, host, places, of, recorded, ranges=()):
        self.parts, self.host, self.places, self.of, self.recorded = parts, host, list(places), of, recorded
        self.layers = len(self.places)
        self.ranges = list(ranges) or [host.model]

    @property
    def on_gpu(self):
        return sum(part.total for part in self.parts)


def cells(options):
    """KV cells of all sequences: each sequence padded to 256."""
    per_sequence = -(-options.ctx // max(1, options.parallel))
    return -(-per_sequence // 256) * 256 * max(1, options.parallel)


def assign(layers, ratios):
    """The default split of llama.cpp: the device of each of the `layers` last layers.

    By count: upper_bound(cumulative ratios, i / layers).
    """
    total, sums = sum(ratios), []
    for ratio in ratios:
        sums.append((sums[-1] if sums else 0.0) + ratio / total)
    return [
        next((d for d, top in enumerate(sums) if number / layers < top), len(ratios) - 1) for number in range(layers)
    ]


# --- recorded ------------------------------------------------------------------------------------


def _data(name, package="tests.rig.engine"):
    return json.loads(pkgutil.get_data(package, name))


def rows_of(name):
    """The recorded rows of a file."""
    return _data(name)["rows"]


def row_model(header):
    """Name of the recorded model with the same dimensions and weights as this header, or None."""
    for model in _data("models.json", "tests.rig.models").values():
        wanted = (
            model["architecture"],
            model["blocks"],
            model["width"],
            model["heads"],
            model["kv_heads"],
            model["vocabulary"],
            model["context"],
        )
        found = (
            header.architecture,
            header.blocks,
            header.width,
            header.heads,
            header.kv_heads,
            header.vocabulary,
            header.get("context_length"),
        )
        if "engine_rows" in model and wanted == found:
            return model["engine_rows"]
    return None


def _text_bytes(header):
    layers, output, embedding = header.layer_bytes()
    return sum(layers) + output + embedding


def expert_bytes(header, layers):
    """Bytes of the experts of each of the first `layers` layers (tensors that --n-cpu-moe keeps on the host)."""
    found = [0] * layers
    for name, _kind, _shape, size in header.tensors:
        match = EXPERT_TENSOR.match(name)
        if match and int(match.group(1)) < layers:
            found[int(match.group(1))] += size
    return found


def recorded(header, options, devices, ratios):
    """The recorded row of this load as a Load; NotRecorded if there is none.

    `ratios` are those of the split over `devices` GPUs.
    """
    model, flash = row_model(header), "off" if options.flash_attention == "off" else "on"
    layers = header.blocks + 1
    places = assign(layers, ratios)
    moved = options.experts_on_host(header)
    wanted = (model, options.ctx, options.cache_type_k, flash, options.ubatch, options.parallel, moved)
    for row in rows_of("further-rows.json" if moved else "engine-rows.json"):
        found = tuple(row[key] for key in ("model", "n_ctx", "cache_type", "flash_attn", "n_ubatch", "n_parallel"))
        if found + (row.get("n_cpu_moe", 0),) != wanted or options.cache_type_k != options.cache_type_v:
            continue
        if len(row["tensor_split"]) != devices or assign(layers, row["tensor_split"]) != places:
            continue
        values = [
            [number * MIB for number in row["mib"][name]] for name in ["RPC%d" % d for d in range(devices)] + ["Host"]
        ]
        if abs(sum(value[0] for value in values) - _text_bytes(header)) > 8 * MIB:
            continue  # same dimensions, other quantization
        parts = [Part(*values[d], layers=places.count(d), kv_layers=places[:-1].count(d)) for d in range(devices)]
        host, experts = Part(*values[-1]), expert_bytes(header, moved)
        return Load(parts, host, places, layers, True, [host.model - sum(experts), *experts] if moved else ())
    shares = (
        ["1"] * devices
        if len(set(ratios)) == 1
        else ["%d" % (ratio / MIB) if ratio > MIB else "%g" % ratio for ratio in ratios]
    )
    raise NotRecorded(
        "the rig has no recorded engine row for this load of %s (%s): record it with 'llama-server -lv 4 -m MODEL.gguf "
        "-c %d -ngl 999 -ts %s -fa %s -ctk %s -ctv %s -b %d -ub %d -np %d%s', which prints its table "
        "(common_memory_breakdown_print) before it loads, and add the row to tests/rig/engine/%s"
        % (
            model or "this model of more than 1 GiB",
            header.path,
            options.ctx,
            ",".join(shares),
            flash,
            options.cache_type_k,
            options.cache_type_v,
            options.batch,
            options.ubatch,
            options.parallel,
            " -ncmoe %d" % moved if moved else "",
            "further-rows.json (tests/oracle/rig_rows.py has the list, '%s' writes it)" % RECORDER
            if moved
            else "engine-rows.json",
        )
    )


# --- computed ------------------------------------------------------------------------------------


def outputs(options):
    """Rows of logits that llama-server has room for: one for each slot, or one for each token where it embeds."""
    return options.batch if options.embedding else options.parallel


def _compute(header, options, devices, places):
    """([bytes of the compute buffer per device], bytes on the host).

    `places` is the device of each layer on a GPU, with the output layer last. The logits of a few slots (`outputs`)
    take less than what the blocks before have freed, so they do not count.
    """
    units = UNITS.get(header.width) or UNITS[max(UNITS)]
    c, ub = cells(options) // max(1, options.parallel), options.ubatch
    unit, mask = 4 * ub * header.width, 2 * ub * c
    scores = 4 * ub * header.heads * c if options.flash_attention == "off" else 0

    def buffer(name, copies=1):
        return copies * mask + units[name] * unit + scores

    host = mask + units["host"] * unit
    if not devices:
        return [], buffer("cpu")
    if len(places) <= header.blocks:
        with_blocks = set(places[:-1])
        return [buffer("helper")] + [
            buffer("part") if device in with_blocks else 0.0 for device in range(1, devices)
        ], host
    if len(set(places)) == 1:
        return [buffer("one")] * devices, host
    # Pipeline parallelism keeps four copies of the inputs.
    last = "last" if places.count(places[-1]) > 2 else "last_block"
    middle = [buffer("middle", 4)] * (devices - 2)
    return [buffer("first", 4), *middle, buffer(last, 4)], 4 * mask + units["hosts"] * unit


def computed(header, options, devices, gpu_layers, ratios):
    """A Load computed from the header.

    `gpu_layers` of blocks + 1 go to the GPUs, starting with the last one, split by `ratios`.
    """
    blocks, output, embedding = header.layer_bytes()
    wanted = min(gpu_layers, header.blocks + 1) if devices else 0
    places = assign(wanted, ratios) if wanted else []
    per_layer = (
        cells(options)
        * header.kv_heads
        * (header.key_size * CACHE[options.cache_type_k][0] + header.value_size * CACHE[options.cache_type_v][0])
    )
    compute, host_compute = _compute(header, options, devices, places)
    parts = [Part() for _device in range(devices)]
    host = Part(model=float(embedding), compute=host_compute)
    for number, size in enumerate(blocks + [output]):
        place = number - (header.blocks + 1 - wanted)
        part = parts[places[place]] if place >= 0 else host
        part.model += size
        part.layers += 1
        if number < header.blocks:
            part.kv += per_layer
            part.kv_layers += 1
    for part, size in zip(parts, compute):
        part.compute = size if part.layers or part is parts[0] else 0.0
    return Load(parts, host, places, header.blocks + 1, False)


def load_for(header, options, devices, gpu_layers, ratios):
    """The Load for these options: recorded, or computed for small models and for loads without a layer on a GPU."""
    if not devices or gpu_layers == 0 or header.file_bytes < COMPUTED_BELOW:
        return computed(header, options, devices, gpu_layers, ratios)
    if gpu_layers <= header.blocks:
        raise NotRecorded(
            "the rig has engine rows for whole models only, not for %d of %d layers on the GPUs: use the models tiny "
            "or small for that" % (gpu_layers, header.blocks + 1)
        )
    return recorded(header, options, devices, ratios)
