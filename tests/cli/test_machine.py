"""Ports of this machine."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from moorage.cli.machine import holder_of, missing_rights, need_port
from moorage.domain.errors import Permanent


def test_a_free_port_is_taken_as_it_is():
    free = need_port("127.0.0.1", 0)
    assert free > 0
    assert need_port("127.0.0.1", free) == free


def test_a_taken_port_is_refused_with_the_name_of_its_holder():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Permanent) as refusal:
            need_port("127.0.0.1", port)
    assert refusal.value.next == f"Stop it, or: moor up --port {port + 1}"
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in refusal.value.what


def test_nobody_holds_a_free_port():
    assert holder_of(need_port("127.0.0.1", 0)) is None


def test_an_address_that_is_not_this_machines():
    with pytest.raises(Permanent, match=r"Moorage cannot listen on 192\.0\.2\.1 port 4566"):
        need_port("192.0.2.1", 4566)


def test_root_misses_nothing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert missing_rights() is None


def test_without_root_it_says_what_is_missing_and_what_mends_it(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("pathlib.Path.read_text", lambda _path: "1024\n")
    sentence = missing_rights()
    assert sentence is not None
    assert "ports below 1024 are out of reach" in sentence
    assert "sudo sysctl net.ipv4.ip_unprivileged_port_start=80" in sentence


def test_low_ports_may_be_open_to_everybody(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("pathlib.Path.read_text", lambda _path: "0\n")
    assert missing_rights() is None
