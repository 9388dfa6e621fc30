"""Doors that are not AWS APIs."""

from __future__ import annotations

import json

from aiohttp import web

from .raw import raw, signed
from .toys import Recorder, ToyEcs, running


async def test_health_in_the_shape_that_people_know() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.set_hooks(health=lambda: {"s3": "available"})
        for path in ("/_moorage/health", "/_localstack/health", "/_localstack/health?reload"):
            told = json.loads((await http.send("GET", path)).body)
            assert told["services"] == {"ecs": "running", "s3": "available"}
            assert told["edition"] == "moorage"
            assert told["version"]


async def test_reset_and_status_call_their_hooks() -> None:
    done: list[str] = []

    async def reset() -> None:
        done.append("reset")

    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        assert (await http.send("POST", "/_moorage/state/reset")).status == 501
        gateway.set_hooks(reset=reset)
        gateway.set_hooks(status=lambda: {"tasks": 3})
        assert (await http.send("POST", "/_moorage/state/reset")).status == 200
        assert (await http.send("GET", "/_moorage/state/reset")).status == 405
        assert done == ["reset"]
        assert json.loads((await http.send("GET", "/_moorage/status")).body) == {"tasks": 3}
        assert (await http.send("GET", "/_moorage/nothing")).status == 404


async def test_a_web_page_may_not_change_anything() -> None:
    async def reset() -> None:
        raise AssertionError("a stranger's page emptied everything")

    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.set_hooks(reset=reset, status=dict)
        page = {"Origin": "https://evil.example"}
        assert (await http.send("POST", "/_moorage/state/reset", headers=page)).status == 403
        assert (await http.send("GET", "/_moorage/status", headers=page)).status == 200


async def test_a_door_is_chosen_by_whole_path_segments() -> None:
    async def door(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=f"door {request.path}")

    provider = Recorder("apigatewayv2", {"GetApis": {"Items": []}})
    async with running(provider) as gateway, raw(gateway) as http:
        gateway.add_route("/v2/", door)
        gateway.add_route("/_moorage/console", door)
        assert (await http.send("GET", "/v2/")).text == "door /v2/"
        assert (await http.send("GET", "/v2/a/manifests/b?c=d")).text == "door /v2/a/manifests/b"
        assert (await http.send("GET", "/_moorage/console")).text == "door /_moorage/console"
        assert (await http.send("GET", "/_moorage/console/x")).text == "door /_moorage/console/x"
        assert (await http.send("GET", "/_moorage/consoles")).status == 404
        assert (await http.send("GET", "/v2x")).status == 404
        answer = await http.send("GET", "/v2/apis", headers=signed("apigateway"))
        assert json.loads(answer.body) == {"items": []}


async def test_a_failing_door_is_answered() -> None:
    async def door(_request: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError("broken")

    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.add_route("/broken", door)
        answer = await http.send("GET", "/broken")
        assert answer.status == 500
        assert "broken" not in answer.text.replace("/broken", "")
