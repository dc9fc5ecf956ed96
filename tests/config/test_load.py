"""Every error of a configuration file is reported, all at once, with key path and sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from lb_switch.config.build import host_names
from lb_switch.config.edit import as_data
from lb_switch.config.load import ConfigError, load, validate
from lb_switch.config.schema import Config

GOOD = """
[switch]
capture = "tun"

[[virtual_server]]
name = "web"
address = "10.0.1.100:80"
protocol = "tcp"
scheduler = "rr"

  [[virtual_server.real_server]]
  address = "10.0.2.11:80"
  weight = 1

  [[virtual_server.real_server]]
  address = "10.0.2.12:8080"
"""

DESIGN_EXAMPLE = """
[switch]
capture = "tun"
control_socket = "/run/lb-switch/control.sock"
max_connections = 1_000_000
hash_key = ""

[[virtual_server]]
name = "web"
address = "10.0.1.100:80"
protocol = "tcp"
scheduler = "rr"
hash_on = ["src_ip"]
persistence_timeout = 0
on_down = "reset"
forward = "nat"
snat = ""

  [virtual_server.health_check]
  kind = "http"
  path = "/"
  expect_status = [200]
  interval = 2.0
  timeout = 1.0
  rise = 2
  fall = 3
  port = 0

  [[virtual_server.real_server]]
  address = "10.0.2.11:80"
  weight = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lb.toml"


def load_text(file: Path, text: str) -> Config:
    file.write_text(text)
    return load(file)


def errors_of(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def virtual_server(more: str = "", *, name: str = "web", address: str = "10.0.1.100:80") -> str:
    return f'[[virtual_server]]\nname = "{name}"\naddress = "{address}"\n{more}\n'


def real_server(address: str, more: str = "") -> str:
    return f'[[virtual_server.real_server]]\naddress = "{address}"\n{more}\n'


def test_a_good_file(file: Path) -> None:
    config = load_text(file, GOOD)
    (web,) = config.virtual_server
    assert (web.name, str(web.address), web.protocol) == ("web", "10.0.1.100:80", "tcp")
    assert [str(rs.address) for rs in web.real_server] == ["10.0.2.11:80", "10.0.2.12:8080"]
    assert [rs.weight for rs in web.real_server] == [1, 1]


def test_the_example_of_the_documentation_is_valid(file: Path) -> None:
    check = load_text(file, DESIGN_EXAMPLE).virtual_server[0].health_check
    assert (check.kind, check.expect_status, check.interval) == ("http", (200,), 2.0)


def test_defaults(file: Path) -> None:
    config = load_text(file, virtual_server())
    switch, web = config.switch, config.virtual_server[0]
    assert (switch.capture, switch.queue, switch.max_connections) == ("tun", 0, 1_000_000)
    assert switch.control_socket == "/run/lb-switch/control.sock"
    assert (switch.hash_key, switch.unknown_tcp) == ("", "reset")
    assert switch.timeouts.model_dump() == {
        "syn_recv": 60,
        "established": 900,
        "fin_wait": 120,
        "close_wait": 60,
        "last_ack": 30,
        "time_wait": 120,
        "close": 10,
        "udp": 300,
    }
    assert (web.protocol, web.scheduler, web.hash_on) == ("tcp", "rr", ("src_ip",))
    assert (web.persistence_timeout, web.on_down, web.forward, web.snat) == (
        0,
        "reset",
        "nat",
        (),
    )
    assert (web.persistence_prefix, web.one_packet) == (0, False)
    assert switch.max_half_open_per_source == 0
    check = web.health_check
    assert (check.kind, check.path, check.expect_status) == ("none", "/", (200,))
    assert (check.interval, check.timeout, check.rise, check.fall, check.port) == (2, 1, 2, 3, 0)


def test_an_empty_group_and_an_empty_file_are_allowed(file: Path) -> None:
    assert load_text(file, virtual_server()).virtual_server[0].real_server == ()
    assert load_text(file, "").virtual_server == ()


def test_ipv6(file: Path) -> None:
    text = virtual_server(address="[2001:db8::100]:80") + real_server("[2001:db8:2::11]:80")
    web = load_text(file, text).virtual_server[0]
    assert str(web.address) == "[2001:db8::100]:80"
    assert str(web.real_server[0].address) == "[2001:db8:2::11]:80"


def test_tcp_and_udp_may_share_a_port(file: Path) -> None:
    text = virtual_server(name="a") + virtual_server('protocol = "udp"', name="b")
    assert len(load_text(file, text).virtual_server) == 2


def test_a_real_server_may_stand_behind_two_virtual_servers(file: Path) -> None:
    text = virtual_server(name="a") + real_server("10.0.2.11:80")
    text += virtual_server(name="b", address="10.0.1.100:81") + real_server("10.0.2.11:80")
    assert len(load_text(file, text).virtual_server) == 2


SWITCH = "[switch]\n"
CHECK = "[virtual_server.health_check]\n"

ONE_ERROR = [
    # the words of each kind of error
    (
        virtual_server('scheduler = "rrr"'),
        "virtual_server[0].scheduler: 'rrr' is none of rr, wrr, lc, wlc, sh, mh",
    ),
    (
        virtual_server('protocol = "icmp"'),
        "virtual_server[0].protocol: 'icmp' is none of tcp, udp",
    ),
    (
        virtual_server('on_down = "kill"'),
        "virtual_server[0].on_down: 'kill' is none of reset, reschedule, keep",
    ),
    (
        virtual_server('forward = "dr"'),
        "virtual_server[0].forward: 'dr' is none of nat, full_nat",
    ),
    (
        virtual_server('hash_on = ["src"]'),
        "virtual_server[0].hash_on[0]: 'src' is none of src_ip, src_port, dst_ip, dst_port",
    ),
    (virtual_server("hash_on = []"), "virtual_server[0].hash_on: must not be empty"),
    (
        virtual_server('hash_on = "src_ip"'),
        "virtual_server[0].hash_on: 'src_ip' is not a list",
    ),
    (SWITCH + 'capture = "pcap"', "switch.capture: 'pcap' is none of tun, nfqueue"),
    (SWITCH + 'unknown_tcp = "x"', "switch.unknown_tcp: 'x' is none of reset, drop, schedule"),
    (SWITCH + "queue = 65536", "switch.queue: 65536 must be at most 65535"),
    (SWITCH + "queue = -1", "switch.queue: -1 must be at least 0"),
    (SWITCH + "max_connections = 0", "switch.max_connections: 0 must be at least 1"),
    (SWITCH + "max_connections = true", "switch.max_connections: true is not a whole number"),
    (SWITCH + "hash_key = 5", "switch.hash_key: 5 is not a string"),
    (
        SWITCH + 'control_socket = "x.sock"',
        "switch.control_socket: 'x.sock' is not an absolute path",
    ),
    (
        SWITCH + f'control_socket = "/{"x" * 107}"',
        (
            f"switch.control_socket: '/{'x' * 107}' is longer than a Unix socket's path may be"
            " (107 bytes)"
        ),
    ),
    (
        SWITCH + "[switch.answers_per_second]\nresets = -1",
        "switch.answers_per_second.resets: -1 must be at least 0",
    ),
    (
        SWITCH + "[switch.answers_per_second]\nicmp_errors = 0.5",
        "switch.answers_per_second.icmp_errors: 0.5 is not a whole number",
    ),
    (SWITCH + "[switch.timeouts]\nudp = 0", "switch.timeouts.udp: 0 must be greater than 0"),
    (
        SWITCH + "[switch.timeouts]\nclose = inf",
        "switch.timeouts.close: inf is not a finite number",
    ),
    # unknown keys
    (SWITCH + 'captur = "tun"', "switch.captur: unknown key; did you mean 'capture'?"),
    (
        SWITCH + "[switch.timeouts]\nestablish = 3",
        "switch.timeouts.establish: unknown key; did you mean 'established'?",
    ),
    ("[virtual_servers]", "virtual_servers: unknown key; did you mean 'virtual_server'?"),
    (
        virtual_server() + real_server("10.0.2.11:80", "wieght = 2"),
        "virtual_server[0].real_server[0].wieght: unknown key; did you mean 'weight'?",
    ),
    (
        virtual_server() + real_server("10.0.2.11:80", "zzz = 2"),
        "virtual_server[0].real_server[0].zzz: unknown key; known here: address, weight",
    ),
    (
        SWITCH + '"a\\nb" = 1\n',
        (
            'switch."a\\nb": unknown key; known here: capture, queue, '
            "take_own_addresses, control_socket, max_connections, hash_key, unknown_tcp,"
            " answers_per_second, max_half_open_per_source, timeouts"
        ),
    ),
    # missing and mistyped tables
    ('[[virtual_server]]\naddress = "10.0.1.100:80"', "virtual_server[0].name: is missing"),
    ('[[virtual_server]]\nname = "web"', "virtual_server[0].address: is missing"),
    ("virtual_server = 3", "virtual_server: 3 is not a list"),
    ("[virtual_server]", "virtual_server: a table is not a list"),
    ("virtual_server = [3]", "virtual_server[0]: 3 is not a table"),
    (virtual_server("health_check = 3"), "virtual_server[0].health_check: 3 is not a table"),
    ("switch = []", "switch: a list is not a table"),
    # addresses, ports, weights, names
    (
        virtual_server(address="10.0.1.100"),
        "virtual_server[0].address: '10.0.1.100' is not ADDRESS:PORT",
    ),
    (
        virtual_server(address="10.0.1.100:0"),
        "virtual_server[0].address: '10.0.1.100:0': port 0 is not between 1 and 65535",
    ),
    (
        virtual_server(address="10.0.1.100:65536"),
        "virtual_server[0].address: '10.0.1.100:65536': port 65536 is not between 1 and 65535",
    ),
    (
        virtual_server(address="example.org:80"),
        "virtual_server[0].address: 'example.org:80': 'example.org' is not an IP address",
    ),
    (
        virtual_server(address="224.0.0.1:80"),
        "virtual_server[0].address: '224.0.0.1:80': 224.0.0.1 is not the address of one machine",
    ),
    (
        virtual_server(address="[fe80::1%eth0]:80"),
        (
            "virtual_server[0].address: '[fe80::1%eth0]:80': an address with a zone (%eth0)"
            " cannot be balanced"
        ),
    ),
    (
        '[[virtual_server]]\nname = "web"\naddress = 80',
        "virtual_server[0].address: 80 is not a string ADDRESS:PORT",
    ),
    (
        virtual_server() + real_server("10.0.2.11:80", "weight = -1"),
        "virtual_server[0].real_server[0].weight: -1 must be at least 0",
    ),
    (
        virtual_server() + real_server("10.0.2.11:80", 'weight = "1"'),
        "virtual_server[0].real_server[0].weight: '1' is not a whole number",
    ),
    (
        virtual_server(name="two words"),
        (
            "virtual_server[0].name: 'two words' is not a name: 1 to 64 printable characters"
            " without spaces"
        ),
    ),
    (
        virtual_server("persistence_timeout = -1"),
        "virtual_server[0].persistence_timeout: -1 must be at least 0",
    ),
    # health checks
    (
        virtual_server() + CHECK + 'kind = "ping"',
        "virtual_server[0].health_check.kind: 'ping' is none of icmp, tcp, http, https, none",
    ),
    (
        virtual_server() + CHECK + "interval = 0",
        "virtual_server[0].health_check.interval: 0 must be at least 0.01",
    ),
    (
        virtual_server() + CHECK + "timeout = -0.5",
        "virtual_server[0].health_check.timeout: -0.5 must be greater than 0",
    ),
    (
        virtual_server() + CHECK + "rise = 1.5",
        "virtual_server[0].health_check.rise: 1.5 is not a whole number",
    ),
    (
        virtual_server() + CHECK + "expect_status = [99]",
        "virtual_server[0].health_check.expect_status[0]: 99 must be at least 100",
    ),
    (
        virtual_server() + CHECK + 'path = "index.html"',
        (
            "virtual_server[0].health_check.path: 'index.html' is not a path as HTTP sends it:"
            " '/', then no space, ASCII only"
        ),
    ),
    (
        virtual_server() + CHECK + 'host = "www.example.org:443"',
        (
            "virtual_server[0].health_check.host: 'www.example.org:443' is not a host name or an"
            " IP address (without a port)"
        ),
    ),
    (
        virtual_server() + CHECK + 'host = "a\\r\\nX-Evil: 1"',
        (
            "virtual_server[0].health_check.host: 'a\\r\\nX-Evil: 1' is not a host name or an"
            " IP address (without a port)"
        ),
    ),
    (
        virtual_server() + CHECK + 'ca_file = "ca.pem"',
        "virtual_server[0].health_check.ca_file: 'ca.pem' is not an absolute path",
    ),
    (
        virtual_server() + CHECK + 'verify = "no"',
        "virtual_server[0].health_check.verify: 'no' is not true or false",
    ),
    (
        virtual_server('protocol = "udp"') + CHECK + 'kind = "https"',
        (
            "virtual_server[0].health_check.kind: 'https' cannot check a udp port: use icmp,"
            " or name a TCP port with `port`"
        ),
    ),
    (
        virtual_server('protocol = "udp"') + CHECK + 'kind = "http"',
        (
            "virtual_server[0].health_check.kind: 'http' cannot check a udp port: use icmp,"
            " or name a TCP port with `port`"
        ),
    ),
    # contradictions
    (
        virtual_server() + virtual_server(address="10.0.1.101:80"),
        "virtual_server[1].name: 'web' is already the name of virtual_server[0]",
    ),
    (
        virtual_server(name="a") + virtual_server(name="b"),
        "virtual_server[1].address: tcp 10.0.1.100:80 is already served by virtual_server[0]",
    ),
    (
        virtual_server() + real_server("10.0.2.11:80") + real_server("10.0.2.11:80"),
        (
            "virtual_server[0].real_server[1].address: 10.0.2.11:80 is already"
            " virtual_server[0].real_server[0]"
        ),
    ),
    (
        virtual_server(name="a")
        + real_server("10.0.1.101:80")
        + virtual_server(name="b", address="10.0.1.101:443"),
        (
            "virtual_server[0].real_server[0].address: 10.0.1.101 is a VIP of this switch:"
            " packets would loop"
        ),
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = "10.0.2.1"') + real_server("10.0.2.1:80"),
        (
            "virtual_server[0].real_server[0].address: 10.0.2.1 is a snat address of this switch:"
            " packets would loop"
        ),
    ),
    (
        virtual_server() + real_server("[2001:db8::11]:80"),
        (
            "virtual_server[0].real_server[0].address: [2001:db8::11]:80 is IPv6, but the VIP"
            " 10.0.1.100 is not"
        ),
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = "2001:db8::1"'),
        "virtual_server[0].snat: 2001:db8::1 is IPv6, but the VIP 10.0.1.100 is not",
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = ["10.0.2.1", "2001:db8::1"]'),
        "virtual_server[0].snat: 2001:db8::1 is IPv6, but the VIP 10.0.1.100 is not",
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = ["10.0.2.1", "10.0.2.1"]'),
        "virtual_server[0].snat: an address stands there twice",
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = ["10.0.2.1", ""]'),
        "virtual_server[0].snat: an address in the list is empty",
    ),
    (
        virtual_server(
            f'forward = "full_nat"\nsnat = {[f"10.0.3.{n}" for n in range(65)]}'.replace("'", '"')
        ),
        "virtual_server[0].snat: 65 addresses are more than 64",
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = ["10.0.2.9", "10.0.2.1"]')
        + real_server("10.0.2.1:80"),
        (
            "virtual_server[0].real_server[0].address: 10.0.2.1 is a snat address of this switch:"
            " packets would loop"
        ),
    ),
    (
        virtual_server('snat = "10.0.2.1"'),
        'virtual_server[0].snat: has no effect without forward = "full_nat"',
    ),
    (
        virtual_server('forward = "full_nat"\nsnat = "10.0.2.1:80"'),
        "virtual_server[0].snat: '10.0.2.1:80' is not an IP address (without a port)",
    ),
    (
        virtual_server("persistence_prefix = 24"),
        "virtual_server[0].persistence_prefix: has no effect without persistence_timeout",
    ),
    (
        virtual_server("persistence_timeout = 5\npersistence_prefix = 48"),
        ("virtual_server[0].persistence_prefix: 48 is more than the 32 bits of an IPv4 address"),
    ),
    (
        virtual_server("persistence_timeout = 5\npersistence_prefix = 129"),
        "virtual_server[0].persistence_prefix: 129 must be at most 128",
    ),
    (
        virtual_server("one_packet = true"),
        (
            'virtual_server[0].one_packet: is for protocol = "udp": a tcp connection is never'
            " one packet"
        ),
    ),
    (
        virtual_server('protocol = "udp"\nforward = "full_nat"\none_packet = true'),
        (
            'virtual_server[0].one_packet: cannot go with forward = "full_nat", whose source'
            " ports belong to connections"
        ),
    ),
    (
        "[switch]\nmax_half_open_per_source = -1\n",
        "switch.max_half_open_per_source: -1 must be at least 0",
    ),
]


@pytest.mark.parametrize(("text", "line"), ONE_ERROR, ids=[line for _, line in ONE_ERROR])
def test_one_error(file: Path, text: str, line: str) -> None:
    assert errors_of(file, text) == [line]


def test_all_errors_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = (
        virtual_server('scheduler = "rrr"\nshedule = 1', address="10.0.1.100:99999")
        + real_server("10.0.2.11:80", "weight = -1")
        + real_server("10.0.2.11:80")
        + virtual_server()
        + "[switch]\nqueue = -1\n"
    )
    assert errors_of(file, text) == [
        "virtual_server[0].address: '10.0.1.100:99999': port 99999 is not between 1 and 65535",
        "virtual_server[0].scheduler: 'rrr' is none of rr, wrr, lc, wlc, sh, mh",
        "virtual_server[0].shedule: unknown key; did you mean 'scheduler'?",
        "virtual_server[0].real_server[0].weight: -1 must be at least 0",
        (
            "virtual_server[0].real_server[1].address: 10.0.2.11:80 is already"
            " virtual_server[0].real_server[0]"
        ),
        "virtual_server[1].name: 'web' is already the name of virtual_server[0]",
        "switch.queue: -1 must be at least 0",
    ]


def test_toml_syntax_error_names_the_line(file: Path) -> None:
    (line,) = errors_of(file, "[switch]\ncapture = \n")
    assert line == f"{file}: line 2, column 11: invalid value"


def test_toml_that_ends_too_early_names_the_last_line(file: Path) -> None:
    (line,) = errors_of(file, '[switch]\nhash_key = """abc')
    assert line.startswith(f"{file}: line 2")


def test_duplicate_key_is_a_syntax_error(file: Path) -> None:
    (line,) = errors_of(file, "[switch]\nqueue = 1\nqueue = 2\n")
    assert line.startswith(f"{file}: line 3")
    assert "overwrite" in line


def test_missing_file(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.lines == [f"{file}: no such file or directory"]


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.lines == [f"{tmp_path}: is a directory"]


def test_not_utf8(file: Path) -> None:
    file.write_bytes(b"[switch]\n# \xff\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.lines == [f"{file}: line 2: not UTF-8, as TOML must be"]


def test_endless_nesting_is_an_error_line_not_a_traceback(file: Path) -> None:
    (line,) = errors_of(file, "a = " + "[" * 100_000)
    assert line.startswith(f"{file}: ")
    assert "\n" not in line


def test_hosts_have_one_address_or_several(file: Path) -> None:
    config = load_text(file, GOOD + '[hosts]\nc1 = "10.0.1.11"\ns1 = ["10.0.2.11", "2001:db8::1"]')
    assert {name: [str(ip) for ip in ips] for name, ips in config.hosts.items()} == {
        "c1": ["10.0.1.11"],
        "s1": ["10.0.2.11", "2001:db8::1"],
    }
    assert {str(ip): name for ip, name in host_names(config).items()} == {
        "10.0.1.11": "c1",
        "10.0.2.11": "s1",
        "2001:db8::1": "s1",
    }
    assert validate(as_data(config)) == config
    assert load_text(file, GOOD).hosts == {}


def test_errors_of_hosts(file: Path) -> None:
    text = '[hosts]\nc1 = "10.0.1.11"\nc2 = "10.0.1.11"\nc3 = "10.0.1.12:80"\nc4 = []'
    assert errors_of(file, text) == [
        "hosts.c2: 10.0.1.11 is already hosts.c1",
        "hosts.c3: '10.0.1.12:80' is not an IP address (without a port)",
        "hosts.c4: a host needs at least one IP address, and no empty one",
    ]
    assert errors_of(file, 'hosts = "c1"') == ["hosts: 'c1' is not a table"]
    assert errors_of(file, '[hosts]\n"c 1" = "10.0.1.11"') == [
        "hosts: 'c 1' is not a name: 1 to 64 printable characters without spaces"
    ]


def test_a_mark_at_the_beginning_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Some editors begin a UTF-8 file with U+FEFF (RFC 3629, section 6)."""
    file = tmp_path / "lb.toml"
    text = '[[virtual_server]]\nname = "web"\naddress = "10.0.1.100:80"\n'
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(file).virtual_server[0].name == "web"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\xff\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.lines == [f"{file}: line 4: not UTF-8, as TOML must be"]
