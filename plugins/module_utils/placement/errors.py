# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The one error of this room."""

from __future__ import annotations

from ..common.secrets import without_credentials


class PlacementError(ValueError):
    """Wrong input: the message is one sentence that names the value and the remedy. Nothing was planned."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))
