# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the engine again about some rows of the tables and compare its answers: `python -m tests.oracle.again`.

    again.py [--every N] [NAME ...]

N: one row in so many (20). NAME: of record.RECORDERS; all of them without one. As root, like record.py, whose functions
ask; nothing is written. It ends with 1 if an answer differs from the recorded one: the engine is another build, or what
asks it has changed.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.oracle import fits, offload, record, record_speculation
from tests.oracle.engine import llama_server, sandbox, speculative

ANSWERS = (
    ("mib", "layers", "n_outputs_max")
    + ("draft_mib", "draft_layers", "adapter_mib")
    + ("changed", "overflowing", "used_mib")
    + ("without", "offloaded", "vulkan")
)


def _table(devices, row):
    return llama_server.dry_run(devices, row)


def _older(devices, row):
    return sandbox.dry_run(devices, row)


def _speculation(devices, row):
    for name in filter(None, (row["model"], row["draft"])):
        record.write_model(name)
    for adapter in row["adapters"]:
        speculative.write_adapter(adapter)
    return speculative.ask(devices, row)


def _offload(devices, row):
    offload.write_model(row["model"])
    return offload.answered(row, devices, row.pop("witnessed"))


#: name: ((table, sizes of the devices that are there, function that asks about a row), ...)
TABLES = {
    "tables": (
        (record.TABLE, record.SIZES, _table),
        (record.ESTIMATED, record.SIZES, _table),
        (record.OLDER, record.SIZES, _older),
    ),
    "speculation": ((record_speculation.TABLE, record.SIZES, _speculation),),
    "fits": ((fits.TABLE, fits.SIZES, llama_server.fit),),
    "offload": ((offload.TABLE, (49140, 49140), _offload),),
}


def compare(path, sizes, ask, every):
    """Ask about one in `every` rows of a table; returns how many answers differ."""
    rows = fits.rows(path)[::every]
    began, differing = time.monotonic(), 0
    with sandbox.Devices(sizes) as devices:
        for row in rows:
            asked = {key: value for key, value in row.items() if key not in ANSWERS}
            recorded = {key: value for key, value in row.items() if key in ANSWERS}
            if ask is _offload:
                asked["witnessed"] = "vulkan" in row
            elif ask is not _speculation:
                record.write_model(row["model"])
            answer = ask(devices, asked)
            found = answer if isinstance(answer, str) else {key: answer.get(key) for key in recorded}
            if found != recorded:
                differing += 1
                print("  differs: %s\n    recorded %s\n    now      %s" % (asked, recorded, found), flush=True)
    seconds = time.monotonic() - began
    print(
        "%s: %d of %d answers are the same, %.1f s" % (path.name, len(rows) - differing, len(rows), seconds), flush=True
    )
    return differing


def main(arguments):
    parser = argparse.ArgumentParser(prog="again.py")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("names", nargs="*", choices=[[], *TABLES], metavar="NAME")
    asked = parser.parse_args(arguments)
    names = asked.names or list(TABLES)
    offload.build() if "offload" in names else sandbox.build()
    differing = sum(compare(*one, asked.every) for name in names for one in TABLES[name])
    return 1 if differing else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        sandbox.close()
