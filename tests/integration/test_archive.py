# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The archive contains what a user needs and nothing else, and works with ansible-core alone."""

from __future__ import annotations

import json
import tarfile

import pytest

from tests import shown
from tests.integration.support import CHECKOUT, checkout_files, copy_checkout, environment, module_names, run, tool
from tests.setup.environment import CACHE

SHIPPED = {
    "COPYING",
    "CHANGELOG.md",
    "CHANGELOG.rst",
    "FILES.json",
    "LICENSES",
    "MANIFEST.json",
    "README.md",
    "REUSE.toml",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "requirements.txt",
    "roles",
}


@pytest.fixture(scope="module")
def members(archive):
    with tarfile.open(str(archive)) as content:
        return {member.name for member in content.getmembers() if member.isfile()}


def test_nothing_but_what_a_user_needs(members):
    assert {name.split("/")[0] for name in members} <= SHIPPED


def test_every_file_of_the_shipped_folders_is_in(members):
    folders = (
        "meta/",
        "plugins/",
        "roles/",
        "playbooks/",
        "docs/",
        "LICENSES/",
        "README.md",
        "COPYING",
        "requirements.txt",
    )
    missing = [name for name in checkout_files() if name.startswith(folders) and name not in members]
    assert not missing


def test_no_clutter_in_the_shipped_folders(members):
    committed = set(checkout_files()) | {"MANIFEST.json", "FILES.json"}
    assert not [name for name in members if name not in committed]


def test_ansible_doc_knows_every_module_role_and_playbook(collections, tmp_path):
    env = environment(collections)
    listed = json.loads(
        run([tool("ansible-doc"), "-t", "module", "-l", "-j", "gpufleet.ollama"], cwd=tmp_path, env=env)
    )
    assert sorted(listed) == ["gpufleet.ollama." + name for name in module_names()]
    roles = json.loads(run([tool("ansible-doc"), "-t", "role", "-l", "-j", "gpufleet.ollama"], cwd=tmp_path, env=env))
    assert "gpufleet.ollama.ollama_multigpu" in roles
    for playbook in sorted((CHECKOUT / "playbooks").glob("*.yml")):
        name = "gpufleet.ollama." + playbook.stem
        checked = run([tool("ansible-playbook"), "-i", "localhost,", "--syntax-check", name], cwd=tmp_path, env=env)
        assert "playbook: %s/ansible_collections/gpufleet/ollama/playbooks/%s" % (collections, playbook.name) in checked


def test_the_lines_of_the_guide_install_the_collection(tmp_path):
    """In a checkout and a home of their own; what the home has then runs a playbook of the collection."""
    copy_checkout(tmp_path / "checkout")
    home = tmp_path / "home"
    home.mkdir()
    lines = (
        shown.command("make build"),
        shown.command(
            "python3 -m venv ~/gpufleet && . ~/gpufleet/bin/activate && pip install ansible-core requests nvidia-ml-py"
        ),
        shown.command("ansible-galaxy collection install -p ~/.ansible/collections build/gpufleet-ollama-1.0.0.tar.gz"),
    )
    end = 'cd "$HOME" && ansible-playbook -i localhost, --syntax-check gpufleet.ollama.site'
    told = run(
        ["bash", "-ec", "\n".join([*lines, end])],
        cwd=tmp_path / "checkout",
        env=environment(HOME=str(home), GPUFLEET_CACHE=str(CACHE)),
    )
    assert "playbook: %s/.ansible/collections/" % home in told
    assert (home / "gpufleet" / "bin" / "ansible-playbook").exists()


def test_the_callback_of_the_guide(collections, tmp_path):
    (tmp_path / "ansible.cfg").write_text(shown.block("terminal", "ini"))
    (tmp_path / "book.yml").write_text(json.dumps([{"hosts": "localhost", "tasks": [], "gather_facts": False}]))
    command = [tool("ansible-playbook"), "-i", "localhost,", "-c", "local", "book.yml"]
    assert run(command, cwd=tmp_path, env=environment(collections)).split() == ["localhost"]
    (tmp_path / "ansible.cfg").unlink()
    assert "PLAY RECAP" in run(command, cwd=tmp_path, env=environment(collections))


def test_a_module_answers_where_there_is_no_gpu(collections, tmp_path):
    """Without requests and nvidia-ml-py, gpu_facts from the archive returns a state and a remedy, not a traceback."""
    command = [
        tool("ansible"),
        "localhost",
        "-c",
        "local",
        "-e",
        "ansible_python_interpreter=/usr/bin/python3",
        "-m",
        "gpufleet.ollama.gpu_facts",
    ]
    output = run(command, cwd=tmp_path, env=environment(collections), expect=None)
    assert "Traceback" not in output
    inventory = json.loads(output.split("=>", 1)[1])["ansible_facts"]["gpu_inventory"]
    assert inventory["state"] == "ok" or (inventory["reason"] and inventory["remedy"])
