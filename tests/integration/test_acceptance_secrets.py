# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Secrets never show: one host is planned, converged, changed, verified, broken and removed with a secret in each
variable that can hold one, at -vvv with --diff, and every place is searched for them.
"""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.integration import secret_marks
from tests.integration.acceptance import SET, Site
from tests.integration.secret_marks import mark
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman
from tests.rig.registry import background

pytestmark = pytest.mark.hosts

HOST = "s"
CONTAINER = fleet.container_name(SET, HOST)
ENVIRONMENT_FILES = {"/etc/ollama-multigpu/instances/%s.env" % name for name in ("gpu0", "gpu1")}
#: Copies of the environment files in the plans that are kept.
KEPT_FILES = "/etc/ollama-multigpu/plans/%d/instances/%s.env"
RECORD = "/etc/ollama-multigpu/adopted.json"
#: Those of the Ollama that is adopted. They belong to the administrator and are left as they are.
UNIT = "/etc/systemd/system/ollama.service"
DROP_IN = UNIT + ".d/override.conf"
THEIR_FILE = "/etc/default/ollama"
THEIRS = {DROP_IN, THEIR_FILE}
#: Drop-in of an instance that somebody has added: the role shows it, copies it and takes it away.
ADDED = "/etc/systemd/system/ollama@gpu0.service.d/added.conf"

GIVEN = {
    "OPENAI_API_KEY": mark("openai_api_key"),
    "HF_TOKEN": mark("hf_token"),
    "DB_PASSWORD": mark("db_password") + ' "quoted" $HOME',
    "HTTPS_PROXY": "http://user:%s@proxy.example:3128" % mark("https_proxy"),
    "ALL_PROXY": "socks5://%s@proxy.example" % mark("all_proxy"),
    "SOME_SETTING": mark("some_setting"),
    "OLLAMA_ORIGINS": "https://user:%s@chat.example.com" % mark("ollama_origins"),
    "OLLAMA_MAX_QUEUE": 100,
}
UNCHECKED = {"OLLAMA_NEXT_SETTING": mark("ollama_next"), "LLAMA_ARG_NEXT_TOKEN": mark("llama_arg_next")}
CARRIED = {
    "CARRIED_TOKEN": mark("carried_token"),
    "CARRIED_SETTING": mark("carried_setting"),
    "https_proxy": "http://user:%s@proxy.example:3128" % mark("carried_proxy"),
    "FROM_THEIR_FILE": mark("from_their_file"),
}
DROPPED = {"OLLAMA_AUTH": mark("dropped_switch"), "GCONV_PATH": "/x/" + mark("dropped_loader")}
UNIT_TEXT = (
    """\
[Service]
ExecStart=/bin/sleep infinity
User=ollama
EnvironmentFile=-%s
[Install]
WantedBy=multi-user.target
"""
    % THEIR_FILE
)
DROP_IN_TEXT = "[Service]\n" + "".join(
    'Environment="%s=%s"\n' % item for item in {**CARRIED, **DROPPED}.items() if item[0] != "FROM_THEIR_FILE"
)
VARIABLES = {
    "ollama_multigpu_models": [{"name": "tiny", "insecure": True}],
    "ollama_multigpu_existing": "adopt",
    "ollama_multigpu_environment": GIVEN,
    "ollama_multigpu_environment_unchecked": UNCHECKED,
    "ollama_multigpu_registry": "{{ rig_registry }}",
    "ollama_multigpu_registry_username": "reader",
    "ollama_multigpu_registry_password": mark("registry_password"),
    "ollama_multigpu_release_url": "{{ rig_release_url | replace('://', '://user:%s@') }}" % mark("release_url"),
}
LOUD = ("-vvv", "--diff")


def on(*command: str, stdin: bytes | None = None) -> str:
    """Output of a command on the host, as root."""
    return podman("exec", "-i", CONTAINER, *command, stdin=stdin).stdout.decode()


def write(path: str, text: str, mode: str = "0600") -> None:
    """Write a file on the host."""
    on("sh", "-c", "mkdir -p $(dirname %s) && cat > %s && chmod %s %s" % (path, path, mode, path), stdin=text.encode())


class Marked:
    """The host, and runs on it that show no secret.

    Args:
        site: whose playbooks run.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.evidence = site.scratch / "evidence"
        self.evidence.mkdir(exist_ok=True)
        self.variables = dict(VARIABLES, ollama_multigpu_evidence_dir=str(self.evidence))

    def play(self, playbook: str, *arguments: str, expect: int = 0, **variables):
        """Run a playbook with more variables; it fails the test where a secret is shown."""
        self.site.inventory({HOST: {}}, **{**self.variables, **variables})
        with secret_marks.ProcessWatch() as watch:
            outcome = self.site.play(playbook, *LOUD, *arguments, expect=expect)
        assert secret_marks.found_in(outcome.output) == []
        assert watch.found == set()
        return outcome

    def changed(self, outcome) -> int:
        """How many tasks of a run changed something."""
        return outcome.counts[HOST]["changed"]


@pytest.fixture(name="marked", scope="module")
def _marked(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-secrets"))
    fleet.up(SET, {HOST: "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        login = {"user": "reader:" + mark("registry_password"), "kind": "bearer"}
        background.control(fleet.require_server(SET), "POST", "login", login)
        on("useradd", "--system", "--no-create-home", "--shell", "/bin/false", "ollama")
        write(UNIT, UNIT_TEXT, "0644")
        write(DROP_IN, DROP_IN_TEXT)
        write(THEIR_FILE, 'FROM_THEIR_FILE="%s"\n' % CARRIED["FROM_THEIR_FILE"])
        on("systemctl", "daemon-reload")
        on("systemctl", "enable", "--now", "ollama.service")
        yield Marked(site)
    finally:
        fleet.down(SET)


def nothing_is_found(marked, *allowed: str) -> None:
    """Search host and controller; only `allowed` files and those of the adopted Ollama may hold a secret."""
    assert secret_marks.found_in_journal(CONTAINER) == []
    assert secret_marks.found_on_host(CONTAINER) == THEIRS | set(allowed)
    # The inventory is where the user has written them down.
    assert secret_marks.found_below(marked.site.scratch, but=("hosts.yml",)) == []
    assert secret_marks.found_below(pathlib.Path.home() / ".ansible") == []


def kept(*numbers: int) -> list[str]:
    """The environment files of kept plans."""
    return [KEPT_FILES % (number, name) for number in numbers for name in ("gpu0", "gpu1")]


def processes() -> list[dict[str, str]]:
    """The environments of the servers."""
    found = []
    for name in sorted(pathlib.PurePath(path).stem for path in ENVIRONMENT_FILES):
        pid = on("systemctl", "show", "--value", "--property=MainPID", "ollama@%s.service" % name).strip()
        lines = on("cat", "/proc/%s/environ" % pid).split("\0")
        found.append(dict(line.split("=", 1) for line in lines if "=" in line))
    return found


def test_secrets_never_show(marked):
    """In this order, as a host is converged only once."""
    planned = marked.play("site", "--check")
    assert marked.changed(planned) > 0
    nothing_is_found(marked)

    applied = marked.play("site")
    plan = json.loads(on("cat", "/etc/ollama-multigpu/plan.json"))
    hidden = {name for name in {**GIVEN, **UNCHECKED, **CARRIED} if name != "OLLAMA_MAX_QUEUE"}
    for instance in plan["instances"] + applied.plans[HOST]["instances"]:
        variables = instance["environment"]
        assert {name for name, value in variables.items() if value == "(hidden)"} == hidden
        assert variables["OLLAMA_MAX_QUEUE"] == "100"
    assert "OLLAMA_AUTH is not carried over" in applied.text and "GCONV_PATH is not carried over" in applied.text
    nothing_is_found(marked, RECORD, *ENVIRONMENT_FILES, *kept(1))
    true_values = [*sorted(ENVIRONMENT_FILES), *kept(1)]
    modes = on("stat", "--format=%n %a %U:%G", RECORD, *true_values).splitlines()
    assert modes == [RECORD + " 600 root:root"] + [path + " 640 root:ollama" for path in true_values]
    expected = {name: str(value) for name, value in {**CARRIED, **GIVEN, **UNCHECKED}.items()}
    for variables in processes():
        assert {name: variables.get(name) for name in expected} == expected and "OLLAMA_AUTH" not in variables
    assert json.loads(on("cat", RECORD))["environment"] == {**CARRIED, **DROPPED}
    assert list(marked.evidence.iterdir())

    assert marked.changed(marked.play("site")) == 0

    # What is changed is one secret. In check mode, too, the restart is said.
    other = dict(GIVEN, HF_TOKEN=mark("hf_token") + "-other")
    planned = marked.play("site", "--check", ollama_multigpu_environment=other)
    assert "restart" in planned.output and "the environment file" in planned.text
    write(ADDED, DROP_IN_TEXT)
    marked.play("site", ollama_multigpu_environment=other)
    assert [variables["HF_TOKEN"] for variables in processes()] == [other["HF_TOKEN"]] * 2
    copies = on("sh", "-c", "ls %s*" % ADDED).split()
    nothing_is_found(marked, RECORD, *ENVIRONMENT_FILES, *kept(1, 2), *copies)
    assert on("stat", "--format=%a %U:%G", *copies).split("\n")[:-1] == ["600 root:root"] * len(copies)

    # Here modules run on the host that else run on the controller.
    marked.play("plan", ollama_multigpu_headers_from="host", ollama_multigpu_measure=True)
    marked.play("verify")
    nothing_is_found(marked, RECORD, *ENVIRONMENT_FILES, *kept(1, 2), *copies)


#: Runs that fail: (variables, words of the message).
FAILURES = {
    "a release that is not there": (
        {"ollama_multigpu_release_url": "http://user:%s@127.0.0.1:9/v1" % mark("release_url")},
        "could not be installed from http://***@127.0.0.1:9/v1",
    ),
    "a wrong checksum": ({}, "could not be installed from http://***@"),
    "a registry with a password": (
        {"ollama_multigpu_registry": "user:%s@registry.example:5000" % mark("registry")},
        "registry '***@registry.example:5000' is no host",
    ),
    "a sha256sum.txt over http": (
        {"ollama_multigpu_release_checksum": "http://user:%s@mirror.example/sha256sum.txt" % mark("checksum")},
        "'http://***@mirror.example/sha256sum.txt'",
    ),
    "a registry that refuses the login": (
        {
            "ollama_multigpu_registry_username": "nobody",
            "ollama_multigpu_models": [{"name": "small", "insecure": True}],
        },
        "check ollama_multigpu_registry_username and ollama_multigpu_registry_password",
    ),
    "a variable with a wrong value": (
        {"ollama_multigpu_environment": {"OLLAMA_AUTH": mark("ollama_auth")}},
        "OLLAMA_AUTH is '(hidden)'",
    ),
    "an environment that is none": (
        {"ollama_multigpu_environment": [mark("environment")]},
        "ollama_multigpu_environment",
    ),
}


@pytest.mark.parametrize("name", list(FAILURES))
def test_runs_that_fail_show_no_secret(marked, name):
    variables, words = FAILURES[name]
    if "ollama_multigpu_release_checksum" not in variables:
        variables = dict(variables, ollama_multigpu_release_checksum="a" * 64)
    failed = marked.play("site", expect=2, **variables)
    assert words in str(failed.failures[HOST][-1])
    assert secret_marks.found_in_journal(CONTAINER) == []


def test_nothing_is_left_of_secrets_after_remove(marked):
    write(ADDED, DROP_IN_TEXT)
    on("systemctl", "daemon-reload")
    marked.play("remove")
    nothing_is_found(marked, *on("sh", "-c", "ls %s*" % ADDED).split())
