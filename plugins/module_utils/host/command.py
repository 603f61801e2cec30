# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The programs of a host that are asked, such as systemctl and journalctl."""

from __future__ import annotations

import os
import subprocess
from typing import Sequence, Tuple

#: Where programs are looked for, whatever PATH the module runs with.
PROGRAM_PATH = "/usr/local/bin:/usr/bin:/bin"


def ask(command: Sequence[str], timeout: float) -> Tuple[int, str, str]:
    """Return the exit status, the output and the complaints of a program in the C locale.

    AnsibleModule.run_command knows no time limit, and evidence of several instances is collected in threads.

    Raises:
        OSError: the program is not there.
        TimeoutError, which is an OSError: it took longer than `timeout` seconds.
    """
    try:
        answer = subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"),
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise TimeoutError("it does not end within %g seconds" % timeout) from expired
    return answer.returncode, answer.stdout.decode("utf-8", "replace"), answer.stderr.decode("utf-8", "replace")
