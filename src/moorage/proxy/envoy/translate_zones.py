"""Zones kept apart: without cross-zone balancing the address of a load balancer in one zone sends to targets of that zone
only, and answers 503 when there are none. Pure. Source: semantics elbv2 §7.

Envoy calls it subsets: every endpoint says in which zone it is, a listener in a zone asks for that zone, and the addresses
of this machine, which stand for all zones together, ask for none. Only load balancers that need it have the filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.domain.load_balancer import forwarded_to
from moorage.proxy.driver import LoadBalancerConfig
from moorage.proxy.envoy.script import TargetTraits

_METADATA = "envoy.lb"
_SET = "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"


def subsets() -> dict[str, Any]:
    """The part of a cluster: of a zone that has no target nothing is served, whoever asks for no zone gets any."""
    return {
        "lb_subset_config": {
            "fallback_policy": "ANY_ENDPOINT",
            "subset_selectors": [{"keys": ["zone"], "fallback_policy": "NO_FALLBACK"}],
            "locality_weight_aware": True,
        }
    }


def in_zone(zone: str) -> dict[str, Any]:
    """The part of an endpoint."""
    return {"metadata": {"filter_metadata": {_METADATA: {"zone": zone}}}}


def keeps_zones_apart(config: LoadBalancerConfig, traits: Mapping[str, TargetTraits]) -> bool:
    of_rules = [rule.actions for rules in config.rules.values() for rule in rules]
    of_all = [*of_rules, *(listener.default_actions for listener in config.listeners)]
    return any(traits[arn].zonal for actions in of_all for arn in forwarded_to(actions) if arn in traits)


def at_zone(listener: dict[str, Any], zone: str) -> dict[str, Any]:
    """`listener`, whose requests ask for `zone`."""
    return {**listener, "filter_chains": [_asking(chain, zone) for chain in listener["filter_chains"]]}


def _asking(chain: dict[str, Any], zone: str) -> dict[str, Any]:
    *before, last = chain["filters"]
    manager = last["typed_config"]
    if "http_filters" not in manager:
        return chain
    metadata = [{"metadata_namespace": _METADATA, "value": {"zone": zone}}]
    asks = {"name": "moorage.zone", "typed_config": {"@type": _SET, "metadata": metadata}}
    asking = {**manager, "http_filters": [asks, *manager["http_filters"]]}
    return {**chain, "filters": [*before, {**last, "typed_config": asking}]}
