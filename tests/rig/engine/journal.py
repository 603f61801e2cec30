# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The lines that llama-server (build 11669, as recorded) writes while it loads, with CUDA devices."""

from __future__ import annotations

from tests.rig.engine import sizes

MIB = 1024 * 1024
FILE_TYPES = {0: "all F32", 1: "F16", 4: "MXFP4 MoE", 7: "Q8_0", 15: "Q4_K - Medium"}


def start(options, devices, host):
    """From the first line to the fit: backends, devices, listener."""
    total, free = host[0] // MIB, host[1] // MIB
    threads = options.threads or 2
    lines = ["load_backend: loaded CUDA backend from libggml-cuda.so"] if devices else []
    lines += [
        "load_backend: loaded CPU backend from libggml-cpu.so",
        "srv  llama_server: initializing ...",
        "cmn  common_param: common_params_print_info: build 11669 (rig) with GNU for Linux x86_64",
        "cmn  common_param: common_params_print_info: verbosity = %d (adjust with the `-lv N` CLI arg)"
        % options.verbosity,
        "cmn  common_param: device_info:",
    ]
    for device in devices:
        lines.append(
            "cmn  common_param:   - %-7s : %s (%d MiB, %d MiB free)"
            % (device.name, device.description, device.total // MIB, device.free // MIB)
        )
    lines += [
        "cmn  common_param:   - CPU     : rig (%d MiB, %d MiB free)" % (total, free),
        "cmn  common_param: " + system_info(devices, threads),
        "srv  init_listene: running without SSL",
        "srv  init_listene: The UI is disabled",
        "srv  init_listene: Use --ui/--no-ui (or deprecated --webui/--no-webui) to enable/disable",
        "srv          init: using 5 threads for HTTP server",
        "srv  llama_server: security: no API key is set and CORS allows all origins (see "
        "https://github.com/ggml-org/llama.cpp/pull/25655)",
        "srv    load_model: loading model '%s'" % options.model,
        "srv    load_model: local path '%s'" % options.model,
    ]
    return lines


def system_info(devices, threads=2):
    """The line in which Ollama looks for the compiled CUDA architectures."""
    cuda = (
        "CUDA : ARCHS = 500,520,600,610,700,750,800,860,870,890,900,1000,1030,1100,1200,1210 | USE_GRAPHS = 1 | "
        if devices
        else ""
    )
    cpu = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | OPENMP = 1 | REPACK = 1 | "
    return "system_info: n_threads = %d (n_threads_batch = %d) / 2 | %s%s" % (threads, threads, cuda, cpu)


FITTING = [
    "cmn  common_init_: fitting params to device memory ...",
    "cmn  common_init_: (for bugs during this step try to reproduce them with -fit off, or provide --verbose logs if "
    "the bug only occurs with -fit on)",
]


def model_info(header, options, devices):
    """Loader, devices in use, print_info."""
    kinds = {}
    for _name, kind, _shape, _size in header.tensors:
        kinds[kind] = kinds.get(kind, 0) + 1
    elements = sum(_product(shape) for _name, _kind, shape, _size in header.tensors)
    tensor_bytes = sum(size for _name, _kind, _shape, size in header.tensors)
    lines = [
        "llama_model_loader: loaded meta data with %d key-value pairs and %d tensors from %s (version GGUF V3 (latest))"
        % (len(header.pairs), len(header.tensors), options.model),
        "llama_model_loader: Dumping metadata keys/values. Note: KV overrides do not apply in this output.",
    ]
    lines += ["llama_model_loader: - type %4s: %4d tensors" % item for item in kinds.items()]
    lines += [
        "print_info: file format = GGUF V3 (latest)",
        "print_info: file type   = %s" % FILE_TYPES.get(header.pairs.get("general.file_type"), "unknown"),
        "print_info: file size   = %s (%.2f BPW) " % (_human(tensor_bytes), tensor_bytes * 8 / elements),
    ]
    for device in devices:
        lines.append(
            "llama_prepare_model_devices: using device %s (%s) (%s) - %d MiB free"
            % (device.name, device.description, device.pci or "unknown id", device.free // MIB)
        )
    window = header.get("attention.sliding_window") or header.get("attention.chunk_size")
    facts = [
        ("arch", header.architecture),
        ("vocab_only", 0),
        ("no_alloc", 0),
        ("n_ctx_train", header.get("context_length")),
        ("n_embd", header.width),
        ("n_layer", header.blocks),
        ("n_head", header.heads),
        ("n_head_kv", header.kv_heads),
        ("n_rot", header.get("rope.dimension_count", header.key_size)),
        ("n_swa", window),
        ("is_swa_any", int(bool(window))),
        ("n_embd_head_k", header.key_size),
        ("n_embd_head_v", header.value_size),
        ("n_gqa", header.heads // max(1, header.kv_heads)),
        ("n_embd_k_gqa", header.key_size * header.kv_heads),
        ("n_embd_v_gqa", header.value_size * header.kv_heads),
        ("n_ff", header.get("feed_forward_length")),
        ("n_expert", header.get("expert_count")),
        ("n_expert_used", header.get("expert_used_count")),
        ("freq_base_train", "%.1f" % header.get("rope.freq_base", 10000.0)),
        ("model type", "?B"),
        ("model params", _parameters(elements)),
        ("general.name", header.pairs.get("general.name", "n/a")),
        ("n_vocab", header.vocabulary),
        ("n_merges", header.pairs.get("tokenizer.ggml.merges", 0)),
    ]
    return lines + ["print_info: %-21s = %s" % fact for fact in facts]


def tensors(options, devices, load, lie_on_cpu):
    """load_tensors: layers offloaded and the model buffers."""
    offered = (
        load.of if not devices or lie_on_cpu else load.layers
    )  # without a GPU all layers count as offloaded, to the CPU
    lines = ["load_tensors: loading model tensors, this can take a while... (load_mode = %s)" % options.load_mode]
    moved = len(load.ranges) > 1
    if moved and options.load_mode == "mmap":
        lines.append(
            "llama_model_loader: tensor overrides to CPU are used with mmap enabled - consider using --load-mode none "
            "for better performance"
        )
    if offered:
        lines.append("load_tensors: offloading output layer to GPU")
    lines += [
        "load_tensors: offloading %d repeating layers to GPU"
        % max(0, offered - 2 if offered == load.of else offered - 1),
        "load_tensors: offloaded %d/%d layers to GPU" % (offered, load.of),
    ]
    host_name = "CPU" if lie_on_cpu or not devices else "CPU_Mapped" if options.load_mode == "mmap" else "CUDA_Host"
    shown = _on_cpu(load) if lie_on_cpu else load
    if moved and host_name == "CUDA_Host":  # what is moved by its name goes into the processor's plain memory
        on_host = [(host_name, shown.ranges[0]), ("CPU", sum(shown.ranges[1:]))]
    else:  # each range of the file that is mapped is a buffer of its own
        on_host = [(host_name, size) for size in shown.ranges]
    lines += ["load_tensors: %12s model buffer size = %8.2f MiB" % (name, size / MIB) for name, size in on_host]
    return lines + [
        "load_tensors: %12s model buffer size = %8.2f MiB" % (device.name, part.model / MIB)
        for device, part in zip(devices, shown.parts)
        if part.model
    ]


def _on_cpu(load):
    host = sizes.Part(
        load.host.model + sum(p.model for p in load.parts),
        load.host.kv + sum(p.kv for p in load.parts),
        load.host.compute + sum(p.compute for p in load.parts),
        kv_layers=load.of - 1,
    )
    return sizes.Load([sizes.Part() for _part in load.parts], host, [], load.of, load.recorded)


def context(header, options, devices, load, lie_on_cpu):
    """llama_context, KV cache and compute buffers."""
    shown = _on_cpu(load) if lie_on_cpu else load
    on_gpu = bool(devices) and load.layers and not lie_on_cpu
    lines = _context_parameters(header, options)
    lines.append(
        "llama_context: %10s  output buffer size = %8.2f MiB"
        % ("CUDA_Host" if on_gpu else "CPU", header.vocabulary * 4 * options.parallel / MIB)
    )
    lines += _kv_cache(header, options, devices, shown)
    copies = 4 if on_gpu and load.layers == load.of and sum(1 for part in load.parts if part.layers) > 1 else 1
    if copies > 1:
        lines.append("llama_context: pipeline parallelism enabled")
    lines.append("sched_reserve: reserving ...")
    if options.flash_attention == "auto":
        lines.append("resolve_fused_ops: Flash Attention enabled")
    lines += _compute(devices, shown, lie_on_cpu)
    lines += [
        "sched_reserve: graph: nodes = %d, splits = %d, input objects = 4, input tensors = 9"
        % (header.blocks * 32 + 1, copies // 2 + 1),
        "sched_reserve: reserve took 3.41 ms, sched copies = %d" % copies,
        "cmn          init: llama threadpool init, n_threads = 2",
        "cmn  common_init_: warming up the model with an empty run - please wait ... (--no-warmup to disable)",
    ]
    return lines


def _compute(devices, shown, lie_on_cpu):
    lines = [
        "sched_reserve: %10s compute buffer size = %8.2f MiB" % (device.name, part.compute / MIB)
        for device, part in zip(devices, shown.parts)
        if part.compute
    ]
    host = "CUDA_Host" if devices and not lie_on_cpu else "CPU"
    return lines + ["sched_reserve: %10s compute buffer size = %8.2f MiB" % (host, shown.host.compute / MIB)]


def reserved_again(devices, load, lie_on_cpu):
    """The compute buffers once more: with adapters, after the first run."""
    return ["sched_reserve: reserving ..."] + _compute(devices, _on_cpu(load) if lie_on_cpu else load, lie_on_cpu)


def no_adapter(options, lines):
    """The lines of an adapter that cannot be loaded, after its own."""
    return [
        *lines,
        "cmn  common_init_: failed to create context with model '%s'" % options.model,
        "srv    load_model: failed to create_context with model '%s'" % options.model,
        *END,
    ]


def proposing(options, devices, found):
    """What is logged of what proposes tokens (speculation.Proposing): a draft model, and the second context."""
    lines = tensors(options, devices, found.load, False) if found.draft else []
    lines += ["llama_context: constructing llama_context"]
    lines += [
        "llama_kv_cache: %10s KV buffer size = %8.2f MiB" % (device.name, part.kv / MIB)
        for device, part in zip(devices, found.load.parts)
        if part.kv
    ]
    return lines + 2 * _compute(devices, found.load, False)  # reserved once more when the server starts


def extra_not_measured(options):
    """The lines of a dry run in which what is to propose tokens has no heads."""
    return [
        "operator(): getting device memory data for the extra model at a context size of %d:" % options.ctx,
        "operator(): failed to measure the memory of the extra model, fitting without it: failed to create "
        "llama_context from model",
    ]


def no_heads(options):
    """The lines of a draft, or of a model, that has no heads which predict further tokens."""
    first = "creating MTP draft context against the target model '%s'" % options.model
    if options.draft:
        first = "loading draft model '%s'" % options.draft
    return [
        "common_speculative_init_result: " + first,
        "llama_init_from_model: context type MTP requested but model doesn't contain MTP layers",
        "common_speculative_init_result: failed to create MTP context",
        "srv    load_model: failed to create MTP context",
        *END,
    ]


def _context_parameters(header, options):
    per_sequence = sizes.cells(options) // options.parallel
    lines = ["llama_context: constructing llama_context"]
    flash = {"on": "enabled", "off": "disabled"}.get(options.flash_attention, "auto")
    for name, value in (
        ("n_seq_max", options.parallel),
        ("n_ctx", per_sequence * options.parallel),
        ("n_ctx_seq", per_sequence),
        ("n_batch", options.batch),
        ("n_ubatch", options.ubatch),
        ("causal_attn", 1),
        ("flash_attn", flash),
        ("kv_unified", "false"),
        ("freq_base", "%.1f" % header.get("rope.freq_base", 10000.0)),
        ("freq_scale", 1),
        ("n_rs_seq", 0),
        ("n_outputs_max", sizes.outputs(options)),
        ("n_outputs_max_per_seq", 1),
    ):
        lines.append("llama_context: %-21s = %s" % (name, value))
    if per_sequence < header.get("context_length"):
        lines.append(
            "llama_context: n_ctx_seq (%d) < n_ctx_train (%d) -- the full capacity of the model will not be utilized"
            % (per_sequence, header.get("context_length"))
        )
    return lines


def _kv_cache(header, options, devices, shown):
    lines = []
    if shown.host.kv:
        lines.append("llama_kv_cache: %10s KV buffer size = %8.2f MiB" % ("CPU", shown.host.kv / MIB))
    lines += [
        "llama_kv_cache: %10s KV buffer size = %8.2f MiB" % (device.name, part.kv / MIB)
        for device, part in zip(devices, shown.parts)
        if part.kv
    ]
    slots, cells = options.parallel, sizes.cells(options) // options.parallel
    total = (shown.host.kv + sum(part.kv for part in shown.parts)) / MIB
    halves = (options.cache_type_k, total / 2, options.cache_type_v, total / 2)
    lines.append(
        "llama_kv_cache: size = %7.2f MiB (%6d cells, %3d layers, %2d/%d seqs), K (%s): %7.2f MiB, V (%s): %7.2f MiB"
        % ((total, cells, header.blocks, slots, slots) + halves)
    )
    return lines


def projector(device_name, tensor_bytes, compute_bytes):
    """What clip writes for a projector; its buffer line counts in Ollama's figures."""
    return [
        "clip_model_loader: has vision encoder",
        "clip_ctx: CLIP using %s backend" % device_name,
        "load_hparams: model size:         %.2f MiB" % (tensor_bytes / MIB),
        "alloc_compute_meta: %10s compute buffer size = %8.2f MiB" % (device_name, compute_bytes / MIB),
    ]


def ready(options, slot_context):
    """From the loaded model to the listening server."""
    lines = [
        "srv    load_model: initializing, n_slots = %d, n_ctx_slot = %d, kv_unified = 'false'"
        % (options.parallel, slot_context)
    ]
    lines += [
        "slot   load_model: id %2d | task -1 | new slot, n_ctx = %d" % (slot, slot_context)
        for slot in range(options.parallel)
    ]
    return lines + [
        "srv    load_model: prompt cache is enabled, size limit: 8192 MiB",
        "srv  llama_server: model loaded",
        "srv  llama_server: listening on http://%s:%d" % (options.host, options.port),
        "srv  update_slots: all slots are idle",
    ]


def no_context(options, why):
    """The lines of a context that cannot be created (after the tensors are loaded)."""
    failed = "cmn  common_init_: failed to create context with model '%s'" % options.model
    return [why, failed, failed, "srv    load_model: failed to create_context with model '%s'" % options.model] + END


def no_memory(options, device, size):
    """The lines of an allocation that the GPU refuses."""
    return [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating %.2f MiB on device %s: cudaMalloc failed: out of memory"
        % (size / MIB, device.name[4:]),
        "alloc_tensor_range: failed to allocate %s buffer of size %d" % (device.name, size),
        "llama_model_load: error loading model: unable to allocate %s buffer" % device.name,
    ] + no_model(options)


def no_model(options):
    """The last lines of every load that fails."""
    return [
        "llama_model_load_from_file_impl: failed to load model",
        "cmn  common_init_: failed to load model '%s'" % options.model,
        "srv    load_model: failed to load model, '%s'" % options.model,
    ] + END


END = [
    "srv    operator(): operator(): cleaning up before exit...",
    "srv  llama_server: exiting due to model loading error",
]


def _product(shape):
    result = 1
    for dimension in shape:
        result *= dimension
    return result


def _human(size):
    return "%.2f MiB" % (size / MIB) if size < 1024 * MIB else "%.2f GiB" % (size / MIB / 1024)


def _parameters(count):
    for factor, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if count >= factor:
            return "%.2f %s" % (count / factor, letter)
    return "%.2f K" % (count / 1e3)
