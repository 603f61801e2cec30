# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the instances of a rig host every 100 ms while something is done to it, and judge what the client noted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator

from tests.integration.acceptance import SET, on
from tests.rig.hosts import fleet, podman
from tests.rig.waiting import wait_until

CLIENT = pathlib.Path(__file__).with_name("asking_client.py")
_NOTES = "/tmp/asking_client.notes"


@dataclasses.dataclass
class Asked:
    """What a client noted (asking_client.py), in the order in which it sent the requests."""

    ports: tuple[int, ...]
    notes: list[dict] = dataclasses.field(default_factory=list)

    def failed(self, since: float = 0, until: float = float("inf")) -> list[dict]:
        """The requests without an answer that were sent in a time, in seconds since 1970 by the host's clock."""
        asked = [note for note in self.notes if since <= note["at"] < until]
        assert len(asked) >= 3, "hardly a request was sent in this time"
        return [note for note in asked if note["error"]]

    def without_any(self) -> list[dict]:
        """The failed requests at whose moment no port had a request that was answered, sent then or still waiting."""
        answered = [note for note in self.notes if not note["error"]]
        return [
            note
            for note in self.failed()
            if not any(one["at"] <= note["at"] <= one["at"] + one["seconds"] for one in answered)
        ]

    def gap(self) -> float:
        """Seconds of the longest time in which requests were sent and none of them was answered, by any port."""
        longest, since = 0.0, None
        for note in self.notes:
            if not note["error"]:
                since = None
            else:
                since = note["at"] if since is None else since
                longest = max(longest, note["at"] - since)
        return longest


@contextlib.contextmanager
def asking(host: str, *ports: int) -> Iterator[Asked]:
    """Ask the instances of a host; what is yielded has the notes after the block. It begins with an answer of each."""
    asked = Asked(ports)
    on(host, "sh", "-c", "rm -f %s; cat > /tmp/asking_client.py" % _NOTES, stdin=CLIENT.read_bytes())
    shell = "exec python3 /tmp/asking_client.py %s > %s" % (" ".join(map(str, ports)), _NOTES)
    command = [str(podman.wrapper()), "exec", fleet.container_name(SET, host), "sh", "-c", shell]

    def notes() -> list[dict]:
        lines = on(host, "sh", "-c", "cat %s 2>/dev/null || true" % _NOTES).splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def all_answer() -> bool:
        return {note["port"] for note in notes() if not note["error"]} == set(ports)

    with subprocess.Popen(command) as process:
        try:
            wait_until(all_answer, "an answer of each port to the client", 120)
            begun = max(note["at"] for note in notes())
            yield asked
        finally:
            on(host, "touch", "/tmp/asking_client.stop")
            process.wait(timeout=120)
    asked.notes = sorted((note for note in notes() if note["at"] >= begun), key=lambda note: note["at"])
