# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine's log, as recorded of a running Ollama 0.32.15 (two software devices of Vulkan)."""

from __future__ import annotations

import datetime
import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import engine_log
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import LoggedDevice

MIB = 1024 * 1024
RECORDING = pathlib.Path(__file__).parents[4] / "fixtures" / "recordings" / "ollama-0.32.15-loading.json"
ENTRIES = {entry["name"]: entry for entry in json.loads(RECORDING.read_text())}
GPUS = [{"uuid": "GPU-b", "pci_bus_id": "0000:3b:00.0"}, {"uuid": "GPU-a", "pci_bus_id": "0000:18:00.0"}]


def parsed(name):
    return engine_log.parse_engine(engine_log.engine_lines(ENTRIES[name]["server_log"]))


def test_a_load_on_one_gpu():
    log = parsed("load-default")
    assert (log.layers, log.layers_total) == (9, 9)
    assert log.dry_run == {"Vulkan0": 26 * MIB}
    assert log.dry_run_host == 17 * MIB
    assert log.devices == {"Vulkan0": LoggedDevice(name="llvmpipe (LLVM 22.1.8, 256 bits)", pci_bus_id=None)}
    assert log.load_seconds == 5.03
    assert log.error is None
    assert abs(log.buffers["Vulkan0"] - (0.60 + 8.00 + 18.03) * MIB) < 2
    assert engine_log.gpu_bytes(log) == {"Vulkan0": 26 * MIB}


def test_a_load_over_two_gpus():
    log = parsed("spread-load")
    assert log.dry_run == {"Vulkan0": 74 * MIB, "Vulkan1": 71 * MIB}
    assert abs(log.buffers["Vulkan1"] - (0.25 + 3.00 + 67.08) * MIB) < 2
    assert sorted(log.devices) == ["Vulkan0", "Vulkan1"]


@pytest.mark.parametrize("name, layers", [("load-num-gpu-3-of-9", 3), ("load-num-gpu-0", 0), ("tensor-split-3-1", 9)])
def test_the_offload_line(name, layers):
    assert (parsed(name).layers, parsed(name).layers_total) == (layers, 9)


def test_a_host_without_a_gpu_claims_nine_of_nine_layers_and_has_no_buffer_on_a_gpu():
    log = parsed("no-gpu")
    assert (log.layers, log.layers_total) == (9, 9)
    assert engine_log.gpu_bytes(log) == {}
    assert set(log.buffers) == {"CPU"}


def test_an_engine_that_refuses_its_arguments():
    assert parsed("kv-type-unknown").error == "llama-server process has terminated: exit status 1"


def test_every_recorded_load_can_be_read():
    read = [name for name, entry in ENTRIES.items() if entry.get("server_log") and parsed(name)]
    assert len(read) > 20


@pytest.mark.parametrize(
    "device, yes",
    [
        ("CUDA0", True),
        ("CUDA11", True),
        ("Vulkan0", True),
        ("CPU", False),
        ("CPU_Mapped", False),
        ("CUDA_Host", False),
        ("Vulkan_Host", False),
        ("Host", False),
    ],
)
def test_which_buffers_are_on_a_gpu(device, yes):
    assert engine_log.is_gpu(device) is yes


def start(port, model="sha256-1"):
    return (
        'time=2026 level=INFO source=llama_server.go:433 msg="starting llama-server" '
        'cmd="/x/llama-server --model /m/blobs/%s --port %d -c 4096"' % (model, port)
    )


def buffer(size, component="load_tensors", kind="model", device="CUDA0"):
    return "%s:        %s %s buffer size =  %7.2f MiB" % (component, device, kind, size)


def test_the_last_value_of_a_buffer_counts_and_kinds_are_added():
    log = engine_log.parse_engine(
        [
            buffer(1),
            buffer(100),
            buffer(10, "llama_kv_cache", "KV"),
            buffer(5, "sched_reserve", "compute"),
            buffer(7, "alloc_compute_meta", "compute"),
            buffer(50, device="CPU_Mapped"),
        ]
    )
    assert log.buffers == {"CUDA0": 122 * MIB, "CPU_Mapped": 50 * MIB}
    assert engine_log.gpu_bytes(log) == {"CUDA0": 122 * MIB}


def test_all_ranges_of_the_file_that_are_mapped_count():
    """With experts on the host: a line for each layer."""
    ranges = [buffer(size, device="CPU_Mapped") for size in (40.5, 58.36, 58.36, 50.62)]
    log = engine_log.parse_engine(
        [*ranges, "cmn: fitting params to free memory took 0.1 seconds", "load_tensors: loading model tensors", *ranges]
        + [buffer(100), "load_tensors: loading model tensors", buffer(7, device="CPU_Mapped")]
    )
    assert abs(log.buffers["CPU_Mapped"] - (40.5 + 58.36 + 58.36 + 50.62 + 7) * MIB) < 5


def test_both_caches_of_a_model_with_sliding_windows_count():
    """Their lines are the same but for the line before (llama_kv_cache_iswa of llama.cpp)."""
    cache = ["llama_kv_cache_iswa: creating %s KV cache, size = 4096 cells" % which for which in ("non-SWA", "    SWA")]
    caches = [cache[0], buffer(3072, "llama_kv_cache", "KV"), cache[1], buffer(24, "llama_kv_cache", "KV")]
    log = engine_log.parse_engine([buffer(100)] + caches + [buffer(8, "llama_memory_recurrent", "RS")])
    assert log.cache == {"CUDA0": 3104 * MIB} and log.buffers == {"CUDA0": 3204 * MIB}


def test_the_lines_of_an_earlier_engine_on_the_same_port_are_not_its_own():
    entry = ENTRIES["load-default"]["server_log"]
    (logged,) = [line for line in entry if "starting llama-server" in line]
    began = datetime.datetime.fromisoformat(logged[5:24] + "+00:00").timestamp()
    port = int(logged.split("--port ")[1].split()[0])
    assert engine_log.engine_lines(entry, port=port, started=began + 1)
    assert engine_log.engine_lines(entry, port=port, started=began + 30) == []
    assert engine_log.engine_lines(entry, port=port, started=began - 30) == []
    shifted = [line.replace(logged[5:29], logged[5:28] + "+02:00") for line in entry]
    assert engine_log.engine_lines(shifted, port=port, started=began - 7200)
    assert engine_log.engine_lines([start(1)], started=began)  # a line without a time can be of any engine


def test_the_last_breakdown_counts():
    def table(**sizes):
        return ["x: | memory breakdown [MiB] | total free self model context compute unaccounted |"] + [
            "x: |   - %s (RTX A6000)    | 49140 = 48000 + ( %d =  %d +  0 +  0) +  100 |" % (device, size, size)
            for device, size in sizes.items()
        ]

    log = engine_log.parse_engine(table(CUDA0=900, CUDA1=700) + ["x: trying again"] + table(CUDA0=800))
    assert log.dry_run == {"CUDA0": 800 * MIB}


#: What Ollama and another engine log while clients ask.
MEANWHILE = [
    '[GIN] 2026/07/01 - 10:00:00 | 200 |      41.127\u00b5s |       127.0.0.1 | GET      "/api/ps"',
    'time=2026-07-01T10:00:00.000Z level=DEBUG source=sched.go:1 msg="evaluating already loaded"',
    "slot update_slots: id  0 | task 7 | prompt done, n_past = 9",
]


@pytest.mark.parametrize("lines", [entry["server_log"] for entry in ENTRIES.values() if entry.get("server_log")])
def test_lines_of_requests_between_those_of_a_load_change_nothing(lines):
    own = engine_log.engine_lines(lines)
    assert engine_log.parse_engine([one for line in own for one in (line, *MEANWHILE)]) == engine_log.parse_engine(own)


def test_lines_of_requests_between_the_tables_of_a_draft_change_nothing():
    for name in ("heads", "draft", "adapters"):
        lines = SPECULATION[name]
        assert engine_log.parse_engine([one for line in lines for one in (line, *MEANWHILE)]) == (
            engine_log.parse_engine(lines)
        )


def test_lines_of_an_engine_end_where_the_next_one_starts():
    lines = [start(1), buffer(1), start(2), buffer(2), start(1), buffer(3), start(3, "sha256-2"), buffer(4)]
    assert engine_log.engine_lines(lines, port=2) == lines[2:4]
    assert engine_log.engine_lines(lines, port=1) == lines[4:6]
    assert engine_log.engine_lines(lines, model_file="sha256-2") == lines[6:]
    assert engine_log.engine_lines(lines, port=3, model_file="sha256-1") == []
    assert engine_log.engine_lines(lines) == lines[6:]
    assert engine_log.engine_lines([buffer(1)]) == []


def test_nothing_is_made_up_where_the_engine_said_nothing():
    assert engine_log.parse_engine(['time=2026 level=INFO msg="hello"']) is None
    assert engine_log.parse_engine([]) is None


def log_of(devices):
    lines = [
        "llama_prepare_model_devices: using device %s (NVIDIA RTX A6000) (%s) - 48000 MiB free" % pair
        for pair in devices
    ]
    return engine_log.parse_engine(lines + [buffer(1, device=name) for name, identity in devices])


def test_devices_are_joined_by_pci_address():
    log = log_of([("CUDA0", "0000:3B:00.0"), ("CUDA1", "0000:18:00.0")])
    assert engine_log.device_uuids(log, "GPU-a,GPU-b", GPUS) == {"CUDA0": "GPU-b", "CUDA1": "GPU-a"}


@pytest.mark.parametrize(
    "visible, expected",
    [
        ("GPU-b,GPU-a", {"CUDA0": "GPU-b", "CUDA1": "GPU-a"}),
        ("1,0", {"CUDA0": "GPU-b", "CUDA1": "GPU-a"}),
        ("GPU-b", {"CUDA0": "GPU-b"}),
        ("GPU-b,GPU-x,GPU-a", {"CUDA0": "GPU-b"}),
        ("GPU-", {}),
        ("", {}),
        (None, {"CUDA0": "GPU-a", "CUDA1": "GPU-b"}),
    ],
)
def test_without_an_address_devices_are_joined_by_the_order_that_cuda_gives_them(visible, expected):
    log = log_of([("CUDA0", "unknown id"), ("CUDA1", "unknown id")])
    assert engine_log.device_uuids(log, visible, GPUS) == expected


@pytest.mark.parametrize(
    "visible, expected",
    [
        ("MIG-2", "MIG-2"),
        ("MIG-1", "MIG-1"),
        ("MIG-9,MIG-1", None),
        ("0", "MIG-1"),
        (None, "MIG-1"),
        ("GPU-b", "GPU-b"),
    ],
)
def test_the_address_of_a_divided_gpu_does_not_tell_which_mig_device_it_is(visible, expected):
    devices = [{"uuid": "MIG-1"}, {"uuid": "MIG-2"}]
    other, divided = GPUS
    gpus = [other, dict(divided, mig={"mode": "enabled", "devices": devices})]
    address = (other if visible == "GPU-b" else divided)["pci_bus_id"]
    log = log_of([("CUDA0", address)])
    assert engine_log.device_uuids(log, visible, gpus).get("CUDA0") == expected


#: llama-server of build 11669 over two devices, whose names are replaced by those of CUDA.
SPECULATION = json.loads(RECORDING.with_name("llama-server-11669-speculation.json").read_text())


def speculating(name):
    """The log of an engine with heads, a draft of its own or adapters."""
    command = start(1)[:-1] + (' --spec-draft-model /m/blobs/sha256-2"' if name == "draft" else '"')
    return engine_log.parse_engine([command, *SPECULATION[name]])


def test_heads_add_their_context_and_no_weights():
    log = speculating("heads")
    assert log.dry_run == {"CUDA0": (37 + 14 + 54 + 1) * MIB, "CUDA1": (114 + 4 + 44) * MIB}
    assert abs(log.buffers["CUDA1"] - (60.21 + 4 + 5.23 + 36.56 + 4 + 44.56) * MIB) < 4
    assert abs(log.compute["CUDA1"] - (36.56 + 44.56) * MIB) < 4
    assert abs(log.buffers["CUDA0"] - (37.89 + 4 + 10.47 + 54.58) * MIB) < 4
    assert (log.layers, log.layers_total) == (10, 10)


def test_a_draft_adds_its_weights_and_its_layers_are_not_the_model_s():
    log = speculating("draft")
    assert log.dry_run == {"CUDA0": (106 + 37) * MIB, "CUDA1": (103 + 60 + 4 + 44) * MIB}
    assert abs(log.buffers["CUDA1"] - (49.65 + 4 + 5.23 + 36.56 + 60.21 + 4 + 44.56) * MIB) < 4
    assert (log.layers, log.layers_total) == (9, 9)


def test_all_adapters_and_both_caches_of_a_model_with_windows_count():
    log = speculating("adapters")
    assert abs(log.buffers["CUDA1"] - (5.58 + 0.04 + 0.08 + 2 + 1 + 19.10) * MIB) < 4
    assert log.compute["CUDA0"] == int(round(15.59 * MIB))
    assert log.dry_run == {"CUDA0": 21 * MIB, "CUDA1": 29 * MIB}
