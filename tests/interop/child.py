"""The published Python runtime on standard input and output, as a child process."""

from __future__ import annotations

import asyncio
import os

import agents
from arcp import StdioTransport


async def main() -> None:
    runtime = agents.runtime(os.environ["ARCP_TOKEN"])
    await runtime.accept(await StdioTransport.from_std_streams())


asyncio.run(main())
