"""rest-json and rest-xml: the operation by method and path, members spread over path, query, headers and body."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import msgspec

from moorage.domain.errors import AwsError
from moorage.wire.errors import Malformed
from moorage.wire.messages import Params, WireRequest, WireResponse
from moorage.wire.model import Operation, Service
from moorage.wire.protocols import eventstream
from moorage.wire.protocols.base import REQUEST_ID, is_event_stream, is_stream, resolve_error
from moorage.wire.protocols.http_values import RequestParts, ResponseParts
from moorage.wire.protocols.json_rpc import decode_json
from moorage.wire.protocols.json_rpc import reader_of as json_reader_of
from moorage.wire.protocols.json_rpc import writer_of as json_writer_of
from moorage.wire.protocols.query import namespace_of
from moorage.wire.protocols.query import writer_of as xml_writer_of
from moorage.wire.protocols.uri import router_of
from moorage.wire.protocols.xml_values import RESPONSE_LOCATIONS, XmlReader, escape, namespace_attribute, parse_document
from moorage.wire.shapes import Shape

ReadBody = Callable[[bytes, Params], None]
WriteBody = Callable[[Mapping[str, Any], dict[str, str]], Any]


class RestProtocol:
    """What both share; subclasses read and write structured bodies."""

    name: str
    content_type: str

    def operation_name(self, service: Service, request: WireRequest) -> str:
        match = router_of(service).match(request)
        if match is None:
            raise AwsError(
                "UnknownOperationException",
                f"{service.name} has no operation for {request.method} {request.path[:256]}.",
                status=404,
            )
        return match.operation

    # ── request ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def parse(self, operation: Operation, request: WireRequest) -> Params:
        if operation.input is None:
            return {}
        compiled = operation.codecs.get("rest-in")
        if compiled is None:
            parts = RequestParts(operation.input, operation.http.get("requestUri", ""))
            compiled = operation.codecs["rest-in"] = (parts, self._body_reader(operation))
        parts, read_body = compiled
        match = router_of(operation.service).match(request)
        params: Params = {}
        try:
            parts.read(request, match.labels if match else {}, params)
            read_body(request.body, params)
        except Malformed as error:
            raise AwsError("SerializationException", str(error)) from None
        except UnicodeDecodeError:
            raise AwsError("SerializationException", "The request is not valid UTF-8.") from None
        except RecursionError:
            raise AwsError("SerializationException", "The request is nested too deeply.") from None
        return params

    def _body_reader(self, operation: Operation) -> ReadBody:
        shape = operation.input
        payload = shape.serialization.get("payload")
        if payload is None:
            return self.structured_reader(operation.service, shape)
        member = shape.members[payload]
        if member.type_name == "blob" or is_event_stream(member):
            return _into(payload, bytes)
        if member.type_name == "string":
            return _into(payload, lambda body: body.decode("utf-8"))
        return _into(payload, self.payload_reader(operation.service, member))

    @abstractmethod
    def structured_reader(self, service: Service, shape: Shape) -> ReadBody: ...

    @abstractmethod
    def payload_reader(self, service: Service, shape: Shape) -> Callable[[bytes], Any]: ...

    # ── response ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def serialize(self, operation: Operation, result: Mapping[str, Any], request_id: str) -> WireResponse:
        headers = {REQUEST_ID: request_id}
        status = operation.http.get("responseCode", 200)
        if operation.service.name in ("s3", "s3control", "cloudfront"):
            headers["x-amz-request-id"] = request_id
        if operation.output is None:
            return WireResponse(status, headers)
        compiled = operation.codecs.get("rest-out")
        if compiled is None:
            compiled = operation.codecs["rest-out"] = (ResponseParts(operation.output), self._body_writer(operation))
        parts, write_body = compiled
        body = write_body(result, headers)
        parts.write(result, headers)
        return WireResponse(parts.status(result, status), headers, body)

    def _body_writer(self, operation: Operation) -> WriteBody:
        shape = operation.output
        payload = shape.serialization.get("payload")
        if payload is None:
            if self.bodiless(shape):
                return lambda _result, _headers: b""
            return self.structured_writer(operation.service, shape)
        member = shape.members[payload]
        if is_event_stream(member):
            payloads = self.event_payloads(operation.service)

            def write_events(result: Mapping[str, Any], headers: dict[str, str]) -> Any:
                headers["Content-Type"] = eventstream.CONTENT_TYPE
                return eventstream.encode(result.get(payload), member, payloads)

            return write_events
        if member.type_name in ("blob", "string"):
            default_type = "application/octet-stream" if member.type_name == "blob" else "text/plain"

            def write_raw(result: Mapping[str, Any], headers: dict[str, str]) -> Any:
                value = result.get(payload)
                headers.setdefault("Content-Type", default_type)
                if value is None:
                    return b""
                if is_stream(value):
                    return value
                return value.encode("utf-8") if isinstance(value, str) else bytes(value)

            return write_raw
        write_payload = self.payload_writer(operation.service, payload, member)

        def write_structured(result: Mapping[str, Any], headers: dict[str, str]) -> bytes:
            headers["Content-Type"] = self.content_type
            value = result.get(payload)
            return b"" if value is None else write_payload(value)

        return write_structured

    def bodiless(self, shape: Shape) -> bool:
        """Whether every member travels outside the body, so that there is none."""
        return bool(shape.members) and all(
            member.serialization.get("location") in RESPONSE_LOCATIONS for member in shape.members.values()
        )

    @abstractmethod
    def structured_writer(self, service: Service, shape: Shape) -> WriteBody: ...

    @abstractmethod
    def payload_writer(self, service: Service, name: str, shape: Shape) -> Callable[[Any], bytes]: ...

    @abstractmethod
    def event_payloads(self, service: Service) -> eventstream.Payloads: ...


def _into(name: str, read: Callable[[bytes], Any]) -> ReadBody:
    def read_body(body: bytes, params: Params) -> None:
        if body:
            value = read(body)
            if value is not None:
                params[name] = value

    return read_body


class RestJsonProtocol(RestProtocol):
    name = "rest-json"
    content_type = "application/json"

    def structured_reader(self, service: Service, shape: Shape) -> ReadBody:
        read = json_reader_of(service).structure(shape, skip_located=True)

        def read_body(body: bytes, params: Params) -> None:
            if body:
                params.update(read(decode_json(body)))

        return read_body

    def payload_reader(self, service: Service, shape: Shape) -> Callable[[bytes], Any]:
        read = json_reader_of(service).reader(shape)

        def read_payload(body: bytes) -> Any:
            value = decode_json(body)
            return None if value is None else read(value)

        return read_payload

    def structured_writer(self, service: Service, shape: Shape) -> WriteBody:
        write = json_writer_of(service).structure(shape, skip_located=True)

        def write_body(result: Mapping[str, Any], headers: dict[str, str]) -> bytes:
            headers["Content-Type"] = self.content_type
            return msgspec.json.encode(write(result))

        return write_body

    def payload_writer(self, service: Service, name: str, shape: Shape) -> Callable[[Any], bytes]:
        write = json_writer_of(service).writer(shape)
        return lambda value: msgspec.json.encode(write(value) if write else value)

    def event_payloads(self, service: Service) -> eventstream.Payloads:
        return eventstream.JsonPayloads(json_writer_of(service))

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse:
        facts = resolve_error(service, error)
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type, "x-amzn-errortype": facts.shape_name}
        body: dict[str, Any] = {}
        if facts.shape is not None:
            body = dict(json_writer_of(service).structure(facts.shape, skip_located=True)(facts.members))
            ResponseParts(facts.shape).write(facts.members, headers)
        if not any(key.lower() == "message" for key in body):
            body["message"] = error.message
        return WireResponse(facts.status, headers, msgspec.json.encode(body))


class XmlPayloads:
    content_type = "application/xml"

    def __init__(self, service: Service) -> None:
        self._service = service

    def write(self, shape: Shape, value: Any) -> bytes:
        out: list[str] = []
        xml_writer_of(self._service).writer(shape, shape.serialization.get("name", shape.name))(out, value)
        return "".join(out).encode("utf-8")


class RestXmlProtocol(RestProtocol):
    name = "rest-xml"
    content_type = "application/xml"

    def _reader(self, service: Service) -> XmlReader:
        found = service.codecs.get("xml-reader")
        if found is None:
            found = service.codecs["xml-reader"] = XmlReader()
        return found

    def structured_reader(self, service: Service, shape: Shape) -> ReadBody:
        read = self._reader(service).structure(shape)

        def read_body(body: bytes, params: Params) -> None:
            if body:
                params.update(read(parse_document(body)))

        return read_body

    def payload_reader(self, service: Service, shape: Shape) -> Callable[[bytes], Any]:
        read: Callable[[Element], Any] = self._reader(service).reader(shape)
        return lambda body: read(parse_document(body))

    def bodiless(self, shape: Shape) -> bool:
        return not shape.members or super().bodiless(shape)

    def structured_writer(self, service: Service, shape: Shape) -> WriteBody:
        name = shape.serialization.get("name") or shape.name
        write = xml_writer_of(service).writer(shape, name, namespace_attribute(shape) or namespace_of(service))

        def write_body(result: Mapping[str, Any], headers: dict[str, str]) -> bytes:
            headers["Content-Type"] = self.content_type
            out = ['<?xml version="1.0" encoding="UTF-8"?>\n']
            write(out, result)
            return "".join(out).encode("utf-8")

        return write_body

    def payload_writer(self, service: Service, name: str, shape: Shape) -> Callable[[Any], bytes]:
        root = shape.serialization.get("name", name)
        if root == name:
            root = service.description["shapes"][shape.name].get("locationName") or shape.name
        write = xml_writer_of(service).writer(shape, root, namespace_attribute(shape) or namespace_of(service))

        def write_payload(value: Any) -> bytes:
            out = ['<?xml version="1.0" encoding="UTF-8"?>\n']
            write(out, value)
            return "".join(out).encode("utf-8")

        return write_payload

    def event_payloads(self, service: Service) -> eventstream.Payloads:
        return XmlPayloads(service)

    def serialize_error(self, service: Service, error: AwsError, request_id: str) -> WireResponse:
        facts = resolve_error(service, error)
        headers = {REQUEST_ID: request_id, "Content-Type": self.content_type}
        inner = [f"<Code>{escape(facts.code)}</Code><Message>{escape(error.message)}</Message>"]
        if facts.shape is not None:
            rest = {
                name: value for name, value in facts.members.items() if name.lower() not in ("message", "code", "type")
            }
            xml_writer_of(service).members(facts.shape)(inner, rest)
            ResponseParts(facts.shape).write(facts.members, headers)
        details = "".join(inner)
        if service.name == "s3":
            headers["x-amz-request-id"] = request_id
            text = f"<Error>{details}<RequestId>{request_id}</RequestId><HostId>{request_id}</HostId></Error>"
        else:
            kind = "Sender" if facts.sender else "Receiver"
            text = (
                f"<ErrorResponse{namespace_of(service)}><Error><Type>{kind}</Type>{details}</Error>"
                f"<RequestId>{request_id}</RequestId></ErrorResponse>"
            )
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
        return WireResponse(facts.status, headers, body)


__all__ = ["RestJsonProtocol", "RestXmlProtocol"]
