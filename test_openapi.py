"""The OpenAPI document: valid, complete, and what the server really answers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import checks

import configuration
import openapi
import targets
from test_server import GENEROUS, MEDIA, V1, Serve, Server
from test_tinytracer import Ask, asker, build

PING = (
    "PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\\n64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=1 ms\\n\\n"
    "--- 192.0.2.1 ping statistics ---\\n1 packets transmitted, 1 received, 0%% packet loss, time 0ms\\n"
    "rtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms\\n"
)
SAY: dict[str, Any] = {"cmd": ["echo", "{{TARGET}}"]}
FRANKFURT: dict[str, Any] = {
    "ping": {"cmd": ["printf", f"{PING}#{{{{TARGET}}}}"], "argument": "address", "parser": "ping"},
    "show route": {**SAY, "argument": "addr", "parser": "bird", "description": "Look a prefix up"},
    "show route origin": {**SAY, "argument": "asn"},
    "show route community": {**SAY, "argument": "community", "cmd": ["echo", "{{VRF}} {{TARGET}}"]},
    "only four": {"cmd4": SAY["cmd"], "argument": "address"},
    "fail": {"cmd": ["false"]},
    "json": {"cmd": ["echo", "text"], "formats": {"application/json": {"cmd": ["echo", '{"a": [1]}']}}},
}
TOKYO: dict[str, Any] = {
    "show route": {"cmd": ["echo"], "argument": "none"},
    "trace": {**SAY, "argument": "address", "parser": "traceroute"},
    "healthz": {"cmd": ["echo", "well"]},
}
ROUTERS: list[dict[str, Any]] = [
    {"name": "fra1.example.net", "city": "Frankfurt", "vrfs": ["mgmt"], "commands": FRANKFURT},
    {"name": "tyo1.example.net", "commands": TOKYO},
]
SLOW: dict[str, Any] = {"slow": {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"], "runtime": 0.3}}
FAILING: dict[str, tuple[dict[str, Any], int]] = {
    "much": ({"cmd": ["yes"]}, 500),
    "missing": ({"cmd": ["/no/such/program"]}, 502),
    "slow": (SLOW["slow"], 504),
}
HOST: dict[str, Any] = {"ping": {"cmd4": ["ping", "{{TARGET}}"], "cmd6": ["ping", "{{TARGET}}"]}}
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
NO_DATABASE: dict[str, Any] = {"generation": {"max-examples": 20, "deterministic": True, "database": "none"}}


def describe(**document: Any) -> dict[str, Any]:
    base = {"routers": ROUTERS, "targets": {"deny": []}, "info": {"title": "Example"}}
    known = configuration.read({**base, **document}, Path())
    return openapi.document(known, "https://lg.example.net/lg", "1.2")


@pytest.fixture
def api(serve: Serve) -> Any:
    """Load the description from a live server."""
    server = serve(routers=ROUTERS, commands=FRANKFURT)
    config = schemathesis.Config.from_dict(NO_DATABASE)
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json", config=config)


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
def test_live_server_answers_as_described(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)
