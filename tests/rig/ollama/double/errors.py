# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The one error that the API answers with."""

from __future__ import annotations


class ApiError(Exception):
    """An error with its HTTP status and text. In a stream it becomes a last line `{"error": text}` under status 200."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status
        self.text = text
