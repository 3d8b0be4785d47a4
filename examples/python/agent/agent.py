"""An agent in Python, with the published SDK, as a child process of towline.

towline starts it for a job, speaks ARCP with it over standard input and output, and passes on what it
says. Standard output carries envelopes and nothing else: print to standard error.
"""

import asyncio
import os

from arcp import RuntimeInfo, StdioTransport
from arcp.runtime import ARCPRuntime, JobContext, StaticBearerVerifier


async def review(text: str, ctx: JobContext) -> dict:
    words = text.split()
    found = []
    for at, word in enumerate(words, start=1):
        if word.lower().strip(".,") in {"very", "really", "just"}:
            found.append({"at": at, "word": word})
            await ctx.log("warn", f"`{word}` says nothing")
        await ctx.progress(at, total=len(words), units="words")
    await ctx.metric({"name": "words.read", "value": len(words), "unit": "words"})
    return {"words": len(words), "found": found}


async def main() -> None:
    # towline makes a token for each process and tells it by this variable.
    verifier = StaticBearerVerifier({os.environ["ARCP_TOKEN"]: "towline"})
    runtime = ARCPRuntime(runtime=RuntimeInfo(name="review", version="1"), bearer=verifier)
    runtime.register_agent("review", review)
    await runtime.accept(await StdioTransport.from_std_streams())


asyncio.run(main())
