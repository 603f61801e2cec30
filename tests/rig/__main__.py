# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Command line of the rig: python -m tests.rig [--set NAME] COMMAND. See README.md."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from tests.rig.gpus import state
from tests.rig.hosts import ansible, changes, fleet, gpus, image, seed
from tests.rig.hosts.podman import containers, podman
from tests.rig.registry import background, login
from tests.rig.settings import RigError, cache_root


def main(arguments: list[str] | None = None) -> int:
    """Run one command; print a RigError as one sentence and return 1."""
    options = _parser().parse_args(arguments)
    try:
        fleet.check_set_name(options.set)
        return options.run(options) or 0
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rig", description=__doc__)
    parser.add_argument(
        "--set", default="rig", metavar="NAME", help="set of hosts; several sets live beside each other (default: rig)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str, *words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.set_defaults(run=run)
        for word in words:
            added.add_argument(word)
        return added

    command("image", _image, "build the hosts' image, if podman lacks it")
    command("collections", _collections, "unpack containers.podman; print the directory for ANSIBLE_COLLECTIONS_PATH")
    up = command("up", _up, "make hosts afresh and write their inventory; prints its path")
    up.add_argument("--hosts", required=True, metavar="NAME=GPUS,...", help="for example a=2xA6000,b=2x4090,c=none")
    down = command("down", _down, "remove hosts and everything else that the set started")
    down.add_argument("--hosts", metavar="NAME,...", help="only these hosts (default: the whole set)")
    down.add_argument("--all-sets", action="store_true", help="every set of this machine")
    command("status", _status, "what runs, of all sets")
    command("inventory", _inventory, "print the path of the set's inventory")
    _server_commands(command)
    _host_commands(command)
    return parser


def _server_commands(command) -> None:
    """Add the commands of the registry and release server."""
    serve = command(
        "serve", _serve, "start the set's registry and release server in the background; prints its addresses as JSON"
    )
    serve.add_argument("--port", type=int, default=0, help="default: any free one")
    serve.add_argument(
        "--version",
        action="append",
        help="Ollama version to offer, several times for several (default: that of OLLAMA_ARCHIVE, or 0.32.15); "
        "VERSION=FAULT is a release that fails (ollama/double/version.py)",
    )
    serve.add_argument(
        "--login", metavar="NAME:PASSWORD", help="what manifests and blobs need from now on; without it: nothing"
    )
    serve.add_argument("--login-kind", choices=login.KINDS, default="basic", help="how it is asked for")
    command("requests", _requests, "print the server's log of requests as JSON").add_argument(
        "--clear", action="store_true", help="and forget them"
    )
    fault = command("fault", _fault, "let answers of the server go wrong; without arguments: list the rules")
    fault.add_argument("target", nargs="?", help="namespace/model, releases/vX/FILE or files/NAME, with * and ?")
    fault.add_argument(
        "fault", nargs="?", help="404 401 500 503 badjson blob404 slow cut corrupt direct200 loc302 loc200"
    )
    fault.add_argument(
        "--at", action="append", help="manifest, head, blob, data, release or file (default: where the fault belongs)"
    )
    for name, kind, text in (
        ("times", int, "so often, 0 = always"),
        ("after", int, "cut: bytes of the body"),
        ("rate", int, "slow: bytes a second"),
        ("delay", float, "seconds before the answer"),
    ):
        fault.add_argument(f"--{name}", type=kind, default=0, help=text)
    fault.add_argument("--clear", action="store_true", help="drop all rules")
    move = command("move", _move, "let a tag name another model of the same kind", "target", "tag")
    move.add_argument("mark", nargs="?", default="", help="what the other model's file ends with; without it: back")


def _host_commands(command) -> None:
    """Add the commands that work on one host."""
    seeding = command(
        "seed", _seed, "put a model of true size into a host's store as a sparse file", "host", "model", "store"
    )
    seeding.add_argument(
        "--registry", metavar="ADDRESS:PORT|served", help="host part of the model's name (served: the set's own server)"
    )
    seeding.add_argument("--blobs-only", action="store_true", help="no manifest: a pull then finds every blob there")
    seeding.add_argument("--owner", help="user on the host that the store shall belong to (default: root)")
    gpu = command("gpu", _gpu, "run a command of tests/rig/gpus/state.py in a host", "host")
    gpu.add_argument("arguments", nargs=argparse.REMAINDER)
    command("memory", _memory, "give a host another size of memory, such as 8G", "host", "size")
    command("kill", _kill, "kill all processes of a host at once; 'reboot' starts it again", "host")
    reboot = command("reboot", _reboot, "stop a host and start it again", "host")
    reboot.add_argument("--without", type=int, default=0, help="how many of its GPUs are not there any more")
    logs = command("logs", _logs, "print a host's journal", "host")
    logs.add_argument("--unit", help="of one unit")
    command("snapshot", _snapshot, "remember the state of a host's files in FILE", "host", "file")
    command("diff", _diff, "print what changed since the snapshot in FILE; status 1 if anything did", "host", "file")


def _aside(text: str) -> None:
    """Print a message to stderr, because a program reads the standard output of this command."""
    print(text, file=sys.stderr)


def _image(_options) -> None:
    print(image.ensure(image.library(), _aside))


def _collections(_options) -> None:
    print(ansible.collections(_aside))


def _memory(options) -> None:
    fleet.require_host(options.set, options.host)
    try:
        size = state.parse_bytes(options.size)
    except state.StateError as error:
        raise RigError(str(error)) from None
    fleet.set_memory(options.set, options.host, size)


def _up(options) -> None:
    print(fleet.up(options.set, fleet.parse_hosts(options.hosts), _aside))


def _down(options) -> None:
    there = (
        {path.name for path in (cache_root() / "sets").glob("*")} | {item["set"] for item in containers()}
        if options.all_sets
        else {options.set}
    )
    for name in sorted(there):
        removed = fleet.down(name, options.hosts.split(",") if options.hosts else None)
        print(f"{name}: removed {', '.join(removed) or 'no host'}")


def _status(_options) -> None:
    there = containers()
    for item in there:
        print(
            f"{item['set']:16} host {item['host']:12} {item['state']:10} "
            f"{fleet.load(item['set'])['hosts'].get(item['host'], '?')}"
        )
    for path in sorted((cache_root() / "sets").glob("*/server.json")):
        running = background.status(path)
        if running:
            print(
                f"{path.parent.name:16} server            running    http://{running['addresses'][0]}:{running['port']}"
            )


def _inventory(options) -> None:
    print(fleet.write_inventory(options.set))


def _serve(options) -> None:
    print(json.dumps(fleet.serve(options.set, options.port, options.version, _aside), indent=1))
    body = {"user": options.login or "", "kind": options.login_kind}
    background.control(fleet.require_server(options.set), "POST", "login", body)


def _requests(options) -> None:
    running = fleet.require_server(options.set)
    print(json.dumps(background.control(running, "GET", "requests"), indent=1))
    if options.clear:
        background.control(running, "DELETE", "requests")


def _fault(options) -> None:
    running = fleet.require_server(options.set)
    if options.clear:
        background.control(running, "DELETE", "faults")
    if options.target and not options.fault:
        raise RigError(f"Say which fault '{options.target}' shall have: see 'fault --help'.")
    if options.target:
        rule = {name: getattr(options, name) for name in ("target", "fault", "times", "after", "rate", "delay")}
        background.control(running, "POST", "faults", {**rule, "at": options.at or []})
    print(json.dumps(background.control(running, "GET", "faults"), indent=1))


def _move(options) -> None:
    body = {name: getattr(options, name) for name in ("target", "tag", "mark")}
    background.control(fleet.require_server(options.set), "POST", "tags", body)


def _seed(options) -> None:
    registry = options.registry
    if registry == "served":
        running = fleet.require_server(options.set)
        registry = f"{running['addresses'][0]}:{running['port']}"
    container = fleet.require_host(options.set, options.host)
    print(seed.seed(container, options.model, options.store, registry, not options.blobs_only, options.owner))


def _gpu(options) -> None:
    print(gpus.run(fleet.require_host(options.set, options.host), *options.arguments), end="")


def _kill(options) -> None:
    fleet.kill(options.set, options.host)


def _reboot(options) -> None:
    fleet.reboot(options.set, options.host, without=options.without)


def _logs(options) -> None:
    command = ["journalctl", "--no-pager", "-o", "short-precise", *(["-u", options.unit] if options.unit else [])]
    print(
        podman("exec", fleet.require_host(options.set, options.host), *command).stdout.decode(errors="replace"), end=""
    )


def _snapshot(options) -> None:
    pathlib.Path(options.file).write_text(json.dumps(changes.snapshot(fleet.require_host(options.set, options.host))))


def _diff(options) -> int:
    try:
        before = json.loads(pathlib.Path(options.file).read_text())
    except (OSError, ValueError) as error:
        raise RigError(
            f"'{options.file}' is no snapshot: make one with 'snapshot {options.host} {options.file}'."
        ) from error
    lines = changes.compare(before, changes.snapshot(fleet.require_host(options.set, options.host)))
    print("\n".join(lines), end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
