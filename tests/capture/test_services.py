"""Which services the host's rules are made for, and how long."""

from __future__ import annotations

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.host.services import Service, Services

VIP = Endpoint.parse("10.0.1.100:80")


def real(text: str) -> RealServer:
    return RealServer(Endpoint.parse(text))


def test_values_of_the_configuration() -> None:
    web = VirtualServer("web", VIP, TCP, RoundRobin(), [real("10.0.2.11:80"), real("10.0.2.12:80")])
    assert Services().of([web]) == (
        Service(VIP, TCP, tuple(server.endpoint for server in web.real_servers)),
    )


def test_a_removed_real_server_stays_while_it_has_connections() -> None:
    old, new = real("10.0.2.11:80"), real("10.0.2.12:80")
    web = VirtualServer("web", VIP, TCP, RoundRobin(), [old, new])
    services = Services()
    services.of([web])
    old.active = 1
    web.remove(old)
    assert services.of([web]) == (Service(VIP, TCP, (new.endpoint, old.endpoint)),)
    old.active, old.inactive = 0, 1
    assert services.of([web]) == (Service(VIP, TCP, (new.endpoint, old.endpoint)),)
    old.inactive = 0
    assert services.of([web]) == (Service(VIP, TCP, (new.endpoint,)),)


def test_so_does_a_removed_virtual_server() -> None:
    old = real("10.0.2.11:80")
    web = VirtualServer("web", VIP, TCP, RoundRobin(), [old])
    services = Services()
    services.of([web])
    old.active = 1
    assert services.of([]) == (Service(VIP, TCP, (old.endpoint,)),)
    old.active = 0
    assert services.of([]) == ()


def test_full_nat_names_the_address_that_replies_go_to() -> None:
    web = VirtualServer("web", VIP, TCP, RoundRobin(), forward="full_nat")
    assert Services().of([web]) == (Service(VIP, TCP, (), (VIP.ip,)),)
    snat = Endpoint.parse("10.0.2.100:1").ip
    web = VirtualServer("web", VIP, TCP, RoundRobin(), forward="full_nat", snat=snat)
    assert Services().of([web])[0].captured == (VIP.ip, snat)
