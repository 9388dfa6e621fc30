"""The doors for people: `moor status`, `moor services`, `moor tasks`, `moor events` and `moor explain` ask here, in plain
HTTP and JSON.

    GET /_moorage/people/services   account=, region=, cluster=
    GET /_moorage/people/tasks      account=, region=, cluster=, service=, stopped=1, limit=
    GET /_moorage/people/events     account=, region=, cluster=, service=, after=<cursor>, wait=<seconds>, limit=
    GET /_moorage/explain           of=<name or ARN>, kind=, account=, region=
                                    of=<HTTP status>, load_balancer=, since=<epoch>, until=<epoch>

Nothing here changes anything. A name that does not exist answers 404 with what there is, one that may mean several
things 409 with the commands that say which.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

import moorage
from moorage.control.event_feed import EventFeed
from moorage.control.explain_names import KINDS, services
from moorage.control.explain_task import counts, story_of, waits
from moorage.control.explain_words import name_of, shortened
from moorage.control.explainer import LISTED, MOST_LISTED, Ambiguous, Explainer, Unknown
from moorage.control.plane import ControlPlane
from moorage.domain.clock import Clock
from moorage.domain.load_balancer import LAYER_4, Listener, LoadBalancer, answers_by_name
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.engine.docker.engine import HostFacts
from moorage.requests_door import AnswersExplained
from moorage.settings import Settings
from moorage.store.memory import Store
from moorage.store.tables.ecs import CLUSTERS, REVISIONS, SERVICES, TASKS
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS

Door = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

NOT_PLACED = ". Not placed: "
"""After it, the sentence of a service's last pass says why no instance takes its next task."""
MOST_EVENTS = 1000
LONGEST_WAIT = 25.0


class People:
    """`proxy`: the proxy's own status. `host`: the machine that runs the containers."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        plane: ControlPlane,
        *,
        proxy: Callable[[], dict[str, Any]],
        host: HostFacts | None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._plane = plane
        self._proxy = proxy
        self._host = host
        self._home = Scope(settings.account, settings.region)
        self._explainer = Explainer(store, clock, plane, proxy=proxy, urls=self._urls)
        self._feed = EventFeed(store, clock)
        self.answers: AnswersExplained | None = None
        """Explains the statuses that load balancers answered; set by whoever reads the proxy's log."""

    async def close(self) -> None:
        """Sends away those who wait for events."""
        self._feed.close()

    def doors(self) -> tuple[tuple[str, Door], ...]:
        return (
            ("/_moorage/people/services", self._answering(self._services)),
            ("/_moorage/people/tasks", self._answering(self._tasks)),
            ("/_moorage/people/events", self._answering(self._events)),
            ("/_moorage/explain", self._answering(self._explain)),
        )

    @staticmethod
    def _answering(answer: Callable[[web.BaseRequest], Awaitable[Any]]) -> Door:
        async def door(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return _json(await answer(request))
            except Unknown as unknown:
                return _json({"message": unknown.what, "why": unknown.why, "next": unknown.next}, 404)
            except Ambiguous as ambiguous:
                return _json({"message": ambiguous.what, "candidates": ambiguous.candidates}, 409)
            except ValueError as error:
                return _json({"message": str(error)}, 400)

        return door

    # --- explain -----------------------------------------------------------------------------------------------------
    async def _explain(self, request: web.BaseRequest) -> Any:
        words, kind = request.query.get("of") or request.query.get("arn", ""), request.query.get("kind")
        if not words:
            raise ValueError("Say what to explain: /_moorage/explain?of=<name or ARN>")
        if self.answers is not None and kind is None and words.isdigit() and 400 <= int(words) <= 599:
            query = request.query
            return await self.answers.explain(
                int(words),
                load_balancer=query.get("load_balancer", ""),
                since=float(query.get("since", 0.0)),
                until=float(query.get("until", "inf")),
            )
        if kind is not None and kind not in KINDS:
            raise ValueError(f"'{kind}' is not a kind; there are {', '.join(KINDS)}")
        meant = next((k for k in KINDS if k == kind), None)
        return await self._explainer.explain(words, meant, self._scope(request), request.query.get("cluster", ""))

    def _scope(self, request: web.BaseRequest) -> Scope:
        return Scope(request.query.get("account", self._home.account), request.query.get("region", self._home.region))

    @staticmethod
    def _asked(request: web.BaseRequest, record: Service | Task) -> bool:
        """Is it in the account, region and cluster that were asked for, if any were?"""
        query, where = request.query, {"account": record.account, "region": record.region}
        cluster = query.get("cluster", record.cluster_arn)
        return all(query.get(name, here) == here for name, here in where.items()) and cluster in (
            record.cluster_arn,
            name_of(record.cluster_arn),
        )

    def _check_cluster(self, request: web.BaseRequest) -> None:
        """Raises Unknown for a cluster that does not exist, with those that do."""
        wanted = request.query.get("cluster")
        there = [one for one in self._store.all(CLUSTERS) if one.status == "ACTIVE"]
        if wanted is not None and not any(wanted in (one.name, one.arn) for one in there):
            names = ", ".join(sorted({one.name for one in there}))
            raise Unknown(
                f"There is no cluster '{wanted}'",
                f"there are {names}" if names else "there are none yet",
                "See what runs: moor status",
            )

    # --- lists -------------------------------------------------------------------------------------------------------
    async def _services(self, request: web.BaseRequest) -> Any:
        self._check_cluster(request)
        found = [one for one in self._store.all(SERVICES) if one.status != "INACTIVE" and self._asked(request, one)]
        return {"now": self._clock.now(), "services": [self._service(one) for one in found]}

    def _service(self, service: Service) -> dict[str, Any]:
        tasks = self._store.find(TASKS, "service", service.arn)
        primary = next(iter(service.deployments), None)
        revision = self._store.get(REVISIONS, primary.revision_arn if primary is not None else service.revision_arn)
        settled = primary is not None and primary.rollout_state == "COMPLETED"
        # The last sentence is enough of a service at rest; times that are left are worked out anew.
        last = self._plane.services.explain(service.arn) or ""
        said = last if settled else self._explainer.plan(service).said
        unplaced = last.partition(NOT_PLACED)[2]
        if unplaced and not settled:
            said = f"no place for a task: {unplaced}"
        return {
            "arn": service.arn,
            "name": service.name,
            "cluster": name_of(service.cluster_arn),
            "account": service.account,
            "region": service.region,
            "status": service.status,
            "desired": service.desired_count,
            "running": sum(1 for t in tasks if t.last_status == "RUNNING"),
            "pending": sum(1 for t in tasks if t.last_status != "RUNNING" and t.desired_status == "RUNNING"),
            "stopping": sum(1 for t in tasks if t.last_status != "RUNNING" and t.desired_status == "STOPPED"),
            "drain_left": self._explainer.drain_left(tasks),
            "rollout": primary.rollout_state if primary is not None else None,
            "deployments": len(service.deployments),
            "task_definition": name_of(revision.task_definition_arn) if revision is not None else None,
            "created_at": service.created_at,
            "said": shortened(said),
        }

    async def _tasks(self, request: web.BaseRequest) -> Any:
        self._check_cluster(request)
        stopped = request.query.get("stopped") in ("1", "true")
        limit = max(0, min(int(request.query.get("limit", LISTED)), MOST_LISTED))
        words = request.query.get("service")
        if not stopped:
            found = self._living(request, words)
        elif words is None:
            found = [*self._store.find(TASKS, "stopped", True), *await self._explainer.stopped_long_ago(limit)]
        else:
            found = await self._ended(request, words, limit)
        mine = [task for task in found if self._asked(request, task)]
        if stopped:
            mine = heapq.nlargest(limit, mine, key=lambda task: task.stopped_at or 0.0)
        now = self._clock.now()
        return {"now": now, "tasks": [self._task(task) for task in mine]}

    def _living(self, request: web.BaseRequest, words: str | None) -> list[Task]:
        if words is None:
            return list(self._store.find(TASKS, "live", True))
        services = self._named(request, words)
        return [task for one in services for task in self._store.find(TASKS, "service", one.arn)]

    async def _ended(self, request: web.BaseRequest, words: str, limit: int) -> list[Task]:
        """The stopped tasks of the services of that name, also of one that was deleted long ago."""
        try:
            services = self._named(request, words)
        except Unknown:
            ending = f":service/{words}" if words.count("/") == 1 else f"/{words}"
            kept = await self._explainer.stopped_long_ago(limit)
            forgotten = [
                t for t in kept if t.service_arn and (t.service_arn == words or t.service_arn.endswith(ending))
            ]
            if forgotten:
                return forgotten
            raise
        ended = [task for one in services for task in await self._explainer.ended(one.arn, limit)]
        return [task for task in ended if task.last_status == "STOPPED"]

    def _named(self, request: web.BaseRequest, words: str) -> tuple[Service, ...]:
        found = tuple(one for one in services(self._store, words) if self._asked(request, one))
        if not found:
            scope = self._scope(request)
            raise Unknown(
                f"There is no service '{words}'", self._explainer.existing("service", scope), "See them: moor services"
            )
        return found

    def _task(self, task: Task) -> dict[str, Any]:
        stopped = task.last_status == "STOPPED"
        now, records = self._clock.now(), self._explainer.records(task)
        verdict = records.verdict
        return {
            "arn": task.arn,
            "id": task.id,
            "cluster": name_of(task.cluster_arn),
            "account": task.account,
            "region": task.region,
            "group": task.group,
            "service": task.service_arn.rsplit("/", 1)[-1] if task.service_arn else None,
            "deployment": task.deployment_id,
            "task_definition": name_of(task.task_definition_arn),
            "last_status": task.last_status,
            "desired_status": task.desired_status,
            "verdict": verdict.state if verdict is not None else None,
            "address": task.interface.ipv4 if task.interface is not None and not stopped else None,
            "created_at": task.created_at,
            "started_at": task.started_at,
            "stopped_at": task.stopped_at,
            "stop_code": task.stop_code,
            "counted": counts(task)[1] if task.service_arn and task.stop_code else None,
            "exit_codes": {c.name: c.exit_code for c in task.containers},
            "said": shortened(story_of(task) if stopped else "; ".join(waits(records, now))),
        }

    # --- events ------------------------------------------------------------------------------------------------------
    async def _events(self, request: web.BaseRequest) -> Any:
        after = request.query.get("after")
        of = self._meant(request)
        if after is None:
            limit = min(int(request.query.get("limit", "50")), MOST_EVENTS)
            reading = self._feed.latest(of, max(limit, 0))
        else:
            wait = min(float(request.query.get("wait", "0")), LONGEST_WAIT)
            arns = {one.arn for one in of} if of is not None else None
            try:
                reading = await self._feed.after(after, arns, wait)
            except ValueError:
                raise ValueError(f"'{after}' is not a cursor that this door gave") from None
        return {
            "cursor": reading.cursor,
            "clusters": sum(1 for one in self._store.all(CLUSTERS) if one.status == "ACTIVE"),
            "events": [
                {
                    "at": e.created_at,
                    "service": e.service_arn,
                    "cluster": e.service_arn.split("/")[-2],
                    "message": e.message,
                    "id": e.uuid,
                }
                for e in reading.events
            ],
        }

    def _meant(self, request: web.BaseRequest) -> tuple[Service, ...] | None:
        """The services whose events were asked for; None: all."""
        self._check_cluster(request)
        words = request.query.get("service")
        if words is not None:
            return self._named(request, words)
        if not any(name in request.query for name in ("account", "region", "cluster")):
            return None
        return tuple(one for one in self._store.all(SERVICES) if self._asked(request, one))

    # --- status ------------------------------------------------------------------------------------------------------
    def _urls(self, balancer: LoadBalancer) -> tuple[str, ...]:
        ports = self._proxy().get("ports", {})
        return tuple(
            _url(one.protocol, self._address(balancer, one), ports.get(one.port, one.port))
            for one in self._store.find(LISTENERS, "load_balancer", balancer.arn)
        )

    def _address(self, balancer: LoadBalancer, listener: Listener) -> str:
        """Its name where that leads to it, else its own address."""
        owners = (
            (self._store.get(LOAD_BALANCERS, one.load_balancer_arn), one)
            for one in self._store.find(LISTENERS, "port", listener.port)
        )
        on_port = [(owner, one) for owner, one in owners if owner is not None]
        return balancer.dns_name if answers_by_name(listener, on_port) else balancer.loopback

    def status(self) -> dict[str, Any]:
        store = self._store
        services = [self._service(one) for one in store.all(SERVICES) if one.status != "INACTIVE"]
        load_balancers = [
            {
                "arn": lb.arn,
                "name": lb.name,
                "state": lb.state,
                "reason": lb.state_reason,
                "dns_name": lb.dns_name,
                "address": lb.loopback,
                "urls": self._urls(lb),
            }
            for lb in store.all(LOAD_BALANCERS)
        ]
        return {
            "version": moorage.__version__,
            "endpoint": self._settings.endpoint,
            "account": self._settings.account,
            "region": self._settings.region,
            "engine": msgspec.to_builtins(self._host) if self._host is not None else None,
            "proxy": self._proxy(),
            "clusters": [c.name for c in store.all(CLUSTERS) if c.status == "ACTIVE"],
            "services": services,
            "tasks": len(store.find(TASKS, "live", True)),
            "load_balancers": load_balancers,
        }


def _url(protocol: str, host: str, port: int) -> str:
    scheme = protocol.lower()
    standard = {"http": 80, "https": 443}.get(scheme)
    if protocol in LAYER_4:
        return f"{scheme}://{host}:{port}"
    return f"{scheme}://{host}/" if port == standard else f"{scheme}://{host}:{port}/"


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
