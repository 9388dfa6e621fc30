"""One DNS question → one answer. Pure: bytes in, bytes out, or "not ours".

Names of ours are answered with authority and a short life; whatever else is asked goes to the machine's own resolvers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

TTL = 60
"""Seconds, as the names of load balancers have it (semantics elbv2 §5)."""

Names = Callable[[str], Sequence[str] | None]
"""A name in lower case without the final dot → its IPv4 addresses; None when the name is not ours."""


def answer(question: bytes, names: Names) -> bytes | None:
    """The answer to a question about one of our names; None: it is not ours to answer, or no question at all."""
    import dns.flags
    import dns.message
    import dns.opcode
    import dns.rrset  # with the first question, not with every start

    try:
        asked = dns.message.from_wire(question)
    except (dns.exception.DNSException, ValueError):
        return None
    if asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
        return None
    about = asked.question[0]
    if about.rdclass != dns.rdataclass.IN:
        return None
    addresses = names(about.name.to_text(omit_final_dot=True).lower())
    if addresses is None:
        return None
    reply = dns.message.make_response(asked, recursion_available=True)
    reply.flags |= dns.flags.AA
    if about.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY) and addresses:
        reply.answer.append(dns.rrset.from_text_list(about.name, TTL, "IN", "A", list(addresses)))
    return reply.to_wire()


def failure(question: bytes) -> bytes | None:
    """SERVFAIL: nobody could be asked. None: not even a question."""
    import dns.message
    import dns.rcode

    try:
        reply = dns.message.make_response(dns.message.from_wire(question), recursion_available=True)
    except (dns.exception.DNSException, ValueError):
        return None
    reply.set_rcode(dns.rcode.SERVFAIL)
    return reply.to_wire()
