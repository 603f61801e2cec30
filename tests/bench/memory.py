# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Error of the memory prediction, and of the peers' formulas, against the engine's own answers.

The answers are the rows of tests/oracle/engine-table.jsonl (llama-server) and engine-older.jsonl (llama-fit-params).

Ours is compared device by device. The peers' formulas (peers.py) know one total: they and ours are compared on the
rows of one device that holds everything, and once more on those of them that are as the peers' authors measured: one
slot, flash attention, batches of 512.
"""

from __future__ import annotations

import collections

from tests.bench import peers
from tests.bench.report import PARTS, per_cent, spread
from tests.bench.report import table as show
from tests.oracle import table
from tests.oracle.engine.dimensions import HELD_OUT, of_model

MIB_FORM, CENT_FORM = "%9.2f", "%8.2f%%"


class Errors:
    """(ours, the engine's) pairs of MiB, by part."""

    def __init__(self):
        self.pairs = collections.defaultdict(list)

    def add(self, ours, engine):
        """Both {part: MiB}; a part that `ours` lacks is left out."""
        for part, value in ours.items():
            self.pairs[part].append((value, engine[part]))

    def mib(self, part):
        return spread([ours - engine for ours, engine in self.pairs[part]])

    def cent(self, part):
        return spread([per_cent(ours, engine) for ours, engine in self.pairs[part]])


def parts_of(figures):
    """{part: MiB} of [weights, KV, compute]."""
    return dict(zip(PARTS, list(figures) + [sum(figures)]))


def is_plain(row):
    """Whether a row is as the peers' authors measured."""
    return row["n_parallel"] == 1 and row["flash_attn"] == "on" and row["n_ubatch"] == 512


class Comparison:
    """Everything that one pass over the rows gives."""

    def __init__(self, rows):
        self.whole, self.held_out, self.unified = Errors(), Errors(), Errors()
        self.architectures = collections.defaultdict(Errors)
        names = ["ours"] + [name for name, unused in peers.PEERS]
        self.alone, self.plain = {name: Errors() for name in names}, {name: Errors() for name in names}
        self.alone_of = collections.defaultdict(lambda: {name: Errors() for name in names})
        self.rows = self.equal = self.exact = self.near = self.layers_equal = 0
        self.too_small = 0.0
        for row in rows:
            self._add(row)

    def _add(self, row):
        devices = table.devices(row)
        architecture = of_model(row["model"])["arch"]
        exact = near = layers = True
        for engine, ours, there, here in devices:
            for errors in (self.whole, self.architectures[architecture]) + self._groups(row):
                errors.add(parts_of(ours), parts_of(engine))
            exact = exact and table.exact(engine, ours)
            near = near and table.close(engine, ours)
            layers = layers and there == here
            self.too_small = max(self.too_small, sum(engine) - sum(ours))
        self.rows += 1
        self.exact += exact
        self.near += near
        self.layers_equal += layers
        self.equal += exact and near and layers
        if len(devices) == 1 and row["n_gpu_layers"] == 999:
            self._add_alone(row, architecture, devices[0][0], devices[0][1])

    def _groups(self, row):
        return ((self.held_out,) if row["model"] in HELD_OUT else ()) + (
            (self.unified,) if row.get("kv_unified") else ()
        )

    def _add_alone(self, row, architecture, engine, ours):
        found = {"ours": parts_of(ours)}
        found.update((name, formula(table.facts(row["model"]), row)) for name, formula in peers.PEERS)
        for name, figures in found.items():
            for errors in (self.alone, self.alone_of[architecture]) + ((self.plain,) if is_plain(row) else ()):
                errors[name].add(figures, parts_of(engine))


def count(errors):
    return len(errors.pairs["total"])


def show_ours(found, referee):
    """The error table of the prediction: by part, and by architecture; `referee`: the program that gave the answers."""
    groups = (("MiB", MIB_FORM), ("% of the engine's", CENT_FORM))
    lines = [(part, len(found.whole.pairs[part]), [found.whole.mib(part), found.whole.cent(part)]) for part in PARTS]
    lines.append(
        ("total, held out", count(found.held_out), [found.held_out.mib("total"), found.held_out.cent("total")])
    )
    lines.append(
        ("total, one KV stream", count(found.unified), [found.unified.mib("total"), found.unified.cent("total")])
    )
    show("memory prediction against %s, per device of %d rows" % (referee, found.rows), "part", groups, lines)
    groups = [(part + ", MiB", MIB_FORM) for part in PARTS] + [("total, %", CENT_FORM)]
    lines = [
        (name, count(errors), [errors.mib(part) for part in PARTS] + [errors.cent("total")])
        for name, errors in sorted(found.architectures.items())
    ]
    show("the same by architecture", "", groups, lines)


def show_peers(found, referee):
    """Ours beside the peers' formulas."""
    names = list(found.alone)
    for title, group in (
        ("rows of one device that holds everything", found.alone),
        ("of these the rows with one slot, flash attention, batches of 512", found.plain),
    ):
        for unit, form, measure in (("MiB", MIB_FORM, Errors.mib), ("% of the engine's", CENT_FORM, Errors.cent)):
            show(
                "ours and the peers' formulas against %s, %s, %s" % (referee, title, unit),
                "part",
                [(name, form) for name in names],
                [
                    (part, len(group["ours"].pairs[part]), [measure(group[name], part) for name in names])
                    for part in PARTS
                ],
            )
    lines = [
        (architecture, count(group["ours"]), [group[name].cent("total") for name in names])
        for architecture, group in sorted(found.alone_of.items())
    ]
    show("the same by architecture: total, %", "", [(name, CENT_FORM) for name in names], lines)


def hold(found, limits, referee, least_rows):
    """The project's limits for the prediction against one referee."""
    rows = found.rows
    median = found.whole.cent("total")[0]

    def hold_one(what, value, limit, met):
        limits.hold("%s: %s" % (referee.split()[0], what), value, limit, met)

    hold_one("rows of the oracle", "%d" % rows, "at least %d" % least_rows, rows >= least_rows)
    hold_one("rows with weights and KV within 1 MiB", "%d of %d" % (found.exact, rows), "all", found.exact == rows)
    share = 100 * found.near / rows
    hold_one("rows with totals within max(3 %, 128 MiB)", "%.2f %%" % share, "at least 99.5 %", share >= 99.5)
    hold_one("median error of a device's total", "%.3f %%" % median, "at most 0.05 %", median <= 0.05)
    hold_one("largest under-prediction", "%.1f MiB" % found.too_small, "at most 64 MiB", found.too_small <= 64)
    equal = found.layers_equal
    hold_one("rows with the layers of every device equal", "%d of %d" % (equal, rows), "all", equal == rows)
