"""The file Envoy is started with: who it is, where its control plane and its admin door are. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KEPT_STATISTICS = ("server.", "cluster_manager.", "listener_manager.", "control_plane.")
"""Prefixes. Everything else is not even created: at 50 load balancers × 500 target groups that is most of the memory."""


def bootstrap(*, installation: str, ads_socket: Path, admin_socket: Path) -> dict[str, Any]:
    """JSON form of envoy.config.bootstrap.v3.Bootstrap."""
    control_plane = {
        "name": "moorage",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "moorage",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(ads_socket)}}}}]}],
        },
    }
    service = {
        "envoy_grpc": {
            "cluster_name": "moorage",
            # how soon a returning control plane is found again
            "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"}},
        }
    }
    patient = {"miss_timeout": "10s", "megamiss_timeout": "60s"}
    return {
        "node": {"id": installation, "cluster": "moorage"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [service],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [control_plane]},
        "layered_runtime": {
            "layers": [
                {
                    "name": "moorage",
                    "static_layer": {
                        # 5 values of 128 characters are a longer program than Envoy's cautious default of 100
                        "re2.max_program_size.error_level": 1_000_000,
                        "re2.max_program_size.warn_level": 1_000_000,
                    },
                }
            ]
        },
        # an idle Envoy should be idle: no statistics flushed for nobody, watchdogs that look less often
        "stats_flush_on_admin": True,
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": prefix} for prefix in KEPT_STATISTICS]}}
        },
        "watchdogs": {"main_thread_watchdog": patient, "worker_watchdog": patient},
    }
