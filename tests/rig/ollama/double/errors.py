# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The error that the API returns."""

from __future__ import annotations


class ApiError(Exception):
    """An error with its HTTP status and text. In a stream it is the last line `{"error": text}` with status 200."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status
        self.text = text
