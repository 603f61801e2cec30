# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a service that ended says, and what to do about it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import start_problems

UNIT = "ollama@gpu0.service"
RUNS = {"ActiveState": "active", "SubState": "running", "NRestarts": "0", "Job": ""}


@pytest.mark.parametrize(
    "line, words",
    [
        (
            "Error: listen tcp 127.0.0.1:11450: bind: address already in use",
            ["port 11450", "ollama_multigpu_base_port"],
        ),
        (
            "Error: listen tcp 192.0.2.7:11434: bind: cannot assign requested address",
            ["192.0.2.7:11434", "ollama_multigpu_listen_address"],
        ),
        (
            "Error: mkdir /srv/closed/models/instances/gpu0/blobs: permission denied",
            ["/srv/closed/models", "chmod o+x"],
        ),
        ('Error: open "/srv/m/blobs": permission denied', ["may not use /srv/m/blobs"]),
        ("ollama: error while loading shared libraries: libstdc++.so.6: cannot open", ["libstdc++.so.6 is missing"]),
        ("ollama: /lib/libc.so.6: version `GLIBC_2.38' not found (required by ollama)", ["GLIBC_2.38", "newer system"]),
        (
            "ollama@gpu0.service: Failed to execute /x/ollama: Exec format error",
            ["another kind of machine", "releases"],
        ),
        ("Main process exited, code=exited, status=203/EXEC", ["cannot run the program", "noexec"]),
        ("Main process exited, code=exited, status=226/NAMESPACE", ["sandbox", "systemctl cat " + UNIT]),
        ("Main process exited, code=exited, status=217/USER", ["user ollama is missing"]),
        ("Error: mkdir /srv/m/blobs: read-only file system", ["/srv/m/blobs", "read-only"]),
        ("write /srv/m/blobs/x: no space left on device", ["/srv/m/blobs/x is full"]),
        ("Main process exited, code=killed, status=4/ILL", ["processor"]),
        (
            "/etc/ollama-multigpu/firewall.nft:3:1-7: Error: Could not process rule: Operation not supported",
            ["ollama_multigpu_allow_from", "not started", "/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft"],
        ),
        (
            'Error: Could not open file "/etc/ollama-multigpu/firewall.nft": No such file or directory',
            ["ollama_multigpu_allow_from", "open to everybody"],
        ),
        (
            "ollama@gpu0.service: Control process exited, code=exited, status=1/FAILURE",
            ["A command that %s runs before or after the program fails" % UNIT, "systemctl status " + UNIT],
        ),
        (
            "ollama@gpu0.service: Failed to locate executable /usr/sbin/nft: No such file or directory",
            ["ollama_multigpu_allow_from", "open to everybody"],
        ),
        ("panic: something else", ["journalctl --unit=" + UNIT]),
    ],
)
def test_each_kind_has_a_remedy(line, words):
    told, remedy = start_problems.cause(UNIT, {"Result": "exit-code"}, ["starting", line, "ended"])
    assert remedy.endswith(".") and told == ("ended" if "panic" in line else line)
    for word in words:
        assert word in remedy


def test_line_and_remedy_are_of_one_kind_and_not_the_last_line_of_systemd():
    lines = [
        "begin",
        "Error: mkdir /srv/m: permission denied",
        "Error: listen tcp 127.0.0.1:1: bind: address already in use",
        "Error: listen tcp 127.0.0.1:2: bind: address already in use",
        "Failed with result 'exit-code'.",
    ]
    line, remedy = start_problems.cause(UNIT, {}, lines)
    assert line == lines[3] and "has port 2:" in remedy
    line, remedy = start_problems.cause(UNIT, {}, lines[:2] + lines[4:])
    assert line == lines[1] and "/srv/m" in remedy
    assert start_problems.cause(UNIT, {}, lines[:1] + lines[4:])[0] == lines[4]
    assert start_problems.cause(UNIT, {}, [])[0] == ""


def test_the_result_of_the_unit_counts_as_well():
    line, remedy = start_problems.cause(UNIT, {"Result": "oom-kill"}, ["begin"])
    assert line == "begin" and "too little memory" in remedy


def before(command, ended="code=exited ; status=1", ignored="no"):
    """A command of ExecStartPre as systemctl shows it."""
    how = (command.split()[0], command, ignored, ended)
    return "{ path=%s ; argv[]=%s ; ignore_errors=%s ; start_time=[n/a] ; stop_time=[n/a] ; pid=7 ; %s }" % how


NFT, OTHER = "/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft", "/opt/site/prepare --all"
CONTROL = "ollama@gpu0.service: Control process exited, code=exited, status=1/FAILURE"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ([before(NFT)], "ollama_multigpu_allow_from"),
        ([before(NFT, "code=killed ; status=9/KILL")], "ollama_multigpu_allow_from"),
        ([before(NFT, "code=exited ; status=0"), before(OTHER)], "The command with /opt/site/prepare, which"),
        ([before("/usr/sbin/nft -f /etc/site.nft")], "The command with /usr/sbin/nft, which"),
        ([before(NFT, "code=killed ; status=15/TERM")], "A command that"),
        ([before(NFT, "code=exited ; status=0"), before(OTHER, ignored="yes")], "A command that"),
        ([before(NFT, "code=(null) ; status=0/0")], "A command that"),
        ([], "A command that"),
    ],
)
def test_which_command_before_the_program_has_failed(commands, words):
    line, remedy = start_problems.cause(UNIT, {"ExecStartPre": "\n".join(commands)}, ["begin", CONTROL])
    assert words in remedy and line == CONTROL


@pytest.mark.parametrize("unit", [UNIT, "ollama.service"])
def test_a_command_is_told_without_its_arguments_and_is_ours_to_remove_only_in_our_units(unit):
    secret = '/usr/bin/curl -H "Authorization: Bearer s3cr3t" http://u:pw@x/'
    line, remedy = start_problems.cause(unit, {"ExecStartPre": before(secret)}, [])
    assert "The command with /usr/bin/curl, which %s runs" % unit in remedy
    assert not any(word in line + remedy for word in ("s3cr3t", "pw", "http", "Authorization"))
    assert ("the collection has no such command" in remedy) is (unit == UNIT)


def test_a_command_that_was_only_ended_does_not_hide_what_the_program_says():
    said = "Error: listen tcp 127.0.0.1:11450: bind: address already in use"
    ended = {"ExecStartPre": before(NFT, "code=killed ; status=15/TERM")}
    assert start_problems.cause(UNIT, ended, [said])[0] == said
    assert "port 11450" in start_problems.cause(UNIT, ended, [said])[1]
    assert "ollama_multigpu_allow_from" in start_problems.cause(UNIT, {**ended, "Result": "timeout"}, [said])[1]


@pytest.mark.parametrize(
    "changes, restarts, ended",
    [
        ({}, None, False),
        ({}, 0, False),
        ({"NRestarts": "3"}, 3, False),
        ({"NRestarts": "4"}, 3, True),
        ({"ActiveState": "failed"}, None, True),
        ({"ActiveState": "inactive"}, None, True),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, None, True),
        ({"ActiveState": "activating", "SubState": "start"}, None, False),
        ({"ActiveState": "inactive", "Job": "1523"}, None, False),  # systemd has yet to start it
        ({"ActiveState": "deactivating", "Job": "1523"}, None, False),
    ],
)
def test_when_a_service_has_ended(changes, restarts, ended):
    assert start_problems.has_ended({**RUNS, **changes}, restarts) is ended


def test_a_systemd_that_says_nothing_is_waited_for():
    assert start_problems.has_ended({}, None) is False and start_problems.number_of_restarts({}) == 0


def test_the_end_of_a_journal_is_bounded():
    lines = start_problems.last_lines(["x" * 1000, " ", *("line %d" % number for number in range(50))])
    assert len(lines) == start_problems.MOST_LINES and lines[-1] == "line 49"
    assert len(start_problems.last_lines(["x" * 1000])[0]) == start_problems.LONGEST_LINE
