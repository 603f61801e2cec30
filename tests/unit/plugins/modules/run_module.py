# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run a module as Ansible does: arguments as JSON in, one JSON object out."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from unittest import mock

from ansible.module_utils import basic
from ansible.module_utils.common import warnings

try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.18

    @contextlib.contextmanager
    def patch_module_args(args):
        with mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode()):
            yield


def run_module(name, args, check=False, diff=True):
    """Result of the module `name` of this collection (dict); a traceback or a second line of output fails the test."""
    module = importlib.import_module("ansible_collections.gpufleet.ollama.plugins.modules." + name)
    output = io.StringIO()
    warnings._global_warnings.clear()  # a module is a process of its own
    with (
        patch_module_args(dict(args, _ansible_check_mode=check, _ansible_diff=diff)),
        contextlib.redirect_stdout(output),
    ):
        try:
            module.main()
        except SystemExit:
            pass
    result = json.loads(output.getvalue())
    result.pop("invocation", None)
    if result.get("failed"):
        assert "\n" not in result["msg"] and "Traceback" not in result["msg"], result["msg"]
        assert "exception" not in result
    return result
