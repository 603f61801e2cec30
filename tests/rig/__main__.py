# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Command line of the rig: python -m tests.rig COMMAND. See README.md."""

from __future__ import annotations

import argparse
import sys

from tests.rig.hosts import ansible, fleet, image
from tests.rig.hosts.podman import containers
from tests.rig.settings import RigError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; print a RigError as one sentence and return 1."""
    options = _parser().parse_args(arguments)
    try:
        fleet.check_set_name(options.set)
        options.run(options)
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rig", description=__doc__)
    parser.add_argument("--set", default="rig", metavar="NAME", help="set of hosts; several sets live beside each other (default: rig)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("image", help="build the hosts' image, if podman lacks it")
    command.set_defaults(run=lambda options: print(image.ensure()))

    command = commands.add_parser("collections", help="unpack containers.podman; print the directory for ANSIBLE_COLLECTIONS_PATH")
    command.set_defaults(run=lambda options: print(ansible.collections(say=_aside)))

    command = commands.add_parser("up", help="make hosts afresh and write their inventory")
    command.add_argument("--hosts", required=True, metavar="NAME=GPUS,...", help="for example a=2xA6000,b=2x4090,c=none")
    command.set_defaults(run=_up)

    command = commands.add_parser("down", help="remove hosts and everything else that the set started")
    command.add_argument("--hosts", metavar="NAME,...", help="only these (default: the whole set)")
    command.add_argument("--all-sets", action="store_true", help="remove every set")
    command.set_defaults(run=_down)

    command = commands.add_parser("status", help="what is running, of all sets")
    command.set_defaults(run=_status)

    command = commands.add_parser("inventory", help="print the path of the set's inventory")
    command.set_defaults(run=lambda options: print(fleet.write_inventory(options.set)))
    return parser


def _aside(text: str) -> None:
    """Say something beside a command whose standard output is read by a program."""
    print(text, file=sys.stderr)


def _up(options: argparse.Namespace) -> None:
    print(fleet.up(options.set, fleet.parse_hosts(options.hosts), say=_aside))


def _down(options: argparse.Namespace) -> None:
    names = sorted({item["set"] for item in containers()}) if options.all_sets else [options.set]
    for name in names:
        removed = fleet.down(name, options.hosts.split(",") if options.hosts else None)
        print(f"{name}: removed {', '.join(removed) or 'nothing'}")


def _status(options: argparse.Namespace) -> None:
    for item in containers():
        gpus = fleet.load(item["set"])["hosts"].get(item["host"], "?")
        print(f"{item['set']:12} {item['host']:12} {item['state']:10} {gpus}")


if __name__ == "__main__":
    sys.exit(main())
