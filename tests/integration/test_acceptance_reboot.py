# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""After a reboot and between runs: a host loads and proves its models, checks and heals itself without Ansible."""

from __future__ import annotations

import json
import re
import time

import pytest
import yaml

from tests import shown
from tests.integration import prometheus
from tests.integration.acceptance import SET, Site, gpu, on, run_shown
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman
from tests.rig.waiting import PATIENCE, wait_until
from tests.unit import metrics_files

pytestmark = pytest.mark.hosts

HOST = "r"
VERDICT = "/var/lib/ollama-multigpu/verdict.json"
METRICS = "/var/lib/ollama-metrics/node-exporter"
PORTS = {"gpu0": 11434, "gpu1": 11435}
MODEL = "tiny:latest-optimized"
#: Makes the wait for a GPU that is gone short, from when the others are there; the role leaves drop-ins of this unit
#: alone.
SHORT_WAIT = "/etc/systemd/system/ollama-gpus.service.d/short.conf"

#: What a GPU may be called, as far as Prometheus is concerned, and what it is called here.
A_NAME = ("gpu0.name", 'NVIDIA "RTX" 4090\\')
A_USUAL_NAME = ("gpu0.name", "NVIDIA GeForce RTX 4090")

#: Holds the lock as a run does, in a process of its own.
HOLD = (
    "rm -f /run/held; (exec 9<>/run/ollama-multigpu/lock; flock 9; touch /run/held; exec sleep 600) >/dev/null 2>&1 & "
    "echo $! > /run/holder; until [ -e /run/held ]; do sleep 0.1; done"
)


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-reboot"))
    fleet.up(SET, {HOST: "rtx-4090-x2"}, say=lambda text: None)
    fleet.serve(SET, say=lambda text: None)
    site.inventory(
        {HOST: {}},
        ollama_multigpu_models=[{"name": "tiny", "insecure": True, "optimized": {}}],
        ollama_multigpu_endpoints_file=str(site.scratch / "endpoints.json"),
        ollama_multigpu_metrics_directory=METRICS,
    )
    site.play("site")
    yield site
    fleet.down(SET)


def program(*arguments, expect=None):
    """Run the program of the host; return its exit code and its answer as data."""
    done = podman(
        "exec", "-i", fleet.container_name(SET, HOST), "ollama-multigpu", *arguments, "--json", check=False, timeout=300
    )
    answer = json.loads(done.stdout.decode())
    assert done.returncode == answer["exit_code"]
    assert expect is None or done.returncode == expect, answer
    return done.returncode, answer


def show(unit, *properties):
    """Values of properties of a unit."""
    text = on(HOST, "systemctl", "show", unit, "--property=" + ",".join(properties))
    found = dict(line.split("=", 1) for line in text.splitlines() if line)
    return [found[name] for name in properties]


def until(condition, what):
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "%s\n%s" % (what, on(HOST, "journalctl", "-n", "60", "--no-pager"))
        time.sleep(1)


def loaded(instance):
    """Names of the models that an instance has loaded; None where it does not answer."""
    script = (
        "import json, urllib.request as u; print(json.dumps([m['name'] for m in json.load("
        "u.urlopen('http://127.0.0.1:%d/api/ps', timeout=60))['models']]))" % PORTS[instance]
    )
    done = podman("exec", fleet.container_name(SET, HOST), "python3", "-c", script, check=False)
    return json.loads(done.stdout.decode()) if done.returncode == 0 else None


def unload(instance):
    """Unload the model of an instance, as a client may."""
    script = (
        "import urllib.request as u; "
        'u.urlopen(\'http://127.0.0.1:%d/api/generate\', b\'{"model": "%s", "keep_alive": 0}\').read()'
    )
    on(HOST, "python3", "-c", script % (PORTS[instance], MODEL))
    until(lambda: loaded(instance) == [], "the model is not unloaded")


def verdict():
    """What is kept of the last check."""
    return json.loads(on(HOST, "cat", VERDICT))


def is_ready():
    """Whether the units that load have ended since the boot, and the verdict is of this boot."""
    units = ["ollama-ready@%s.service" % name for name in PORTS]
    ended = all(
        show(unit, "ActiveState")[0] in ("inactive", "failed")
        and show(unit, "ExecMainExitTimestampMonotonic")[0] != "0"
        for unit in units
    )
    return ended and on(HOST, "sh", "-c", "find %s -newer /run/systemd/system -print; true" % VERDICT) != ""


def engines(instance):
    """Process ids of the engines of an instance."""
    script = (
        "for p in $(cat /sys/fs/cgroup/system.slice/system-ollama.slice/ollama@%s.service/cgroup.procs); do "
        "grep -q llama-server /proc/$p/cmdline && echo $p; done; true"
    )
    return on(HOST, "sh", "-c", script % instance).split()


def kill_engine(instance):
    """Kill the engine of an instance; the server goes on listing its model."""
    on(HOST, "sh", "-c", "kill -9 " + " ".join(engines(instance)))


def test_a_run_leaves_a_host_that_checks_itself(site):
    assert show("ollama-check.timer", "ActiveState", "UnitFileState") == ["active", "enabled"]
    on(HOST, "systemctl", "start", "ollama-check.service")
    assert verdict()["verdict"] == "pass" and {one["verdict"] for one in verdict()["instances"]} == {"pass"}
    entries = on(HOST, "journalctl", "-u", "ollama-check.service", "-o", "json", "--no-pager").splitlines()
    told = [entry for entry in map(json.loads, entries) if "Verdict: pass" in str(entry["MESSAGE"])]
    assert told and told[-1]["PRIORITY"] == "6"
    for command in ("status", "check"):
        assert program(command, expect=0)[1]["verdict"] == "pass"
    text = run_shown("sudo ollama-multigpu status", HOST)
    assert max(map(len, text.splitlines())) <= 80 and text.count(MODEL) == 2


def test_the_commands_of_the_guide(site):
    """Those that the guide about the program shows, and what it says that they print."""
    for text in (
        run_shown("sudo ollama-multigpu check", HOST),
        run_shown("sudo ollama-multigpu check --heal", HOST),
        run_shown("sudo ollama-multigpu load", HOST),
    ):
        assert "Verdict: pass" in text
    unload("gpu0")
    told = run_shown("sudo ollama-multigpu load gpu0", HOST)
    assert told == shown.block("diagnose", "text").replace("small:latest", "tiny:latest")
    assert json.loads(run_shown("sudo ollama-multigpu check --json", HOST))["verdict"] == "pass"
    assert "ollama-multigpu" in run_shown("ollama-multigpu version", HOST)
    assert "Loaded: loaded" in run_shown("systemctl status ollama-gpus.service", HOST, expect=None)
    assert "ollama-ready@gpu0.service" in run_shown("journalctl -u ollama-ready@gpu0.service", HOST)
    run_shown("journalctl -u ollama-check.service -p warning", HOST, expect=None)
    printed = run_shown("sudo ollama-multigpu metrics", HOST)
    found = json.loads(run_shown("sudo ollama-multigpu metrics --json", HOST))
    assert "gpufleet_verdict{" in printed and found["exit_code"] == 0
    for text in (
        run_shown("sudo ollama-multigpu diagnose", HOST),
        run_shown("sudo ollama-multigpu diagnose --answers", HOST),
        run_shown("sudo ollama-multigpu diagnose --seconds 10", HOST),
    ):
        assert "No cause was found" in text
    assert json.loads(run_shown("sudo ollama-multigpu diagnose --json", HOST))["findings"] == []


def test_a_check_writes_metrics_that_everybody_may_read(site):
    program("check", expect=0)
    assert on(HOST, "stat", "-c", "%U:%G %a %n", METRICS, METRICS + "/ollama_multigpu.prom").split("\n")[:2] == [
        "root:root 755 " + METRICS,
        "root:root 644 %s/ollama_multigpu.prom" % METRICS,
    ]
    text = on(HOST, "cat", METRICS + "/ollama_multigpu.prom")
    assert 'gpufleet_verdict{verdict="pass"} 1\n' in text and text.count("\ngpufleet_gpu_present{") == 2
    printed = on(HOST, "ollama-multigpu", "metrics")
    assert [line.rsplit(" ", 1)[0] for line in printed.splitlines()] == [
        line.rsplit(" ", 1)[0] for line in text.splitlines()
    ]


def test_prometheus_reads_them_as_the_guide_says(site, tmp_path):
    """Every query of the dashboard returns series, and a rule fires for a GPU with memory errors."""
    gpu(HOST, "set", "gpu0.ecc", "1", "gpu0.ecc.volatile", "0", "gpu0.ecc.aggregate", "3", *A_NAME)
    program("check", expect=0)
    (arguments,) = re.findall('ARGS="(.*)"', shown.block("metrics", "sh"))
    configuration = yaml.safe_load(shown.block("metrics", "yaml+jinja"))
    with prometheus.on_host(SET, HOST, *arguments.split()) as exporter:
        configuration["scrape_configs"][0]["static_configs"][0]["targets"] = [exporter.target]
        configuration["rule_files"] = [str(metrics_files.ALERT_FILE)]
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        with prometheus.Prometheus(tmp_path, configuration) as server:
            wait_until(lambda: server.series("gpufleet_verdict"), "metrics of the host")
            assert server.series("node_textfile_scrape_error")[0][1] == 0
            silent = [
                target["expr"]
                for panel in metrics_files.dashboard()["panels"]
                for target in panel["targets"]
                if not server.series(target["expr"].replace("$host", ".*"))
            ]
            assert silent == []
            assert len(server.series(shown.block("metrics", "text").strip())) == 2
            names = {labels["name"] for labels, _value in server.series("gpufleet_gpu_info")}
            assert A_NAME[1] in names and len(names) == 2
            assert {rule["health"] for group in server.get("rules")["groups"] for rule in group["rules"]} == {"ok"}
            assert server.firing() == set()
            gpu(HOST, "set", "gpu0.ecc.volatile", "2")
            assert program("check")[1]["verdict"] == "fail"
            wanted = {"OllamaGpuMemoryErrors", "OllamaNotAsPlanned"}
            wait_until(lambda: wanted <= server.firing(), "the alerts fire")
    gpu(HOST, "set", "gpu0.ecc", "-", "gpu0.ecc.volatile", "-", "gpu0.ecc.aggregate", "-", *A_USUAL_NAME)
    program("check", expect=0)


def test_after_a_reboot_the_models_are_loaded_and_proven(site):
    before = verdict()["time"]
    fleet.reboot(SET, HOST)
    until(is_ready, "the instances are not ready")
    assert {name: loaded(name) for name in PORTS} == dict.fromkeys(PORTS, [MODEL])
    assert verdict()["verdict"] == "pass" and verdict()["time"] > before
    for name in PORTS:
        assert show("ollama-ready@%s.service" % name, "Result", "ExecMainStatus") == ["success", "0"]
    assert show("ollama-gpus.service", "Result") == ["success"]
    assert "Verdict: pass" in on(HOST, "journalctl", "-u", "ollama-ready@gpu0.service", "--no-pager")


def test_a_run_that_holds_the_lock_is_left_alone(site):
    on(HOST, "sh", "-c", HOLD)
    try:
        on(HOST, "systemctl", "restart", "ollama@gpu0.service")
        until(lambda: show("ollama-ready@gpu0.service", "ActiveState") == ["inactive"], "ready@gpu0 does not end")
        assert show("ollama-ready@gpu0.service", "Result") == ["success"]
        until(lambda: loaded("gpu0") == [], "gpu0 does not answer")
        assert "a run loads the models itself" in on(
            HOST, "journalctl", "-u", "ollama-ready@gpu0.service", "--no-pager"
        )
        answers = {name: program(name, expect=0)[1] for name in ("status", "check", "load")}
        assert answers["status"]["run_in_progress"] and answers["status"]["verdict"] == "fail"
        assert answers["check"]["checked"] is False and answers["load"]["loaded"] is False and loaded("gpu0") == []
    finally:
        on(HOST, "sh", "-c", "kill $(cat /run/holder)")
    program("load", "gpu0", expect=0)
    assert loaded("gpu0") == [MODEL] and verdict()["verdict"] == "pass"


def test_a_check_alone_heals_nothing(site):
    kill_engine("gpu1")
    _code, answer = program("check", expect=1)
    assert [one["finding"] for one in answer["diagnosis"]] == ["engine_died"] and engines("gpu1") == []
    assert {one["name"]: one["verdict"] for one in verdict()["instances"]} == {"gpu0": "pass", "gpu1": "fail"}
    podman("exec", fleet.container_name(SET, HOST), "systemctl", "start", "ollama-check.service", check=False)
    assert show("ollama-check.service", "Result") == ["exit-code"], "systemctl --failed lists it"
    entries = on(HOST, "journalctl", "-u", "ollama-check.service", "-p", "err", "-o", "cat", "--no-pager")
    assert "engine_died" in entries and engines("gpu1") == []


def test_where_it_is_asked_for_the_timer_heals(site):
    """The role restarts nothing for it. The timer fires by itself."""
    starts = [show("ollama@%s.service" % name, "ExecMainStartTimestamp") for name in PORTS]
    outcome = site.play("site", "-e", "ollama_multigpu_heal=true", "-e", "ollama_multigpu_check_interval=30")
    assert [show("ollama@%s.service" % name, "ExecMainStartTimestamp") for name in PORTS] == starts
    assert outcome.counts[HOST]["changed"] > 0
    until(lambda: program("check")[1].get("verdict") == "pass", "the host is not as planned after a run")
    before = verdict()["time"]
    kill_engine("gpu1")
    until(lambda: verdict()["healing"] and verdict()["time"] > before, "the timer does not heal")
    assert verdict()["verdict"] == "pass" and loaded("gpu1") == [MODEL] and len(engines("gpu1")) == 1
    assert "is loaded again" in verdict()["healing"][0] and "Verdict: pass" in verdict()["healing"][-1]
    assert [show("ollama@%s.service" % name, "ExecMainStartTimestamp") for name in PORTS] == starts


def test_a_unit_that_systemd_has_not_read_is_read_and_nothing_is_restarted(site):
    on(HOST, "systemctl", "stop", "ollama-check.timer")
    until(lambda: program("check")[1].get("verdict") == "pass", "the host is not as planned")
    starts = [show("ollama@%s.service" % name, "ExecMainStartTimestamp") for name in PORTS]
    drop_in = "/etc/systemd/system/ollama@gpu1.service.d"
    on(HOST, "sh", "-c", "mkdir %s; echo '[Service]' > %s/test.conf" % (drop_in, drop_in))
    try:
        _code, answer = program("check", expect=1)
        assert "systemd has not read it again" in answer["diagnosis"][0]["evidence"]
        healed = program("check", "--heal", expect=0)[1]
        assert (healed["healing"], healed["verdict"]) == (["heal: systemd has read its units again."], "pass")
        assert [show("ollama@%s.service" % name, "ExecMainStartTimestamp") for name in PORTS] == starts
    finally:
        on(HOST, "sh", "-c", "rm -r %s; systemctl daemon-reload" % drop_in)


def test_what_a_load_and_a_restart_do_not_cure_is_left(site):
    """The engine loads everything onto the CPU, again and again."""
    on(HOST, "systemctl", "stop", "ollama-check.timer")
    until(lambda: program("check")[1].get("verdict") == "pass", "the host is not as planned")
    gpu(HOST, "lie", "nothing")
    kill_engine("gpu1")
    first = program("check", "--heal", expect=1)[1]["healing"]
    again = program("check", "--heal", expect=1)[1]["healing"]
    gpu(HOST, "lie", "off")
    assert any("ollama@gpu1.service is restarted" in line for line in first) and "left as it is" in first[-1]
    assert len(again) == 1 and "left as it is" in again[0]
    assert loaded("gpu0") == [MODEL]


def test_a_gpu_that_is_gone_is_named_and_the_others_serve(site):
    on(HOST, "sh", "-c", "mkdir -p $(dirname %s); cat > %s" % (SHORT_WAIT, SHORT_WAIT), stdin=_short_wait())
    fleet.reboot(SET, HOST, without=1)
    until(is_ready, "the instances are not ready")
    gone = program("gpus", expect=1)[1]["missing"]
    assert len(gone) == 1
    assert loaded("gpu0") == [MODEL] and loaded("gpu1") == [], "what is planned for a GPU is not put on the CPU"
    assert show("ollama-ready@gpu0.service", "Result") == ["success"]
    for unit in ("ollama-gpus.service", "ollama-ready@gpu1.service"):
        assert show(unit, "Result") == ["exit-code"] and gone[0] in on(HOST, "journalctl", "-u", unit, "--no-pager")
    assert verdict()["verdict"] == "fail"
    assert {one["name"]: one["verdict"] for one in verdict()["instances"]} == {"gpu0": "pass", "gpu1": "fail"}
    (finding,) = verdict()["diagnosis"]
    assert finding["finding"] == "gpu_not_seen" and "GPU 1 (RTX 4090, %s)" % gone[0] in finding["evidence"]
    shown = podman("exec", fleet.container_name(SET, HOST), "ollama-multigpu", "status", check=False).stdout.decode()
    assert "%s  is planned and not there" % gone[0][:12] in shown and max(map(len, shown.splitlines())) <= 80


def _short_wait():
    there = "until [ -e /dev/gpu-rig/state ]; do sleep 0.1; done"
    command = "/usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu gpus --seconds 5"
    return ("[Service]\nExecStart=\nExecStart=/bin/sh -c '%s; exec %s'\n" % (there, command)).encode()


def endpoints(site):
    return json.loads((site.scratch / "endpoints.json").read_text(encoding="utf-8"))


def test_remove_takes_everything_away(site):
    assert list(endpoints(site)["hosts"]) == [HOST]
    site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.remove -e ollama_multigpu_remove_models=true")
    assert endpoints(site) == {"version": 1, "hosts": {}, "models": {}}
    left = "find / -xdev -name '*ollama*' -not -path '/proc/*' -not -path '/dev/*' -not -path '/var/log/*'"
    found = on(HOST, "sh", "-c", left).split()
    assert [path for path in found if "ollama-gpus.service.d" not in path] == []
    assert on(HOST, "systemctl", "--failed", "--no-legend", "--plain") == ""
    assert on(HOST, "sh", "-c", "systemctl list-units --all --no-legend --plain 'ollama*'") == ""
