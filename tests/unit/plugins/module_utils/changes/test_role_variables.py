# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is wrong with the role's variables: each problem gets one sentence."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.role_variables import settings_problems


def problems(names=(), **settings):
    return settings_problems({"ollama_multigpu_" + name: value for name, value in settings.items()}, list(names))


def test_good_settings_have_no_problem():
    assert (
        problems(
            ["ollama_multigpu_base_port"],
            base_port=65535,
            models_dir="/srv/models",
            version="0.32.15",
            release_url="https://example.com/v1",
            release_checksum="a" * 64,
            listen_address="::1",
            headroom_bytes=0,
            environment={
                "HTTPS_PROXY": "http://p",
                "OLLAMA_CONTEXT_LENGTH": 4096,
                "OLLAMA_KEEP_ALIVE": "30m",
                "A": None,
            },
            models=[{"name": "a"}, {"name": "b"}],
        )
        == []
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"version": "0.32.15", "release_url": "http://m", "release_checksum": ""},  # the role has its SHA-256
        {"version": "0.99.0", "release_url": "http://m", "release_checksum": "sha256:" + "a" * 64},
        {"version": "0.99.0", "release_url": "https://m", "release_checksum": "https://m/sha256sum.txt"},
    ],
)
def test_a_release_from_anywhere_needs_a_hash_that_does_not_come_from_there(settings):
    assert problems(**settings) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"release_url": "user:MARK@mirror.example"},
        {"release_url": "http://user:MARK@mirror.example", "version": "0.99.0", "release_checksum": ""},
        {"release_url": "ftp://MARK@mirror.example"},
        {"release_checksum": "user:MARK@mirror.example"},
        {"release_checksum": "http://user:MARK@mirror.example/sha256sum.txt"},
        {"release_checksum": "http://mirror.example/sha256sum.txt?sig=MARK"},
        {"registry": "user:MARK@mirror.example:5000"},
        {"registry": "https://MARK@mirror.example"},
        {"environment": {"OLLAMA_AUTH": "MARK"}},
        {"environment": {"A_TOKEN": ["MARK"]}},
        {"environment": {"A_TOKEN": "MARK\n"}},
        {"environment": {"OLLAMA_NEW_KEY": "MARK"}},
        {"environment_unchecked": {"LD_PRELOAD": "MARK"}},
        {"environment": {"OLLAMA_MAX_QUEUE": "http://user:MARK@mirror.example"}},
    ],
)
def test_no_problem_tells_a_secret(settings):
    found = problems(**settings)
    assert found and "MARK" not in " ".join(found)


def test_what_is_acknowledged_by_name_is_taken():
    opening = {"OLLAMA_ORIGINS": "*", "OLLAMA_NO_CLOUD": 0, "OLLAMA_DEBUG_LOG_REQUESTS": True}
    assert problems(listen_address="0.0.0.0", environment=opening, acknowledged=["listen_address", *opening]) == []
    assert problems(environment={"OLLAMA_ORIGINS": "*"}, acknowledged="listen_address,OLLAMA_ORIGINS") == []
    assert len(problems(environment={"OLLAMA_ORIGINS": "*"}, acknowledged="listen_address")) == 1
    closed = {"OLLAMA_ORIGINS": "https://a.example", "OLLAMA_NO_CLOUD": 1, "OLLAMA_DEBUG_LOG_REQUESTS": 0}
    assert problems(environment=closed, acknowledged=[]) == []
    assert problems(listen_address="192.0.2.7", allow_from=["192.0.2.0/24"], acknowledged=[]) == []
    assert problems(listen_address="::", allow_from="192.0.2.0/24,2001:db8::9") == []
    assert problems(environment_unchecked={"OLLAMA_NEXT_SETTING": 1, "LLAMA_ARG_NEXT": "x", "B": None}) == []


def test_what_is_made_of_a_model_and_where_it_listens():
    whole = {"suffix": "-x", "parameters": {"temperature": 0.3}, "system": "s", "template": None}
    assert (
        problems(
            models=[
                {"name": "a", "optimized": whole},
                {"name": "b", "optimized": {}},
                {"name": "c", "optimized": None},
            ],
            listen_address="[::]",
            acknowledged=["listen_address"],
        )
        == []
    )


def test_what_the_role_sets_itself_is_no_unknown_variable():
    assert problems(names=["ollama_multigpu_endpoints"]) == []


def test_an_unknown_variable_is_named_with_the_one_that_was_meant():
    assert problems(["ollama_multigpu_base_prot"], base_port=1) == [
        "ollama_multigpu_base_prot is not a variable of this role: did you mean ollama_multigpu_base_port?"
    ]


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"base_port": 65536}, "65536"),
        ({"base_port": 0}, "between 1"),
        ({"base_port": "many"}, "many"),
        ({"models_dir": "models"}, "absolute"),
        ({"models_dir": "/srv/../etc"}, "without '..'"),
        ({"models_dir": "/a b"}, "/a b"),
        ({"version": "v0.32.15"}, "leading v"),
        ({"version": "latest"}, "latest"),
        ({"version": "0.31.1"}, "known holes"),
        ({"version": "0.32.9"}, "share a digest"),
        ({"version": "0.32.10-rc1"}, "set ollama_multigpu_version to 0.32.10 or later"),
        ({"release_url": "ftp://x"}, "http"),
        ({"release_checksum": "abc"}, "SHA-256"),
        ({"release_checksum": "http://m/sha256sum.txt"}, "'http://m/sha256sum.txt', and what comes over plain http"),
        ({"release_url": "http://m", "release_checksum": "http://m/sums"}, "or an https address"),
        (
            {"release_url": "http://m", "release_checksum": "https://m/sums"},
            "ollama_multigpu_release_url is 'http://m'",
        ),
        ({"version": "0.99.0", "release_url": "http://m/v1"}, "give it as ollama_multigpu_release_checksum"),
        ({"listen_address": "localhost"}, "IP address"),
        ({"headroom_bytes": -1}, "-1"),
        ({"report": "fleet.htm"}, "ollama_multigpu_report is 'fleet.htm': give the path of a file that ends in .html"),
        ({"host_headroom_bytes": "much"}, "ollama_multigpu_host_headroom_bytes"),
        ({"environment": {"A-B": "x"}}, "A-B"),
        ({"environment": {"OLLAMA_HOST": "x"}}, "the plan decides"),
        ({"environment": {"A": "x\ny"}}, "newline"),
        ({"environment": {"A": ["x"]}}, "plain value"),
        ({"listen_address": "0.0.0.0"}, "add listen_address to ollama_multigpu_acknowledged"),
        ({"listen_address": "[::]", "acknowledged": ["OLLAMA_ORIGINS"]}, "every network of the host"),
        ({"listen_address": "192.0.2.7"}, "name the clients, or the gateway in front, in ollama_multigpu_allow_from"),
        ({"listen_address": "0.0.0.0", "allow_from": ["0.0.0.0/0"]}, "every network of the host"),
        ({"environment": {"OLLAMA_ORIGINS": "*"}}, "add OLLAMA_ORIGINS to ollama_multigpu_acknowledged"),
        ({"environment": {"OLLAMA_NO_CLOUD": False}}, "its cloud"),
        ({"environment": {"OLLAMA_NO_CLOUD": "off"}}, "'off'"),
        ({"environment": {"OLLAMA_DEBUG_LOG_REQUESTS": 1}}, "every request"),
        ({"acknowledged": ["OLLAMA_DEBUG"]}, "names OLLAMA_DEBUG, which needs no acknowledgement: it takes listen_"),
        ({"environment_unchecked": {"LD_PRELOAD": "/x.so"}}, "ollama_multigpu_environment_unchecked: "),
        ({"environment_unchecked": {"GGML_CUDA_P2P": 0}}, "also as 0"),
        ({"environment_unchecked": {"OLLAMA_VULKAN": 1}}, "the plan decides"),
        ({"environment_unchecked": {"OLLAMA_ORIGINS": "*"}}, "is known; give it in environment"),
        ({"environment": {"A": 1}, "environment_unchecked": {"A": 1}}, "both give A"),
        ({"models": []}, "at least one"),
        ({"models": None}, "at least one"),
        ({"models": ["a"]}, "ollama_multigpu_models: Model 1 is 'a': write {name: 'a'}."),
        ({"models": {"name": "a"}}, "ollama_multigpu_models: The models are a mapping: give a list"),
        ({"models": [{"name": "a", "stratgy": "split"}]}, "did you mean strategy?"),
        ({"models": [{"name": "a", "replicas": "5 of 2"}]}, "replicas of model a is '5 of 2': give a whole number"),
        ({"registry_insecure": True}, "ollama_multigpu_registry is empty: name the registry"),
        ({"registry_username": "a", "registry_password": "b"}, "ollama_multigpu_registry is empty: name the registry"),
        ({"registry": "m", "registry_username": "a"}, "is given without ollama_multigpu_registry_password: give both"),
        ({"registry": "m", "registry_password": ["b"]}, "ollama_multigpu_registry_password is a list"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "more than once"),
        ({"listen_address": "[::"}, "IP address"),
        ({"advertise_address": "::"}, "ollama_multigpu_advertise_address is '::', which stands for all addresses"),
        (
            {"advertise_address": "localhost", "listen_address": "0.0.0.0", "acknowledged": ["listen_address"]},
            "'localhost', which is for each client the client itself",
        ),
        ({"advertise_address": "gpu1:11434"}, "without a port"),
        ({"listen_address": "fe80::1%eth0"}, "IP address"),
        ({"listen_address": "[127.0.0.1]"}, "IP address"),
        ({"environment": {"LD_PRELOAD": "/x.so"}}, "remove it"),
        ({"environment": {"OLLAMA_NUM_GPU": "999"}}, "unknown to Ollama"),
        ({"environment": {"GGML_CUDA_ENABLE_UNIFIED_MEMORY": 1}}, "leave it out"),
        ({"environment": {"OLLAMA_CONTEXT_LENGTH": "many"}}, "whole number"),
        ({"environment": {"OLLAMA_VULKAN": 1}}, "always 0"),
        ({"environment": {"CUDA_INJECTION64_PATH": "/x.so"}}, "load other code"),
        ({"environment": {"GGML_CUDA_P2P": 0}}, "also as 0"),
        ({"environment": {"LD_LIBRARY_PATH": "/cuda"}}, "LD_LIBRARY_PATH"),
        (
            {"models": [{"name": "a", "optimized": True}]},
            "optimized of model a is true: give a mapping with suffix, parameters, system, template",
        ),
        ({"models": [{"name": "a", "optimized": "x"}]}, "'x'"),
        (
            {"models": [{"name": "a", "speculative": "mtp"}]},
            "ollama_multigpu_models: speculative of model a is 'mtp': give a mapping with type, draft, tokens",
        ),
        ({"models": [{"name": "a", "speculative": {"type": "x"}}]}, "type of speculative of model a is 'x': give one"),
        ({"models": [{"name": "a", "speculative": {"tokens": 2}}]}, "speculative of model a has no type"),
        ({"models": [{"name": "a", "speculative": {"type": "none", "tokens": 2}}]}, "type none and tokens 2"),
        (
            {"models": [{"name": "a", "optimized": {"parameter": {}}}]},
            "optimized of model a has the unknown key parameter: did you mean parameters?",
        ),
        (
            {"models": [{"name": "a", "optimized": {"parameters": "num_ctx 4"}}]},
            "parameters of optimized of model a is 'num_ctx 4': give a mapping",
        ),
        ({"models": [{"name": "a", "aliases": "chat"}]}, "aliases of model a is 'chat': give a list"),
        ({"models": [{"name": "a", "aliases": [1.1]}]}, "aliases of model a has 1.1: give texts"),
        (
            {"models": [{"name": "a", "aliases": ["../x"]}]},
            "ollama_multigpu_models: aliases of a: the model name '../x'",
        ),
        ({"models": [{"name": "a", "aliases": ["b"]}, {"name": "b"}]}, "b:latest of a is a name of the model b"),
        ({"models": [{"name": "a", "optimized": {"suffix": 1}}]}, "suffix of optimized of model a is 1: give a text"),
    ],
)
def test_each_bad_value_gets_one_sentence(settings, word):
    found = problems(**settings)
    assert len(found) == 1 and word in found[0] and found[0].endswith((".", "?"))


@pytest.mark.parametrize(
    "key", ["base_port", "host_headroom_bytes", "models_dir", "listen_address", "registry", "release_url", "version"]
)
@pytest.mark.parametrize("value, kind", [({"u": "MARK"}, "mapping"), (["MARK"], "list")])
def test_a_value_of_another_type_is_named_and_not_shown(key, value, kind):
    (problem,) = problems(**{key: value})
    assert problem == "ollama_multigpu_%s is a %s: give one text or number." % (key, kind)


@pytest.mark.parametrize("key", ["environment", "environment_unchecked"])
@pytest.mark.parametrize("value", ["TOKEN=MARK", ["MARK"], 7])
def test_an_environment_that_is_no_mapping_is_not_shown(key, value):
    (problem,) = problems(**{key: value})
    assert "give a mapping" in problem and "MARK" not in problem


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"cordon": ["GPU-1"]}, "Entry 1 of ollama_multigpu_cordon is 'GPU-1': write it as {gpu: GPU-1}."),
        ({"cordon": {"gpu": 0}}, "ollama_multigpu_cordon is {'gpu': 0}, which is not a list"),
        ({"cordon": [{"gpu": 0, "untill": 1}]}, "has the unknown key untill: did you mean until?"),
        ({"cordon": [{"gpu": 0, "until": "2026-02-30"}]}, "until of entry 1 of ollama_multigpu_cordon is '2026-02-30'"),
        ({"exclude": ["all"]}, "Entry 1 of ollama_multigpu_exclude is 'all'"),
    ],
)
def test_gpus_to_leave_alone_that_cannot_be(settings, words):
    (problem,) = problems(**settings)
    assert words in problem


def test_gpus_to_leave_alone():
    cordon = [{"gpu": 0}, {"gpu": "GPU-1", "reason": "fan", "until": datetime.date(2026, 12, 31)}]
    assert problems(cordon=cordon, exclude=["0000:41:00.0", 1]) == problems(cordon=[], exclude=1) == []


@pytest.mark.parametrize(
    "interval, said",
    [(29, "at least 30 seconds"), (-1, "check_interval"), ("10min", "check_interval"), ([60], "is a list")],
)
def test_an_interval_of_checks_that_cannot_work(interval, said):
    (problem,) = problems(check_interval=interval)
    assert said in problem


@pytest.mark.parametrize(
    "directory, said",
    [
        ("metrics", "is not an absolute path"),
        ("/srv/a b", "is not an absolute path"),
        ("/srv/../etc", "without '..'"),
        ("/etc/metrics", "is a directory of the system or below one"),
        ("/usr/local/share/metrics", "is a directory of the system or below one"),
        ("/home/metrics", "is a directory of the system or below one"),
        ("/tmp/metrics/", "is a directory of the system or below one"),
        ("/var/lib", "is a directory of the system or below one"),
        ("/models/metrics", "in ollama_multigpu_models_dir"),
        ("/models/", "in ollama_multigpu_models_dir"),
        (["/srv"], "is a list"),
        (3, "is not an absolute path"),
    ],
)
def test_a_directory_that_cannot_hold_the_metrics(directory, said):
    (problem,) = problems(metrics_directory=directory, models_dir="/models")
    assert said in problem and "ollama_multigpu_metrics_directory" in problem


@pytest.mark.parametrize("directory", ["", "/var/lib/ollama-metrics/node-exporter", "/srv/metrics/", "/models-metrics"])
def test_a_directory_for_the_metrics(directory):
    assert problems(metrics_directory=directory, models_dir="/models") == []


@pytest.mark.parametrize("interval", [0, 30, "600", ""])
def test_an_interval_of_checks(interval):
    assert problems(check_interval=interval) == []


@pytest.mark.parametrize(
    "given",
    [
        {"slowdown_allowed": -1},
        {"slowdown_allowed": "a lot"},
        {"quiet_timeout": -1},
        {"quiet_timeout": "1m"},
        {"quiet_timeout": [1]},
        {"watch_time": -1},
        {"watch_time": "1m"},
        {"watch_time": {}},
        {"rollback_to": 0},
        {"rollback_to": "last"},
    ],
)
def test_limits_and_numbers_of_plans_that_cannot_work(given):
    (problem,) = problems(**given)
    assert "ollama_multigpu_" + next(iter(given)) in problem


@pytest.mark.parametrize(
    "given", [{"slowdown_allowed": 0}, {"slowdown_allowed": "100"}, {"quiet_timeout": 0}, {"rollback_to": "3"}]
)
def test_limits_and_numbers_of_plans(given):
    assert problems(**given) == [] == problems(quiet_timeout="", watch_time="", rollback_to="")


@pytest.mark.parametrize("value", ["strict", "moderate", "off", False, "False"])
def test_levels_of_the_sandbox(value):
    assert problems(sandbox=value) == []


@pytest.mark.parametrize("value", ["none", True, "", 3])
def test_other_levels_of_the_sandbox(value):
    (problem,) = problems(sandbox=value)
    assert problem.startswith("ollama_multigpu_sandbox is ") and "give one of strict, moderate, off." in problem


@pytest.mark.parametrize("value", [[], "", None, ["192.0.2.7", "2001:db8::/32"], "192.0.2.7, [::1]", ("192.0.2.0/24",)])
def test_networks_of_peers(value):
    assert problems(peers=value) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["192.0.2.7/24"], "'192.0.2.7/24', which has a part for hosts: give 192.0.2.0/24"),
        (["office"], "'office', which is neither an IP address nor a network"),
        ([{"address": "192.0.2.7"}], "is neither an IP address"),
        ("192.0.2.7 192.0.2.8", "is neither an IP address"),
        ({"192.0.2.7": True}, "is a mapping: give a list"),
        (7, "is a single value: give a list"),
    ],
)
def test_peers_that_are_no_networks(value, words):
    (problem,) = problems(peers=value)
    assert problem.startswith("ollama_multigpu_peers ") and words in problem


@pytest.mark.parametrize(
    ("settings", "kept_out"),
    [
        ({"peers": ["10.0.0.0/8"], "allow_from": ["192.0.2.7", "10.1.0.0/16"]}, ["192.0.2.7"]),
        ({"peers": "2001:db8:1::/48", "allow_from": "2001:db8:2::/48,192.0.2.7"}, ["2001:db8:2::/48", "192.0.2.7"]),
        ({"peers": ["192.0.2.0/25"], "allow_from": ["192.0.2.0/24"]}, ["192.0.2.0/24"]),
        ({"peers": ["192.0.2.0/25", "192.0.2.128/25"], "allow_from": ["192.0.2.0/24"]}, []),
        ({"peers": ["192.0.2.9"], "allow_from": ["127.0.0.1", "::1", "192.0.2.9"]}, []),
        ({"peers": ["10.0.0.0/8"], "allow_from": ["192.0.2.7"], "listen_address": "192.0.2.7"}, []),
        ({"peers": ["10.0.0.0/8"], "allow_from": ["192.0.2.7"], "listen_address": "127.0.0.1"}, []),
        ({"peers": [], "allow_from": ["192.0.2.7"]}, []),
    ],
)
def test_clients_that_are_no_peers(settings, kept_out):
    """The unit's own filter would keep them out without a word."""
    assert problems(**{"listen_address": "0.0.0.0", **settings}) == [
        "ollama_multigpu_allow_from has %s, which ollama_multigpu_peers does not: add it there." % one
        for one in kept_out
    ]


@pytest.mark.parametrize(
    "value", [[], "", None, ["/dev/dri", "char-drm"], "/dev/dri/renderD128, char-nvidia-*", ("/dev/nvidia-modeset",)]
)
def test_further_devices(value):
    assert problems(devices=value) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["dri"], "has 'dri', which is no device: give the path of a device node"),
        (["/dev"], "is no device"),
        (["/dev/../etc/shadow"], "is no device"),
        (["/dev/dri rw"], "is no device"),
        (["/dev/%i"], "is no device"),
        (["char-*"], "is no device"),
        (["block-sd"], "is no device"),
        ([{"path": "/dev/dri"}], "is no device"),
        ({"/dev/dri": True}, "is a mapping: give a list of devices."),
        (7, "is a single value: give a list"),
    ],
)
def test_what_is_no_further_device(value, words):
    (problem,) = problems(devices=value)
    assert problem.startswith("ollama_multigpu_devices ") and words in problem
