# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

import os
import tempfile

from ansible import constants as C
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.utils.vars import merge_hash
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.regular import open_regular
from ansible_collections.gpufleet.ollama.plugins.modules import model_file
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_host import OnHost

#: Bytes that are sent at once: what is lost where a run is killed.
PIECE_BYTES = 256 * 1024 * 1024
_CHUNK = 1024 * 1024


class ActionModule(OnHost):
    """Send a file of the controller in pieces, from the first byte on that the host does not have."""

    def run(self, tmp=None, task_vars=None):
        """Ask the host what it has, and send the rest."""
        result = self.begin(tmp, task_vars)
        del tmp
        checked = ArgumentSpecValidator(model_file.argument_spec()).validate(self._task.args)
        if checked.error_messages:
            return merge_hash(result, {"failed": True, "msg": "; ".join(checked.error_messages)})
        options = checked.validated_parameters
        outcome = self._execute_module(task_vars=task_vars)
        if outcome.get("failed"):
            return merge_hash(result, outcome)
        have, size = outcome.get("have_bytes"), options["size_bytes"]
        if not isinstance(have, int) or isinstance(have, bool) or not 0 <= have <= size:
            problem = "%s does not say how many bytes of %s it has" % (self._host_name, options["path"])
            return merge_hash(result, {"failed": True, "msg": problem})
        if self._task.check_mode or have == size:
            return merge_hash(result, dict(outcome, changed=have < size, sent_bytes=size - have))
        return merge_hash(result, self._send(options, have, task_vars))

    def _send(self, options, have, task_vars):
        """Send what the host lacks, and return the result of the task."""
        start = have
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "piece")
        try:
            with open_regular(options["path"]) as stream, tempfile.NamedTemporaryFile(dir=C.DEFAULT_LOCAL_TMP) as piece:
                if os.fstat(stream.fileno()).st_size != options["size_bytes"]:
                    return {"failed": True, "msg": "%s has another size than it was planned with" % options["path"]}
                while have < options["size_bytes"]:
                    stream.seek(have)
                    piece.seek(0)
                    piece.truncate()
                    left = min(PIECE_BYTES, options["size_bytes"] - have)
                    while left:
                        part = stream.read(min(_CHUNK, left))
                        if not part:
                            return {"failed": True, "msg": "%s became shorter while it was sent" % options["path"]}
                        piece.write(part)
                        left -= len(part)
                    piece.flush()
                    self._transfer_file(piece.name, remote)
                    self._fixup_perms2([self._connection._shell.tmpdir, remote])
                    arguments = dict(self._task.args, piece=remote, offset=have)
                    outcome = self._execute_module(module_args=arguments, task_vars=task_vars)
                    if outcome.get("failed"):
                        return outcome
                    now = outcome.get("have_bytes")
                    if not isinstance(now, int) or now <= have:
                        return {"failed": True, "msg": "%s did not take %s" % (self._host_name, options["path"])}
                    have = now
        except (OSError, ValueError) as error:
            return {"failed": True, "msg": "cannot read the model file %s: %s" % (options["path"], error)}
        return {"changed": True, "have_bytes": have, "sent_bytes": have - start}
