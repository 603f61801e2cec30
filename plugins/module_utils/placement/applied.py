# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is in force on the host: a plan that still holds is kept where the other choice would gain little."""

from __future__ import annotations

# A GPU is left for another one only if that is emptier by more than this share of its memory.
KEEP_SHARE = 0.1
# A context chosen automatically grows only by more than this share.
KEEP_CONTEXT = 0.1


class Applied:
    """Where the applied plan has each model.

    Args:
        plan: the applied plan, checked by gpus.sound; may be empty.
    """

    def __init__(self, plan=None):
        self.places = {}
        for instance in (plan or {}).get("instances") or []:
            for model in instance.get("models") or []:
                devices = (model.get("predicted") or {}).get("devices") or []
                place = {
                    "uuids": [device["uuid"] for device in devices],
                    "layers": [device.get("layers") for device in devices],
                    "context_length": model.get("context_length"),
                }
                self.places.setdefault(model.get("create_as"), []).append(place)

    def sets(self, served):
        """Sets of GPUs (lists of UUIDs) that serve a model now."""
        return [place["uuids"] for place in self.places.get(served, [])]

    def context_length(self, served):
        """Tokens that a model has now, or None."""
        return next((place["context_length"] for place in self.places.get(served, [])), None)

    def layers(self, served, uuids):
        """Layers per GPU of a model on exactly these GPUs now, or None."""
        for place in self.places.get(served, []):
            if place["uuids"] == uuids and all(place["layers"]):
                return place["layers"]
        return None
