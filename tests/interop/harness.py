"""What the scripts here share: connecting, recording, and running one scenario by its name.

A scenario is an async function that takes a `Peer` and asserts. A script ends with status 0 when its
scenario held, and otherwise with the assertion that did not.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any

from arcp import ARCPError, ClientInfo, Transport, WebSocketTransport
from arcp.client import ARCPClient

# How long anything may take before a scenario calls it lost. It says nothing about speed.
PATIENCE = 60.0


class Recorder:
    """A transport that remembers every frame, as the application behind it would see them."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.received: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

    async def send(self, envelope: dict[str, Any]) -> None:
        self.sent.append(envelope)
        await self.inner.send(envelope)

    async def recv(self) -> dict[str, Any]:
        frame = await self.inner.recv()
        self.received.append(frame)
        return frame

    async def close(self) -> None:
        await self.inner.close()

    @property
    def is_closed(self) -> bool:
        return self.inner.is_closed

    def numbered(self) -> list[dict[str, Any]]:
        return [frame for frame in self.received if frame.get("event_seq") is not None]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.received if frame["type"] == kind]

    async def until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Waits until so many frames of a type have come."""
        while len(found := self.of_type(kind)) < count:
            await asyncio.sleep(0.005)
        return found


@dataclass
class Peer:
    """Where the runtime is, and how to get in."""

    url: str
    token: str
    clients: list[ARCPClient] = field(default_factory=list)

    async def transport(self) -> Recorder:
        return Recorder(await WebSocketTransport.connect(self.url))

    def client(self, **options: Any) -> ARCPClient:
        options.setdefault("token", self.token)
        client = ARCPClient(
            client=ClientInfo(name="interop", version="1"),
            handshake_timeout_sec=PATIENCE,
            **options,
        )
        self.clients.append(client)
        return client

    async def connect(self, **options: Any) -> tuple[ARCPClient, Recorder]:
        client = self.client(**options)
        transport = await self.transport()
        await client.connect(transport)
        return client, transport


async def refused(awaitable: Any, error: type[ARCPError]) -> ARCPError:
    """The error an operation has to end with."""
    try:
        value = await awaitable
    except error as refusal:
        return refusal
    raise AssertionError(f"expected {error.__name__}, got {value!r}")


def kinds_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def run(scenarios: dict[str, Any]) -> None:
    """`script SCENARIO URL TOKEN`."""
    name, url, token = sys.argv[1:4]

    async def main() -> None:
        peer = Peer(url, token)
        async with asyncio.timeout(PATIENCE):
            await scenarios[name](peer)
            for client in peer.clients:
                await client.close()

    asyncio.run(main())
