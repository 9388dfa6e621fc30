"""Every operation of the official model has an answer, and the page that lists them says what the code does."""

from __future__ import annotations

import runpy
from typing import Any

import pytest
from botocore.model import Shape

from moorage.domain.errors import AwsError
from moorage.services.base import RequestContext
from moorage.services.ecs.refused import REFUSED

from .rig import ACCOUNT, BASE, MODELS, REGION, ROOT, Rig

PAGE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts/ecs_operations.py"))
OPERATIONS = sorted(MODELS["ecs"].operation_names)


def test_the_model_is_the_one_that_was_counted() -> None:
    assert len(OPERATIONS) == 88


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE["PAGE"].read_text() == PAGE["page"](), "run scripts/ecs_operations.py"


def test_an_operation_is_implemented_or_refused() -> None:
    assert not PAGE["implemented"]() & set(REFUSED)
    assert PAGE["implemented"]() | set(REFUSED) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_operation_answers(ecs: Rig, name: str) -> None:
    """With as little as the model asks for: a result, or an error that the operation's model knows."""
    operation = MODELS["ecs"].operation_model(name)
    context = RequestContext(ACCOUNT, REGION, "ecs", name, "r", "test", f"arn:aws:iam::{ACCOUNT}:root")
    handler = ecs.handlers["ecs"][name]
    error = None
    try:
        await handler(context, _least(operation.input_shape))
    except AwsError as refusal:
        error = refusal
    if name not in PAGE["implemented"]():
        assert error is not None
        assert REFUSED[name] in error.message
        assert f"ecs:{name}" in error.message
    if error is not None:
        known = {shape.name for shape in operation.error_shapes}
        assert error.code in known, f"{error.code} is not an error of {name}: {error.message}"


def _least(shape: Shape | None) -> Any:
    """The smallest value that has everything required."""
    if shape is None:
        return {}
    if shape.type_name == "structure":
        return {name: _least(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "list":
        return [_least(shape.member)]
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else "nothing"
    return {"integer": 1, "long": 1, "boolean": True, "timestamp": 0.0, "map": {}}[shape.type_name]


async def test_an_agent_is_led_here_and_its_reports_are_acknowledged(main: Rig) -> None:
    told = await main.call("DiscoverPollEndpoint", cluster="main")
    assert set(told.values()) == {"http://localhost:4566/"}, "never AWS's own addresses"
    task = await main.task()
    before = main.everything()
    said = await main.call("SubmitTaskStateChange", cluster="main", task=task["taskArn"], status="STOPPED")
    assert said == {"acknowledgment": "ACK"}
    assert main.everything() == before, "the engine says what runs"
    assert (await main.refused("SubmitTaskStateChange", cluster="main", task="0" * 32)).code == (
        "InvalidParameterException"
    )
    assert (await main.refused("SubmitContainerStateChange", cluster="nowhere")).code == "ClusterNotFoundException"


async def test_services_of_a_namespace(main: Rig) -> None:
    assert (await main.refused("ListServicesByNamespace", namespace="nowhere")).code == "NamespaceNotFoundException"
    assert await main.call("ListServicesByNamespace", namespace="here") == {"serviceArns": []}
    await main.service()
    await main.write_service(BASE + "service/main/web", service_connect={"namespace": "ns-1"})
    listed = await main.call("ListServicesByNamespace", namespace="here")
    assert listed == {"serviceArns": [BASE + "service/main/web"]}
