# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine of the oracle: Debian sid's llama.cpp in a root of its own, its devices, and one dry run.

Needs root, mmdebstrap and a C compiler. Nothing lies in the checkout: the root is under the cache (GPUFLEET_CACHE, else
~/.cache/gpufleet-ollama). Packages come from the machine's own mirror, the first of its APT sources.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import re
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("GPUFLEET_CACHE", pathlib.Path.home() / ".cache" / "gpufleet-ollama")) / "oracle"
ROOT = CACHE / "sid"
MODELS = ROOT / "work"  # /work inside
PACKAGES = "llama.cpp-tools,llama.cpp-tools-extra,libggml0-backend-rpc,python3"
FIRST_PORT = 21811  # below the ports that the kernel gives to clients
LAYER = re.compile(r"load_tensors: layer\s+(\d+) assigned to device (\S+?),")
ROW = re.compile(r"^(RPC\d+|Host) (\d+) (\d+) (\d+)\s*$", re.MULTILINE)

_held = []  # the lock, for as long as this process lives


def _alone():
    """Take the engine for this process: two runs would take each other's devices for their own."""
    if _held:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = open(str(CACHE / "lock"), "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("oracle: another run uses the engine in %s; wait for its end" % CACHE) from None
    _held.append(lock)


def _mirror():
    """The first mirror of the machine's APT sources, in either of their formats."""
    places = [pathlib.Path("/etc/apt/sources.list")] + sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*"))
    for place in places:
        if place.suffix not in (".list", ".sources") or not place.is_file():
            continue
        for line in place.read_text().splitlines():
            found = re.match(r"(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+)", line)
            if found:
                return found.group(1)
    raise SystemExit("oracle: no mirror in the machine's APT sources")


def build_root(root, packages):
    """Make a root with these packages unless it is there, and give it its /proc."""
    _alone()
    if not root.exists():
        building = CACHE / ("%s.%d" % (root.name, os.getpid()))
        subprocess.run(
            [
                "mmdebstrap",
                '--aptopt=Acquire::Check-Valid-Until "false"',
                "--variant=apt",
                "--include=" + packages,
                "sid",
                str(building),
                _mirror(),
            ],
            check=True,
        )
        building.rename(root)
    if not (root / "proc" / "self").exists():
        subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)


def build():
    """Make the root unless it is there, and put our two small files into it."""
    build_root(ROOT, PACKAGES)
    MODELS.mkdir(exist_ok=True)
    (MODELS / "rpc_server.py").write_bytes((HERE / "rpc_server.py").read_bytes())
    subprocess.run(
        ["cc", "-O", "-shared", "-fPIC", "-o", str(MODELS / "pages.so"), str(HERE / "pages.c"), "-ldl"], check=True
    )


def close():
    """Leave nothing mounted behind."""
    if _held:
        subprocess.run(["umount", str(ROOT / "proc")], check=False)


def version():
    """What the engine calls itself, with the versions of its packages."""
    said = subprocess.run(
        ["chroot", str(ROOT), "llama-fit-params", "--version"], capture_output=True, text=True, check=True
    )
    packages = subprocess.run(
        ["chroot", str(ROOT), "dpkg-query", "-W", "-f", "${Package} ${Version}; ", "llama.cpp-tools", "libggml0"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "engine": next(line for line in (said.stdout + said.stderr).splitlines() if line.startswith("version:")),
        "packages": packages.stdout.strip("; "),
    }


class Devices:
    """RPC servers of given sizes (MiB); a context manager."""

    def __init__(self, sizes):
        self.sizes = list(sizes)
        self.running = []

    def __enter__(self):
        for index in range(len(self.sizes)):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", FIRST_PORT + index)):
                    raise SystemExit(
                        "oracle: something listens on port %d already, perhaps a device of a run that was killed; "
                        "end it" % (FIRST_PORT + index)
                    )
        for index, size in enumerate(self.sizes):
            command = [
                "nice",
                "-n",
                "10",
                "chroot",
                str(ROOT),
                "env",
                "LD_PRELOAD=/work/pages.so",
                "DEVICE_MIB=%d" % size,
                "python3",
                "/work/rpc_server.py",
                str(FIRST_PORT + index),
            ]
            self.running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for index in range(len(self.sizes)):
            self._wait(FIRST_PORT + index)
        return self

    @staticmethod
    def _wait(port):
        for unused in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("oracle: no device came up on port %d" % port)

    def __exit__(self, *unused):
        for process in self.running:
            process.terminate()
            process.wait()

    def servers(self, wanted):
        """Addresses of devices of the wanted sizes, in that order."""
        free = list(range(len(self.sizes)))
        chosen = []
        for size in wanted:
            index = next(index for index in free if self.sizes[index] == size)
            free.remove(index)
            chosen.append("127.0.0.1:%d" % (FIRST_PORT + index))
        return ",".join(chosen)


def dry_run(devices, row):
    """One dry run of llama-fit-params: {mib: {device: [weights, KV, compute] in MiB}, layers: of every device}.

    The engine's error as text where it gives none.
    """
    command = ["nice", "-n", "10", "chroot", str(ROOT), "llama-fit-params", "-fitp", "on", "-lv", "5"] + arguments(
        devices, row
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    text = done.stdout + done.stderr
    mib = {name: [int(value) for value in values] for name, *values in ROW.findall(done.stdout)}
    return answer(text, {} if done.returncode else mib, done.returncode)


def arguments(devices, row):
    """The engine's arguments for a row: its settings, and layers as they are given there."""
    found = settings(devices, row) + ["-ngl", str(row["n_gpu_layers"])]
    return found + (["-ts", ",".join(map(str, row["tensor_split"]))] if row["tensor_split"] else [])


def settings(devices, row):
    """The engine's arguments for a row, without those about layers."""
    return [
        "-m",
        "/work/%s.gguf" % row["model"],
        "-c",
        str(row["n_ctx"]),
        "-fa",
        row["flash_attn"],
        "-ctk",
        row["cache_type"],
        "-ctv",
        row["cache_type"],
        "-ub",
        str(row["n_ubatch"]),
        "-b",
        str(row["n_ubatch"]),
        "-np",
        str(row["n_parallel"]),
        "--rpc",
        devices.servers(row["devices_mib"]),
    ]


def answer(text, mib, code):
    """{mib, layers} from what the engine said; its error where there is no memory."""
    if not mib:
        errors = [
            line for line in text.splitlines() if re.search(r"error|failed|requires|invalid", line, re.IGNORECASE)
        ]
        return (errors or ["exit %d" % code])[0]
    layers = {}
    for layer, device in LAYER.findall(text):
        layers[int(layer)] = device
    counts = {name: sum(1 for device in layers.values() if device == name) for name in mib if name != "Host"}
    return {"mib": mib, "layers": counts}
