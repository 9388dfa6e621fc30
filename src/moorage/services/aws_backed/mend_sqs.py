"""SQS of moto without its waiting and without its clock readings per message. Only the worker imports this module."""

from __future__ import annotations

from typing import Any

from moorage.services.aws_backed.determinism import moment
from moorage.services.aws_backed.moto_modules import moto_module


def mend() -> None:
    models = moto_module("sqs.models")
    _receive(models.SQSBackend)
    _one_clock_reading(models.Queue, models.unix_time_millis)


def _receive(backend: Any) -> None:
    receive = backend.receive_message

    def receive_message(
        self: Any, queue_name: str, count: int, wait_seconds_timeout: int, *rest: Any, **more: Any
    ) -> list[Any]:
        """moto blocks its thread while it polls; the control plane waits instead. What receives nothing and moves
        nothing to a dead-letter queue needs no journal."""
        queue = self.get_queue(queue_name)
        before = len(queue._messages)
        messages: list[Any] = receive(self, queue_name, count, 0, *rest, **more)
        if not messages:
            moment.wait = float(wait_seconds_timeout)
            moment.changed = len(queue._messages) != before
        return messages

    backend.receive_message = receive_message


def _one_clock_reading(queue: Any, now_millis: Any) -> None:
    """moto reads the clock twice for every message of the queue, several times per request."""

    def messages(self: Any) -> list[Any]:
        now = now_millis()
        return [each for each in self._messages if now > each.visible_at and now >= each.delayed_until]

    def delayed(self: Any) -> int:
        now = now_millis()
        return sum(now < each.delayed_until for each in self._messages)

    def not_visible(self: Any) -> int:
        now = now_millis()
        return sum(now <= each.visible_at for each in self._messages)

    queue.messages = property(messages)
    queue.approximate_number_of_messages_delayed = property(delayed)
    queue.approximate_number_of_messages_not_visible = property(not_visible)
