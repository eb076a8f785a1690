"""A service with certificates, a client CA and tokens, their files, and who calls it with or without them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from swin_gateway.tokens import new_secret, sha256
from swin_proto.v1.classifier_pb2 import ListModelsRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.gateway.certificates import Authority, Pair

REFUSED = "refused"
"""The handshake, or the connection after it."""


@dataclass
class Secret:
    """A mounted folder as Kubernetes makes it: files that are links through `..data`, which is swapped as a whole."""

    folder: Path
    version: int = 0

    def put(self, files: Mapping[str, bytes]) -> None:
        self.version += 1
        data = self.folder / f"..{self.version}"
        data.mkdir(parents=True)
        for name, content in files.items():
            (data / name).write_bytes(content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..new").symlink_to(data.name)
        (self.folder / "..new").rename(self.folder / "..data")


@dataclass
class Tokens:
    """A token file; a token's secret by its name."""

    file: Path
    secrets: dict[str, str] = field(default_factory=dict)

    def write(self, **tokens: str) -> None:
        """tokens: name -> the rest of its lines"""
        for name in tokens:
            self.secrets.setdefault(name, new_secret())
        new = self.file.with_suffix(".new")
        new.write_text(
            "".join(
                f'[[token]]\nname = "{name}"\nsha256 = "{sha256(self.secrets[name]).hex()}"\n{lines}\n'
                for name, lines in tokens.items()
            )
        )
        new.rename(self.file)

    def header(self, name: str | None) -> dict[str, str]:
        """name: None sends none, an unknown one itself"""
        return {} if name is None else {"authorization": f"Bearer {self.secrets.get(name, name)}"}


@dataclass(frozen=True)
class Caller:
    """Someone who trusts the servers of `trusts` and may show a certificate."""

    trusts: Authority
    shows: Pair | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    def http(self) -> httpx.Client:
        context = ssl.create_default_context(cadata=self.trusts.pem.decode())
        context.maximum_version = self.newest
        if self.shows is not None:
            context.load_cert_chain(self.shows.certificate, self.shows.key)
        return httpx.Client(verify=context, headers=dict(self.headers), timeout=30, trust_env=False)

    def rest(self, url: str, method: str = "GET", content: bytes | None = None) -> str:
        """The status of one call over a new connection."""
        try:
            with self.http() as client:
                return str(client.request(method, url, content=content).status_code)
        except httpx.TransportError:
            return REFUSED

    def channel(self, url: str) -> grpc.Channel:
        key, chain = (None, None) if self.shows is None else (self.shows.key, self.shows.certificate)
        credentials = grpc.ssl_channel_credentials(
            self.trusts.pem, key and key.read_bytes(), chain and chain.read_bytes()
        )
        # A connection of its own, not one that another channel left behind.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        return grpc.secure_channel(url.partition("://")[2], credentials, options)

    def grpc(self, url: str) -> str:
        """The status of ListModels over a new connection."""
        return models(self.channel(url), self.headers)


def models(channel: grpc.Channel, headers: Mapping[str, str] | None = None) -> str:
    """The status of ListModels; closes the channel."""
    try:
        with channel:
            ClassifierStub(channel).ListModels(ListModelsRequest(), metadata=tuple((headers or {}).items()), timeout=30)
            return "OK"
    except grpc.RpcError as error:
        code = error.code().name
        return REFUSED if code == "UNAVAILABLE" else code
