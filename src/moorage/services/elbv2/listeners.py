"""Operations on listeners (semantics elbv2 §3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import Listener, LoadBalancer
from moorage.domain.ssl_policies import DEFAULT_POLICY
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import actions, attributes, listener_protocols, mutual, present, validate
from moorage.services.elbv2.common import ElbV2Base, check_forwarding, the_listener, the_load_balancer, the_trust_store
from moorage.services.elbv2.quotas import MAX_CERTIFICATES, MAX_LISTENERS
from moorage.services.elbv2.validate import invalid, unsupported
from moorage.store.api import Transaction, View
from moorage.store.elbv2_queries import delete_listener, put_listener
from moorage.store.tables.elbv2 import LISTENERS, RULES


class Listeners(ElbV2Base):
    @operation("CreateListener")
    async def create_listener(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        load_balancer = the_load_balancer(self.store, ctx, params["LoadBalancerArn"])
        if params.get("Port") is None:
            raise invalid("A listener port must be specified")
        if params.get("Protocol") is None:
            raise invalid("A listener protocol must be specified")
        port = validate.between("Listener port", params["Port"], 1, 65535)
        listener_protocols.check(load_balancer, params["Protocol"], params, creating=True)
        listener_protocols.check_actions(load_balancer, params["DefaultActions"])
        tags = validate.tags(params.get("Tags"))
        secured = await self._secured(ctx, params, params["Protocol"])
        listener_id, rule_id = self.ids.hex(16), self.ids.hex(16)
        wanted = Listener(
            arn=ctx.scope.arn("elasticloadbalancing", f"listener/{load_balancer.full_name}/{listener_id}"),
            load_balancer_arn=load_balancer.arn,
            port=port,
            protocol=params["Protocol"],
            default_actions=actions.parse(params["DefaultActions"], protocol=params["Protocol"], port=port),
            default_rule_arn=ctx.scope.arn(
                "elasticloadbalancing", f"listener-rule/{load_balancer.full_name}/{listener_id}/{rule_id}"
            ),
            tags=tags,
            **secured,
        )

        def change(tx: Transaction) -> Listener:
            owner = the_load_balancer(tx, ctx, load_balancer.arn)
            existing = _on_port(tx, owner, port)
            if existing is not None:
                if _settings(existing) == _settings(wanted):
                    return existing
                raise _duplicate(owner)
            siblings = tx.find(LISTENERS, "load_balancer", owner.arn)
            if len(siblings) >= MAX_LISTENERS:
                raise AwsError(
                    "TooManyListeners",
                    f"The maximum number of listeners on load balancer '{owner.arn}' has been reached",
                )
            check_forwarding(tx, ctx, owner, wanted.protocol, wanted.default_actions)
            listener_protocols.check_policies(owner, wanted, siblings)
            _check_trust_store(tx, ctx, wanted)
            return put_listener(tx, wanted)

        return {"Listeners": [present.listener(await self.store.update(change))]}

    @operation("DescribeListeners")
    async def describe_listeners(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        owner, arns = params.get("LoadBalancerArn"), params.get("ListenerArns")
        if not owner and not arns:
            raise invalid("You must specify either listener ARNs or a load balancer ARN")
        if owner and arns:
            raise invalid("Listener ARNs and a load balancer ARN cannot be specified at the same time")
        if arns:
            validate.at_most_named(len(arns), "listeners")
            found = [the_listener(self.store, ctx, arn) for arn in dict.fromkeys(arns)]
        else:
            arn = the_load_balancer(self.store, ctx, str(owner)).arn
            found = list(self.store.find(LISTENERS, "load_balancer", arn))
        shown, more = validate.page(params, found, lambda record: f"{record.load_balancer_arn}|{record.port:05d}")
        return {"Listeners": [present.listener(record) for record in shown], **more}

    @operation("ModifyListener")
    async def modify_listener(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        known = the_listener(self.store, ctx, params["ListenerArn"])
        owner = the_load_balancer(self.store, ctx, known.load_balancer_arn)
        listener_protocols.check(owner, params.get("Protocol") or known.protocol, params, creating=False)
        listener_protocols.check_actions(owner, params.get("DefaultActions") or ())
        secured = await self._secured(ctx, params, params.get("Protocol") or known.protocol)

        def change(tx: Transaction) -> Listener:
            record = the_listener(tx, ctx, params["ListenerArn"])
            owner = the_load_balancer(tx, ctx, record.load_balancer_arn)
            port = validate.between("Listener port", params.get("Port") or record.port, 1, 65535)
            protocol = params.get("Protocol") or record.protocol
            listener_protocols.check(owner, protocol, params, creating=False)
            other = _on_port(tx, owner, port)
            if other is not None and other.arn != record.arn:
                raise _duplicate(owner)
            after = _resecured(msgspec.structs.replace(record, port=port, protocol=protocol), secured)
            after = msgspec.structs.replace(
                after, attributes=attributes.kept(attributes.of_listener(after), after.attributes)
            )
            if params.get("DefaultActions"):
                wanted = actions.parse(
                    params["DefaultActions"], protocol=protocol, port=port, before=record.default_actions
                )
                after = msgspec.structs.replace(after, default_actions=wanted)
            check_forwarding(tx, ctx, owner, protocol, after.default_actions)
            if (protocol, port) != (record.protocol, record.port):
                kept = [rule.actions for rule in tx.find(RULES, "listener", record.arn)]
                for given in (after.default_actions, *kept):
                    actions.check_at(given, protocol=protocol, port=port)
                    check_forwarding(tx, ctx, owner, protocol, given)
            listener_protocols.check_policies(owner, after, tx.find(LISTENERS, "load_balancer", owner.arn))
            _check_trust_store(tx, ctx, after)
            return put_listener(tx, after)

        return {"Listeners": [present.listener(await self.store.update(change))]}

    @operation("DeleteListener")
    async def delete_listener(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> None:
            delete_listener(tx, the_listener(tx, ctx, params["ListenerArn"]).arn)

        await self.store.update(change)
        return {}

    @operation("DescribeListenerAttributes")
    async def describe_listener_attributes(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        record = the_listener(self.store, ctx, params["ListenerArn"])
        return {"Attributes": attributes.shown(attributes.of_listener(record), record.attributes)}

    @operation("ModifyListenerAttributes")
    async def modify_listener_attributes(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> Listener:
            record = the_listener(tx, ctx, params["ListenerArn"])
            rows = attributes.of_listener(record)
            values = attributes.changed("Listener", rows, record.attributes, params["Attributes"])
            return put_listener(tx, msgspec.structs.replace(record, attributes=values))

        record = await self.store.update(change)
        return {"Attributes": attributes.shown(attributes.of_listener(record), record.attributes)}

    @operation("DescribeListenerCertificates")
    async def describe_listener_certificates(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        record = the_listener(self.store, ctx, params["ListenerArn"])
        shown, more = validate.page(params, list(enumerate(record.certificates)), lambda pair: f"{pair[0]:05d}")
        return {"Certificates": [{"CertificateArn": arn, "IsDefault": index == 0} for index, arn in shown], **more}

    @operation("AddListenerCertificates")
    async def add_listener_certificates(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        _secure(the_listener(self.store, ctx, params["ListenerArn"]))
        arn = await self._certificate(ctx, params["Certificates"])

        def change(tx: Transaction) -> None:
            record = _secure(the_listener(tx, ctx, params["ListenerArn"]))
            if arn in record.certificates[1:]:
                return
            siblings = tx.find(LISTENERS, "load_balancer", record.load_balancer_arn)
            if sum(len(one.certificates[1:]) for one in siblings) >= MAX_CERTIFICATES:
                raise AwsError(
                    "TooManyCertificates",
                    f"The maximum number of certificates on load balancer '{record.load_balancer_arn}' has been reached",
                )
            put_listener(tx, msgspec.structs.replace(record, certificates=(*record.certificates, arn)))

        await self.store.update(change)
        return {"Certificates": [{"CertificateArn": arn, "IsDefault": False}]}

    @operation("RemoveListenerCertificates")
    async def remove_listener_certificates(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        """Removes from the list of further certificates; the default one stays."""
        gone = {one.get("CertificateArn") for one in params["Certificates"]}

        def change(tx: Transaction) -> None:
            record = _secure(the_listener(tx, ctx, params["ListenerArn"]))
            default, *others = record.certificates
            if default in gone and default not in others:
                raise AwsError("OperationNotPermitted", "Default certificate cannot be removed from the listener")
            kept = (default, *(arn for arn in others if arn not in gone))
            put_listener(tx, msgspec.structs.replace(record, certificates=kept))

        await self.store.update(change)
        return {}

    async def _secured(self, ctx: RequestContext, params: Mapping[str, Any], protocol: str) -> dict[str, Any]:
        """The fields of a record that only HTTPS and TLS have, as far as the parameters give them."""
        asked = mutual.parse(params.get("MutualAuthentication"), protocol)
        if protocol not in listener_protocols.SECURE:
            return {}
        fields: dict[str, Any] = {}
        if params.get("AlpnPolicy"):
            fields["alpn_policy"] = tuple(params["AlpnPolicy"])
        if params.get("MutualAuthentication"):
            fields["mutual"] = asked
        if params.get("Certificates"):
            fields["certificates"] = (await self._certificate(ctx, params["Certificates"]),)
        if params.get("SslPolicy"):
            fields["ssl_policy"] = params["SslPolicy"]
        elif "ListenerArn" not in params:
            fields["ssl_policy"] = DEFAULT_POLICY
        return fields

    async def _certificate(self, ctx: RequestContext, given: Sequence[Mapping[str, Any]]) -> str:
        """The one certificate that is given, known to ACM."""
        if len(given) > 1:
            raise invalid(f"Up to '1' certificate ARNs can be specified, but '{len(given)}' were specified")
        arn = (given[0].get("CertificateArn") if given else None) or ""
        if not arn:
            raise invalid("A certificate ARN must be specified")
        if not validate.is_certificate(ctx.scope, arn):
            raise invalid(f"Certificate ARN '{arn}' is not valid")
        if self.certificates is None:
            raise unsupported("There are no certificates here: HTTPS and TLS listeners are not supported")
        if not await self.certificates.exists(ctx.scope, arn):
            raise AwsError("CertificateNotFound", f"Certificate '{arn}' not found")
        return arn


def _secure(record: Listener) -> Listener:
    if record.protocol not in listener_protocols.SECURE:
        raise invalid(f"Certificates are not supported for listeners with protocol '{record.protocol}'")
    return record


def _resecured(record: Listener, fields: Mapping[str, Any]) -> Listener:
    """`record` with its certificate and policy as given; plain HTTP has neither. A new default certificate leaves the
    further ones as they are."""
    if record.protocol not in listener_protocols.SECURE:
        return msgspec.structs.replace(record, ssl_policy=None, certificates=(), mutual=None, alpn_policy=())
    default = fields.get("certificates", record.certificates[:1])
    if not default:
        raise invalid(f"A certificate must be specified for {record.protocol} listeners")
    policy = fields.get("ssl_policy") or record.ssl_policy or DEFAULT_POLICY
    return msgspec.structs.replace(
        record,
        ssl_policy=policy,
        certificates=(*default, *record.certificates[1:]),
        mutual=fields.get("mutual", record.mutual),
        alpn_policy=fields.get("alpn_policy", record.alpn_policy),
    )


def _on_port(view: View, owner: LoadBalancer, port: int) -> Listener | None:
    return next((one for one in view.find(LISTENERS, "load_balancer", owner.arn) if one.port == port), None)


def _duplicate(owner: LoadBalancer) -> AwsError:
    return AwsError("DuplicateListener", f"A listener already exists on this port for this load balancer '{owner.arn}'")


def _settings(record: Listener) -> tuple[object, ...]:
    """What must be the same for a second CreateListener to be the same request: further certificates came later."""
    return (
        record.protocol,
        tuple(msgspec.structs.replace(action, order=action.order or 1) for action in record.default_actions),
        record.ssl_policy,
        record.certificates[:1],
        record.mutual,
        record.alpn_policy,
        dict(record.tags),
    )


def _check_trust_store(view: View, ctx: RequestContext, record: Listener) -> None:
    if record.mutual is not None and record.mutual.trust_store_arn is not None:
        the_trust_store(view, ctx, record.mutual.trust_store_arn)
