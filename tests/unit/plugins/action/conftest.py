# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Tasks that Ansible itself runs, on this machine and on a Python without libraries."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ANSIBLE = pathlib.Path(sys.executable).parent / "ansible-playbook"
if not ANSIBLE.exists():
    ANSIBLE = pathlib.Path(shutil.which("ansible-playbook") or "ansible-playbook")
COLLECTIONS = next(
    path
    for path in sys.path
    if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama" / "plugins").exists()
)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python with its standard library and nothing else, as on a rig host."""
    directory = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    python = directory / "bin" / "python"
    for library in ("requests", "pynvml"):
        assert (
            subprocess.run([str(python), "-c", "import " + library], stderr=subprocess.DEVNULL, check=False).returncode
            != 0
        )
    return python


def run_book(directory, book, options=(), environment=None):
    """Run a playbook, as a list of plays, for localhost; its output has the complaints too."""
    (directory / "book.yml").write_text(json.dumps(book))
    (directory / "ansible.cfg").write_text("[defaults]\n")
    return subprocess.run(
        [str(ANSIBLE), "-i", "localhost,", "-c", "local", *options, str(directory / "book.yml")],
        env=dict(
            os.environ,
            ANSIBLE_COLLECTIONS_PATH=COLLECTIONS,
            ANSIBLE_CONFIG=str(directory / "ansible.cfg"),
            ANSIBLE_LOCAL_TEMP=str(directory / "local"),
            ANSIBLE_REMOTE_TEMP=str(directory / "remote"),
            ANSIBLE_NOCOLOR="1",
            **(environment or {}),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


@pytest.fixture
def play(tmp_path):
    """A function that runs one task on localhost: run(...) -> (result of the task, output of Ansible)."""

    def run(python, module, arguments, keywords=None, options=(), environment=None):
        book = [
            {
                "hosts": "localhost",
                "gather_facts": False,
                "vars": {"ansible_python_interpreter": str(python)},
                "tasks": [
                    dict(
                        {"gpufleet.ollama." + module: arguments, "register": "outcome", "ignore_errors": True},
                        **(keywords or {}),
                    ),
                    {
                        "ansible.builtin.copy": {
                            "dest": str(tmp_path / "outcome.json"),
                            "content": "{{ outcome | to_json }}",
                            "mode": "0600",
                        },
                        "vars": {"ansible_python_interpreter": sys.executable},
                        "check_mode": False,
                        "diff": False,
                    },
                ],
            }
        ]
        answer = run_book(tmp_path, book, options, environment)
        output = answer.stdout.decode()
        assert answer.returncode == 0, output
        return json.loads((tmp_path / "outcome.json").read_text()), output

    return run
