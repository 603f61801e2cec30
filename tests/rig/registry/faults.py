# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Faults: which answers fail, how, and how often."""

from __future__ import annotations

import dataclasses
import fnmatch
import threading

#: Kinds of answers, in the order in which a pull asks for them; release = a file under /releases,
#: file = one under /files.
KINDS = ("manifest", "head", "blob", "data", "release", "file")

#: fault -> kinds of answers that it spoils when the rule does not say ("at").
FAULTS = {
    "404": ("manifest", "release", "file"),
    "401": ("manifest", "release", "file"),
    "500": ("manifest", "release", "file"),
    "503": ("manifest", "release", "file"),
    "badjson": ("manifest",),
    "blob404": ("head", "blob", "data"),
    "slow": ("manifest", "data", "release", "file"),  # "delay" seconds before the answer, "rate" bytes a second
    "cut": ("data", "release", "file"),  # the connection ends after "after" bytes of the body
    "lie": ("data",),  # "old" (hex) is "new" (hex) for all but Ollama, whose pull gets the true bytes
    "corrupt": ("data", "release", "file"),  # the first byte is another one: the digest cannot fit
    "direct200": ("blob",),  # 200 with the body and without Location, as a plain registry answers
    "loc302": ("blob",),  # 302 where the real client wants 307
    "loc200": ("blob",),  # 200 with a Location, which the real client takes
}
MESSAGES = {"404": "NOT_FOUND", "401": "UNAUTHORIZED", "500": "INTERNAL", "503": "UNAVAILABLE"}


@dataclasses.dataclass
class Fault:
    """One rule. `target` is 'namespace/model', 'releases/vX/file' or 'files/NAME', with * and ?. `times` 0 = always."""

    target: str
    fault: str
    at: tuple = ()
    times: int = 0
    after: int = 0
    rate: int = 0
    delay: float = 0.0
    old: str = ""
    new: str = ""

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"unknown fault {self.fault!r}: one of {', '.join(FAULTS)}")
        self.at = (self.at,) if isinstance(self.at, str) else tuple(self.at) or FAULTS[self.fault]
        if len(bytes.fromhex(self.old)) != len(bytes.fromhex(self.new)) or (self.fault == "lie") != bool(self.old):
            raise ValueError("'old' and 'new' have as many bytes, and belong to a lie")
        if set(self.at) - set(KINDS):
            raise ValueError(f"'at' is {self.at}: it takes {', '.join(KINDS)}")


class Faults:
    """The active rules. The first matching one is used, and removed after its number of times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(self, rule: dict) -> None:
        """Add a rule from JSON; ValueError or TypeError says what is wrong with it."""
        with self._lock:
            self._rules.append(Fault(**rule))

    def clear(self) -> None:
        """Drop all rules (those by model name stay: they are not rules)."""
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[dict]:
        """The rules in force as JSON."""
        with self._lock:
            return [dataclasses.asdict(rule) for rule in self._rules]

    def take(self, target: str, kind: str) -> Fault | None:
        """The fault for this answer, or None. A model named f-<fault> always has that fault."""
        named = named_fault(target)
        if named and kind in named.at:
            return named
        with self._lock:
            for rule in self._rules:
                if kind in rule.at and fnmatch.fnmatchcase(target, rule.target):
                    if rule.times:
                        rule.times -= 1
                        if not rule.times:
                            self._rules.remove(rule)
                    return rule
        return None


def named_fault(target: str) -> Fault | None:
    """'library/f-corrupt' -> Fault(corrupt), as in the recordings; None for any other name."""
    name = target.rpartition("/")[2]
    fault = name[2:] if name.startswith("f-") else ""
    return Fault(target=target, fault=fault, after=1000, rate=200_000) if fault in FAULTS else None
