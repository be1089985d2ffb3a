"""The device in a box: a whole core device's surroundings, made of real parts, on one machine."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.sandbox import box
from tests.sandbox.aws import ACCOUNT, ECR_PASSWORD, ECR_USER, REGION, Aws
from tests.sandbox.certificates import Certificate, CertificateAuthority
from tests.sandbox.dns import DnsServer, Mode
from tests.sandbox.engine import Engine
from tests.sandbox.engines import Variant
from tests.sandbox.faults.disk import small_disk
from tests.sandbox.faults.https import BLOB_HOST, HttpsProxy
from tests.sandbox.faults.tcp import TcpProxy, Upstream
from tests.sandbox.processes import SYSTEM_PATH
from tests.sandbox.registry import Credentials, Registry

ECR_HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
ECR_PUBLIC_HOST = "public.ecr.aws"
HUB_HOST = "docker.io"
HUB_NAMES = ("registry-1.docker.io", "index.docker.io", HUB_HOST)
OTHER_HOST = "registry.example.com"
OTHER_CREDENTIALS = Credentials("robot", "robot-password")
THING_NAME = "sandbox-device"
_ECR_ADDRESS, _PUBLIC_ADDRESS = f"{box.NETWORK}.1", f"{box.NETWORK}.2"
_AWS_ADDRESS = f"{box.NETWORK}.3"
_PROXY_ADDRESSES = range(60, 100)
_FIRST_FREE_ADDRESS = 100
_CERTIFICATES = Path("/etc/docker/certs.d")


class Device:
    """An engine, a private ECR, a public registry, a name server and AWS.

    A context manager; this process stays in the sandbox's namespaces after its end.
    """

    ecr: Registry
    """The private ECR: user `AWS`, and the password that `aws` hands out."""
    public: Registry
    """Without password: `public.ecr.aws` and Docker Hub, the same images in both."""
    engine: Engine
    """On the default socket; trusts the sandbox's authority as others trust the public ones."""
    aws: Aws
    dns: DnsServer
    folder: Path

    def __init__(self, variant: Variant = Variant.DOCKER) -> None:
        self.variant = variant
        self._parts = contextlib.ExitStack()
        self._extras = contextlib.ExitStack()
        self._registries: list[Registry] = []
        self._proxies: list[TcpProxy | HttpsProxy] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> Device:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        box.enter()
        self.folder = box.make_folder()
        self._parts.callback(box.remove_folder, self.folder)
        self._parts.callback(box.remove_cgroups)
        (self.folder / "home").mkdir()
        self.authority = CertificateAuthority(self.folder / "certificates")
        self.dns = DnsServer(box.NAMESERVER)
        self._parts.callback(self.dns.close)
        self.dns.start()
        # All are started before any is waited for.
        self.engine = self.start_engine()
        self.aws = Aws(self.folder / "aws")
        self._parts.callback(self.aws.close)
        self.aws.start()
        self.ecr = self.start_registry(
            [ECR_HOST], Credentials(ECR_USER, ECR_PASSWORD), address=_ECR_ADDRESS
        )
        self.public = self.start_registry([ECR_PUBLIC_HOST, *HUB_NAMES], address=_PUBLIC_ADDRESS)
        self._parts.callback(self._extras.pop_all().close)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when engine and registries answer; moto is waited for by its first call."""
        for registry in self._registries:
            registry.wait_ready()
        self.engine.wait_ready()

    def close(self) -> None:
        """Stops everything and removes the temporary folder: nothing is left on the machine."""
        self._extras.close()
        self._parts.close()

    def start_registry(
        self,
        names: Sequence[str],
        credentials: Credentials | None = None,
        *,
        address: str = "",
        authority: CertificateAuthority | None = None,
    ) -> Registry:
        """One more registry, until the next `reset`.

        With an authority of its own the engine does not trust it, see `trust`.
        """
        number = next(self._numbers)
        address = address or f"{box.NETWORK}.{_FIRST_FREE_ADDRESS + number}"
        folder = self.folder / f"registry-{number}"
        registry = Registry(
            names,
            address,
            certificate=(authority or self.authority).issue(names, [address]),
            folder=folder,
            credentials=credentials,
        )
        self._registries.append(registry)
        self._extras.callback(self._end_registry, registry, folder)
        self.dns.names.update(dict.fromkeys(names, address))
        registry.start()
        return registry

    def _end_registry(self, registry: Registry, folder: Path) -> None:
        registry.stop()
        self._registries.remove(registry)
        for name in registry.names:
            self.dns.names.pop(name, None)
            shutil.rmtree(_CERTIFICATES / name, ignore_errors=True)
        shutil.rmtree(folder)

    def start_other_registry(self) -> Registry:
        """A private registry that is not AWS's, trusted by a file in `/etc/docker/certs.d`."""
        authority = CertificateAuthority(self.folder / "certificates", OTHER_HOST)
        registry = self.start_registry([OTHER_HOST], OTHER_CREDENTIALS, authority=authority)
        self.trust(registry)
        registry.wait_ready()
        return registry

    def trust(self, registry: Registry) -> None:
        """Lets the engine trust a registry's own authority; it looks there anew with each pull."""
        for name in registry.names:
            folder = _CERTIFICATES / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "ca.crt").write_bytes(registry.certificate.authority.read_bytes())

    def lead_to_aws(self, *names: str) -> None:
        """Names of AWS, for who has no AWS_ENDPOINT_URL, lead to `aws` until the next `reset`."""
        certificate = self.authority.issue(names)
        self._extras.enter_context(self.aws.also_at(_AWS_ADDRESS, certificate))
        for name in names:
            self.dns.names[name] = _AWS_ADDRESS
            self._extras.callback(self.dns.names.pop, name, None)

    def put_between(self, upstream: Upstream) -> TcpProxy:
        """A proxy that breaks connections, until the next `reset`.

        The names of the registry, or of another proxy, lead to it.
        """
        proxy = TcpProxy(upstream, self._proxy_address())
        self._put(proxy)
        return proxy

    def put_https_between(
        self,
        registry: Registry,
        certificate: Certificate | None = None,
        *,
        blob_host: str = BLOB_HOST,
    ) -> HttpsProxy:
        """A proxy that answers in a registry's place, until the next `reset`.

        By default the engine trusts it. `blob_host` leads to it as well.
        """
        certificate = certificate or self.authority.issue([blob_host, *registry.names])
        proxy = HttpsProxy(registry, self._proxy_address(), certificate, blob_host)
        self._extras.callback(self.dns.names.pop, blob_host, None)
        self.dns.names[blob_host] = proxy.address
        self._put(proxy)
        return proxy

    def _proxy_address(self) -> str:
        taken = {proxy.address for proxy in self._proxies}
        addresses = (f"{box.NETWORK}.{number}" for number in _PROXY_ADDRESSES)
        return next(address for address in addresses if address not in taken)

    def _put(self, proxy: TcpProxy | HttpsProxy) -> None:
        self._extras.callback(self._proxies.remove, proxy)
        self._extras.callback(proxy.close)
        self._proxies.append(proxy)
        proxy.start()
        self.dns.names.update(dict.fromkeys(proxy.names, proxy.address))

    def start_small_engine(
        self,
        size_mib: int,
        name: str = "small",
        *,
        config: Mapping[str, object] | None = None,
    ) -> Engine:
        """One more engine, whose disk has so many MiB, until the next `reset`; without a bridge."""
        disk = self._extras.enter_context(small_disk(self.folder / f"disk-{name}", size_mib))
        alone = {"data-root": str(disk), "bridge": "none", "iptables": False}
        return self.start_engine(name, config={**alone, **(config or {})})

    def start_engine(
        self,
        name: str = "docker",
        *,
        program: str = "dockerd",
        config: Mapping[str, object] | None = None,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Engine:
        """One more engine of the same kind, until the next `reset`; it trusts the sandbox's authority."""
        folder = self.folder / f"engine-{name}"
        engine = self.variant.make(
            folder,
            name=name,
            program=program,
            config=config or {},
            flags=flags,
            environment={"SSL_CERT_FILE": str(self.authority.bundle), **(environment or {})},
        )
        self._extras.callback(shutil.rmtree, folder)
        self._extras.callback(engine.kill)
        engine.start()
        return engine

    def environment(self, **more: str) -> dict[str, str]:
        """All that a component's process finds in its environment; AWS credentials are not in it.

        `PATH` begins with this Python's own folder, where the commands of the project are.
        """
        return {
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.aws.endpoint_url,
            "AWS_IOT_THING_NAME": THING_NAME,
            "SSL_CERT_FILE": str(self.authority.bundle),
            **more,
        }

    def reset(self) -> None:
        """As after the start: all parts run, no images, nothing counted, no faults."""
        self._extras.close()
        box.connect()
        self.dns.mode = Mode.NORMAL
        self.dns.asked.clear()
        for registry in self._registries:
            self.dns.names.update(dict.fromkeys(registry.names, registry.address))
            registry.start()
        self.ecr.credentials = Credentials(ECR_USER, ECR_PASSWORD)
        self.engine.resume()
        if self.engine.lost_bridge():
            self.engine.stop()
        self.engine.start()
        self.wait_ready()
        self.engine.remove_images()
        self.aws.reset()
        for registry in self._registries:
            registry.forget_requests()
