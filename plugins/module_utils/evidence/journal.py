# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read what the engine (llama-server, Ollama from 0.30 on) logged while it loaded a model. Pure: lines in, data out.

Lines as in ollama-0.32.15-loading.json; the same expressions as Ollama's own llm/llama_server.go for buffers and layers.
None of it is proof of where a model lies: on a host where the engine sees no GPU it still says `offloaded 9/9 layers to GPU`.
"""

from __future__ import annotations

import re

MIB = 1024 * 1024

_START = re.compile(r'msg="starting llama-server" cmd="(?P<command>[^"]*)"')
_STARTED = re.compile(r'msg="llama-server started in (?P<seconds>[\d.]+) seconds"')
_USING = re.compile(r"using device (?P<device>\w+) \((?P<name>.*)\) \((?P<id>[^()]*)\) - (?P<free>\d+) MiB free")
_BREAKDOWN_HEAD = re.compile(r"\| memory breakdown \[MiB\]")
_BREAKDOWN = re.compile(r"\|\s+- (?P<device>\w+)\b.*?\|(?P<cells>[^|]*)\|\s*$")
_SELF = re.compile(r"(?P<self>\d+)\s*=\s*(?P<model>\d+)\s*\+\s*(?P<context>\d+)\s*\+\s*(?P<compute>\d+)")
_OFFLOADED = re.compile(r"offloaded (?P<layers>\d+)/(?P<total>\d+) layers to GPU")
_BUFFER = re.compile(
    r"^\s*(?P<component>[\w<>]+):\s+(?P<device>\S+)\s+(?P<kind>\w+) buffer size =\s*(?P<mib>[\d.]+) MiB"
)
_TERMINATED = re.compile(r'msg="(?:llama-server terminated|Load failed)".*?error="(?P<error>[^"]*)"')
_GPU_DEVICE = re.compile(r"^(CUDA|ROCm|HIP|Vulkan|SYCL|Metal|MTL)\d+$")
_PCI = re.compile(r"^[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-9a-fA-F]$")


def is_gpu(device):
    """True for a device of a GPU ("CUDA0"); "CPU", "CPU_Mapped", "CUDA_Host" and "Host" are the host's memory."""
    return bool(_GPU_DEVICE.match(device))


def engine_lines(lines, port=None, model_file=None):
    """Return the lines of one engine: from its last start up to the next engine's start.

    `port` (int): the engine's `--port`, `model_file` (str): base name of its `--model`, both from its argument list; None
    takes any. Returns [] where no such start is in `lines` (rotated away, or an Ollama before 0.30).
    """
    first = None
    for number, line in enumerate(lines):
        match = _START.search(line)
        if match and _starts(match.group("command").split(), port, model_file):
            first = number
    if first is None:
        return []
    for number in range(first + 1, len(lines)):
        if _START.search(lines[number]):
            return lines[first:number]
    return lines[first:]


def _starts(command, port, model_file):
    def after(option):
        return command[command.index(option) + 1] if option in command[:-1] else None

    if port is not None and after("--port") != str(port):
        return False
    return model_file is None or (after("--model") or "").split("/")[-1] == model_file


def is_table_head(line):
    """True for the first line of the dry run's table of memory."""
    return bool(_BREAKDOWN_HEAD.search(line))


def table_row(line):
    """Return (device, {"self", "model", "context", "compute"} in bytes or None) for a row of the dry run's table; None for another line."""
    row = _BREAKDOWN.search(line)
    if not row:
        return None
    figures = _SELF.search(row.group("cells"))
    return row.group("device"), {
        name: int(value) * MIB for name, value in figures.groupdict().items()
    } if figures else None


def parse_engine(lines):
    """Return what the engine said in `lines` (one engine's, see engine_lines), or None where it said nothing of the kind.

    Returns {"devices": {"CUDA0": {"name", "pci_bus_id"}}: the GPUs it uses,
    "dry_run": {"CUDA0": bytes}: what it expects to use, "dry_run_host": bytes,
    "buffers": {"CUDA0": bytes, "CPU": bytes}: what it allocated (the last value of each component, device and kind, as the
    dry run prints buffer lines too), "layers", "layers_total": of the offload line,
    "load_seconds", "error": why the engine ended, as Ollama logged it}. Unknown is None; bytes are rounded to the log's MiB.
    """
    devices, dry_run, buffers = {}, {}, {}
    result = {"layers": None, "layers_total": None, "load_seconds": None, "error": None}
    in_table = False
    for line in lines:
        if _BREAKDOWN_HEAD.search(line):
            in_table, dry_run = True, {}  # a later table replaces an earlier one: fitting tries several layouts
            continue
        row = table_row(line) if in_table else None
        if row:
            if row[1]:
                dry_run[row[0]] = row[1]["self"]
            continue
        in_table = False
        match = _BUFFER.search(line)
        if match:
            key = (match.group("component"), match.group("device"), match.group("kind"))
            buffers[key] = int(round(float(match.group("mib")) * MIB))
            continue
        match = _USING.search(line)
        if match:
            identity = match.group("id")
            devices[match.group("device")] = {
                "name": match.group("name"),
                "pci_bus_id": identity.lower() if _PCI.match(identity) else None,
            }
            continue
        match = _OFFLOADED.search(line)
        if match:
            result["layers"], result["layers_total"] = int(match.group("layers")), int(match.group("total"))
            continue
        match = _STARTED.search(line)
        if match and result["load_seconds"] is None:
            result["load_seconds"] = float(match.group("seconds"))
            continue
        match = _TERMINATED.search(line)
        if match:
            result["error"] = match.group("error")
    if not (devices or dry_run or buffers or result["layers_total"] or result["error"]):
        return None
    sums = {}
    for (component, device, kind), size in buffers.items():
        sums[device] = sums.get(device, 0) + size
    result.update(
        devices=devices,
        dry_run={device: size for device, size in dry_run.items() if is_gpu(device)},
        dry_run_host=dry_run.get("Host"),
        buffers=sums,
    )
    return result


def gpu_bytes(log):
    """Return {"CUDA0": bytes}: the engine's dry run by GPU, or where it printed none the sum of its buffers there."""
    if log["dry_run"]:
        return dict(log["dry_run"])
    return {device: size for device, size in log["buffers"].items() if is_gpu(device)}


def device_uuids(log, visible_devices, gpus):
    """Return {"CUDA0": uuid} for the engine's GPUs: by PCI address, else by the order of its CUDA_VISIBLE_DEVICES.

    `visible_devices` (str or None): of the engine's own environment (tokens are UUIDs, unique prefixes of them, or
    indices in PCI order); `gpus`: the facts' list. A device that neither tells is left out.
    """
    ordered = sorted(gpus, key=lambda gpu: gpu.get("pci_bus_id") or "")
    by_pci = {gpu.get("pci_bus_id"): gpu.get("uuid") for gpu in ordered if gpu.get("pci_bus_id")}
    visible = [gpu.get("uuid") for gpu in ordered] if visible_devices is None else _visible(visible_devices, ordered)
    found = {}
    names = set(log["devices"]) | set(gpu_bytes(log))
    for name in names:
        uuid = by_pci.get((log["devices"].get(name) or {}).get("pci_bus_id"))
        number = int(re.search(r"\d+$", name).group(0)) if is_gpu(name) else None
        if uuid is None and number is not None and number < len(visible):
            uuid = visible[number]
        if uuid:
            found[name] = uuid
    return found


def _visible(text, ordered):
    """Resolve CUDA_VISIBLE_DEVICES as CUDA does: an entry that names nothing hides itself and all that follow."""
    uuids = []
    known = [gpu.get("uuid") for gpu in ordered if gpu.get("uuid")]
    slices = [device.get("uuid") for gpu in ordered for device in (gpu.get("mig") or {}).get("devices") or []]
    for token in [part.strip() for part in text.split(",")]:
        if token.isdigit() and int(token) < len(ordered):
            uuids.append(ordered[int(token)].get("uuid"))
            continue
        matches = [uuid for uuid in known + slices if uuid and token and uuid.startswith(token)]
        if len(matches) != 1:
            break
        uuids.append(matches[0])
    return uuids
