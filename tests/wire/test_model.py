"""Models are found by what requests carry, loaded lean and only when needed."""

from __future__ import annotations

import pytest

from moorage.wire import model


def test_the_index_knows_every_service() -> None:
    index = model.index()
    assert index.by_target_prefix("AmazonEC2ContainerServiceV20141113") == ["ecs"]
    assert index.by_signing_name("elasticloadbalancing") == ["elbv2", "elb"]
    assert index.by_query_version("2016-11-15") == ["ec2"]
    assert index.by_signing_name("monitoring") == ["cloudwatch"]
    assert index.by_signing_name("nonsense") == []
    assert all(index.by_signing_name(name) for name in model.known_services())


def test_models_carry_no_documentation() -> None:
    described = model.service("ecs").description
    assert "documentation" not in described["operations"]["RunTask"]
    assert "documentation" not in described["shapes"]["Task"]["members"]["taskArn"]


def test_a_member_called_documentation_stays() -> None:
    """API Gateway has such members; only texts go."""
    shapes = model.service("apigateway").description["shapes"]
    assert any("documentation" in str(name).lower() for shape in shapes.values() for name in shape.get("members", {}))


def test_what_nobody_knows() -> None:
    with pytest.raises(KeyError):
        model.service("nonsense")
    assert model.service("ecs").operation("Nonsense") is None


def test_errors_are_found_by_name_and_by_code() -> None:
    elb = model.service("elbv2")
    assert elb.error_shape("LoadBalancerNotFound") is elb.error_shape("LoadBalancerNotFoundException")
    assert elb.error_shape("Nonsense") is None
