"""The attributes of load balancers, target groups and listeners: which there are, their defaults, what they may be.

Tables with one row per attribute (semantics elbv2 §4). Records keep only what a user set; descriptions show all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import DATAGRAM, LAYER_4, STREAM, Listener, LoadBalancer
from moorage.domain.target_group import TargetGroup
from moorage.services.elbv2.validate import invalid, number

MOST_AT_ONCE = 20

Check = Callable[[str, str], None]
"""Gets key and value; raises AwsError."""


class Attribute(msgspec.Struct, frozen=True):
    key: str
    default: str
    check: Check


def _one_of(*allowed: str) -> Check:
    def check(key: str, value: str) -> None:
        if value not in allowed:
            raise invalid(f"'{key}' value '{value}' must be one of '{', '.join(allowed)}'")

    return check


def _range(low: int, high: int, *extra: str) -> Check:
    def check(key: str, value: str) -> None:
        given = number(value)
        if value not in extra and (given is None or not low <= given <= high):
            raise invalid(f"'{key}' value '{value}' must be between '{low}-{high}' inclusive")

    return check


def _text(key: str, value: str) -> None:
    if len(value) > 1024:
        raise invalid(f"'{key}' value cannot be longer than '1024' characters")


def _header_value(key: str, value: str) -> None:
    _text(key, value)
    if not re.fullmatch(r"[\x20-\x7e]*", value):
        raise invalid(f"'{key}' value contains a character that is not valid")


def _header_name(key: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,128}", value):
        raise invalid(f"'{key}' value '{value}' is not a valid header name")


def _cookie_name(key: str, value: str) -> None:
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{0,255}", value):
        raise invalid(f"'{key}' value '{value}' is not a valid cookie name")
    if value.upper().startswith(("AWSALB", "AWSALBAPP", "AWSALBTG")):
        raise invalid(f"'{key}' value '{value}' cannot start with a reserved cookie name: AWSALB, AWSALBAPP, AWSALBTG")


_BOOLEAN = _one_of("true", "false")


def _log_attributes(kind: str) -> tuple[Attribute, ...]:
    return (
        Attribute(f"{kind}.s3.enabled", "false", _BOOLEAN),
        Attribute(f"{kind}.s3.bucket", "", _text),
        Attribute(f"{kind}.s3.prefix", "", _text),
    )


APPLICATION = (
    *_log_attributes("access_logs"),
    Attribute("client_keep_alive.seconds", "3600", _range(60, 604800)),
    *_log_attributes("connection_logs"),
    *_log_attributes("health_check_logs"),
    Attribute("deletion_protection.enabled", "false", _BOOLEAN),
    Attribute("idle_timeout.timeout_seconds", "60", _range(1, 4000)),
    Attribute("ipv6.deny_all_igw_traffic", "false", _BOOLEAN),
    Attribute("load_balancing.cross_zone.enabled", "true", _one_of("true")),
    Attribute("routing.http.desync_mitigation_mode", "defensive", _one_of("monitor", "defensive", "strictest")),
    Attribute("routing.http.drop_invalid_header_fields.enabled", "false", _BOOLEAN),
    Attribute("routing.http.preserve_host_header.enabled", "false", _BOOLEAN),
    Attribute("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false", _BOOLEAN),
    Attribute("routing.http.xff_client_port.enabled", "false", _BOOLEAN),
    Attribute("routing.http.xff_header_processing.mode", "append", _one_of("append", "preserve", "remove")),
    Attribute("routing.http2.enabled", "true", _BOOLEAN),
    Attribute("waf.fail_open.enabled", "false", _BOOLEAN),
    Attribute("zonal_shift.config.enabled", "false", _BOOLEAN),
)
NETWORK = (
    *_log_attributes("access_logs"),
    Attribute("deletion_protection.enabled", "false", _BOOLEAN),
    Attribute(
        "dns_record.client_routing_policy",
        "any_availability_zone",
        _one_of("availability_zone_affinity", "partial_availability_zone_affinity", "any_availability_zone"),
    ),
    Attribute("ipv6.deny_all_igw_traffic", "false", _BOOLEAN),
    Attribute("load_balancing.cross_zone.enabled", "false", _BOOLEAN),
    Attribute("secondary_ips.auto_assigned.per_subnet", "0", _range(0, 7)),
    Attribute("zonal_shift.config.enabled", "false", _BOOLEAN),
)

_GROUP_HEALTH = (
    Attribute("target_group_health.dns_failover.minimum_healthy_targets.count", "1", _range(1, 1000, "off")),
    Attribute("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", _range(1, 100, "off")),
    Attribute("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", _range(1, 1000)),
    Attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off", _range(1, 100, "off")
    ),
)
_DELAY = Attribute("deregistration_delay.timeout_seconds", "300", _range(0, 3600))
_CROSS_ZONE = Attribute(
    "load_balancing.cross_zone.enabled",
    "use_load_balancer_configuration",
    _one_of("true", "false", "use_load_balancer_configuration"),
)


_STICKINESS_TYPES = ("lb_cookie", "app_cookie", "source_ip", "source_ip_dest_ip", "source_ip_dest_ip_proto")


def _stickiness_type(group: TargetGroup, *supported: str) -> Check:
    def check(key: str, value: str) -> None:
        _one_of(*_STICKINESS_TYPES)(key, value)
        if value not in supported:
            raise _no_stickiness(value, group)

    return check


def _no_stickiness(kind: str, group: TargetGroup) -> AwsError:
    where = f"with the {group.protocol} protocol" if group.protocol else f"with target type '{group.target_type}'"
    return AwsError(
        "InvalidConfigurationRequest", f"Stickiness type '{kind}' is not supported for target groups {where}"
    )


def _http_group(group: TargetGroup) -> tuple[Attribute, ...]:
    return (
        _DELAY,
        Attribute(
            "load_balancing.algorithm.type",
            "round_robin",
            _one_of("round_robin", "least_outstanding_requests", "weighted_random"),
        ),
        Attribute("load_balancing.algorithm.anomaly_mitigation", "off", _one_of("on", "off")),
        _CROSS_ZONE,
        Attribute("slow_start.duration_seconds", "0", _range(30, 900, "0")),
        Attribute("stickiness.enabled", "false", _BOOLEAN),
        Attribute("stickiness.type", "lb_cookie", _stickiness_type(group, "lb_cookie", "app_cookie")),
        Attribute("stickiness.lb_cookie.duration_seconds", "86400", _range(1, 604800)),
        Attribute("stickiness.app_cookie.cookie_name", "", _cookie_name),
        Attribute("stickiness.app_cookie.duration_seconds", "86400", _range(1, 604800)),
        *_GROUP_HEALTH,
    )


def _layer4_group(group: TargetGroup) -> tuple[Attribute, ...]:
    datagram = group.protocol in DATAGRAM
    preserve = "false" if group.target_type == "ip" and not datagram else "true"
    preserved = datagram or group.target_type == "alb"
    preserving = _always("true", "Client IP preservation", group) if preserved else _BOOLEAN
    cutting = _always("false", "Connection termination for unhealthy targets", group) if datagram else _BOOLEAN
    return (
        _DELAY,
        Attribute("deregistration_delay.connection_termination.enabled", "true" if datagram else "false", _BOOLEAN),
        _CROSS_ZONE,
        Attribute("preserve_client_ip.enabled", preserve, preserving),
        Attribute("proxy_protocol_v2.enabled", "false", _BOOLEAN),
        Attribute("stickiness.enabled", "false", _BOOLEAN),
        Attribute("stickiness.type", "source_ip", _stickiness_type(group, "source_ip")),
        Attribute(
            "target_health_state.unhealthy.connection_termination.enabled", "false" if datagram else "true", cutting
        ),
        Attribute("target_health_state.unhealthy.draining_interval_seconds", "0", _range(0, 360000)),
        *_GROUP_HEALTH,
    )


def _always(value: str, what: str, group: TargetGroup) -> Check:
    verb = "disabled" if value == "true" else "enabled"

    def check(key: str, given: str) -> None:
        _BOOLEAN(key, given)
        if given != value:
            where = (
                f"target type '{group.target_type}'" if group.target_type == "alb" else f"the {group.protocol} protocol"
            )
            raise invalid(f"{what} cannot be {verb} for target groups with {where}")

    return check


def _lambda_group(group: TargetGroup) -> tuple[Attribute, ...]:
    return (
        Attribute("lambda.multi_value_headers.enabled", "false", _BOOLEAN),
        Attribute("stickiness.enabled", "false", _BOOLEAN),
        Attribute("stickiness.type", "lb_cookie", _stickiness_type(group, "lb_cookie", "app_cookie")),
        Attribute("stickiness.lb_cookie.duration_seconds", "86400", _range(1, 604800)),
        *_GROUP_HEALTH,
    )


_MTLS_HEADERS = ("serial_number", "issuer", "subject", "validity", "leaf", "clientcert")
_RESPONSE_HEADERS = (
    "access_control_allow_credentials",
    "access_control_allow_headers",
    "access_control_allow_methods",
    "access_control_allow_origin",
    "access_control_expose_headers",
    "access_control_max_age",
    "content_security_policy",
    "strict_transport_security",
    "x_frame_options",
)
_LISTENER_COMMON = (
    *(Attribute(f"routing.http.response.{name}.header_value", "", _header_value) for name in _RESPONSE_HEADERS),
    Attribute("routing.http.response.x_content_type_options.header_value", "", _one_of("", "nosniff")),
    Attribute("routing.http.response.server.enabled", "true", _BOOLEAN),
)
_HTTPS_LISTENER = (
    *(
        Attribute(f"routing.http.request.x_amzn_mtls_clientcert{suffix}.header_name", "", _header_name)
        for suffix in ("", *(f"_{name}" for name in _MTLS_HEADERS if name != "clientcert"))
    ),
    Attribute("routing.http.request.x_amzn_tls_version.header_name", "", _header_name),
    Attribute("routing.http.request.x_amzn_tls_cipher_suite.header_name", "", _header_name),
    *_LISTENER_COMMON,
)


_FLOW_LISTENER = (Attribute("tcp.idle_timeout.seconds", "350", _range(60, 6000)),)


def of_load_balancer(record: LoadBalancer) -> tuple[Attribute, ...]:
    rows = NETWORK if record.type == "network" else APPLICATION
    if record.scheme != "internal":
        return rows
    return tuple(
        msgspec.structs.replace(row, default="true") if row.key == "ipv6.deny_all_igw_traffic" else row for row in rows
    )


def of_target_group(record: TargetGroup) -> tuple[Attribute, ...]:
    if record.target_type == "lambda":
        return _lambda_group(record)
    return _layer4_group(record) if record.protocol in LAYER_4 else _http_group(record)


def of_listener(record: Listener) -> tuple[Attribute, ...]:
    if record.protocol in LAYER_4:
        return _FLOW_LISTENER if record.protocol in STREAM else ()  # that of TLS is fixed
    return _HTTPS_LISTENER if record.protocol == "HTTPS" else _LISTENER_COMMON


def shown(rows: Sequence[Attribute], given: Mapping[str, str]) -> list[dict[str, str]]:
    """The full list, as the API shows it."""
    return [{"Key": row.key, "Value": given.get(row.key, row.default)} for row in rows]


def kept(rows: Sequence[Attribute], given: Mapping[str, str]) -> dict[str, str]:
    """What is left of `given` where these are all the attributes that there are."""
    known = {row.key for row in rows}
    return {key: value for key, value in given.items() if key in known}


def changed(
    subject: str,
    rows: Sequence[Attribute],
    before: Mapping[str, str],
    given: Sequence[Mapping[str, Any]],
    *,
    not_here: Callable[[str], AwsError | None] = lambda key: None,
) -> dict[str, str]:
    """`before` with the `Attributes` parameter applied: all of it or (by raising) nothing. `subject` words the refusal
    ("Target group", "Load balancer", "Listener"); `not_here` words that of a key that exists elsewhere only."""
    if len(given) > MOST_AT_ONCE:
        raise invalid(f"The maximum number of attributes that can be specified in a call is '{MOST_AT_ONCE}'")
    known = {row.key: row for row in rows}
    after = dict(before)
    seen: set[str] = set()
    for entry in given:
        key, value = entry.get("Key") or "", entry.get("Value") or ""
        if key in seen:
            raise invalid(f"Attribute key '{key}' has been specified more than once")
        seen.add(key)
        row = known.get(key)
        if row is None:
            raise not_here(key) or invalid(f"{subject} attribute key '{key}' is not recognized")
        row.check(key, value)
        if value == row.default:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def stays_in_zone(record: TargetGroup) -> bool:
    """Do targets of an application load balancer get traffic from their own zone only?"""
    crosses = record.attributes.get("load_balancing.cross_zone.enabled")
    return crosses == "false" and record.protocol not in LAYER_4


def no_zone(record: TargetGroup) -> AwsError:
    return AwsError(
        "InvalidConfigurationRequest",
        f"Targets with the Availability Zone 'all' are not supported for target group '{record.arn}' while its cross-zone "
        "load balancing is turned off",
    )


def check_load_balancer(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """What an attribute may be depends on what it was: nodes keep the addresses that they have."""
    key = "secondary_ips.auto_assigned.per_subnet"
    was, is_now = before.get(key, "0"), after.get(key, "0")
    if int(is_now) < int(was):
        raise invalid(f"'{key}' value '{is_now}' cannot be less than the current value '{was}'")


def only_elsewhere(kind: str) -> Callable[[str], AwsError | None]:
    """Words the refusal of a key that load balancers of another type have. Terraform drops the key that such a message
    names, and tries again."""
    known = {row.key for row in (*APPLICATION, *NETWORK)}

    def refusal(key: str) -> AwsError | None:
        if key not in known:
            return None
        return AwsError(
            "InvalidConfigurationRequest",
            f"Load balancer attribute key '{key}' is not supported on load balancers with type '{kind}'",
        )

    return refusal


def check_target_group(record: TargetGroup) -> None:
    """Rules between the attributes of one target group."""
    values = {row["Key"]: row["Value"] for row in shown(of_target_group(record), record.attributes)}
    _check_health(values)
    if record.protocol == "TLS" and values["stickiness.enabled"] == "true":
        raise _no_stickiness(values["stickiness.type"], record)
    app_cookie = values["stickiness.enabled"] == "true" and values["stickiness.type"] == "app_cookie"
    if app_cookie and not values.get("stickiness.app_cookie.cookie_name"):
        raise invalid("You must set an application cookie name to enable stickiness of type 'app_cookie'")
    by_cookie = values["stickiness.enabled"] == "true" and values["stickiness.type"] != "source_ip"
    if by_cookie and values.get("load_balancing.cross_zone.enabled") == "false":
        raise AwsError(
            "InvalidConfigurationRequest",
            "Stickiness is not supported for target groups for which cross-zone load balancing is turned off",
        )
    algorithm = values.get("load_balancing.algorithm.type")
    if values.get("load_balancing.algorithm.anomaly_mitigation") == "on" and algorithm != "weighted_random":
        raise invalid("Anomaly mitigation is supported only with the 'weighted_random' load balancing algorithm")
    if values.get("slow_start.duration_seconds", "0") != "0" and algorithm != "round_robin":
        raise invalid(f"Slow start is not supported with the '{algorithm}' load balancing algorithm")


def _check_health(values: Mapping[str, str]) -> None:
    """A zone leaves DNS no later than its traffic goes to unhealthy targets."""
    prefix = "target_group_health"
    for unit in ("minimum_healthy_targets.count", "minimum_healthy_targets.percentage"):
        failover, routing = f"{prefix}.dns_failover.{unit}", f"{prefix}.unhealthy_state_routing.{unit}"
        low, high = values[routing], values[failover]
        if low.isdigit() and high.isdigit() and int(high) < int(low):
            raise invalid(f"'{failover}' value '{high}' must be greater than or equal to '{routing}' value '{low}'")
    interval = values.get("target_health_state.unhealthy.draining_interval_seconds", "0")
    cuts = values.get("target_health_state.unhealthy.connection_termination.enabled")
    if interval != "0" and cuts == "true":
        raise invalid(
            "'target_health_state.unhealthy.draining_interval_seconds' can be set only when "
            "'target_health_state.unhealthy.connection_termination.enabled' is 'false'"
        )
