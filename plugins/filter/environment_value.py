# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: environment_value
short_description: Quote a value for a systemd environment file
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Writes a value so that systemd hands it to the process unchanged, whatever it holds of C(%), C($), quotes, backslashes and spaces.
  - A value with a control character has no such form and is refused.
options:
  _input:
    description: The value.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write an environment file
  ansible.builtin.copy:
    dest: /etc/example.env
    content: "TEXT={{ 'a \"quoted\" $word' | gpufleet.ollama.environment_value }}\n"
    mode: "0640"
"""

RETURN = r"""
_value:
  description: The value in double quotes.
  type: str
"""

from ansible.errors import AnsibleFilterError

#: What systemd unescapes inside double quotes; a backslash before anything else stays (systemd 252, src/basic/env-file.c, SHELL_NEED_ESCAPE).
ESCAPED = '"\\`$'


def environment_value(value):
    """`value` in double quotes, as EnvironmentFile= reads it. Raises AnsibleFilterError for a control character other than a tab."""
    text = str(value)
    bad = [character for character in text if ord(character) < 32 and character != "\t" or ord(character) == 127]
    if bad:
        raise AnsibleFilterError(
            "A value of the services' environment holds the control character %r, which no environment file can carry: "
            "remove it." % bad[0]
        )
    return '"%s"' % "".join("\\" + character if character in ESCAPED else character for character in text)


class FilterModule:
    def filters(self):
        return {"environment_value": environment_value}
