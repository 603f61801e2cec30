# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models over time: a tag that moves in the registry, a mirror with other bytes, an alias whose model changes."""

from __future__ import annotations

import hashlib
import json
import pathlib

import pytest

from tests.integration.acceptance import SET, Site, gpu, on, requests
from tests.rig.hosts import fleet, seed
from tests.rig.models import store
from tests.rig.registry import background
from tests.unit.rig.adapter_files import write_adapter

pytestmark = pytest.mark.hosts

MIB = 1024 * 1024
TINY = {"name": "tiny", "insecure": True, "aliases": ["chat"]}
SMALL = {"name": "small", "insecure": True}


def control(method, name, **body):
    return background.control(fleet.require_server(SET), method, name, body)


def ask(path, **body):
    """The answer of the server on host a."""
    program = (
        "import sys, urllib.request as u\n"
        "request = u.Request('http://127.0.0.1:11434' + sys.argv[1], sys.argv[2].encode() or None)\n"
        "try: print(u.urlopen(request).read().decode())\n"
        "except u.HTTPError as error: print(error.read().decode())"
    )
    return json.loads(on("a", "python3", "-c", program, path, json.dumps(body) if body else ""))


def generate(model):
    """Whether a request of a client is answered; the error where it is not."""
    answer = ask("/api/generate", model=model, prompt="Hi", stream=False)
    return answer.get("error") or answer["done"]


def digests():
    """{name: digest} of what the server offers."""
    return {entry["name"]: entry["digest"] for entry in ask("/api/tags")["models"]}


def pulls():
    """What a server has asked the registry for since the last clear, by kind."""
    return [one["kind"] for one in requests() if one["headers"].get("User-Agent", "").startswith("ollama/")]


def engine(option="--lora"):
    """The blobs that an option of the running engine names, or its values."""
    program = (
        "import glob, sys\n"
        "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    words = open(path).read().split(chr(0))\n"
        "    if any(word.endswith('lib/ollama/llama-server') for word in words):\n"
        "        print(*[value for flag, value in zip(words, words[1:]) if flag == sys.argv[1]])"
    )
    return [path.rpartition("/")[2] for path in on("a", "python3", "-c", program, option).split()]


def blob(path):
    """The name of a file in a store."""
    return "sha256-" + hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def offer(name, base, layers):
    """Let the registry have a model: the manifest of `base` with further layers (kind, content)."""
    served = fleet.set_directory(SET) / "served"
    manifest = json.loads(store.manifest(base))
    manifest["layers"] = [one for one in manifest["layers"] if not one["mediaType"].endswith(".params")]
    for kind, content in layers:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        (served / "blobs" / digest.replace(":", "-")).write_bytes(content)
        layer = {"mediaType": store.LAYER_TYPE + kind, "digest": digest, "size": len(content)}
        manifest["layers"].append(layer)
    path = served / "manifests" / "library" / name / "latest"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))


def offer_file(name, content):
    """Let the registry have a file behind the address files/NAME.gguf."""
    served = fleet.set_directory(SET) / "served"
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    (served / "blobs" / digest.replace(":", "-")).write_bytes(content)
    path = served / "manifests" / "library" / name / "latest"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"layers": [{"mediaType": store.LAYER_TYPE + "model", "digest": digest}]}))


def gpu_bytes():
    """(the plan's figure for the first model, what the engines hold) of the GPU of host a, in bytes."""
    (model,) = json.loads(on("a", "cat", "/etc/ollama-multigpu/plan.json"))["instances"][0]["models"]
    (device,) = json.loads(gpu("a", "dump"))["gpus"]
    held = sum(process["bytes"] for process in device["processes"])
    return model["predicted"]["devices"][0]["total_bytes"], held


def planned(outcome, host="a"):
    return {
        model["name"]: model["planned_digest"] for one in outcome.plans[host]["instances"] for model in one["models"]
    }


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("models"))
    fleet.up(SET, {"a": "rtx-a6000", "r": "rtx-a6000"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        yield site
    finally:
        fleet.down(SET)


def test_models_over_time(site):
    """One host from its first run on: each step begins where the one before ended."""
    site.inventory({"a": {}}, ollama_multigpu_models=[TINY])
    first = site.play("site")
    names = digests()
    assert names["chat:latest"] == names["tiny:latest"] == names["tiny:latest-optimized"]
    facts = json.loads(on("a", "cat", "/etc/ansible/facts.d/ollama_multigpu.fact"))
    assert facts["endpoints"][0]["aliases"] == {"chat:latest": "tiny:latest-optimized"}

    # The tag moves: what serves stays, and the changes name both digests. Nothing is written for it.
    control("POST", "tags", target="library/tiny", tag="latest", mark="two")
    requests(clear=True)
    again = site.play("site")
    old = planned(first)["tiny"]
    assert "tiny on the host has the digest %s, and the registry now has sha256:" % old in again.text
    assert planned(again)["tiny"] == old and digests() == names
    assert again.counts["a"]["changed"] == 0 and pulls() == []

    # A mirror that sends other bytes than its manifest says: a sentence, and what served goes on serving.
    control("POST", "faults", target="library/tiny", fault="corrupt")
    failed = site.play("site", "-e", "ollama_multigpu_refresh=true", expect=2)
    assert "the registry sent something else than its manifest says" in str(failed.failures["a"])
    assert generate("chat") is True
    control("DELETE", "faults")

    # The changes say what would be taken; then it is, and once.
    told = site.play_shown(
        "ansible-playbook -i inventory.yml gpufleet.ollama.site -e ollama_multigpu_refresh=true --check --diff"
    )
    assert told.counts["a"]["changed"] > 0 and digests() == names
    taken = site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.site -e ollama_multigpu_refresh=true")
    new = planned(taken)["tiny"]
    assert new != old and digests()["tiny:latest"] != names["tiny:latest"] == names["chat:latest"]
    assert digests()["chat:latest"] == digests()["tiny:latest-optimized"] and generate("chat") is True
    requests(clear=True)
    assert site.play("site", "-e", "ollama_multigpu_refresh=true").counts["a"]["changed"] == 0
    assert pulls() == []

    # The alias goes to another model, and clients go on using it.
    site.inventory({"a": {}}, ollama_multigpu_models=[dict(TINY, aliases=[]), dict(SMALL, aliases=["chat"])])
    site.play("site")
    assert digests()["chat:latest"] == digests()["small:latest-optimized"]
    assert generate("chat") is True and site.play("site").counts["a"]["changed"] == 0
    site.inventory({"a": {}}, ollama_multigpu_models=[TINY, dict(SMALL, aliases=["chat"])])
    refused = site.play("site", expect=2)
    assert "chat:latest is an alias of tiny:latest-optimized and of small:latest-optimized" in str(
        refused.failures["a"]
    )


def test_models_of_the_users_own(site):
    """A file of the controller, then the same behind an address: it is sent once, and downloaded never."""
    path = site.scratch / "own.gguf"
    if not path.exists():
        store.write_model("tiny", path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    site.inventory({"a": {}}, ollama_multigpu_models=[{"name": "mine", "source": {"file": str(path)}}])
    site.play("site")
    assert generate("mine") is True
    blobs = on("a", "find", "/var/lib/ollama-multigpu", "-name", "sha256-%s*" % sha256, "-printf", "%i %s\\n").split(
        "\n"
    )
    assert {blob.split()[1] for blob in blobs if blob} == {str(path.stat().st_size)}
    assert len({blob.split()[0] for blob in blobs if blob}) == 1
    requests(clear=True)
    address = "http://{{ rig_registry }}/files/tiny.gguf"
    site.inventory({"a": {}}, ollama_multigpu_models=[{"name": "mine", "source": {"url": address, "sha256": sha256}}])
    again = site.play("site")
    # The size and the header, with which such a small file ends.
    assert len([one for one in requests() if one["kind"] == "file"]) == 2
    assert [model["source"]["kind"] for model in again.plans["a"]["instances"][0]["models"]] == ["url"]
    assert site.play("site").counts["a"]["changed"] == 0


def test_an_adapter_of_the_users_own(site):
    """Sent, added and in the engine; replaced where the file changes. One for another architecture changes nothing."""
    files = [
        write_adapter(site.scratch / ("%d.gguf" % rank), "tiny", rank, ("attn_q",), **{"general.architecture": made})
        for rank, made in ((8, "llama"), (16, "llama"), (32, "qwen2"))
    ]

    def adapted(path):
        tiny = {"name": "tiny", "insecure": True, "optimized": {"adapters": [{"file": path}]}}
        site.inventory({"a": {}}, ollama_multigpu_models=[tiny])
        return tiny

    adapted(files[0])
    done = site.play("site")
    (model,) = done.plans["a"]["instances"][0]["models"]
    assert [one["where"] for one in model["adapters"]] == files[:1]
    assert sum(device["adapter_bytes"] for device in model["predicted"]["devices"]) > 0
    assert engine() == [blob(files[0])] and generate("tiny") is True
    assert site.play("site").counts["a"]["changed"] == 0
    adapted(files[2])
    refused = site.play("site", expect=2)
    assert "was made for the architecture qwen2, and the model has the architecture llama" in str(refused.failures["a"])
    assert refused.counts["a"]["changed"] == 0 and engine() == [blob(files[0])]
    adapted(files[1])
    site.play("site")
    assert engine() == [blob(files[1])] and generate("tiny") is True


def test_adapters_behind_an_address_and_on_the_host(site):
    """One is downloaded by the host and one lies there; both are in the engines, and a second run changes nothing."""
    of_tiny = write_adapter(site.scratch / "tiny.gguf", "tiny", 24, ("attn_q",))
    offer_file("adapter", pathlib.Path(of_tiny).read_bytes())
    of_small = write_adapter(site.scratch / "small.gguf", "small", 8, ("attn_q",))
    path = "/srv/adapter.gguf"
    on("a", "sh", "-c", "cat > %s && chmod 644 %s" % (path, path), stdin=pathlib.Path(of_small).read_bytes())
    places = {
        "tiny": (of_tiny, {"url": "http://{{ rig_registry }}/files/adapter.gguf"}),
        "small": (of_small, {"host_file": path}),
    }
    models = [
        {"name": name, "insecure": True, "optimized": {"adapters": [dict(place, sha256=blob(file)[len("sha256-") :])]}}
        for name, (file, place) in places.items()
    ]
    site.inventory({"a": {}}, ollama_multigpu_models=models)
    site.play("site")
    assert sorted(engine()) == sorted([blob(of_tiny), blob(of_small)])
    assert generate("tiny") is True and generate("small") is True
    assert site.play("site").counts["a"]["changed"] == 0


def test_a_base_with_a_draft_model_and_an_adapter(site):
    """What a manifest brings along is planned, handed to the engine, and proven by its bytes; then heads of its own.

    The engine stand-in answers with rows of llama-server, so both sides of the proof are independent.
    """
    adapter, draft = (
        write_adapter(site.scratch / "inherited.gguf", "small", 64, ("attn_", "ffn_")),
        site.scratch / "heads",
    )
    store.write_model("heads", draft)
    layers = [("adapter", pathlib.Path(adapter).read_bytes()), ("draft", draft.read_bytes())]
    offer("helped", "small", [*layers, ("params", b'{"draft_num_predict":4}')])
    helped = {"name": "helped", "insecure": True}
    site.inventory({"a": {}}, ollama_multigpu_models=[helped])
    (model,) = site.play("site").plans["a"]["instances"][0]["models"]
    assert model["speculation"] == {"type": "draft-mtp", "tokens": 4, "draft": True}
    (device,) = model["predicted"]["devices"]
    assert min(device[part] for part in ("adapter_bytes", "draft_bytes", "draft_compute_bytes")) > 4 * MIB
    assert engine() == [blob(adapter)] and engine("--spec-draft-model") == [blob(draft)]
    assert engine("--spec-type") == ["draft-mtp"] and engine("--spec-draft-n-max") == ["4"]
    ours, held = gpu_bytes()
    assert abs(ours - held) <= 8 * MIB and generate("helped") is True
    assert site.play("site").counts["a"]["changed"] == 0

    heads = {"name": "heads", "insecure": True, "speculative": {"type": "mtp", "tokens": 2}}
    site.inventory({"a": {}}, ollama_multigpu_models=[heads])
    site.play("site")
    assert engine("--spec-draft-n-max") == ["2"] and engine("--spec-draft-model") == []
    assert abs(gpu_bytes()[0] - gpu_bytes()[1]) <= 8 * MIB and generate("heads") is True


#: An Ollama of an administrator's, with a store that only root may write.
ROOTS_STORE = "/srv/models"
ROOTS_UNIT = (
    "[Service]\nExecStart=/bin/sleep infinity\nUser=root\nEnvironment=OLLAMA_MODELS=%s\n"
    "[Install]\nWantedBy=multi-user.target\n" % ROOTS_STORE
)


def test_a_store_that_root_owns_is_copied_from(site):
    """The service user cannot touch root's blobs, as /api/create does: they are copied, and root's stay as they are."""
    seed.seed(fleet.container_name(SET, "r"), "small", ROOTS_STORE)
    on("r", "sh", "-c", "cat > /etc/systemd/system/ollama.service", stdin=ROOTS_UNIT.encode())
    on("r", "systemctl", "enable", "--now", "ollama.service")
    listing = ("find", ROOTS_STORE, "-printf", "%P %u %m %s %i %n %T@\\n")
    before = on("r", *listing)
    requests(clear=True)
    models = [dict(SMALL, optimized={"parameters": {"temperature": 0.5}})]
    site.inventory({"r": {}}, ollama_multigpu_models=models)
    site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.site -e ollama_multigpu_existing=adopt")
    assert pulls() == [] and on("r", *listing) == before
    owners = on("r", "find", "/var/lib/ollama-multigpu/instances", "-path", "*/blobs/*", "-printf", "%u\\n").split()
    assert len(owners) >= 5 and set(owners) == {"ollama"}
    assert site.play("site").counts["r"]["changed"] == 0


def test_a_registry_with_a_login(site):
    """A wrong password is a sentence; with the right one the model comes without Ollama, which cannot log in."""
    variables = {
        "ollama_multigpu_models": [SMALL],
        "ollama_multigpu_registry": "{{ rig_registry }}",
        "ollama_multigpu_registry_username": "reader",
    }
    control("POST", "login", user="reader:right")
    try:
        site.inventory({"a": {}}, **variables, ollama_multigpu_registry_password="wrong")
        before = digests()
        refused = site.play("site", expect=2)
        message = str(refused.failures["a"])
        assert "refuses the manifest of small:latest to this user (401)" in message
        assert "check ollama_multigpu_registry_username and ollama_multigpu_registry_password" in message
        assert refused.counts["a"]["changed"] == 0 and digests() == before
        requests(clear=True)
        site.inventory({"a": {}}, **variables, ollama_multigpu_registry_password="right")
        site.play("site")
        assert generate("small") is True and pulls() == []
        asked = {(one["kind"], one["authorization"]) for one in requests() if one["status"] in (200, 206, 307)}
        assert asked == {("manifest", "Basic"), ("blob", "Basic"), ("data", "")}
    finally:
        control("POST", "login")
