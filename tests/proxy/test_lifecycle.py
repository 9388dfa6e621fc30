"""The control plane goes and comes back, Envoy dies, ports are taken: who serves, and who is told what."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import msgspec
import pytest

from moorage.domain.load_balancer import FixedResponse
from moorage.proxy.driver import ProxyRefused, ProxyUnavailable
from moorage.proxy.envoy.process import EnvoyProcess, Running
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import a_config, a_listener, a_load_balancer, a_rule, path, targets, tg_arn, to
from proxy.conftest import Balanced, Ports
from proxy.servers import Address, Answer, Backend, ask, backend

FIRST = a_load_balancer("first", loopback="127.83.1.1")
SECOND = a_load_balancer("second", loopback="127.83.1.2")


async def test_the_control_plane_restarts(settings: Settings, ports: Ports) -> None:
    before = EnvoyProxy(settings, port_of=ports, workers=1)
    await before.start()
    async with backend("web") as web:
        try:
            one = Balanced(before, ports)
            await one.group("web", web)
            await one.group("old", web)
            first = await one.serve(to("web"), balancer=FIRST)
            second = await one.serve(to("old"), balancer=SECOND)
            pid = before.status()["pid"]
            # It asks the kernel to end it with its parent: that must not be the control plane, which may be killed.
            assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid())
            await before.close()
            assert (await ask(first)).status == 200

            after = EnvoyProxy(settings, port_of=ports, workers=1)
            await after.start()
            assert after.status()["pid"] == pid
            assert after.status()["adopted"]
            two = Balanced(after, ports)
            await two.group("web", web)
            await two.serve(to("web"), balancer=FIRST)
            # not told yet that the second one is gone: it serves on, at both of its doors
            assert (await ask(second)).status == 200
            assert (await ask(two.edge(), host=SECOND.dns_name)).status == 200

            await after.retain([FIRST.arn], [tg_arn("web")])
            assert (await ask(first)).status == 200
            assert (await ask(two.edge(), host=FIRST.dns_name)).status == 200
            assert (await ask(two.edge(), host=SECOND.dns_name)).status == 404
            with pytest.raises(OSError):
                await ask(second)
            await after.stop()
            with pytest.raises(OSError):
                await ask(first)
            assert not (settings.data_dir / "envoy" / "envoy.pid.json").exists()
        finally:
            await before.process.stop()


async def test_no_request_fails_while_the_control_plane_restarts(settings: Settings, ports: Ports) -> None:
    from proxy.test_targets import load

    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    await proxy.start()
    async with backend("web") as web:
        try:
            door = Balanced(proxy, ports)
            await door.group("web", web)
            address = await door.serve(to("web"))
            async with load(address) as got:
                for _ in range(3):
                    await proxy.close()
                    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
                    await proxy.start()
                    door = Balanced(proxy, ports)
                    await door.group("web", web)
                    await door.serve(to("web"))
                    await proxy.retain([a_load_balancer().arn], [tg_arn("web")])
            assert [a for a in got if isinstance(a, Exception) or a.status != 200] == []
        finally:
            await proxy.stop()


async def test_envoy_dies_and_comes_back_with_everything(envoy: Balanced) -> None:
    async with backend("web") as web:
        await envoy.group("web", web)
        door = await envoy.serve(to("web"), rules=(a_rule(1, path("/f"), action=FixedResponse("200", None, "f")),))
        pid = envoy.proxy.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        assert (await answered(door, "/f")).text == "f"
        assert (await answered(door, "/")).status == 200
        assert (await answered(envoy.edge(), "/", host=a_load_balancer().dns_name)).status == 200
        assert envoy.proxy.status()["restarts"] == 1
        await envoy.serve(to("web"), rules=(a_rule(1, path("/f"), action=FixedResponse("200", None, "g")),))
        assert (await ask(door, "/f")).text == "g"


async def answered(door: Address, path: str, *, host: str = "any.example.com") -> Answer:
    """The first answer of a door that is just coming back."""
    while True:
        try:
            answer = await ask(door, path, host=host)
        except (OSError, EOFError):
            await asyncio.sleep(0.02)
        else:
            return answer


async def test_a_port_that_is_taken(envoy: Balanced) -> None:
    await envoy.serve(FixedResponse("200", None, "first"), balancer=FIRST)
    with socket.socket() as squatter:
        squatter.bind((SECOND.loopback, 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        envoy.ports.known[8080] = port
        with pytest.raises(ProxyRefused) as refused:
            await envoy.serve(FixedResponse("200", None, "second"), balancer=SECOND, port=8080)
        assert f"Port {port} of this machine cannot be used on {SECOND.loopback}" in str(refused.value)
        assert "Address already in use" in str(refused.value)
        assert f"sport = :{port}" in refused.value.next
        # what could be done was done: the shared door of that port answers, the other load balancer too
        assert (await ask(envoy.edge(8080), host=SECOND.dns_name)).text == "second"
        assert (await ask(envoy.edge(80), host=FIRST.dns_name)).text == "first"
        assert str(port) in envoy.proxy.status()["last_refusal"]
    door = await envoy.serve(FixedResponse("200", None, "second"), balancer=SECOND, port=8080)
    assert (await ask(door)).text == "second"


async def test_the_shared_door_is_taken(envoy: Balanced) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        envoy.ports.known[80] = squatter.getsockname()[1]
        with pytest.raises(ProxyRefused, match=r"on 127\.0\.0\.1"):
            await envoy.serve(FixedResponse("200"), balancer=FIRST)
        assert (await ask((FIRST.loopback, envoy.ports(80)))).status == 200
        await envoy.proxy.remove_load_balancer(FIRST.arn)
        with squatting("::1", envoy.ports(80)):
            with pytest.raises(ProxyRefused, match="on ::1"):
                await envoy.serve(FixedResponse("200"), balancer=FIRST)
            assert (await ask((FIRST.loopback, envoy.ports(80)))).status == 200
    await envoy.serve(FixedResponse("200"), balancer=FIRST)
    assert (await ask(envoy.edge(), host=FIRST.dns_name)).status == 200
    assert (await ask(envoy.edge(address="::1"), host=FIRST.dns_name)).status == 200


def squatting(address: str, port: int) -> socket.socket:
    """A server on a port that is just being left."""
    while True:
        try:
            return socket.create_server((address, port), family=socket.AF_INET6)
        except OSError:
            continue


async def test_a_configuration_that_envoy_refuses(envoy: Balanced) -> None:
    from moorage.domain.load_balancer import Condition

    door = await envoy.serve(FixedResponse("200", None, "old"), balancer=FIRST)
    bad = a_rule(1, Condition("path-pattern", regex=("(",)), action=FixedResponse("200"))
    with pytest.raises(ProxyRefused, match="missing"):
        await envoy.serve(FixedResponse("200", None, "new"), rules=(bad,), balancer=FIRST)
    assert (await ask(door)).text == "old"
    await envoy.serve(FixedResponse("200", None, "second"), balancer=SECOND)
    await envoy.serve(FixedResponse("200", None, "new"), balancer=FIRST)
    assert (await ask(door)).text == "new"


async def test_two_installations(tmp_path: Path, ports: Ports) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)  # its sockets do not fit there
    proxies = [EnvoyProxy(Settings(data_dir=where), port_of=Ports(), workers=1) for where in (tmp_path, deep)]
    for proxy in proxies:
        await proxy.start()
    try:
        for proxy, name in zip(proxies, ("one", "two"), strict=True):
            balancer = a_load_balancer(name)
            listener = a_listener(balancer, FixedResponse("200", None, name))
            await proxy.put_load_balancer(a_config(balancer, listener))
        assert proxies[0].status()["pid"] != proxies[1].status()["pid"]
        await proxies[0].stop()
        port = proxies[1].status()["ports"][80]
        assert (await ask(("127.0.0.1", port), host=a_load_balancer("two").dns_name)).text == "two"
    finally:
        for proxy in proxies:
            await proxy.stop()
    assert not proxies[1].process.sockets.exists()


async def test_a_foreign_process_is_never_touched(tmp_path: Path) -> None:
    """The pid of the file now belongs to somebody else (here: to this test)."""
    process = EnvoyProcess(tmp_path, "x", workers=1)
    stale = Running(pid=os.getpid(), started="1", version="?", configuration="?")
    (tmp_path / "envoy.pid.json").write_bytes(msgspec.json.encode(stale))
    started = await process.start()
    assert started.pid != os.getpid()
    assert process.alive()
    await process.stop()
    assert not process.alive()


async def test_many_changes_at_once(envoy: Balanced) -> None:
    """Concurrent puts settle, each of its own; a refused one does not hold the others."""
    async with backend("web") as web:
        balancers = [a_load_balancer(f"lb{i}", loopback=f"127.83.2.{i + 1}") for i in range(12)]
        puts = [envoy.proxy.put_target_group(targets(f"g{i}", web.endpoint)) for i in range(12)]
        puts += [
            envoy.proxy.put_load_balancer(a_config(b, a_listener(b, to(f"g{i}")))) for i, b in enumerate(balancers)
        ]
        await asyncio.gather(*puts)
        for balancer in balancers:
            assert (await ask(envoy.edge(), host=balancer.dns_name)).status == 200
        await asyncio.gather(*(envoy.proxy.remove_load_balancer(b.arn) for b in balancers))
        assert envoy.proxy.status()["ports"] == {}


async def test_the_address_of_one_that_is_about_to_go(envoy: Balanced) -> None:
    """Deleted and made again at once: the new one gets the lowest free address, which is the old one's."""
    old = a_load_balancer("old", loopback="127.83.3.1")
    new = a_load_balancer("new", loopback="127.83.3.1")
    await envoy.serve(FixedResponse("200", None, "old"), balancer=old)
    opening = asyncio.create_task(envoy.serve(FixedResponse("200", None, "new"), balancer=new))
    done, _ = await asyncio.wait([opening], timeout=0.05)
    assert not done, "the address is taken"
    await envoy.proxy.remove_load_balancer(old.arn)
    assert (await ask(await opening)).text == "new"


async def every_door_answers(envoy: Balanced, ports: dict[str, list[int]]) -> None:
    """All names on all their ports and at both loopback addresses."""
    for name, of_name in ports.items():
        for port in of_name:
            for address in ("127.0.0.1", "::1"):
                door = envoy.edge(port, address)
                answer = await asyncio.wait_for(answered(door, "/", host=a_load_balancer(name).dns_name), 10)
                assert (answer.status, answer.text) == (200, f"{name}:{port}"), (name, port, address)


async def test_shared_doors_know_all_names(envoy: Balanced) -> None:
    """However ports and names come and go, and when Envoy comes back with all of them at once."""
    ports = {"one": [80, 81], "two": [81, 82], "three": [80, 82], "four": [83]}

    async def put(name: str, loopback: str) -> None:
        balancer = a_load_balancer(name, loopback=loopback)
        listeners = [
            a_listener(balancer, FixedResponse("200", None, f"{name}:{port}"), port=port) for port in ports[name]
        ]
        await envoy.proxy.put_load_balancer(a_config(balancer, *listeners))

    for i, name in enumerate(ports):
        await put(name, f"127.83.3.{i + 1}")
    await every_door_answers(envoy, ports)
    for name in ports:
        await envoy.proxy.remove_load_balancer(a_load_balancer(name).arn)
    for i, name in enumerate(ports):
        await put(name, f"127.83.3.{i + 1}")
        await every_door_answers(envoy, {name: ports[name]})
    await every_door_answers(envoy, ports)
    os.kill(envoy.proxy.status()["pid"], signal.SIGKILL)
    await every_door_answers(envoy, ports)


async def test_changes_while_envoy_is_down(settings: Settings, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused as retryable, lose nothing, and hold when tried again."""
    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    await proxy.start()
    try:
        envoy = Balanced(proxy, ports)
        listeners = [a_listener(FIRST, FixedResponse("200", None, str(port)), port=port) for port in (80, 81)]
        await proxy.put_load_balancer(a_config(FIRST, *listeners))
        await proxy._leave_keeper()
        os.kill(proxy.status()["pid"], signal.SIGKILL)
        while proxy.status()["connected"] or proxy.status()["pid"]:
            await asyncio.sleep(0.01)
        monkeypatch.setattr("moorage.proxy.envoy.proxy.PATIENCE", 0.05)
        for _ in range(2):
            with pytest.raises(ProxyUnavailable):
                await proxy.put_load_balancer(a_config(FIRST, listeners[0]))
        monkeypatch.setattr("moorage.proxy.envoy.proxy.PATIENCE", 10.0)
        await proxy.process.start()
        await proxy.put_load_balancer(a_config(FIRST, listeners[0]))
        assert (await ask(envoy.edge(80), host=FIRST.dns_name)).text == "80"
        for door in ((FIRST.loopback, ports(81)), envoy.edge(81)):
            with pytest.raises(OSError):
                await ask(door)
    finally:
        await proxy.stop()


async def test_a_new_process_takes_over_and_no_request_fails(envoy: Balanced) -> None:
    from proxy.test_targets import load

    async with backend("web") as web:
        await envoy.group("web", web)
        door = await envoy.serve(to("web"))
        first = envoy.proxy.status()["pid"]
        slow = asyncio.create_task(ask(door, "/slow"))
        await web.arrived.wait()
        async with load(door) as got, load(envoy.edge(), host=a_load_balancer().dns_name) as at_edge:
            assert await envoy.proxy.restart()
            second = envoy.proxy.status()["pid"]
            assert second != first
            await envoy.serve(to("web"), rules=(a_rule(1, path("/f"), action=FixedResponse("200", None, "new")),))
            assert (await ask(door, "/f")).text == "new"
            # and once more while the first one still drains
            assert await envoy.proxy.restart()
        assert [a for a in (*got, *at_edge) if isinstance(a, Exception) or a.status != 200] == []
        web.let_go()
        with contextlib.suppress(OSError, EOFError):  # two replacements in a row end the first process
            await slow


async def test_a_request_that_is_under_way_ends_on_the_old_process(envoy: Balanced) -> None:
    async with backend("web") as web:
        await envoy.group("web", web)
        door = await envoy.serve(to("web"))
        slow = asyncio.create_task(ask(door, "/slow"))
        await web.arrived.wait()
        assert await envoy.proxy.restart()
        web.let_go()
        assert (await slow).status == 200


async def test_another_bootstrap_takes_over_when_everything_is_known(
    settings: Settings, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moorage.proxy.envoy import process
    from proxy.test_targets import load

    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    await proxy.start()
    async with backend("web") as web:
        try:
            await Balanced(proxy, ports).group("web", web)
            door = await Balanced(proxy, ports).serve(to("web"))
            pid = proxy.status()["pid"]
            async with load(door) as got:
                await proxy.close()
                monkeypatch.setattr(process, "DRAIN_SECONDS", 59)
                proxy = EnvoyProxy(settings, port_of=ports, workers=1)
                await proxy.start()
                assert proxy.status()["pid"] == pid
                await Balanced(proxy, ports).group("web", web)
                await Balanced(proxy, ports).serve(to("web"))
                await proxy.retain([a_load_balancer().arn], [tg_arn("web")])
                assert proxy.status()["pid"] != pid
                # the control plane comes back while both processes run: the old one does not count
                await proxy.close()
                proxy = EnvoyProxy(settings, port_of=ports, workers=1)
                await proxy.start()
                await Balanced(proxy, ports).group("web", web)
                await Balanced(proxy, ports).serve(FixedResponse("200", None, "new"))
                assert (await ask(door)).text == "new"
            assert [a for a in got if isinstance(a, Exception) or a.status != 200] == []
        finally:
            await proxy.stop()


async def test_two_who_replace_it_at_once(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    assert await asyncio.gather(envoy.proxy.restart(), envoy.proxy.restart()) == [True, True]
    assert (await ask(door)).status == 200
    assert envoy.proxy.status()["replaced"] == 2


async def test_without_shared_memory_there_is_a_gap(
    settings: Settings, ports: Ports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from moorage.proxy.envoy import process

    monkeypatch.setattr(process, "SHARED_MEMORY", tmp_path / "nothing")
    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    await proxy.start()
    try:
        door = await Balanced(proxy, ports).serve(FixedResponse("200", None, "f"))
        pid = proxy.status()["pid"]
        assert not await proxy.restart()
        assert (await answered(door, "/")).text == "f"
        assert proxy.status()["pid"] != pid
    finally:
        await proxy.stop()


async def test_a_crash_after_a_replacement(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    assert await envoy.proxy.restart()
    os.kill(envoy.proxy.status()["pid"], signal.SIGKILL)
    assert (await answered(door, "/")).status == 200
    await envoy.serve(FixedResponse("200", None, "new"))
    assert (await ask(door)).text == "new"
