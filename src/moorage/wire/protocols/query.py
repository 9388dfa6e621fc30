"""The query protocol and its ec2 dialect: form parameters in, XML out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.domain.errors import AwsError
from moorage.wire.errors import Malformed
from moorage.wire.messages import Params, WireRequest, WireResponse
from moorage.wire.model import Operation, Service
from moorage.wire.protocols.base import REQUEST_ID, ErrorFacts, resolve_error
from moorage.wire.protocols.form_values import FormReader, form_items, tree_of
from moorage.wire.protocols.xml_values import XmlWriter, escape

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def writer_of(service: Service) -> XmlWriter:
    found = service.codecs.get("xml-writer")
    if found is None:
        found = service.codecs["xml-writer"] = XmlWriter(ec2=service.protocol == "ec2")
    return found


def namespace_of(service: Service) -> str:
    namespace = service.metadata.get("xmlNamespace")
    if isinstance(namespace, dict):
        namespace = namespace.get("uri")
    return f' xmlns="{escape(namespace)}"' if namespace else ""


class QueryProtocol:
    name = "query"
    ec2 = False
    content_type = "text/xml"

    def operation_name(self, service: Service, request: WireRequest) -> str:
        for key, value in form_items(request):
            if key == "Action" and value:
                return value
        raise AwsError("MissingAction", f"The request to {service.name} must contain the parameter Action.")

    def parse(self, operation: Operation, request: WireRequest) -> Params:
        if operation.input is None:
            return {}
        key = f"{self.name}-in"
        read = operation.codecs.get(key)
        if read is None:
            reader = operation.service.codecs.get(key)
            if reader is None:
                reader = operation.service.codecs[key] = FormReader(ec2=self.ec2)
            read = operation.codecs[key] = reader.structure(operation.input)
        try:
            return read(tree_of(form_items(request)))  # type: ignore[no-any-return]
        except Malformed as error:
            raise AwsError("InvalidParameterValue" if self.ec2 else "MalformedInput", str(error)) from None
        except RecursionError:
            raise AwsError("MalformedQueryString", "The request is nested too deeply.") from None

    def serialize(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> WireResponse:
        key = f"{self.name}-out"
        compiled = operation.codecs.get(key)
        if compiled is None:
            compiled = operation.codecs[key] = self._compile(operation)
        before, write, after = compiled
        out = [_DECLARATION, before(request_id)]
        if write is not None:
            write(out, result)
        out.append(after(request_id))
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type}
        return WireResponse(200, headers, "".join(out).encode("utf-8"))

    def _compile(self, operation: Operation) -> tuple[Any, Any, Any]:
        root = f"{operation.name}Response"
        opening = f"<{root}{namespace_of(operation.service)}>"
        write = wrapper = None
        if operation.output is not None:
            wrapper = operation.output.serialization.get("resultWrapper") or f"{operation.name}Result"
            write = writer_of(operation.service).members(operation.output)
        start = f"{opening}<{wrapper}>" if wrapper else opening
        end = f"</{wrapper}>" if wrapper else ""
        return (
            lambda _id: start,
            write,
            lambda request_id: (
                f"{end}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{root}>"
            ),
        )

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse:
        facts = resolve_error(service, error)
        kind = "Sender" if facts.sender else "Receiver"
        text = (
            f"{_DECLARATION}<ErrorResponse{namespace_of(service)}><Error><Type>{kind}</Type>"
            f"{self._error_body(service, facts, error)}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type}
        return WireResponse(facts.status, headers, text.encode("utf-8"))

    @staticmethod
    def _error_body(service: Service, facts: ErrorFacts, error: AwsError) -> str:
        out = [f"<Code>{escape(facts.code)}</Code><Message>{escape(error.message)}</Message>"]
        if facts.shape is not None:
            rest = {
                name: value for name, value in facts.members.items() if name.lower() not in ("message", "code", "type")
            }
            writer_of(service).members(facts.shape)(out, rest)
        return "".join(out)


class Ec2Protocol(QueryProtocol):
    name = "ec2"
    ec2 = True
    content_type = "text/xml;charset=UTF-8"

    def _compile(self, operation: Operation) -> tuple[Any, Any, Any]:
        root = f"{operation.name}Response"
        opening = f"<{root}{namespace_of(operation.service)}>"
        write = writer_of(operation.service).members(operation.output) if operation.output is not None else None
        return (
            lambda request_id: f"{opening}<requestId>{request_id}</requestId>",
            write,
            lambda _id: f"</{root}>",
        )

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse:
        facts = resolve_error(service, error)
        text = (
            f"{_DECLARATION}<Response><Errors><Error>{self._error_body(service, facts, error)}</Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type}
        return WireResponse(facts.status, headers, text.encode("utf-8"))
