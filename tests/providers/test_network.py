"""Every class of address, in both networks and every spelling; and what a URL that says nothing is taken for."""

from __future__ import annotations

import socket
import timeit
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.network import literal, network_of, refusal

NEVER = {
    "a cloud's metadata or platform service": [
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "FD00:0EC2:0::0254",
    ],
    "link-local, where metadata services live": [
        "169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255", "fe80::", "fe80::1%eth0", "febf:ffff::1",
    ],
    "unspecified": ["0.0.0.0", "0.0.0.1", "0.255.255.255", "::"],
    "multicast": ["224.0.0.0", "224.0.0.251", "239.255.255.255", "ff00::", "ff02::1", "ff0e::1"],
    "for documentation": ["192.0.2.1", "198.51.100.255", "203.0.113.0", "2001:db8::1", "3fff:fff::"],
    "for benchmarks": ["198.18.0.0", "198.19.255.255", "2001:2::1"],
    "reserved": [
        "240.0.0.0", "255.255.255.254", "255.255.255.255", "192.0.0.1", "192.88.99.1", "2001:10::1", "100::1",
        "fec0::1", "4000::", "1fff::1", "64:ff9b:1::a00:1", "::ffff:0:7f00:1", "5f00::1",
    ],
}  # fmt: skip
PRIVATE = {
    "loopback": ["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1"],
    "private": [
        "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", "fc00::",
        "fd00:ec2::253", "fdff:ffff::1",
    ],
    "shared by carriers (100.64.0.0/10)": ["100.64.0.0", "100.100.100.199", "100.127.255.255"],
}  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::200e",
]  # fmt: skip


def carriers(inner: str) -> list[str]:
    """Every IPv6 form that carries this IPv4 address."""
    number = int(IPv4Address(inner))
    high, low = number >> 16, number & 0xFFFF
    turned = number ^ 0xFFFFFFFF  # Teredo
    return [
        f"::ffff:{inner}",
        f"::ffff:{high:x}:{low:x}",
        f"0:0:0:0:0:FFFF:{high:04X}:{low:04X}",
        f"64:ff9b::{inner}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:4136:e378:8000:63bf:{turned >> 16:x}:{turned & 0xFFFF:x}",
        *([f"::{inner}"] if number > 1 else []),
    ]


@pytest.mark.parametrize(("what", "address"), [(what, one) for what, many in NEVER.items() for one in many])
def test_what_is_never_reached(what: str, address: str) -> None:
    told = f"its address is {what}; that is never allowed"
    assert refusal(address, "public") == refusal(address, "private") == told


@pytest.mark.parametrize(("what", "address"), [(what, one) for what, many in PRIVATE.items() for one in many])
def test_what_is_reached_in_a_private_network_only(what: str, address: str) -> None:
    told = f"its address is {what}; write `network: private` if the server is in your own network"
    assert refusal(address, "public") == told
    assert refusal(address, "private") is None


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_always_reached(address: str) -> None:
    assert refusal(address, "public") is None
    assert refusal(address, "private") is None


V4 = [one for many in (*NEVER.values(), *PRIVATE.values(), PUBLIC) for one in many if ":" not in one]


@pytest.mark.parametrize(("inner", "outer"), [(inner, outer) for inner in V4 for outer in carriers(inner)])
def test_a_carried_address_is_judged_for_what_it_is(inner: str, outer: str) -> None:
    for network in ("public", "private"):
        assert refusal(outer, network) == refusal(inner, network)


@given(st.ip_addresses(v=4))
def test_every_carrier_agrees(address: IPv4Address) -> None:
    for outer in carriers(str(address)):
        for network in ("public", "private"):
            assert refusal(outer, network) == refusal(str(address), network)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_public_reaches_nothing_that_is_not_global(address: IPv4Address | IPv6Address) -> None:
    """The standard library's own table, whatever its age, is never stricter."""
    if refusal(str(address), "public") is None:
        assert address.is_global
        assert not address.is_multicast
        assert refusal(str(address), "private") is None


@pytest.mark.parametrize("words", ["", "example.com", "127.1", "1.2.3.4.5", "::g", "1.2.3.4 ", "[::1]", "0x7f000001"])
def test_what_is_no_address_is_refused(words: str) -> None:
    assert refusal(words, "private") == "its address is no IP address"


def test_a_judgement_is_quick() -> None:
    """Called for each address of each new connection; once known, far below a microsecond."""
    refusal("2606:4700:4700::1111", "public")
    assert min(timeit.repeat(lambda: refusal("2606:4700:4700::1111", "public"), number=1000, repeat=5)) < 0.005


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "vllm", "vllm.", "vllm-0", "vllm_0", "printer.local",
        "metadata.google.internal", "host.docker.internal", "vllm.default.svc", "vllm.default.svc.cluster.local",
        "vllm.default.svc.cluster.local.", "nas.lan", "nas.home.arpa", "user@vllm",
        "127.0.0.1", "10.1.2.3", "100.64.0.1", "[::1]", "[fd00::1]", "[fe80::1%25eth0]",
        "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7f000001", "[::ffff:10.0.0.1]", "[::ffff:7f00:1]",
        "127。0。0。1", "①②⑦.0.0.1",
    ],
)  # fmt: skip
def test_private_by_its_host(host: str) -> None:
    assert network_of(f"http://{host}:8000/v1") == "private"


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com", "vllm.example.com", "vllm.default", "local.example.com", "internal.com", "lan.example",
        "xlocal.de", "a.svc.com", "8.8.8.8", "134744072", "0x08.0x08.0x08.0x08", "[2606:4700:4700::1111]",
        "[::ffff:8.8.8.8]", "1.2.3.4.example.com", "bücher.example",
    ],
)  # fmt: skip
def test_public_by_its_host(host: str) -> None:
    assert network_of(f"https://{host}/v1") == "public"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("169.254.43518", "169.254.169.254"),
        ("169。254。169。254", "169.254.169.254"),
        ("１６９.254.169.254", "169.254.169.254"),
        ("169.254.169.254.", "169.254.169.254"),
        ("[::ffff:169.254.169.254]", "::ffff:169.254.169.254"),
        ("[::FFFF:A9FE:A9FE]", "::ffff:169.254.169.254"),
        ("[fe80::1%25eth0]", "fe80::1"),
        ("127.0.0.256", None),
        ("256.1", None),
        ("4294967296", None),
        ("0x", None),
        ("08.1.1.1", None),
        ("1.2.3.4.5", None),
        ("127.0.0.1.example.com", None),
        ("vllm", None),
        ("deadbeef", None),
    ],
)
def test_a_host_is_the_address_that_a_resolver_takes_it_for(host: str, address: str | None) -> None:
    found = literal(f"http://{host}:8000/v1")
    assert (found and int_of(found)) == (address and int_of(address))


def int_of(address: str) -> int:
    return int(IPv6Address(address)) if ":" in address else int(IPv4Address(address))


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0xa9fea9fe", "169.254.43518"])
def test_the_system_resolver_agrees(host: str) -> None:
    try:
        ((*_, (resolved, *_)), *_) = socket.getaddrinfo(host, 80, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:  # stricter than most: no danger then
        pytest.skip("this system's resolver takes no such spelling")
    assert literal(f"http://{host}/") == resolved


@pytest.mark.parametrize(
    "host", ["0xa9fea9fe", "2852039166", "169.254.43518", "[::ffff:169.254.169.254]", "169。254。169。254", "0"]
)
def test_no_spelling_of_a_metadata_service_gets_through(host: str) -> None:
    address = literal(f"http://{host}/latest")
    assert address is not None
    assert "never allowed" in str(refusal(address, "private"))
