"""How large the body of an AWS request may be, by what its signature names. Limits are generous; they bound memory."""

from __future__ import annotations

from aiohttp.web_request import BaseRequest

MEBIBYTE = 1 << 20
DEFAULT_LIMIT = 16 * MEBIBYTE
# Services whose requests carry files.
LIMITS = {"s3": 1024 * MEBIBYTE, "lambda": 256 * MEBIBYTE, "ecr": 64 * MEBIBYTE}


def body_limit(request: BaseRequest) -> int:
    """Bytes. A request without a signature that names a service gets the default."""
    if (request.content_length or DEFAULT_LIMIT + 1) <= DEFAULT_LIMIT:
        return DEFAULT_LIMIT
    authorization = request.headers.get("Authorization") or request.raw_path
    for name, limit in LIMITS.items():
        if f"/{name}/" in authorization or f"%2F{name}%2F" in authorization:
            return limit
    return DEFAULT_LIMIT
