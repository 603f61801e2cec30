# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Plans, hosts and servers to compare."""

from __future__ import annotations

import copy
import posixpath

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import wanted_files
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.compare import SHELL, compare
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.schema import Wanted
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import full_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fingerprint import fingerprint

MIB = 1024**2
ABSENT = {"kind": "absent", "owner": None, "group": None, "mode": None, "digest": None, "target": None}
WANTED = Wanted(version="0.32.15", checksum="a" * 64, models_dir="/models")
EXISTING = {
    "unit": "ollama.service",
    "path": "/etc/systemd/system/ollama.service",
    "active": True,
    "enabled": True,
    "store": "/old/models",
    "environment": {},
    "drop_ins": [],
}


def model(name="llama3.1:8b", create_as=None, **more):
    device = {"uuid": "GPU-a", "layers": 33}
    return dict(
        {
            "name": name,
            "create_as": create_as,
            "from": name,
            "digest": None,
            "insecure": False,
            "parameters": {"num_ctx": 4096},
            "system": None,
            "template": None,
            "keep_alive": -1,
            "predicted": {"ubatch": 512, "devices": [device]},
        },
        **more,
    )


def plan(*models, name="gpu0", port=11434):
    instance = {
        "name": name,
        "unit": "ollama@%s.service" % name,
        "address": "127.0.0.1",
        "port": port,
        "url": "http://127.0.0.1:%d" % port,
        "store": "/models/instances/" + name,
        "gpu_uuids": ["GPU-a"],
        "environment": {"OLLAMA_HOST": "127.0.0.1:%d" % port},
        "models": list(models),
    }
    return {
        "ollama_version": "0.32.15",
        "feasible": True,
        "models_dir": "/models",
        "warnings": [],
        "instances": [instance],
        "gpus": [],
        "models": [],
    }


#: What the module host_info says of a host without rules of ours.
NO_RULES = {
    "program": "/usr/sbin/nft",
    "loaded": None,
    "active": False,
    "enabled": False,
    "places": [],
    "problem": None,
}


def host(**more):
    """An untouched host."""
    return dict(
        {
            "existing": None,
            "adopted": {},
            "applied_plan": {},
            "architecture": "x86_64",
            "systemd": True,
            "address_available": True,
            "default_address": "192.0.2.7",
            "command": "absent",
            "zstd": True,
            "release": {"current": None, "complete": {}, "leftovers": []},
            "listeners": [],
            "groups": ["render", "video"],
            "user": None,
            "instances": [],
            "check_timer": {"active": False, "enabled": False},
            "firewall": dict(NO_RULES),
            "drop_ins": [],
            "left_behind": None,
            "history": {"plans": [], "leftovers": []},
            "made": [],
            "metrics_directory": "",
            "files": {},
            "models_dir": {"path": "/models", "entries": [], "free_bytes": 10**12},
            "libraries": {"requests": {"own": False, "digest": None}},
            "program": {"digest": None, "interpreter": None},
        },
        **more,
    )


def entry(name, **more):
    """An instance as host_info finds one that is as it should be."""
    return dict(
        {"name": name, "active": True, "enabled": True, "env_file": True, "release": "0.32.15", "store": True}, **more
    )


def applied_host(wanted, values=None, **more):
    """A host on which the plan `wanted` was applied to its end; `values` are those that it hides."""
    found = host(
        applied_plan=copy.deepcopy(wanted),
        command="ours",
        check_timer={"active": True, "enabled": True},
        release={"current": "0.32.15", "complete": {"0.32.15": "a" * 64}, "leftovers": []},
        groups=["ollama", "render", "video"],
        user={"group": "ollama", "groups": ["render", "video"], "home": paths.UPSTREAM_HOME, "shell": SHELL},
        instances=[entry(instance["name"]) for instance in wanted["instances"]],
    )
    found["made"] = ["/models", "/models/instances", paths.STATE_DIRECTORY]
    found["files"] = {path: dict(ABSENT, kind="directory") for path in ("/etc/ansible", paths.FACTS_DIRECTORY)}
    managed = wanted_files.wanted_files(wanted, found, values or {})
    found["files"] |= {file.path: described(file) for file in managed}
    found["history"] = {"plans": [kept(1, managed)], "leftovers": []}
    return dict(found, **more)


def kept(number, managed, **more):
    """A plan with these files as host_info finds it in the history."""
    names = [posixpath.basename(file.path)[:-4] for file in managed if paths.is_environment_file(file.path)]
    copied = paths.kept_files(number, names)
    return dict(
        {
            "number": number,
            "order": number,
            "release": "0.32.15",
            "checksum": "a" * 64,
            "time": "2026-11-28T22:40:00Z",
            "verdict": "pass",
            "tokens_per_second": {},
            "rolled_back_from": None,
            "files": {file.path: file.digest for file in managed if file.path in copied},
        },
        **more,
    )


def described(file):
    """A managed file as host_info finds it."""
    return dict(
        ABSENT,
        problem=None,
        kind=file.state,
        owner=file.owner,
        group=file.group,
        mode=file.mode or "0755",
        digest=file.digest,
        target=file.target,
    )


def process(name, port=11434):
    """The variables of an instance's process that tell its address and its store."""
    return {"OLLAMA_HOST": "127.0.0.1:%d" % port, "OLLAMA_MODELS": "/models/instances/" + name}


def server(*names, loaded=(), **more):
    """A server that runs as planned (as the first instance, if nothing else is said) and has these models."""
    digest = "b" * 64
    return dict(
        {
            "reachable": True,
            "models": [{"name": name, "digest": digest} for name in names],
            "loaded": [{"name": name, "digest": digest, "expires_at": "2319-01-01T00:00:00Z"} for name in loaded],
            "contents": {},
            "environment": {"unit": {}, "process": process("gpu0"), "differences": []},
            "wanted_executable": "/opt/new/bin/ollama",
            "runs_executable": True,
            "unit": {"active_state": "active", "needs_daemon_reload": False, "main_pid": 1},
        },
        **more,
    )


def contents(parameters=None, **more):
    """What server_info tells of the content of a model."""
    content = {
        "from": ["sha256:" + "d" * 64],
        "adapters": [],
        "draft": "",
        "renderer": "",
        "parser": "",
        "requires": "",
        "architecture": "",
        "template": "t",
        "system": "",
        "license": "",
        "messages": [],
    }
    content = dict(content, parameters=parameters or {}, **more)
    return {"content": fingerprint(content), "num_ctx": content["parameters"].get("num_ctx"), "trained_context": 8192}


def serving(wanted):
    """{instance: server} that have and have loaded what the plan `wanted` says."""
    found = {}
    for instance in wanted["instances"]:
        served = [one.get("create_as") or one["name"] for one in instance["models"]]
        names = [one["name"] for one in instance["models"]] + served
        found[instance["name"]] = server(*dict.fromkeys(names), loaded=served)
        found[instance["name"]]["environment"]["process"] = process(instance["name"], instance["port"])
        told = {full_name(one["name"]): contents() for one in instance["models"]}
        told.update({one["create_as"]: contents(one["parameters"]) for one in instance["models"] if one["create_as"]})
        found[instance["name"]]["contents"] = told
    return found


def difference(wanted, state, servers=None, applied=None, **settings):
    """What compare finds: Changes."""
    values = dict(vars(WANTED), **settings)
    return compare(
        wanted, state, servers or {}, state["applied_plan"] if applied is None else applied, Wanted(**values)
    )


def told(changes):
    """[(kind, object, what)] of changes."""
    return [(change.kind, change.object, change.what) for change in changes.changes]
