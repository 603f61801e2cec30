# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama.cpp's fitting of parameters to free memory (common_params_fit_impl), for dense models, with what it logs."""

from __future__ import annotations

from tests.rig.engine import sizes, speculation

MIB = 1024 * 1024
ME = "common_params_fit_impl: "
MEASURING = "operator(): getting device memory data for the extra model at a context size of %d:"


def _label(device):
    return "%s (%s)" % (device.name, device.description)


def breakdown(devices, load):
    """The table of memory per device, as common_memory_breakdown_print lays it out."""
    rows = [("memory breakdown [MiB]", ["total", "free", "self", "model", "context", "compute", "unaccounted"])]
    for device, part in zip(devices, load.parts):
        self_mib = int(part.total / MIB)
        total, free = device.total // MIB, device.free // MIB
        rows.append(
            (
                "  - " + _label(device),
                [
                    str(n)
                    for n in (
                        total,
                        free,
                        self_mib,
                        int(part.model / MIB),
                        int(part.kv / MIB),
                        int(part.compute / MIB),
                        total - free - self_mib,
                    )
                ],
            )
        )
    host = load.host
    rows.append(
        (
            "  - Host",
            [
                "",
                "",
                str(int(host.total / MIB)),
                str(int(host.model / MIB)),
                str(int(host.kv / MIB)),
                str(int(host.compute / MIB)),
                "",
            ],
        )
    )
    name_width = max(len(name) for name, _values in rows)
    widths = [max(len(values[column]) for _name, values in rows) for column in range(7)]
    lines = []
    for number, (name, values) in enumerate(rows):
        total, free, self_mib, model, context, compute, other = [
            value.rjust(width) for value, width in zip(values, widths)
        ]
        if number == 0:
            text = "%s   %s    %s   %s   %s   %s    %s" % (total, free, self_mib, model, context, compute, other)
        elif number == len(rows) - 1:
            text = "%s   %s    %s = %s + %s + %s    %s" % (total, free, self_mib, model, context, compute, other)
        else:
            text = "%s = %s + (%s = %s + %s + %s) + %s" % (total, free, self_mib, model, context, compute, other)
        lines.append("common_memory_breakdown_print: | %s | %s |" % (name.ljust(name_width), text))
    return lines


def _projection(devices, load, targets, host_total, proposing=None):
    used = [
        int((part.total + (proposing.held(number) if proposing else 0)) / MIB) for number, part in enumerate(load.parts)
    ]
    free = [device.free // MIB for device in devices]
    if not devices:
        mine, total = int(load.host.total / MIB), host_total // MIB
        return [
            ME + "projected to use %d MiB of host memory vs. %d MiB of total host memory" % (mine, total),
            ME + "will leave %d >= 1024 MiB of system memory, no changes needed" % (total - mine),
        ], True
    lines = []
    if len(devices) > 1:
        lines.append(ME + "projected memory use with initial parameters [MiB]:")
        for device, mine, left, target in zip(devices, used, free, targets):
            lines.append(
                ME
                + "  - %s: %6d total, %6d used, %6d free vs. target of %6d"
                % (_label(device), device.total // MIB, mine, left - mine, target)
            )
    lines.append(
        ME
        + "projected to use %d MiB of device memory vs. %d MiB of free device memory"
        % (sum(used) if proposing else int(load.on_gpu / MIB), sum(free))
    )
    missing = sum(max(0, mine + target - left) for mine, left, target in zip(used, free, targets))
    if not missing and len(devices) == 1:
        lines.append(
            ME + "will leave %d >= %d MiB of free device memory, no changes needed" % (free[0] - used[0], targets[0])
        )
    elif not missing:
        lines.append(ME + "targets for free memory can be met on all devices, no changes needed")
    elif len(devices) == 1:
        lines.append(
            ME
            + "cannot meet free memory target of %d MiB, need to reduce device memory by %d MiB" % (targets[0], missing)
        )
    else:
        lines.append(ME + "cannot meet free memory targets on all devices, need to use %d MiB less in total" % missing)
    return lines, not missing


def _fill(header, options, devices, targets):
    """Layers per device when they are filled from the last device back, each up to its target."""
    left, counts = header.blocks + 1, [0] * len(devices)
    for number in reversed(range(len(devices))):
        while left:
            trial = list(counts)
            trial[number] += 1
            load = sizes.computed(header, options, len(devices), sum(trial), trial)
            if any(
                part.total > device.free - target * MIB for part, device, target in zip(load.parts, devices, targets)
            ):
                break
            counts, left = trial, left - 1
    return counts


def fit(header, options, devices, host_total):
    """Return (Load, log lines).

    Does not change the load if all targets are met, or if the user has set what it would change.
    """
    lines = [ME + "getting device memory data for initial parameters:"]
    count, ratios = len(devices), options.ratios(len(devices))
    wanted = header.blocks + 1 if options.gpu_layers is None else options.gpu_layers
    find = speculation.load_for if options.proposing else sizes.load_for
    load = find(header, options, count, wanted, ratios or [device.free or 1 for device in devices])
    targets = options.targets(count)
    if options.fit == "off":
        return load, []
    extra = [MEASURING % options.ctx] + breakdown(devices, options.proposing.load) if options.proposing else []
    projection, met = _projection(devices, load, targets, host_total, options.proposing)
    lines += breakdown(devices, load) + extra + projection
    if met:
        return load, lines + ["common_fit_params: successfully fit params to free device memory"]
    failed = "common_fit_params: failed to fit params to free device memory: %s, abort"
    lines.append(ME + "context size set by user to %d -> no change" % options.ctx)
    if options.gpu_layers is not None:
        return load, lines + [failed % ("n_gpu_layers already set by user to %d" % options.gpu_layers)]
    if ratios:
        return load, lines + [failed % "model_params::tensor_split already set by user"]
    if options.experts_on_host(header):
        return load, lines + [failed % "model_params::tensor_buft_overrides already set by user"]
    if load.recorded:
        raise sizes.NotRecorded(
            "llama.cpp would now move layers of this model to the CPU, and the rig has no recorded engine row for "
            "that: "
            "free memory on the GPUs, or record it with 'llama-server -lv 4 -m MODEL.gguf -c %d' on such devices"
            % options.ctx
        )
    counts = _fill(header, options, devices, targets)
    load = sizes.computed(header, options, count, sum(counts), counts)
    lines.append(ME + "filling dense layers back-to-front:")
    for device, part in zip(devices, load.parts):
        lines.append(
            ME
            + "  - %s: %2d layers, %6d MiB used, %6d MiB free"
            % (_label(device), part.layers, part.total / MIB, (device.free - part.total) / MIB)
        )
    return load, lines + ["common_fit_params: successfully fit params to free device memory"]
