from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from itertools import combinations
from random import Random

import pytest

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.scheduling.key_hash import DEFAULT_HASH_KEY, PARTS, KeyHash
from lb_switch.engine.servers import RealServer
from tests.scheduling.groups import key, key6

CHOICES = [parts for count in range(1, len(PARTS) + 1) for parts in combinations(PARTS, count)]
LAYOUT = {
    4: {"src_ip": (0, 4), "dst_ip": (4, 8), "src_port": (8, 10), "dst_port": (10, 12)},
    16: {"src_ip": (0, 16), "dst_ip": (16, 32), "src_port": (32, 34), "dst_port": (34, 36)},
}


@pytest.mark.parametrize("parts", CHOICES, ids="+".join)
@pytest.mark.parametrize("address", [4, 16])
def test_exactly_the_chosen_parts_are_hashed(parts: tuple[str, ...], address: int) -> None:
    flow_key = bytes(range(2 * address + 4))
    hashed = KeyHash(parts, "", "test")
    for part, (start, end) in LAYOUT[address].items():
        for at in range(start, end):
            changed = bytearray(flow_key)
            changed[at] ^= 0x80
            assert (hashed(bytes(changed)) != hashed(flow_key)) == (part in parts)


def test_it_is_blake2b_with_a_derived_key() -> None:
    derived = blake2b(DEFAULT_HASH_KEY.encode()).digest()
    expected = blake2b(key(7)[:4], digest_size=8, key=derived, person=b"test").digest()
    assert KeyHash(["src_ip"], "", "test")(key(7)).to_bytes(8, "big") == expected


def test_the_order_of_the_parts_does_not_matter() -> None:
    one, other = KeyHash(["src_port", "src_ip"], "", "x"), KeyHash(["src_ip", "src_port"], "", "x")
    assert one(key(1)) == other(key(1))
    assert one(key6(1)) == other(key6(1))


def test_key_and_purpose_change_the_hash() -> None:
    hashes = {
        KeyHash(["src_ip"], hash_key, purpose)(key(1))
        for hash_key in ("", "secret", "k" * 500)
        for purpose in ("sh", "mh")
    }
    assert len(hashes) == 6


def test_unknown_parts_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'mac' is none of src_ip, dst_ip, src_port, dst_port"):
        KeyHash(["src_ip", "mac"], "", "x")
    with pytest.raises(ValueError, match="at least one"):
        KeyHash([], "", "x")


@pytest.mark.parametrize("name", ["sh", "mh"])
@pytest.mark.parametrize("length", [12, 36], ids=["IPv4", "IPv6"])
def test_who_knows_the_key_can_aim(name: str, length: int) -> None:
    """With the key that everybody has, all connections at one server; with another, spread."""
    servers = tuple(RealServer(Endpoint.parse(f"10.0.2.{n}:80")) for n in range(1, 5))
    random = Random(1)
    known = make(name, hash_on=["src_ip", "src_port"])
    aimed: list[bytes] = []
    while len(aimed) < 1000:
        key = random.randbytes(length)
        if known.choose(key, servers) is servers[2]:
            aimed.append(key)
    secret = make(name, hash_on=["src_ip", "src_port"], hash_key="nobody knows this")
    met = Counter(secret.choose(key, servers) for key in aimed)
    assert all(200 <= met[server] <= 300 for server in servers), met
