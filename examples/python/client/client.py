"""A client in Python, with the published SDK, of `towline serve`.

    python3 client.py ws://127.0.0.1:7777/arcp a-token "a text to review"
"""

import asyncio
import json
import sys

from arcp import ARCPError, ClientInfo, WebSocketTransport
from arcp.client import ARCPClient


async def main(url: str, token: str, text: str) -> int:
    client = ARCPClient(client=ClientInfo(name="example", version="1"), token=token, auto_ack=True)
    await client.connect(await WebSocketTransport.connect(url))
    try:
        job = await client.submit(agent="review", input=text, max_runtime_sec=60)
        print(f"{job.job_id} runs {job.agent_ref}", file=sys.stderr)
        async for event in job.events():
            print(f"{event['kind']}: {json.dumps(event['body'])}", file=sys.stderr)
        done = await job.done
        print(json.dumps(done.result))
        return 0
    except ARCPError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    finally:
        await client.close()


sys.exit(asyncio.run(main(*sys.argv[1:4])))
