# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The three files of a report on the controller: HTML, Markdown and JSON of the same data, with one name."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import (
    ControllerFile,
    ControllerFileError,
    UnreadableError,
    read_json,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.markdown import markdown_page
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import REPORT_VERSION, FleetReport

SUFFIX = ".html"


class ReportFiles:
    """The files of a report.

    Args:
        path: of the HTML; a relative one is below the current directory of Ansible.

    Raises:
        ControllerFileError: the path does not end as that of an HTML file does.
    """

    def __init__(self, path: str) -> None:
        directory, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
        base, suffix = os.path.splitext(name)
        if suffix != SUFFIX:
            raise ControllerFileError(
                "ollama_multigpu_report is %s: give the path of a file that ends in .html; the Markdown and the JSON "
                "are written beside it." % path
            )
        self._html, self._markdown, self._json = (
            ControllerFile(directory, base + ending, "The report", "ollama_multigpu_report")
            for ending in (SUFFIX, ".md", ".json")
        )

    @property
    def paths(self) -> dict[str, str]:
        """Paths by format: {html, markdown, json}."""
        return {"html": self._html.path, "markdown": self._markdown.path, "json": self._json.path}

    def check(self) -> None:
        """Look whether the files can be written, without changing anything.

        Raises:
            ControllerFileError: they cannot.
        """
        for file in (self._html, self._markdown, self._json):
            file.check()

    def last(self) -> tuple[dict[str, Any], Optional[str]]:
        """Return the JSON of the last report.

        Returns:
            (the JSON, why it cannot be used): {} and None where there is no file, {} and a sentence where it is none of
            a report.
        """
        path = self._json.path
        try:
            content = read_json(path)
        except UnreadableError as error:
            if not os.path.exists(path):
                return {}, None
            return {}, "The last report in %s cannot be read: %s." % (path, error)
        if not isinstance(content, dict) or content.get("version") != REPORT_VERSION:
            return {}, "%s is not the JSON of a report that this release of the collection reads." % path
        return content, None

    def write(self, report: FleetReport) -> None:
        """Write the three files, each as a whole.

        Raises:
            ControllerFileError: they cannot be written.
        """
        as_json = json.dumps(asdict(report), indent=1, sort_keys=True) + "\n"
        self._json.put(as_json.encode("ascii"))
        self._markdown.put(markdown_page(report).encode("utf-8"))
        self._html.put(html_page(report).encode("utf-8"))
