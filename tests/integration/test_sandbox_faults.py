"""The faults between engine and registry are what they say, byte for byte."""

from __future__ import annotations

import hashlib
import http.client
import math
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox import images
from tests.sandbox.device import ECR_HOST, ECR_PUBLIC_HOST, Device
from tests.sandbox.faults import answers
from tests.sandbox.faults.https import HttpsProxy
from tests.sandbox.faults.link import Break, Kind
from tests.sandbox.faults.rules import BLOBS, MANIFESTS, PING, Fault
from tests.sandbox.faults.tcp import TcpProxy

MIB = 1024 * 1024
BLOB = images.random_layer("blob", MIB).blob
TIMEOUT_SECONDS = 20.0
BROKEN = (http.client.IncompleteRead, http.client.RemoteDisconnected, OSError)
"""Python's TLS takes a reset for an end; plain connections and engines tell them apart."""


@pytest.fixture
def digest(fresh_device: Device) -> str:
    """Of a blob of 1 MiB in the repository `app` of the public registry."""
    return fresh_device.public.put_blob("app", BLOB)


@pytest.fixture
def tcp(fresh_device: Device) -> TcpProxy:
    """Before the public registry."""
    return fresh_device.put_between(fresh_device.public)


@pytest.fixture
def https(fresh_device: Device) -> HttpsProxy:
    """Before the public registry."""
    return fresh_device.put_https_between(fresh_device.public)


class Client:
    """A raw client: what arrives, byte for byte, and how it ends."""

    def __init__(self, device: Device, host: str = ECR_PUBLIC_HOST) -> None:
        context = ssl.create_default_context(cafile=str(device.authority.bundle))
        self.connection = http.client.HTTPSConnection(
            host, context=context, timeout=TIMEOUT_SECONDS
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self.connection.request(method, path, headers=headers)
        with self.connection.getresponse() as answer:
            return answer, answer.read()


def get(device: Device, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    with Client(device) as client:
        return client.ask(path, **headers)


def plain(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((proxy.address, 443), timeout=TIMEOUT_SECONDS)


def test_what_passes_is_untouched(fresh_device: Device, tcp: TcpProxy, digest: str) -> None:
    _, body = get(fresh_device, f"/v2/app/blobs/{digest}")

    assert body == BLOB
    tcp.wait_for(connections=1, bytes_down=len(BLOB), open_at_most=0)
    assert tcp.connections == 1
    assert 0 < tcp.bytes_up < len(BLOB) < tcp.bytes_down < len(BLOB) + 20_000
    # The TLS was the registry's own.
    assert [r.status for r in fresh_device.public.requests()] == [200]


def test_refused_until_mended(fresh_device: Device, tcp: TcpProxy, digest: str) -> None:
    with Client(fresh_device) as early:
        early.ask("/v2/")
        tcp.refuse()
        with pytest.raises(ConnectionRefusedError):
            plain(tcp)
        assert early.ask("/v2/")[0].status == 200
        tcp.mend()
        assert get(fresh_device, "/v2/")[0].status == 200


@pytest.mark.parametrize("kind", [Kind.RESET, Kind.CUT])
def test_connections_break_after_so_many_bytes_so_many_times(
    fresh_device: Device, tcp: TcpProxy, digest: str, kind: Kind
) -> None:
    tcp.inject(Break(kind, after_bytes=100_000, times=2))

    for _ in range(2):
        # Little is said on this connection: it does not count.
        assert get(fresh_device, "/v2/")[0].status == 200
        tcp.wait_for(open_at_most=0)
        before = tcp.bytes_down
        with pytest.raises(BROKEN):
            get(fresh_device, f"/v2/app/blobs/{digest}")
        assert tcp.bytes_down - before == 100_000
    assert get(fresh_device, f"/v2/app/blobs/{digest}")[1] == BLOB
    assert (tcp.struck, tcp.connections) == (2, 5)


def test_breaks_come_in_their_order(tcp: TcpProxy) -> None:
    tcp.inject(Break(Kind.RESET, times=1), Break(Kind.GARBAGE, garbage=b"hello", times=1))
    tcp.inject(Break(Kind.CUT))
    with plain(tcp) as first:
        first.sendall(b"hello?")
        with pytest.raises(ConnectionResetError):
            first.recv(1)
    with plain(tcp) as second:
        second.sendall(b"hello?")
        assert [second.recv(9), second.recv(9)] == [b"hello", b""]
    with plain(tcp) as third:
        third.sendall(b"hello?")
        assert third.recv(9) == b""


def test_a_stall_ends_when_mended_or_with_the_client(
    fresh_device: Device, tcp: TcpProxy, digest: str
) -> None:
    tcp.inject(Break(Kind.STALL, after_bytes=100_000))
    with Client(fresh_device) as patient, Client(fresh_device) as hasty:
        for client in (patient, hasty):
            client.connection.request("GET", f"/v2/app/blobs/{digest}")
        tcp.wait_for(struck=2)
        assert tcp.bytes_down == 200_000
        hasty.connection.close()
        tcp.wait_for(open_at_most=1)

        tcp.mend()
        with patient.connection.getresponse() as answer:
            assert answer.read() == BLOB


def test_a_black_hole_takes_all_and_says_nothing(tcp: TcpProxy) -> None:
    tcp.inject(Break(Kind.STALL))
    with plain(tcp) as client:
        client.sendall(b"anyone there?")
        tcp.wait_for(struck=1)
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert tcp.open_connections == 1
    tcp.wait_for(open_at_most=0)


def test_open_connections_can_be_reset(fresh_device: Device, tcp: TcpProxy) -> None:
    with plain(tcp) as client:
        tcp.wait_for(connections=1)
        tcp.reset_connections()
        assert tcp.open_connections == 0
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert get(fresh_device, "/v2/")[0].status == 200


def test_a_slow_link_passes_less_and_all_connections_share_it(
    fresh_device: Device, tcp: TcpProxy, digest: str
) -> None:
    tcp.bytes_per_second = 50_000
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(get, fresh_device, f"/v2/app/blobs/{digest}") for _ in range(2)]
        tcp.wait_for(connections=2, bytes_down=20_000)
        # Far from what would have been through at full speed by now.
        assert tcp.bytes_down < MIB
        tcp.mend()
        assert [each.result()[1] for each in both] == [BLOB, BLOB]


def test_a_delay_is_for_each_round_trip(fresh_device: Device, tcp: TcpProxy, digest: str) -> None:
    tcp.delay_seconds = 0.05
    with Client(fresh_device) as client:
        client.ask("/v2/")
        begun = time.monotonic()
        for _ in range(3):
            client.ask("/v2/")
        assert time.monotonic() - begun >= 3 * tcp.delay_seconds
    assert get(fresh_device, f"/v2/app/blobs/{digest}")[1] == BLOB


def test_proxies_stand_in_a_row(fresh_device: Device, https: HttpsProxy, digest: str) -> None:
    outer = fresh_device.put_between(https)
    assert get(fresh_device, f"/v2/app/blobs/{digest}")[1] == BLOB
    assert outer.connections == len(https.requests()) == 1


def test_a_reset_takes_the_proxies_away(fresh_device: Device, digest: str) -> None:
    threads = set(threading.enumerate())
    tcp = fresh_device.put_between(fresh_device.public)
    https = fresh_device.put_https_between(fresh_device.ecr)
    tcp.inject(Break(Kind.STALL))
    https.inject(Fault(delay_seconds=math.inf))
    with plain(tcp) as client, Client(fresh_device, ECR_HOST) as other:
        client.sendall(b"hello?")
        other.connection.request("GET", "/v2/")
        tcp.wait_for(struck=1)
        fresh_device.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(BROKEN):
            other.connection.getresponse()
    assert set(threading.enumerate()) <= threads
    assert get(fresh_device, f"/v2/app/blobs/{digest}")[1] == BLOB
    assert fresh_device.dns.names[ECR_HOST] == fresh_device.ecr.address
    assert https.blob_host not in fresh_device.dns.names


def test_requests_pass_an_https_proxy(fresh_device: Device, https: HttpsProxy, digest: str) -> None:
    path = f"/v2/app/blobs/{digest}"
    with Client(fresh_device) as client:
        head, nothing = client.ask(path, "HEAD")
        ranged, part = client.ask(path, Range="bytes=10-19")
        whole, body = client.ask(path)
        unknown, text = client.ask("/v2/app/manifests/none")

    assert (head.status, head.headers["Content-Length"], nothing) == (200, str(len(BLOB)), b"")
    assert (ranged.status, part) == (206, BLOB[10:20])
    assert (whole.status, body) == (200, BLOB)
    assert unknown.status == 404
    assert b"MANIFEST_UNKNOWN" in text
    asked = [(r.method, r.path, r.range, r.status, r.fault) for r in https.requests()]
    assert asked == [
        ("HEAD", path, "", 200, None),
        ("GET", path, "bytes=10-19", 206, None),
        ("GET", path, "", 200, None),
        ("GET", "/v2/app/manifests/none", "", 404, None),
    ]


def test_answers_in_place_of_the_registrys(fresh_device: Device, https: HttpsProxy) -> None:
    limit = Fault(MANIFESTS, answer=answers.too_many_requests(retry_after="7"), skip=1, times=2)
    https.inject(limit, Fault(PING, method="HEAD", answer=answers.server_error(502)))
    with Client(fresh_device) as client:
        statuses = [client.ask("/v2/app/manifests/1")[0].status for _ in range(4)]
        assert client.ask("/v2/")[0].status == 200
        assert client.ask("/v2/", "HEAD")[0].status == 502
        https.inject(limit)
        client.ask("/v2/app/manifests/1")
        limited, text = client.ask("/v2/app/manifests/1")

    assert statuses == [404, 429, 429, 404]
    assert limited.headers["Retry-After"] == "7"
    assert b'"TOOMANYREQUESTS"' in text
    struck = [r.fault for r in https.requests(MANIFESTS)]
    assert struck == [None, limit, limit, None, None, limit]


def test_bodies_are_damaged(fresh_device: Device, https: HttpsProxy, digest: str) -> None:
    path = f"/v2/app/blobs/{digest}"
    https.inject(Fault(BLOBS, corrupt=True), Fault(BLOBS, truncate_after_bytes=70_000))
    https.inject(Fault(BLOBS, drop=True))

    _, corrupt = get(fresh_device, path)
    assert len(corrupt) == len(BLOB)
    assert hashlib.sha256(corrupt).digest() != hashlib.sha256(BLOB).digest()
    with pytest.raises(BROKEN) as cut:
        get(fresh_device, path)
    if isinstance(cut.value, http.client.IncompleteRead):
        assert (len(cut.value.partial), cut.value.expected) == (70_000, len(BLOB) - 70_000)
    with pytest.raises(BROKEN):
        get(fresh_device, path)
    assert get(fresh_device, path)[1] == BLOB
    assert [r.status for r in https.requests()] == [200, 200, 0, 200]


def test_a_body_that_lacks_no_more_than_its_end_is_cut_all_the_same(
    fresh_device: Device, https: HttpsProxy, digest: str
) -> None:
    https.inject(Fault(BLOBS, truncate_after_bytes=len(BLOB) - 1))

    with pytest.raises(BROKEN) as cut:
        get(fresh_device, f"/v2/app/blobs/{digest}")
    assert not isinstance(cut.value, TimeoutError)


def test_answers_come_late(fresh_device: Device, https: HttpsProxy) -> None:
    https.inject(Fault(PING, delay_seconds=math.inf))
    with Client(fresh_device) as held, ThreadPoolExecutor(1) as thread:
        late = thread.submit(held.ask, "/v2/")
        # Others are not held up.
        assert get(fresh_device, "/v2/x/manifests/1")[0].status == 404
        assert not late.done()
        https.close()
        with pytest.raises(BROKEN):
            late.result()
