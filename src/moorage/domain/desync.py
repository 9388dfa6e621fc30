"""Requests that proxies and servers may understand differently: AWS's reasons and what they are worth.

Source: AWS's table of classifications for access logs; what each mode does with them: semantics elbv2 §7.
"""

from __future__ import annotations

from typing import Literal

Mode = Literal["monitor", "defensive", "strictest"]
ATTRIBUTE = "routing.http.desync_mitigation_mode"

TIERS = {
    "GetHeadZeroContentLength": "Acceptable",
    "NonCompliantHeader": "Acceptable",
    "BothTeClPresent": "Ambiguous",
    "EmptyHeader": "Ambiguous",
    "SuspiciousHeader": "Ambiguous",
    "UndefinedContentLengthSemantics": "Ambiguous",
    "UndefinedTransferEncodingSemantics": "Ambiguous",
    "BadHeader": "Severe",
    "BadTransferEncoding": "Severe",
}
"""Reason → tier, of the reasons that are told apart here."""
