"""The published Python runtime on a free port: prints `listening on URL`, ends with its standard input."""

from __future__ import annotations

import asyncio
import sys

import agents
from arcp import serve_websocket


async def main() -> None:
    runtime = agents.runtime(sys.argv[1], heartbeat_interval_sec=1)
    server = await serve_websocket(runtime.accept, host="127.0.0.1", port=0)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on ws://127.0.0.1:{port}/arcp", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
