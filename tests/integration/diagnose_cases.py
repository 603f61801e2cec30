# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What provokes findings on a host of the rig: groups of changes that do not get in each other's way."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass

from tests.unit.plugins.plugin_utils.report.made_plans import planned

DROP_IN = "/run/systemd/system/ollama.service.d/test.conf"
LIBRARIES = "/usr/local/lib/ollama"
GPU = "python3 /opt/state.py "
RESTART = "systemctl daemon-reload; systemctl restart ollama.service"
KEPT_STATE = "cp /opt/kept /dev/gpu-rig/state"


@dataclass(frozen=True)
class Group:
    """Shell lines that provoke findings, and those that take them back; `kinds` are what is found with `option`."""

    do: tuple[str, ...]
    undo: tuple[str, ...]
    kinds: tuple[str, ...]
    option: str = ""


def gpus(kinds: str, **keys: object) -> Group:
    """Changes of the GPU state; `__` in a key stands for a dot."""
    pairs = {key.replace("__", "."): value for key, value in keys.items()}
    words = " ".join("%s '%s'" % pair for pair in pairs.items())
    return Group((GPU + "set " + words,), (KEPT_STATE,), tuple(kinds.split()))


def drop_in(kinds: str, *lines: str, then: tuple[str, ...] = ()) -> Group:
    """A drop-in of the service, which is restarted."""
    text = "\\n".join(("[Service]", *lines))
    write = "mkdir -p $(dirname %s); printf '%s\\n' > %s" % (DROP_IN, text, DROP_IN)
    return Group((write, RESTART, "wait-for-server", *then), ("rm " + DROP_IN, RESTART), tuple(kinds.split()))


def with_gpus(group: Group, **keys: object) -> Group:
    """A group of which the GPU state is another one; `__` in a key stands for a dot."""
    changes = gpus("", **keys)
    return Group(changes.do + group.do, group.undo + changes.undo, group.kinds)


def plan() -> str:
    """A plan for the host, with a model that its server has not loaded and a variable that it does not have."""
    made = planned({"name": "gemma3:27b", "context_length": 8192})
    for instance in made["instances"]:
        instance.update(unit="ollama.service", environment={"OLLAMA_ORIGINS": "http://planned"})
    return json.dumps(made)


GROUPS = {
    "mismatch": gpus("driver_library_mismatch", fault__nvmlInit=18),
    "not loaded": gpus("driver_not_loaded", fault__nvmlInit=9),
    "error": gpus("driver_refuses", fault__nvmlInit=999),
    "no library": Group(
        ("dirname /usr/lib/*/libnvidia-ml.so.1 > /root/where", "mv $(cat /root/where)/libnvidia-ml.so.1 /root"),
        ("mv /root/libnvidia-ml.so.1 $(cat /root/where)",),
        ("driver_library_missing",),
    ),
    # The diagnosis gives the driver 30 seconds. Without watching the GPUs, it waits once.
    "hangs": dataclasses.replace(gpus("driver_hangs", delay__nvmlInit=60000), option="--seconds 0"),
    "not listed": gpus("gpu_not_listed", gpus=1),
    "lost": gpus("gpu_lost", gpu1__fault=15),
    "release": gpus("gpu_not_built_for driver_too_old", gpu0__compute_capability="3.7", driver__version="535.183.01"),
    "MIG": gpus("mig_without_devices", gpu0__mig=1, gpu0__mig__pending=1),
    "condition": gpus(
        "compute_mode_prohibited compute_mode_exclusive pcie_narrow pcie_slow_under_load persistence_off "
        "power_limit_lowered ecc_errors memory_row_faulty recovery_wanted nvlink_partly_down gpu_too_hot power_brake "
        "vgpu_profile mig_change_pending",
        gpu0__compute_mode=2,
        gpu0__pcie__width=4,
        gpu0__pcie__gen__busy=1,
        gpu0__utilization=90,
        gpu0__persistence=0,
        gpu0__power__limit=150000,
        gpu0__ecc=1,
        gpu0__ecc__volatile=3,
        gpu0__remapped="0 0 1 0",
        gpu0__recovery_action=3,
        gpu0__nvlink__1__state=0,
        gpu0__throttle=0x40 | 0x80,
        gpu1__compute_mode=3,
        gpu1__virtualization=2,
        gpu1__name="NVIDIA A40-8B",
        gpu1__mig=0,
        gpu1__mig__pending=1,
    ),
    "nodes": Group(
        ("mv /dev/nvidia-uvm /dev/kept; chmod 0600 /dev/nvidia0",),
        ("mv /dev/kept /dev/nvidia-uvm; chmod 0666 /dev/nvidia0",),
        ("device_node_missing", "device_node_closed"),
    ),
    "sandbox": drop_in("unit_hides_devices", "PrivateDevices=yes"),
    "variables": drop_in(
        "visible_devices_by_index kv_cache_without_kernel value_not_understood variable_without_effect peer_to_peer_on "
        "unified_memory_on",
        "Environment=CUDA_VISIBLE_DEVICES=0,1 OLLAMA_KV_CACHE_TYPE=q5_1 OLLAMA_FLASH_ATTENTION=disabled",
        "Environment=OLLAMA_GPU_OVERHEAD=1 GGML_CUDA_P2P=1 GGML_CUDA_ENABLE_UNIFIED_MEMORY=1",
    ),
    "one visible": drop_in("visible_devices_fewer vulkan_shows_hidden_gpu", "Environment=CUDA_VISIBLE_DEVICES=0"),
    "two of a divided GPU": with_gpus(
        drop_in("mig_one_device_only", "Environment=CUDA_VISIBLE_DEVICES=MIG-1,MIG-2"),
        gpu0__mig=1,
        gpu0__mig__pending=1,
        gpu0__mig__max=2,
        **{"gpu0__mig__%d__uuid" % slot: "MIG-%d" % (slot + 1) for slot in (0, 1)},
        **{"gpu0__mig__%d__memory__total" % slot: 20 * 1024**3 for slot in (0, 1)},
    ),
    "another library": with_gpus(
        drop_in("library_leaves_gpu_out", "Environment=OLLAMA_LLM_LIBRARY=cuda_v13"), gpu0__compute_capability="7.0"
    ),
    "main_gpu": drop_in(
        "main_gpu_given",
        "Environment=OLLAMA_SCHED_SPREAD=1",
        then=("""ask '{"model": "tiny", "options": {"main_gpu": 0}}'""",),
    ),
    "none visible": drop_in("visible_devices_none", "Environment=CUDA_VISIBLE_DEVICES=-1"),
    "wrong entry": drop_in("visible_devices_invalid", "Environment=CUDA_VISIBLE_DEVICES=0,7"),
    "not reloaded": Group(
        ("mkdir -p $(dirname %s); echo '[Service]' > %s" % (DROP_IN, DROP_IN),),
        ("rm " + DROP_IN, "systemctl daemon-reload"),
        ("unit_not_reloaded",),
    ),
    "not restarted": Group(
        (
            "mkdir -p $(dirname %s); printf '[Service]\\nEnvironment=OLLAMA_SCHED_SPREAD=1\\n' > %s"
            % (DROP_IN, DROP_IN),
            "systemctl daemon-reload",
        ),
        ("rm " + DROP_IN, "systemctl daemon-reload"),
        ("environment_not_applied",),
    ),
    "plan": Group(
        ("mkdir -p /etc/ollama-multigpu; echo %s > /etc/ollama-multigpu/plan.json" % shlex.quote(plan()),),
        ("rm /etc/ollama-multigpu/plan.json",),
        ("environment_not_planned", "not_as_planned"),
    ),
    "installed": Group(
        (
            "cp /usr/local/bin/ollama /usr/bin/ollama; mkdir %s/runners" % LIBRARIES,
            "mkdir /root/kept; mv %s/cuda_* /root/kept" % LIBRARIES,
            "systemd-run --unit stray -E OLLAMA_HOST=127.0.0.1:11999 -E HOME=/root /usr/local/bin/ollama serve",
            "systemd-run --unit left python3 -c 'import time; time.sleep(999)' llama-server --model /x/sha256-1",
            "systemd-run --unit batch sleep 999",
            GPU + "process add 0 30G --pid $(systemctl show -p MainPID --value batch) --name python3",
            "sleep 1",
        ),
        (
            "systemctl stop stray left batch; rm -r /usr/bin/ollama %s/runners" % LIBRARIES,
            "mv /root/kept/* %s; rmdir /root/kept" % LIBRARIES,
            KEPT_STATE,
        ),
        (
            "two_programs",
            "mixed_libraries",
            "cuda_library_missing",
            "two_servers",
            "engine_left_behind",
            "foreign_tenant",
        ),
    ),
    # The double is a script, which the kernel does not name as the program of a process. Here a copy of its
    # interpreter has the name of Ollama, and is replaced as an update does it.
    "replaced": Group(
        (
            "mkdir -p /opt/copy; cp $(readlink -f /usr/bin/python3) /opt/copy/ollama",
            "mkdir -p $(dirname %s); printf '[Service]\\nExecStart=\\nExecStart=/opt/copy/ollama "
            "/usr/local/bin/ollama serve\\n' > %s" % (DROP_IN, DROP_IN),
            RESTART,
            "wait-for-server",
            "cp /opt/copy/ollama /opt/copy/new; mv /opt/copy/new /opt/copy/ollama",
        ),
        ("rm " + DROP_IN, RESTART, "rm -r /opt/copy"),
        ("program_replaced",),
    ),
    "fails": Group(
        ("mkdir -p $(dirname %s); printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > %s" % (DROP_IN, DROP_IN),)
        + (RESTART, "wait-for ended"),
        ("rm " + DROP_IN, RESTART),
        ("service_failed",),
    ),
    "no GPU at start": Group(
        (GPU + "set gpus 0", RESTART, "wait-for-server", GPU + "set gpus 2"), (RESTART,), ("started_without_gpu",)
    ),
    "one GPU at start": Group(
        (GPU + "set gpus 1", RESTART, "wait-for-server", GPU + "set gpus 2"), (RESTART,), ("server_misses_gpu",)
    ),
    "one GPU is enough": Group(
        ("""ask '{"model": "tiny"}'""",), ("""ask '{"model": "tiny", "keep_alive": 0}'""",), ("fits_on_one_gpu",)
    ),
    "few layers": Group(
        ("""ask '{"model": "tiny", "options": {"num_gpu": 3}}'""",),
        ("""ask '{"model": "tiny", "keep_alive": 0}'""",),
        ("layers_limited",),
    ),
    "nothing on a GPU": Group(
        (GPU + "lie nothing", """ask '{"model": "tiny"}'"""),
        ("""ask '{"model": "tiny", "keep_alive": 0}'""", GPU + "lie off"),
        ("model_on_cpu",),
    ),
    # Between 23 and 47 GiB of GPUs give 32768 tokens, which the model takes.
    "context of the tier": Group(
        (GPU + "set gpus 1 gpu0.memory.total %d" % (24 * 1024**3), RESTART, """ask '{"model": "llama3.1:8b"}'"""),
        (KEPT_STATE, RESTART),
        ("context_of_the_tier",),
    ),
    # 96 GiB give 262144 tokens, of which the model takes half.
    "longest context": Group(
        ("""ask '{"model": "llama3.1:8b"}'""",),
        ("""ask '{"model": "llama3.1:8b", "keep_alive": 0}'""",),
        ("context_of_the_tier",),
    ),
    "all on one": drop_in(
        "unbalanced_split",
        "Environment=OLLAMA_SCHED_SPREAD=1",
        then=(GPU + "lie one_gpu", """ask '{"model": "llama3.1:8b", "options": {"num_ctx": 8192}}'""", GPU + "lie off"),
    ),
}


def lie(name: str, kind: str) -> Group:
    """The model is asked, and its engine tells a lie."""
    do = (GPU + "lie " + name, """ask '{"model": "tiny"}'""")
    return Group(do, ("""ask '{"model": "tiny", "keep_alive": 0}'""", GPU + "lie off"), (kind,), "--answers")


GROUPS.update(
    {
        "no number": lie("not_a_number", "answer_no_number"),
        "one token": lie("one_word", "answer_one_token"),
        "unprintable": lie("unprintable", "answer_unprintable"),
        "no vector": Group(
            (GPU + "lie not_a_number", """API=embed ask '{"model": "vectors", "input": "x"}'"""),
            ("""ask '{"model": "vectors", "keep_alive": 0}'""", GPU + "lie off"),
            ("vector_wrong",),
            "--answers",
        ),
        "replicas": Group(
            (
                "systemd-run --unit other -E OLLAMA_HOST=127.0.0.1:11999 -E OLLAMA_NOPRUNE=1 -E HOME=/root "
                "-E OLLAMA_MODELS=/usr/share/ollama/.ollama/models /usr/local/bin/ollama serve",
                GPU + "lie other_words",
                """ask '{"model": "tiny"}'; PORT=11999 ask '{"model": "tiny"}'""",
            ),
            ("systemctl stop other", """ask '{"model": "tiny", "keep_alive": 0}'""", GPU + "lie off"),
            ("replicas_disagree",),
            "--answers",
        ),
    }
)
#: {kind: name of the group that provokes it}
CASES = {kind: name for name, group in GROUPS.items() for kind in group.kinds}
