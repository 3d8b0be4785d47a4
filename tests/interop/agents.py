"""Agents in Python with the input and behaviour of towline's own ones, for the runtimes of this directory."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import arcp
from arcp import RuntimeInfo
from arcp.runtime import ARCPRuntime, JobContext, StaticBearerVerifier


async def echo(value: Any, ctx: JobContext) -> Any:
    return value


async def chatty(value: Any, ctx: JobContext) -> Any:
    total = value["n"]
    for at in range(1, total + 1):
        await ctx.log("info", f"line {at}")
        await ctx.progress(at, total=total)
        await asyncio.sleep(value.get("delay_ms", 0) / 1000)
    return {"emitted": total}


async def kinds(value: Any, ctx: JobContext) -> Any:
    await ctx.log("info", "a line of log", {"from": "python"})
    await ctx.thought("a step of reasoning")
    await ctx.tool_call({"tool": "search.web", "args": {"query": "towline"}, "call_id": "call_1"})
    await ctx.tool_result({"call_id": "call_1", "result": {"hits": 3}})
    await ctx.status("working", "a phase of the job")
    await ctx.metric({"name": "documents.read", "value": 3, "unit": "documents"})
    await ctx.job.emit_event(
        "artifact_ref", {"uri": "https://example.org/report.txt", "content_type": "text/plain"}
    )
    await ctx.progress(1, total=2, units="steps", message="half way")
    await ctx.job.emit_event("x-vendor.acme.beat", {"beat": 1})
    return {"ok": True}


async def stream(value: Any, ctx: JobContext) -> Any:
    async with ctx.stream_result() as result:
        for _ in range(value["chunks"]):
            text = "a" * value["bytes"]
            await result.write(text.encode() if value.get("binary") else text)


async def sleep(value: Any, ctx: JobContext) -> Any:
    await asyncio.sleep(value["ms"] / 1000)
    return {"slept_ms": value["ms"]}


async def fail(value: Any, ctx: JobContext) -> Any:
    raise arcp.PermissionDeniedError("not today")


async def spend(value: Any, ctx: JobContext) -> Any:
    calls = 0
    for currency, amount in value["costs"]:
        ctx.authorize("tool.call", "search.web")
        await ctx.metric({"name": "cost.search", "value": amount, "unit": currency})
        calls += 1
    return {"calls": calls}


async def environment(value: Any, ctx: JobContext) -> Any:
    """What a process agent is told by its environment."""
    return {"traceparent": os.environ.get("TRACEPARENT"), "trace_id": ctx.trace_id, "lease": ctx.lease}


def runtime(token: str, **options: Any) -> ARCPRuntime:
    made = ARCPRuntime(
        runtime=RuntimeInfo(name="python", version="1"),
        bearer=StaticBearerVerifier({token: "alice"}),
        **options,
    )
    for agent in (echo, chatty, kinds, stream, sleep, fail, spend, environment):
        made.register_agent(agent.__name__, agent)

    async def first(value: Any, ctx: JobContext) -> Any:
        return {"version": "1.0.0"}

    async def second(value: Any, ctx: JobContext) -> Any:
        return {"version": "2.0.0"}

    made.register_agent_version("versioned", "1.0.0", first)
    made.register_agent_version("versioned", "2.0.0", second)
    made.set_default_agent_version("versioned", "2.0.0")
    return made
