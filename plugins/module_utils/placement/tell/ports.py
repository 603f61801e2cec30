# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ports of instances: the addresses that clients use stay with the models. Pure."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence

from ...common.names import key_of
from ..ask.applied import Applied

MOST_PORTS = 1000


@dataclasses.dataclass(frozen=True)
class Serving:
    """An instance that needs a port.

    Attributes:
        name: of the instance.
        models: the names of each of its models: that of the optimized one, the plain one, then its aliases.
    """

    name: str
    models: tuple[tuple[str, ...], ...]


def ports_of(instances: Sequence[Serving], applied: Applied, base_port: int) -> list[int]:
    """The ports of instances, in their order.

    The ports of the applied plan go to the instances where most models keep the address at which clients found them
    first; then where most other addresses of models, and most instances, keep what they have. The other instances take
    the first free ports. Nothing is kept where the user changed the base port.

    Args:
        instances: in the order of their GPUs.
        applied: where the applied plan has each model.
        base_port: port of the first instance on a new host; the others follow.
    """
    last = base_port + MOST_PORTS
    known = {port for port in applied.ports.values() if isinstance(port, int) and base_port <= port < last}
    there = sorted(known) if applied.base_port == base_port else []
    # More than all instances together can count in one digit of _worth.
    base = 1 + len(instances) + sum(len(names) for instance in instances for names in instance.models)
    worth = [[_worth(instance, port, applied, base) for port in there] for instance in instances]
    kept = [None if column is None else there[column] for column in most_worth(worth)]
    free = (port for port in range(base_port, last) if port not in kept)
    return [next(free) if port is None else port for port in kept]


def _worth(instance: Serving, port: int, applied: Applied, base: int) -> int:
    """What it is worth that an instance has a port: counts as the digits of a number, the most important first."""
    counts = (
        sum(applied.first_ports.get(key_of(names[0])) == port for names in instance.models),
        # A model whose suffix was changed has another name, but its plain name stays.
        sum(applied.first_ports.get(key_of(names[1])) == port for names in instance.models),
        # Another model may have got the alias of one that is gone.
        sum(applied.first_ports.get(key_of(alias)) == port for names in instance.models for alias in names[2:]),
        sum(port in applied.served_at.get(key_of(name), ()) for names in instance.models for name in names),
        int(applied.ports.get(instance.name) == port),
    )
    number = 0
    for count in counts:
        number = number * base + count
    return number


def most_worth(worth: Sequence[Sequence[int]]) -> list[Optional[int]]:
    """Give each row at most one column, and each column to at most one row, so that the sum of what these are worth is
    the greatest (a matching of maximum weight).

    Args:
        worth: for each row what each column is worth to it, 0 or more.

    Returns:
        the column of each row; None where it has none.
    """
    owner: dict[int, int] = {}
    for row in range(len(worth)):
        _seat(row, worth, owner)
    column_of = {row: column for column, row in owner.items() if worth[row][column]}
    return [column_of.get(row) for row in range(len(worth))]


def _seat(row: int, worth: Sequence[Sequence[int]], owner: dict[int, int]) -> None:
    """Give a further row a column: through those exchanges among the rows before it that gain most."""
    # {row that has no column: (what is gained when it is so, the column that it lost and the row that took it)}.
    gained: dict[int, tuple[int, Optional[int], int]] = {row: (0, None, row)}
    to_look_at = [row]
    best, end, last = 0, None, row
    while to_look_at:
        taker = to_look_at.pop(0)
        for column, value in enumerate(worth[taker]):
            holder = owner.get(column)
            total = gained[taker][0] + value - (worth[holder][column] if holder is not None else 0)
            if holder is None:
                if total > best:
                    best, end, last = total, column, taker
            elif holder != taker and (holder not in gained or total > gained[holder][0]):
                gained[holder] = (total, column, taker)
                to_look_at.append(holder)
    for holder, (total, dummy, dummy) in gained.items():
        if total > best:
            best, end, last = total, None, holder
    _exchange(gained, owner, end, last)


def _exchange(
    gained: dict[int, tuple[int, Optional[int], int]], owner: dict[int, int], end: Optional[int], last: int
) -> None:
    """Make the exchanges that end with this row, which takes the column `end` or none."""
    while True:
        dummy, lost, taker = gained[last]
        if end is not None:
            owner[end] = last
        if lost is None:
            return
        end, last = lost, taker
