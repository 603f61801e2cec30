# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read what an engine (llama-server, Ollama 0.30 and later) logged while it loaded a model. Pure: lines in, data out.

The lines are those of ollama-0.32.15-loading.json; the expressions for buffers and layers are those of Ollama's own
llm/llama_server.go. The log does not prove where a model is: an engine that sees no GPU still logs
`offloaded 9/9 layers to GPU`.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from ..common.gpu_devices import mig_devices
from ..common.pci import in_pci_order
from ..common.sizes import MIB
from ..common.visible_devices import shown
from ..measure import memory_table
from .shapes import EngineLog, LoggedDevice

_START = re.compile(r'msg="starting llama-server" cmd="(?P<command>[^"]*)"')
_STARTED = re.compile(r'msg="llama-server started in (?P<seconds>[\d.]+) seconds"')
_USING = re.compile(r"using device (?P<device>\w+) \((?P<name>.*)\) \((?P<id>[^()]*)\) - (?P<free>\d+) MiB free")
_OFFLOADED = re.compile(r"offloaded (?P<layers>\d+)/(?P<total>\d+) layers to GPU")
_BUFFER = re.compile(
    r"^\s*(?P<component>[\w<>]+):\s+(?P<device>\S+)\s+(?P<kind>\w+) buffer size =\s*(?P<mib>[\d.]+) MiB"
)
# llama.cpp says the first when its dry run is over, and the others when a model, a context or an adapter begins.
_FITTED = "fitting params to free memory took"
_BEGINS = {"model": "loading model tensors", "context": "constructing llama_context", "LoRA": "loading lora adapter"}
_EXTRA = "getting device memory data for the extra model"  # the next table is of what proposes tokens
_TERMINATED = re.compile(r'msg="(?:llama-server terminated|Load failed)".*?error="(?P<error>[^"]*)"')
_OF_A_REQUEST = "[GIN]"  # the path follows, as the client gave it
_CACHE_KINDS = ("KV", "RS")  # KV cache and recurrent state
_LOGGED = re.compile(r"\btime=(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)")
#: Ollama logs the start of an engine, then starts it. Until it runs on a busy host, and by the second of the boot time:
_START_SECONDS = 10
_GPU_DEVICE = re.compile(r"^(CUDA|ROCm|HIP|Vulkan|SYCL|Metal|MTL)\d+$")
_PCI = re.compile(r"^[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-9a-fA-F]$")


def is_gpu(device: str) -> bool:
    """Return whether a device of the log is a GPU ("CUDA0"); "CPU_Mapped" and "CUDA_Host" are the host's memory."""
    return bool(_GPU_DEVICE.match(device))


def engine_lines(
    lines: list[str], port: int | None = None, model_file: str | None = None, started: float | None = None
) -> list[str]:
    """Return the lines of one engine: from its last start up to the start of the next engine.

    Args:
        lines: the journal of the service.
        port: the engine's `--port`; None for any.
        model_file: base name of the engine's `--model`; None for any.
        started: when the engine started, in seconds since 1970; None for any. An earlier engine may have had its port.

    Returns:
        The lines; [] where no such start is in `lines` (rotated away, or an Ollama before 0.30).
    """
    first = None
    for number, line in enumerate(lines):
        match = _START.search(line)
        if match and _is_start_of(match.group("command").split(), port, model_file) and _is_of(line, started):
            first = number
    if first is None:
        return []
    for number in range(first + 1, len(lines)):
        if _START.search(lines[number]):
            return lines[first:number]
    return lines[first:]


def _is_of(line: str, started: float | None) -> bool:
    """Return whether a line can be of the moment when an engine started; a line without a time can."""
    match = _LOGGED.search(line)
    if started is None or match is None:
        return True
    zone = match.group("zone").replace("Z", "+00:00")  # as Python 3.9 reads it
    return abs(datetime.datetime.fromisoformat(match.group("time") + zone).timestamp() - started) <= _START_SECONDS


def _is_start_of(command: list[str], port: int | None, model_file: str | None) -> bool:
    def after(option: str) -> str | None:
        return command[command.index(option) + 1] if option in command[:-1] else None

    if port is not None and after("--port") != str(port):
        return False
    return model_file is None or (after("--model") or "").split("/")[-1] == model_file


class _Reader:
    """Collects what the lines of one engine say."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.devices: dict[str, LoggedDevice] = {}
        self._tables: dict[bool, dict[str, memory_table.DeviceMemory]] = {False: {}, True: {}}  # True: of the draft
        self._own_weights = False  # of the draft: it is a file of its own
        self._buffers: dict[tuple, int] = {}
        self._begun = dict.fromkeys(_BEGINS, 0)
        self._table: dict[str, memory_table.DeviceMemory] | None = None  # the one whose rows come
        self._of_draft = False  # the next table is

    def read(self, line: str) -> None:
        """Take in one line. What Ollama prints of requests is the clients' words."""
        if not line.startswith(_OF_A_REQUEST) and not self._read_table(line):
            self._read_line(line)

    @property
    def dry_run(self) -> dict[str, int]:
        """Return the bytes of the dry run by device: of the model and of what proposes tokens for it.

        The table of the latter has the weights of a model of its own, or those of the model a second time.
        """
        sums = {device: memory.total_bytes for device, memory in self._tables[False].items()}
        for device, memory in self._tables[True].items():
            own = memory.weight_bytes if self._own_weights else 0
            sums[device] = sums.get(device, 0) + own + memory.kv_bytes + memory.compute_bytes
        return sums

    def buffers(self, *kinds: str) -> dict[str, int]:
        """Return the bytes of the buffers by device, of all kinds or of these; those of the projector are compute."""
        sums: dict[str, int] = {}
        for (_component, device, kind, *_place), size in self._buffers.items():
            if not kinds or kind in kinds:
                sums[device] = sums.get(device, 0) + size
        return sums

    def _read_table(self, line: str) -> bool:
        """Take in a line of the dry run's table; return False for any other line."""
        if memory_table.is_head(line):
            # A later table replaces an earlier one: fitting tries several layouts.
            self._table = self._tables[self._of_draft] = {}
            self._of_draft = False
            return True
        # Lines of the server stand between rows where clients ask it meanwhile.
        row = memory_table.row(line) if self._table is not None else None
        if row is None or self._table is None:
            return False
        if row[1]:
            self._table[row[0]] = row[1]
        return True

    def _read_line(self, line: str) -> None:
        if self._read_beginning(line):
            return
        match = _BUFFER.search(line)
        if match:
            self._read_buffer(match)
            return
        match = _USING.search(line)
        if match:
            address = match.group("id")
            pci_bus_id = address.lower() if _PCI.match(address) else None
            self.devices[match.group("device")] = LoggedDevice(match.group("name"), pci_bus_id)
            return
        match = _OFFLOADED.search(line)
        if match and self._begun["model"] <= 1:  # a second one is the draft
            self.found.update(layers=int(match.group("layers")), layers_total=int(match.group("total")))
            return
        match = _STARTED.search(line)
        if match and "load_seconds" not in self.found:
            self.found["load_seconds"] = float(match.group("seconds"))
            return
        match = _TERMINATED.search(line)
        if match:
            self.found["error"] = match.group("error")

    def _read_beginning(self, line: str) -> bool:
        """Take in a line after which other buffers come; return False for any other line."""
        if _FITTED in line:
            # The dry run prints buffers as well, and they are not those that are allocated.
            self._buffers.clear()
            self._begun = dict.fromkeys(_BEGINS, 0)
            return True
        begins = [what for what, words in _BEGINS.items() if words in line]
        for what in begins:
            self._begun[what] += 1
        if _EXTRA in line:
            self._of_draft = True
        start = _START.search(line)
        if start:
            self._own_weights = "--spec-draft-model" in start.group("command").split()
        return bool(begins) or _EXTRA in line or bool(start)

    def _read_buffer(self, match: re.Match[str]) -> None:
        """Take in a buffer. What proposes tokens has a context of its own, a draft its weights, an adapter its buffer.

        A compute buffer is printed again where it is reserved again (after the first prompt, with adapters): the last
        one counts. A context with windows has two caches on a device. Weights on the host that are mapped have a line
        for each range of the file: with experts on the host one for each layer (llama-server of build 11669).
        """
        kind, size = match.group("kind"), int(round(float(match.group("mib")) * MIB))
        place = self._begun.get(kind, self._begun["context"])
        key = (match.group("component"), match.group("device"), kind, place)
        added = kind == "KV" or match.group("device").endswith("_Mapped")
        self._buffers[key] = size + (self._buffers.get(key, 0) if added else 0)


def parse_engine(lines: list[str]) -> EngineLog | None:
    """Return what one engine logged.

    Args:
        lines: of one engine (engine_lines).

    Returns:
        The log; None where the lines say nothing about devices, memory, layers or an error. Bytes are rounded to the
        precision of the log.
    """
    reader = _Reader()
    for line in lines:
        reader.read(line)
    buffers, found = reader.buffers(), reader.found
    if not (reader.devices or reader.dry_run or buffers or found.get("layers_total") or found.get("error")):
        return None
    return EngineLog(
        devices=reader.devices,
        dry_run={device: size for device, size in reader.dry_run.items() if is_gpu(device)},
        dry_run_host=reader.dry_run.get(memory_table.HOST),
        buffers=buffers,
        compute=reader.buffers("compute"),
        cache=reader.buffers(*_CACHE_KINDS),
        **found,
    )


def gpu_bytes(log: EngineLog) -> dict[str, int]:
    """Return the bytes of each GPU of the log: those of the dry run, or where there is none the sum of the buffers."""
    if log.dry_run:
        return dict(log.dry_run)
    return {device: size for device, size in log.buffers.items() if is_gpu(device)}


def device_uuids(log: EngineLog, visible_devices: str | None, gpus: list[dict[str, Any]]) -> dict[str, str]:
    """Return the UUID behind each GPU of the log: by its PCI address, else by its place in CUDA_VISIBLE_DEVICES.

    MIG devices have the address of their GPU, so only their place identifies them. A process sees one of them.

    Args:
        log: of one engine.
        visible_devices: CUDA_VISIBLE_DEVICES of the engine (UUIDs, unique prefixes of UUIDs, or indices in PCI order);
            None where it is not set.
        gpus: `gpus` of the fact `gpu_inventory`.

    Returns:
        {"CUDA0": uuid}, without the devices that neither the address nor the place identifies.
    """
    ordered = in_pci_order(gpus)
    by_pci = {gpu["pci_bus_id"]: gpu.get("uuid") for gpu in ordered if gpu.get("pci_bus_id") and not _slices(gpu)}
    places = [uuid for gpu in ordered for uuid in _slices(gpu) or [gpu.get("uuid")]]
    visible = [places[place] for place, _token in shown(places, visible_devices)]
    found = {}
    for name in set(log.devices) | set(gpu_bytes(log)):
        device = log.devices.get(name)
        uuid = by_pci.get(device.pci_bus_id) if device and device.pci_bus_id else None
        digits = re.search(r"\d+$", name)
        if uuid is None and digits and is_gpu(name) and int(digits.group(0)) < len(visible):
            uuid = visible[int(digits.group(0))]
        if uuid:
            found[name] = uuid
    return found


def _slices(gpu: dict[str, Any]) -> list[str | None]:
    """Return the UUIDs of the MIG devices of a GPU."""
    return [device.get("uuid") for device in mig_devices(gpu)]
