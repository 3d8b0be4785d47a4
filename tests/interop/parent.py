"""The published Python client with `towline serve --stdio` as its child: `parent.py TOWLINE TOKEN`."""

from __future__ import annotations

import asyncio
import sys

import arcp
from arcp import ClientInfo, StdioTransport
from arcp.client import ARCPClient
from harness import PATIENCE, Recorder, kinds_of, refused


async def main() -> None:
    program, token = sys.argv[1:3]
    child = await asyncio.create_subprocess_exec(
        program, "serve", "--stdio", "--demo", "--store", "memory", "--token", f"alice:{token}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    transport = Recorder(await StdioTransport.from_process_pipes(child))
    client = ARCPClient(client=ClientInfo(name="parent", version="1"), token=token)
    async with asyncio.timeout(PATIENCE):
        await client.connect(transport)
        handle = await client.submit(agent="kinds", input={})
        seen = kinds_of([event async for event in handle.events()])
        assert {"log", "tool_call", "progress"} <= set(seen), seen
        assert (await handle.done).result == {"ok": True}
        # Lines stay below the 64 KiB this SDK reads, whatever the size of the result.
        handle = await client.submit(agent="stream", input={"chunks": 2, "bytes": 200_000, "binary": True})
        assert len(await handle.collect_chunks()) == 400_000
        handle = await client.submit(agent="sleep", input={"ms": 600_000})
        await client.cancel_job(handle.job_id)
        assert (await handle.done).final_status == "cancelled"
        handle = await client.submit(agent="echo", input="x" * 70_000)
        await refused(handle.done, arcp.InternalError)
        handle = await client.submit(agent="echo", input="x" * 50_000)
        assert len((await handle.done).result) == 50_000
        numbers = [frame["event_seq"] for frame in transport.numbered()]
        assert numbers == list(range(1, len(numbers) + 1))
        await client.close()
        # The end of its input is the end of the child.
        assert await child.wait() == 0


asyncio.run(main())
