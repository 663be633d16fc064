"""Where a webhook may go: tables of URLs and addresses, and that nothing fuzzed slips through."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from coordinator.webhooks.targets import Target, TargetRefused, is_public, parse

GOOD = {
    "https://example.com": "example.com:443",
    "https://example.com/hooks/s3cr3t?x=1&y=%20": "example.com:443",
    "HTTPS://Hooks.EXAMPLE.com:8443/": "hooks.example.com:8443",
    "https://xn--bcher-kva.example/": "xn--bcher-kva.example:443",
    "https://a_b.example": "a_b.example:443",
    "https://example.com/@not-a-user": "example.com:443",
    "https://93.184.216.34/": "93.184.216.34:443",
    "https://[2606:4700:4700::1111]:444/": "2606:4700:4700::1111:444",
    "https://127.0.0.1.example.com": "127.0.0.1.example.com:443",
}
BAD = [
    "",
    "example.com",
    "//example.com",
    "https:example.com",
    "https:///path",
    "https://",
    "https://:443",
    "http://example.com",
    "ftp://example.com",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "wss://example.com",
    # two readings of one text
    "https://user@example.com",
    "https://user:password@example.com",
    "https://@example.com",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1\\@example.com/",
    "https:\\\\example.com",
    "https://example.com#@127.0.0.1",
    "https://example.com/#",
    " https://example.com",
    "https://example.com\n",
    "https://exam\tple.com",
    "https://example.com/a b",
    "https://exämple.com",
    "https://１２７.０.０.１",
    "https://127。0。0。1",
    "https://%31%32%37.0.0.1",
    "https://example.com:0",
    "https://example.com:65536",
    "https://example.com:port",
    "https://example.com.",
    "https://.example.com",
    "https://exa..mple.com",
    "https://*.example.com",
    "https://-.example.com",
    "https://" + "a" * 64 + ".com",
    "https://" + "a." * 130 + "com",
    # this machine and its neighbours
    "https://localhost",
    "https://LOCALHOST:8080",
    "https://localhost.",
    "https://foo.localhost",
    "https://printer.local",
    "https://metadata.google.internal",
    "https://redis",
    "https://127.0.0.1",
    "https://127.0.0.1.",
    "https://10.1.2.3:8443/x",
    "https://169.254.169.254/latest/meta-data",
    "https://0.0.0.0",
    "https://[::]",
    "https://[::1]:6379",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[::127.0.0.1]",
    "https://[64:ff9b::7f00:1]",
    "https://[fe80::1]",
    "https://[fe80::1%25eth0]",
    "https://[2606:4700::1111%25eth0]",
    "https://[fd00::1]",
    "https://[ff02::1]",
    # addresses as resolvers read them, and people don't
    "https://2130706433",
    "https://017700000001",
    "https://0x7f000001",
    "https://0x7f.0.0.1",
    "https://0177.0.0.1",
    "https://127.1",
    "https://127.0.1",
    "https://0",
    "https://1.1",
    "https://example.0x7f",
    "https://1.2.3.4.5",
    "https://256.1.1.1",
    "https://08.8.8.8",
    "https://3627734734",  # a public one: refused all the same
]
ADDRESSES = {
    True: [
        "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
        "223.255.255.255", "11.0.0.0", "198.17.255.255", "198.20.0.0", "2606:4700:4700::1111", "2a00:1450:4001::200e",
        "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808",
    ],
    False: [
        "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
        "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
        "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1",
        "::ffff:0.0.0.0", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::",
        "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "2606:4700::1%eth0",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("url", "receiver"), GOOD.items())
def test_a_public_target(url: str, receiver: str) -> None:
    assert parse(url, allow_private=False).receiver == receiver


@pytest.mark.parametrize("url", BAD, ids=range(len(BAD)))
def test_what_is_none(url: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        parse(url, allow_private=False)
    assert not url or url not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://redis:80", "https://[::1]", "https://10.0.0.1", "http://localhost"]
)
def test_what_an_operator_may_allow(url: str) -> None:
    assert parse(url, allow_private=True)
    with pytest.raises(TargetRefused):
        parse(url, allow_private=False)


@pytest.mark.parametrize("url", ["http://u@127.0.0.1", "ftp://127.0.0.1", "http://2130706433", "http://127.0.0.1\\x"])
def test_what_nobody_may_allow(url: str) -> None:
    with pytest.raises(TargetRefused):
        parse(url, allow_private=True)


@pytest.mark.parametrize("public", [True, False])
def test_addresses(public: bool) -> None:
    wrong = [text for text in ADDRESSES[public] if is_public(ip_address(text)) is not public]
    assert wrong == []


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_disguise(address: object) -> None:
    number, text = int(address), str(address)  # type: ignore[call-overload]
    public = is_public(ip_address(text))
    assert is_public(ip_address(f"::ffff:{text}")) is public
    assert is_public(ip_address(f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}")) is public
    assert not public or ip_address(text).is_global  # never laxer than Python's own table


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_never_judged_laxer_than_by_python(address: object) -> None:
    found = ip_address(str(address))
    assert not is_public(found) or found.is_global


_HOSTS = st.text("0123456789abcdefx.:[]%@/\\-_ #?" + "．。１", max_size=24) | st.ip_addresses().map(str)
_PREFIXES = st.sampled_from(["https://", "HTTPS://", "https:/", "https://a@", "https://[", "https://0x"])


@given(prefix=_PREFIXES, host=_HOSTS)
def test_whatever_passes_is_no_number_that_resolves_to_something_closed(prefix: str, host: str) -> None:
    try:
        target = parse(prefix + host, allow_private=False)
    except TargetRefused:
        return
    assert isinstance(target, Target)
    assert URL(str(target.url)).raw_host == target.host
    try:  # what this machine makes of it without asking anybody
        found = socket.getaddrinfo(target.host, 443, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return
    assert all(is_public(ip_address(address[0])) for *_, address in found)
