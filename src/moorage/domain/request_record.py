"""One request that a load balancer answered, as the proxy saw it: the fact that logs, metrics and explanations rest on.

Source: semantics elbv2 §8 and §10. Times are epoch seconds and seconds; None where a stage was not reached.
"""

from __future__ import annotations

import msgspec


class RequestRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """`status` is what the client got (460: it went away before the answer). `flags` and `details` are the proxy's words
    for what happened. `rule_arn` and `target_group_arn` name what was matched and chosen; `priority` is the rule's (0:
    the default rule). `target` is "address:port" of the last attempt, `attempts` how many there were. `local_port` is
    the port of this machine, `connection_id` the proxy's number for the client's connection.
    `chosen_anew`: the target group is sticky, and no cookie led to a target of it."""

    at: float
    client: str
    local_port: int
    protocol: str
    method: str
    host: str
    path: str
    status: int
    duration: float
    flags: str = ""
    details: str = ""
    user_agent: str = ""
    trace_id: str = ""
    rule_arn: str = ""
    priority: int | None = None
    target_group_arn: str = ""
    target: str = ""
    attempts: int = 0
    request_time: float | None = None
    target_time: float | None = None
    response_time: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    location: str = ""
    connection_id: int = 0
    chosen_anew: bool = False
    tls_version: str = ""
    tls_cipher: str = ""
    server_name: str = ""
    desync: str = ""
    """Why it does not comply with HTTP (`domain.desync`), if anybody looked."""
    grpc: bool = False
    """It went to target groups that speak gRPC."""

    @property
    def from_target(self) -> bool:
        """The answer is the target's own, not one that the load balancer made."""
        return self.details.startswith("via_upstream") or self.details.startswith("upstream_reset_after")

    @property
    def stopped_by_authentication(self) -> bool:
        """The rule asks who sends the request, and that decided the answer: a page, or the way to log in and back."""
        return "UAEX" in self.flags

    @property
    def load_balancer(self) -> str:
        """`app/web/50dc6c495c0c9188`; empty when no rule was reached."""
        return "/".join(self.rule_arn.partition(":listener-rule/")[2].split("/")[:3])
