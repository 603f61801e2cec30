# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The first failed task in the output of ansible-playbook: outputs of ansible-core 2.21."""

from __future__ import annotations

import textwrap

import pytest

from tests.integration.first_failure import first_failure
from tests.integration.support import failure_report

RECAP = "%s : ok=2    changed=1    unreachable=0    failed=%d    skipped=0    rescued=1    ignored=1"
INNER = """
PLAY [Inner play] ***

TASK [A probe that may fail] ***
fatal: [a]: FAILED! =>
    msg: The probe found nothing.
...ignoring

TASK [Rescued failure] ***
fatal: [a]: FAILED! =>
    changed: false
    msg: This was rescued.

TASK [Rescue] ***
ok: [a] =>
    msg: rescue

TASK [The first failure] ***
failed: [a] (item=2) =>
    item: 2
    msg: |-
        the first
        second line of it
    other: 1

TASK [A later failure of another host] ***
fatal: [b]: FAILED! =>
    msg: later

PLAY RECAP ***
"""
INNER += RECAP % ("a", 1) + "\n" + RECAP % ("b", 1) + "\n"
OUTER = """
PLAY [Create] ***

TASK [Not fatal] ***
fatal: [localhost]: FAILED! => {"changed": false, "msg": "rescued"}

PLAY RECAP ***
%s

PLAY [Verify] ***

TASK [Run a playbook: site] ***
fatal: [a -> localhost]: FAILED! =>
    changed: true
    msg: The command exited with a non-zero return code.
    stderr: ''
    stdout: |4-
%s
    stdout_lines: <omitted>

PLAY RECAP ***
%s

PLAY [Destroy] ***

TASK [Remove the hosts] ***
changed: [localhost]
"""
OUTER %= (RECAP % ("localhost", 0), textwrap.indent(INNER, " " * 8), RECAP % ("a", 1))


def test_the_first_failure_that_counts_is_found():
    assert first_failure(INNER) == "TASK [The first failure] on a (item=2)\n    the first\n    second line of it"


def test_of_a_task_that_ran_a_playbook_the_failure_in_it_follows():
    assert first_failure(OUTER).splitlines() == [
        "TASK [Run a playbook: site] on a",
        "    The command exited with a non-zero return code.",
        "in the output of this task:",
        "    TASK [The first failure] on a (item=2)",
        "        the first",
        "        second line of it",
    ]


def test_a_rescue_that_ends_the_run_is_followed_by_what_it_rescued():
    output = """
TASK [Switch] ***
fatal: [a]: FAILED! => {"msg": "gpu0 does not answer"}
fatal: [b]: FAILED! => {"msg": "another host"}

TASK [End the run] ***
fatal: [a]: FAILED! => {"msg": "The task 'Switch' failed, for the reason above."}

PLAY RECAP ***
"""
    assert first_failure(output + RECAP % ("a", 1)).splitlines() == [
        "TASK [End the run] on a",
        "    The task 'Switch' failed, for the reason above.",
        "the failure before:",
        "    TASK [Switch] on a",
        "        gpu0 does not answer",
    ]


@pytest.mark.parametrize(
    "result, said",
    [
        ('fatal: [a]: FAILED! => {"changed": false, "msg": "no\\nroom"}', ["    no", "    room"]),
        ('fatal: [a]: FAILED! => {\n    "changed": false,\n    "msg": "pretty"\n}', ["    pretty"]),
        ('fatal: [a]: UNREACHABLE! => {"msg": "gone", "unreachable": true}', ["    gone"]),
        (
            "fatal: [a]: FAILED! =>\n    censored: the output has been hidden",
            ["    censored: the output has been hidden"],
        ),
    ],
)
def test_messages(result, said):
    assert first_failure("TASK [T] ***\n" + result).splitlines() == ["TASK [T] on a", *said]


def test_an_output_without_a_failure():
    assert first_failure("TASK [T] ***\nok: [a]\n\nPLAY RECAP ***\n" + RECAP % ("a", 0)) is None
    assert first_failure("") is None


def test_the_report_has_the_first_failure_before_the_end_of_the_output():
    report = failure_report(OUTER + "line\n" * 100)
    assert report.splitlines()[0] == "The first failed task:"
    assert "the first" in report and report.splitlines()[-1] == "line"
    assert "Remove the hosts" not in report
    assert failure_report("one\ntwo") == "one\ntwo"


def test_a_handler_that_fails_has_its_own_name():
    output = "TASK [Before] ***\nok: [a]\n\nRUNNING HANDLER [Restart] ***\nfatal: [a]: FAILED! =>\n    msg: no unit\n"
    assert first_failure(output + "\nPLAY RECAP ***\n" + RECAP % ("a", 1)) == "TASK [Restart] on a\n    no unit"
