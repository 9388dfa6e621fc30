"""The query service: a small web application of the standard library, made to be run as ECS tasks behind an ALB.

    GET  /                     a page that shows which task answered
    GET  /whoami               the same as JSON: address, task id, version
    GET  /health               200 {"status": "ok"}; 500 after POST /control/fail
    POST /query/user           {"user_id": "u-1001"} -> the user from a small built-in data set
    GET  /slow?seconds=12      answers after that time
    GET  /peer?port=8001       what another container of the same task says about itself
    POST /control/...          fail · recover · freeze · oom · exit?code=3: misbehaviour on demand

It behaves as a service behind a load balancer should: on SIGTERM it takes no new connections, finishes the requests in
flight, and leaves with exit code 0. Every line it logs is one JSON object.

Environment: PORT (8000), VERSION, and for trying things out START_DELAY (seconds before it listens), EXIT_AFTER
(seconds until it exits with code EXIT_CODE, 1), NEVER_LISTEN=1, IGNORE_TERM=1.
"""

import http.client
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse

USERS = {
    "u-1001": {"user_id": "u-1001", "name": "Ada Lindqvist", "plan": "team", "queries": 1284},
    "u-1002": {"user_id": "u-1002", "name": "Bao Tran", "plan": "free", "queries": 17},
    "u-1003": {"user_id": "u-1003", "name": "Chidi Okafor", "plan": "enterprise", "queries": 90211},
}
VERSION = os.environ.get("VERSION", "dev")
PORT = int(os.environ.get("PORT", "8000"))
DRAIN_SECONDS = 110  # under Fargate's largest stopTimeout (120)


def log(event, **fields):
    """One JSON object a line, written at once."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    sys.stdout.write(json.dumps({"time": stamp, "event": event, "version": VERSION, **fields}) + "\n")
    sys.stdout.flush()


def own_address():
    """The address that this task talks from: no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def own_task_id():
    """The task's id from the ECS task metadata endpoint (version 4), None outside ECS."""
    uri = urllib.parse.urlsplit(os.environ.get("ECS_CONTAINER_METADATA_URI_V4", ""))
    if not uri.hostname:
        return None
    try:
        connection = http.client.HTTPConnection(uri.hostname, uri.port or 80, timeout=1)
        connection.request("GET", uri.path + "/task")
        return json.loads(connection.getresponse().read())["TaskARN"].rsplit("/", 1)[-1]
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return None


class State:
    """What the control doors change, and how many requests are being answered."""

    def __init__(self):
        self.failing = False
        self.frozen = False
        self.draining = False
        self.active = 0
        self.idle = threading.Condition()
        self.identity = {"address": own_address(), "hostname": socket.gethostname(), "task": None, "version": VERSION}

    def __enter__(self):
        with self.idle:
            self.active += 1

    def __exit__(self, *_error):
        with self.idle:
            self.active -= 1
            self.idle.notify_all()

    def wait_idle(self, seconds):
        with self.idle:
            return self.idle.wait_for(lambda: self.active == 0, seconds)


STATE = State()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75  # longer than the load balancer keeps an idle connection
    disable_nagle_algorithm = True

    def do_GET(self):
        self.route({"/": self.page, "/whoami": self.whoami, "/health": self.health, "/slow": self.slow,
                    "/peer": self.peer})  # fmt: skip

    def do_POST(self):
        self.route({"/query/user": self.query_user, "/control/fail": self.fail, "/control/recover": self.recover,
                    "/control/freeze": self.freeze, "/control/oom": self.oom, "/control/exit": self.exit})  # fmt: skip

    def route(self, table):
        started = time.monotonic()
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while STATE.frozen:
            time.sleep(3600)
        with STATE:
            handler = table.get(url.path)
            status = handler() if handler else self.answer(404, {"error": f"no such page: {self.command} {url.path}"})
        if url.path != "/health" or status != 200:
            log("request", method=self.command, path=self.path, status=status,
                ms=round((time.monotonic() - started) * 1000, 1))  # fmt: skip

    def answer(self, status, document, content_type="application/json"):
        body = document if isinstance(document, bytes) else json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if STATE.draining:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
        return status

    def page(self):
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in STATE.identity.items())
        text = f"<!doctype html><title>query service</title><h1>Query service</h1><table>{rows}</table>\n"
        return self.answer(200, text.encode(), "text/html; charset=utf-8")

    def whoami(self):
        return self.answer(200, STATE.identity)

    def health(self):
        if STATE.failing:
            return self.answer(500, {"status": "failing"})
        return self.answer(200, {"status": "ok", "version": VERSION})

    def query_user(self):
        try:
            user_id = json.loads(self.body)["user_id"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": 'expected a JSON object with a "user_id"'})
        if user_id not in USERS:
            return self.answer(404, {"error": f"no user {user_id}"})
        return self.answer(200, {**USERS[user_id], "answered_by": STATE.identity["address"]})

    def slow(self):
        seconds = min(float(self.query.get("seconds", "1")), 120)
        time.sleep(seconds)
        return self.answer(200, {"slept": seconds, **STATE.identity})

    def peer(self):
        connection = http.client.HTTPConnection("localhost", int(self.query["port"]), timeout=5)
        try:
            connection.request("GET", "/whoami")
            return self.answer(200, {"peer": json.loads(connection.getresponse().read())})
        except (OSError, ValueError, http.client.HTTPException) as error:
            return self.answer(502, {"error": str(error)})

    def fail(self):
        STATE.failing = True
        return self.answer(200, {"failing": True})

    def recover(self):
        STATE.failing = False
        return self.answer(200, {"failing": False})

    def freeze(self):
        STATE.frozen = True
        return self.answer(200, {"frozen": True})

    def oom(self):
        status = self.answer(200, {"oom": True})
        threading.Thread(target=eat_memory).start()
        return status

    def exit(self):
        status = self.answer(200, {"exit": True})
        threading.Timer(0.05, os._exit, [int(self.query.get("code", "1"))]).start()
        return status

    def log_message(self, *_arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512

    def handle_error(self, request, client_address):
        log("connection_error", client=client_address[0], error=str(sys.exc_info()[1]))


def eat_memory():
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1 << 20) * 8))


def main():
    stop = threading.Event()

    def on_signal(number, _frame):
        log("signal", signal=signal.Signals(number).name)
        if not os.environ.get("IGNORE_TERM"):
            stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if seconds := float(os.environ.get("EXIT_AFTER", "0")):
        timer = threading.Timer(seconds, os._exit, [int(os.environ.get("EXIT_CODE", "1"))])
        timer.daemon = True
        timer.start()
    log("starting", address=STATE.identity["address"], port=PORT)
    if stop.wait(float(os.environ.get("START_DELAY", "0"))):
        return
    if os.environ.get("NEVER_LISTEN"):
        stop.wait()
        return
    server = Server(("", PORT), Handler)
    threading.Thread(target=server.serve_forever, args=[0.1], daemon=True).start()
    STATE.identity["task"] = own_task_id()
    log("listening", port=PORT, task=STATE.identity["task"])
    stop.wait()
    STATE.draining = True
    server.shutdown()
    server.server_close()
    finished = STATE.wait_idle(DRAIN_SECONDS)
    log("stopped", unfinished=0 if finished else STATE.active)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
