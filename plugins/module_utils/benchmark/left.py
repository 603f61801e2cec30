# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a benchmark has not measured yet, so that the results of one that ends early say so. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Why it is not measured, where a server has failed.
FAILED = "the measurement failed"


class Left:
    """What is not measured yet.

    Args:
        streams: {what is measured, in words: how many requests it gets at the same time}.
        prompts: about how many tokens the prompts have.
    """

    def __init__(self, streams: Mapping[str, Sequence[int]], prompts: Sequence[int]) -> None:
        self._of = {name: [(words, each) for words in prompts for each in own] for name, own in streams.items()}

    def done(self, name: str, figures: Mapping[str, Any]) -> None:
        """Take away what a measurement has (an entry of `measurements`)."""
        self._of[name].remove((figures["prompt"], figures["streams"]))

    def only(self, name: str, prompts: Sequence[int]) -> None:
        """Take away what is not to be measured of one: all but some prompts."""
        self._of[name] = [(words, streams) for words, streams in self._of[name] if words in prompts]

    def notes(self, why: str) -> list[str]:
        """Return a sentence about what is left, [] where nothing is.

        Args:
            why: it is not measured.
        """
        phrases = []
        for name, wanted in self._of.items():
            for words in dict.fromkeys(words for words, _streams in wanted):
                streams = ", ".join(str(streams) for other, streams in wanted if other == words)
                requests = "1 request" if streams == "1" else "%s requests" % streams
                phrases.append("%s with prompts of %d tokens and %s at a time" % (name, words, requests))
        return ["Not measured, because %s: %s." % (why, "; ".join(phrases))] if phrases else []
