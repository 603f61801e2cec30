# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The three modes of the engine stand-in: discovery (no model), --list-devices, and serving a model."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from tests.rig.engine import adapters, fit, journal, sizes, speculation
from tests.rig.engine import devices as cuda
from tests.rig.engine import header as gguf_header
from tests.rig.engine import options as arguments
from tests.rig.gpus import state as gpu_state

DEFAULT_PROJECTOR = 256 * 1024 * 1024
DIE_AFTER = 0.7
FOREVER = 10**8  # seconds
SLOW, READS, LARGEST_READ = 1.0, 20, 1024**3  # a slow load in seconds, in how many parts it reads, bytes of a file


class Ended(Exception):
    """SIGTERM or SIGINT was received."""


def _end(_number, _frame):
    raise Ended


class Refused(Exception):
    """The load fails: `lines` are logged, exit status 1."""

    def __init__(self, lines):
        super().__init__(lines)
        self.lines = lines


def log(lines):
    """Write lines to standard error with one write per line, because Ollama looks for one device in each chunk that it
    reads.
    """
    for line in lines:
        os.write(2, (line + "\n").encode("utf-8", "replace"))


def discover(state, environment):
    """Devices and system information, then wait for the end."""
    devices, why = cuda.visible(state, environment)
    log(cuda.init_lines(devices, why))
    log([journal.system_info(devices)])
    time.sleep(FOREVER)


def list_devices(state, environment):
    """--list-devices."""
    devices, why = cuda.visible(state, environment)
    log(cuda.init_lines(devices, why))
    if (
        environment.get("GGML_CUDA_INIT") == "1"
        and not devices
        and environment.get("CUDA_VISIBLE_DEVICES") not in (None, "", "-1")
    ):
        return 1  # Ollama tries each device alone and drops those that fail
    sys.stdout.write("Available devices:\n")
    for device in devices:
        sys.stdout.write(
            "  %s: %s (%d MiB, %d MiB free)\n"
            % (device.name, device.description, device.total // cuda.MIB, device.free // cuda.MIB)
        )
    return 0


def choose(options, devices):
    """The devices that this load uses, from --device, or from --split-mode none and --main-gpu."""
    if options.device:
        wanted = options.device.split(",")
        devices = [device for device in devices if device.name in wanted]
    if options.split_mode == "none" and devices:
        if not 0 <= options.main_gpu < len(devices):
            raise Refused(
                [
                    "llama_prepare_model_devices: invalid value for main_gpu: %d (available devices: %d)"
                    % (options.main_gpu, len(devices))
                ]
                + journal.no_model(options)
            )
        devices = [devices[options.main_gpu]]
    return devices


def check_cache(options, header):
    """The message with which llama.cpp refuses a KV cache type, or None."""
    if options.flash_attention == "off" and sizes.CACHE[options.cache_type_v][1] > 1:
        return "llama_init_from_model: quantized V cache requires flash_attn to be enabled"
    for letter, kind, size in (
        ("K", options.cache_type_k, header.key_size),
        ("V", options.cache_type_v, header.value_size),
    ):
        block = sizes.CACHE[kind][1]
        if size % block:
            return "llama_init_from_model: %s cache type %s with block size %d does not divide n_embd_head_%s=%d" % (
                letter,
                kind,
                block,
                letter.lower(),
                size,
            )
    return None


def open_model(options, path):
    """The header of a model's file, or Refused."""
    try:
        return gguf_header.read_header(path)
    except (OSError, gguf_header.HeaderError) as error:
        raise Refused(
            [
                "gguf_init_from_file: failed to open GGUF file '%s' (%s)" % (path, error),
                "llama_model_load: error loading model",
            ]
            + journal.no_model(options)
        )


def check_heads(options, header):
    """Whether the engine has to propose tokens and finds no heads for it. What has some is `options.proposing`.

    Raises NotRecorded for another type than draft-mtp.
    """
    if not options.spec_type or options.spec_type == "none":
        return False
    if options.spec_type != "draft-mtp":
        raise sizes.NotRecorded("the rig has no recorded engine row for --spec-type %s" % options.spec_type)
    found = open_model(options, options.draft) if options.draft else header
    if not found.get("nextn_predict_layers"):
        return True
    options.proposing = speculation.Proposing(found, bool(options.draft))
    return False


def load_adapters(options, header, load):
    """The adapters of a load."""
    try:
        return [adapters.Adapter(path, header, load) for path in options.lora]
    except adapters.AdapterError as error:
        raise Refused(journal.no_adapter(options, error.lines))


def beside_model(options, number, loaded):
    """Bytes of adapters and of what proposes tokens on a device."""
    proposing = options.proposing.held(number) if options.proposing else 0
    return sum(adapter.devices[number] for adapter in loaded) + proposing


def check_room(options, devices, load, extra, loaded):
    """Raise Refused for the first allocation that does not fit on its GPU.

    `extra` is the number of projector bytes on the first device, `loaded` the adapters.
    """
    for number, (device, part) in enumerate(zip(devices, load.parts)):
        room = device.free
        beside = beside_model(options, number, loaded)
        for size in (part.model, beside, part.kv, part.compute) + ((extra,) if number == 0 else ()):
            if size > room:
                raise Refused(journal.no_memory(options, device, size))
            room -= size


def take_time(path, seconds):
    """Wait as long as a load takes. A slow one reads the model's file meanwhile, as an engine does, unless the file is
    one of those that are sparse because of their size."""
    pause = seconds / READS
    if seconds < SLOW or os.path.getsize(path) > LARGEST_READ:
        time.sleep(seconds)
        return
    with open(path, "rb") as file:
        for number in range(READS):
            file.read(os.path.getsize(path) // READS + 1)
            time.sleep(pause)


def load_model(options, state, environment):
    """Load the model: write all log lines up to the loaded model and return (header, Holder)."""
    from tests.rig.engine import memory  # threads: not needed for discovery

    devices, why = cuda.visible(state, environment)
    log(cuda.init_lines(devices, why))
    host = cuda.host_memory()
    log(journal.start(options, devices, host))
    header = open_model(options, options.model)
    options.ctx = options.ctx or header.get("context_length")
    devices = choose(options, devices)
    state = state or {}
    lie = state.get("engine.lie")
    log(journal.FITTING)
    refusal = check_cache(options, header)
    if refusal:
        log(
            [
                fit.ME + "getting device memory data for initial parameters:",
                refusal,
                "common_fit_params: encountered an error while trying to fit params to free device memory: failed to "
                "create llama_context from model",
            ]
        )
    trial = arguments_without_cache(options) if refusal else options
    no_heads = check_heads(options, header)
    load, lines = fit.fit(header, trial, devices, host[0])
    if not refusal:
        log(lines)
    log(journal.extra_not_measured(options) if no_heads else [])
    log(["common_fit_params: fitting params to free memory took 0.02 seconds"])
    on_cpu = lie == "cpu"
    log(journal.model_info(header, options, devices))
    take_time(options.model, float(state.get("engine.load_ms", 50)) / 1000)
    log(journal.tensors(options, devices, load, on_cpu))
    if refusal:
        raise Refused(journal.no_context(options, refusal))
    loaded = load_adapters(options, header, load)
    for adapter in loaded:
        log(adapter.lines(devices))
    weights = header.projector_bytes() if options.mmproj else 0
    extra = int(state.get("engine.projector.compute", DEFAULT_PROJECTOR)) if weights else 0
    with_projector = bool(weights and devices and not options.no_mmproj_offload)
    check_room(options, devices, load, weights + extra if with_projector else 0, loaded)
    log(journal.context(header, options, devices, load, on_cpu))
    if loaded:
        log(journal.reserved_again(devices, load, on_cpu))
    if no_heads:
        raise Refused(journal.no_heads(options))
    if options.proposing:
        log(journal.proposing(options, devices, options.proposing))
    if weights:
        log(journal.projector(devices[0].name if with_projector and not on_cpu else "CPU", weights, extra))
    model = [part.total + beside_model(options, number, loaded) for number, part in enumerate(load.parts)]
    if with_projector:
        model[0] += weights + extra
    busy = [device for device, part in zip(devices, load.parts) if part.layers]
    pid = state.get("engine.lie.pid")
    factor, cache = float(state.get("engine.lie.factor", 1.5)), [part.kv for part in load.parts]
    return header, memory.Holder(devices, model, busy, lie, factor, int(pid) if pid else None, cache)


def arguments_without_cache(options):
    """A copy of the options with an f16 cache, for the sizes of a load that will be refused for its cache type."""
    copy = arguments.Options()
    copy.__dict__.update(options.__dict__, cache_type_k="f16", cache_type_v="f16")
    return copy


def serve(options, state, environment):
    """Load the model and answer until SIGTERM."""
    from tests.rig.engine import serve as web

    engine = web.Engine(options, None, float((state or {}).get("engine.token_ms", 5)))
    server = web.Server(engine)
    options.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        engine.header, engine.holder = load_model(options, state, environment)
        engine.lie = engine.holder.lie
        engine.holder.enter()
        engine.ready.set()
        log(journal.ready(options, sizes.cells(options) // max(1, options.parallel)))
        time.sleep(DIE_AFTER if engine.lie == "die_after_load" else FOREVER)
        return 1
    except Ended:
        return 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if engine.holder:
            engine.holder.leave()


def main(arguments_given, environment):
    """Run as llama-server would; returns the exit status."""
    try:
        options = arguments.parse(arguments_given, environment)
    except arguments.OptionError as error:
        log([str(error)])
        return 1
    state = gpu_state.load()
    if options.list_devices:
        return list_devices(state, environment)
    if not options.model:
        return discover(state, environment)
    try:
        return serve(options, state, environment)
    except Refused as refused:
        log(refused.lines)
    except sizes.NotRecorded as error:
        log(["error: %s" % error] + journal.no_model(options))
    except (OSError, gpu_state.StateError) as error:
        log(["error: the engine stand-in cannot go on: %s" % error])
    return 1
