# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Action base for modules that only compute: they run on the controller, in the process of the task.

Such a module needs nothing from the host, so connecting to it, sending the module and starting Python there would only
cost time. The options are checked by the argument spec of the module, as the module itself does it.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.host_facts import host_name, refuse_foreign_names

display = Display()


class OnController(ActionBase):
    """Subclasses give the argument spec of their module and the function that computes its result."""

    _supports_check_mode = True
    _supports_async = False

    #: Exceptions of `compute` whose text is a message for the user.
    ERRORS: tuple[type[Exception], ...] = ()
    #: The host's name in the inventory, for sentences.
    _host_name = "the host"

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        raise NotImplementedError

    def better_message(self, given: dict[str, Any]) -> str | None:
        """Return what to say of options that do not fit the argument spec; None for Ansible's own message."""
        return None

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the result of the module for checked options.

        Raises:
            Any of ERRORS.
        """
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options and compute the result."""
        self._host_name = host_name(task_vars)
        refuse_foreign_names(task_vars)
        result = super().run(tmp, task_vars)
        del tmp  # Ansible keeps it for old plugins only
        problem = None
        try:
            computed = self.compute(self.checked_options())
        except self.ERRORS as error:
            problem = str(error)
        except AnsibleError:
            raise
        except Exception as error:  # pylint: disable=broad-except  # what a host answered may have any structure
            display.vvv(traceback.format_exc())
            problem = (
                "What was read on %s cannot be used by %s: it is not what the modules of this collection return (%s: "
                "%s)." % (self._host_name, self._task.action, type(error).__name__, printable(error)[:200])
            )
        if problem is not None:  # here, so that Ansible shows the sentence alone
            raise AnsibleActionFail(problem)
        # Through JSON, as the result of a module comes: tuples become lists, and keys become texts.
        return merge_hash(result, {"changed": False, **json.loads(json.dumps(computed))})

    def checked_options(self) -> dict[str, Any]:
        """Return the options of the task with their types and defaults.

        Raises:
            AnsibleActionFail: They do not fit the argument spec.
        """
        # As plain data, without the tags that Ansible keeps on texts and numbers.
        given = json.loads(json.dumps(self._task.args, default=_plain))
        try:
            validated = ArgumentSpecValidator(self.argument_spec()).validate(given)
        except TypeError:  # it looks for keys in a number or a truth value
            message = self.better_message(given)
            if message is None:
                raise
            raise AnsibleActionFail(message) from None
        if validated.error_messages:
            message = validated.errors.msg
            if isinstance(validated.errors[0], UnsupportedError):
                message = "Unsupported parameters for (%s) module: %s" % (self._task.action, message)
            raise AnsibleActionFail(self.better_message(given) or message)
        return validated.validated_parameters


def _plain(value: Any) -> Any:
    """Return what JSON has for a value of Ansible that is no dictionary, list, text or number of Python itself."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (str, bytes)) and not hasattr(value, "data"):
        return list(value)
    return str(value)
