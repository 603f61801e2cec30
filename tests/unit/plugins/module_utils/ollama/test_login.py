# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A login as the user gives it: both parts of it, for one registry, and shown nowhere."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import login
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.login import Login, LoginRefused, login_of

GIVEN = {"registry_username": "reader", "registry_password": "MARK:ü", "registry": "mirror:5000"}


def test_a_login_is_sent_as_basic_and_not_shown():
    found = login_of(GIVEN)
    assert found == Login("reader", "MARK:ü") and "MARK" not in repr(found)
    assert found.basic() == "Basic cmVhZGVyOk1BUks6w7w="
    assert login_of({}) is None and login_of({"registry": "mirror"}) is None
    assert login_of(dict(GIVEN, registry_username="", registry_password=None)) is None
    assert login.login_options()["registry_password"]["no_log"] is True


@pytest.mark.parametrize(
    "change, words",
    [
        ({"registry_username": ""}, "registry_password is given without ollama_multigpu_registry_username: give both"),
        ({"registry_password": None}, "registry_username is given without ollama_multigpu_registry_password"),
        ({"registry_username": "a:b"}, "registry_username has a colon"),
        ({"registry": ""}, "ollama_multigpu_registry is empty: name the registry that it is for"),
    ],
)
def test_what_is_no_login(change, words):
    with pytest.raises(LoginRefused, match=words) as caught:
        login_of({**GIVEN, **change})
    assert "MARK" not in str(caught.value)
