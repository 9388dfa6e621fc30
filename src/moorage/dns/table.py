"""What the DNS server of the subnets answers: written by the control plane, read by the process that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from moorage.domain.network import address_of_private_name


class Table(msgspec.Struct, frozen=True):
    """`doors`: addresses to listen at; `names`: in lower case → IPv4 addresses; `resolvers`: whom to ask for all others."""

    doors: Sequence[str] = ()
    names: Mapping[str, Sequence[str]] = {}
    resolvers: Sequence[str] = ()

    def addresses(self, name: str) -> Sequence[str] | None:
        """Of a name in lower case without the final dot; None when it is not ours."""
        known = self.names.get(name)
        if known is not None:
            return known
        private = address_of_private_name(name)
        return None if private is None else [private]
