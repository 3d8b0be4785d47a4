"""The official Python client of MCP against towline: one scenario a run, over stdio or Streamable HTTP.

    mcp_client.py SCENARIO MODE stdio PROGRAM DATA_DIR
    mcp_client.py SCENARIO MODE http URL TOKEN
    mcp_client.py SCENARIO MODE command JSON TOKEN

The last is a command line as hosts are given it, a JSON list, with the token in its environment.

MODE is `auto` (the client finds out that the server speaks 2026-07-28) or `legacy` (the handshake of 2025-11-25).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

Connect = Callable[..., AbstractAsyncContextManager[Client]]


def connector(mode: str, how: str, where: str, what: str) -> Connect:
    @asynccontextmanager
    async def connect(**more: Any):
        if how == "stdio":
            server = StdioServerParameters(command=where, args=["--data-dir", what, "mcp"])
            async with Client(server, mode=mode, **more) as client:
                yield client
            return
        if how == "command":
            program, *args = json.loads(where)
            env = {"XDG_STATE_HOME": os.path.join(os.getcwd(), "state"), "TOWLINE_TOKEN": what}
            server = StdioServerParameters(command=program, args=args, env=env)
            async with Client(server, mode=mode, **more) as client:
                yield client
            return
        headers = {"Authorization": f"Bearer {what}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(where, http_client=http)
            async with Client(transport, mode=mode, **more) as client:
                yield client

    return connect


def text(result: types.CallToolResult) -> str:
    return result.content[0].text


def document(result: types.CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None, result
    return result.structured_content


async def tools(connect: Connect) -> None:
    async with connect() as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        own = {"job_get", "job_wait", "job_events", "job_cancel", "job_answer", "jobs"}
        assert own <= set(listed), listed.keys()
        assert {"echo", "sleep", "chatty", "versioned"} <= set(listed)
        assert listed["sleep"].description.startswith("Sleeps")
        assert listed["sleep"].input_schema["properties"]["ms"]["type"] == "integer"
        assert all(tool.input_schema["type"] == "object" for tool in listed.values())
        try:
            await client.call_tool("nobody", {})
        except Exception as error:
            assert getattr(error, "code", None) == -32602 or "-32602" in repr(error), repr(error)
        else:
            raise AssertionError("an unknown tool was called")


async def progress(connect: Connect) -> None:
    async with connect() as client:
        heard: list[tuple[float, float | None]] = []

        async def note(current: float, total: float | None, message: str | None) -> None:
            heard.append((current, total))

        result = await client.call_tool("chatty", {"n": 4, "delay_ms": 50}, progress_callback=note)
        assert json.loads(text(result)) == {"emitted": 4}, result
        assert document(result)["status"] == "success" and not result.is_error
        for _ in range(100):
            if len(heard) == 4:
                break
            await asyncio.sleep(0.05)
        assert sorted(heard) == [(1.0, 4.0), (2.0, 4.0), (3.0, 4.0), (4.0, 4.0)], heard
        job = document(result)["job_id"]
        events = document(await client.call_tool("job_events", {"job_id": job, "limit": 3}))
        assert [event["job_seq"] for event in events["events"]] == [1, 2, 3] and events["more"]
        rest = document(await client.call_tool("job_events", {"job_id": job, "after": events["last"]}))
        assert rest["events"][-1]["type"] == "job.result" and not rest["more"], rest


async def submit(connect: Connect) -> None:
    async with connect() as client:
        more = {"idempotency_key": "once", "lease_request": {"fs.read": ["/a/**"]}, "agent": "versioned@1.0.0"}
        first = await client.call_tool("versioned", {}, meta={"towline/submit": more})
        again = await client.call_tool("versioned", {}, meta={"towline/submit": more})
        assert document(first)["job_id"] == document(again)["job_id"]
        assert document(first)["lease"] == {"fs.read": ["/a/**"]}
        assert json.loads(text(first)) == {"version": "1.0.0"}
        other = await client.call_tool("versioned", {"x": 1}, meta={"towline/submit": more})
        assert other.is_error and document(other)["code"] == "DUPLICATE_KEY", other
        assert document(other)["details"]["existing_job_id"] == document(first)["job_id"]
        failed = await client.call_tool("fail", {"code": "TIMEOUT"})
        assert failed.is_error and document(failed)["error"]["code"] == "TIMEOUT"


async def handed_over(connect: Connect) -> None:
    """A call that the client stops waiting for: the job goes on, is found again, and is fetched."""
    async with connect() as client:
        try:
            await client.call_tool("sleep", {"ms": 3000}, read_timeout_seconds=1)
        except Exception as error:
            assert "imed out" in repr(error) or "imeout" in repr(error), repr(error)
        else:
            raise AssertionError("the call did not take its time")
        jobs = document(await client.call_tool("jobs", {"agent": "sleep"}))["jobs"]
        assert [job["status"] for job in jobs] == ["running"], jobs
        job = jobs[0]["job_id"]
        soon = await client.call_tool("job_wait", {"job_id": job, "timeout_sec": 0.1})
        assert document(soon)["status"] == "running" and not soon.is_error, soon
        done = await client.call_tool("job_wait", {"job_id": job})
        assert json.loads(text(done)) == {"slept_ms": 3000}, done


async def cancel(connect: Connect) -> None:
    async with connect() as client:
        try:
            await client.call_tool("sleep", {"ms": 600_000}, read_timeout_seconds=1)
        except Exception:
            pass
        [job] = document(await client.call_tool("jobs", {"status": ["running"]}))["jobs"]
        await client.call_tool("job_cancel", {"job_id": job["job_id"], "reason": "enough"})
        done = await client.call_tool("job_wait", {"job_id": job["job_id"]})
        assert done.is_error and document(done)["status"] == "cancelled", done
        late = await client.call_tool("job_cancel", {"job_id": job["job_id"]})
        assert late.is_error and document(late)["code"] == "INVALID_REQUEST", late


async def question(connect: Connect) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        schema = params.requested_schema["properties"]["answer"]
        if schema["type"] == "boolean":
            return types.ElicitResult(action="accept", content={"answer": True})
        if "oneOf" in schema:
            return types.ElicitResult(action="accept", content={"answer": schema["oneOf"][1]["const"]})
        return types.ElicitResult(action="accept", content={"answer": "Ada"})

    async with connect(elicitation_callback=answer) as client:
        for kind, more, expected in [
            ("text", {}, "Ada"),
            ("approval", {}, True),
            ("choice", {"options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]}, "b"),
        ]:
            result = await client.call_tool("ask", {"kind": kind, "title": "Well?", **more})
            assert json.loads(text(result)) == {"outcome": "answered", "answer": expected}, result
        assert len(asked) == 3 and all(message.startswith("Well?") for message in asked), asked

    async def decline(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="decline")

    async with connect(elicitation_callback=decline) as client:
        result = await client.call_tool("ask", {"kind": "approval", "title": "Release?"})
        assert json.loads(text(result)) == {"outcome": "answered", "answer": False}, result


async def nobody_asked(connect: Connect) -> None:
    """A client without elicitation: the call comes back with the question, and a model does not approve itself."""
    async with connect() as client:
        result = await client.call_tool("ask", {"kind": "text", "title": "Name?"})
        job, [open_question] = document(result)["job_id"], document(result)["questions"]
        assert not result.is_error and document(result)["status"] == "running"
        answer = {"job_id": job, "question_id": open_question["question_id"], "answer": "Ada"}
        told = await client.call_tool("job_answer", answer)
        assert not told.is_error, told
        done = await client.call_tool("job_wait", {"job_id": job})
        assert json.loads(text(done)) == {"outcome": "answered", "answer": "Ada"}, done
        result = await client.call_tool("ask", {"kind": "approval", "title": "Release?"})
        job, [open_question] = document(result)["job_id"], document(result)["questions"]
        answer = {"job_id": job, "question_id": open_question["question_id"], "answer": True}
        told = await client.call_tool("job_answer", answer)
        assert told.is_error and document(told)["code"] == "PERMISSION_DENIED", told
        assert document(await client.call_tool("job_get", {"job_id": job}))["status"] == "running"
        await client.call_tool("job_cancel", {"job_id": job})


async def begin(connect: Connect) -> None:
    """Asks something, says which job does, and leaves; over stdio the program is killed instead."""
    job = None
    try:
        async with connect() as client:
            result = await client.call_tool("ask", {"kind": "text", "title": "Still there?"})
            job = document(result)["job_id"]
            for child in children() if sys.argv[3] == "stdio" else []:
                os.kill(child, signal.SIGKILL)
    except Exception as error:  # The connection broke, which is what was wanted.
        print(repr(error), file=sys.stderr)
    assert job is not None
    print(job, flush=True)


async def go_on(connect: Connect) -> None:
    """The job of `begin`, after its server was killed."""
    job = sys.argv[6]
    async with connect() as client:
        waiting = await client.call_tool("job_wait", {"job_id": job, "timeout_sec": 30})
        [open_question] = document(waiting)["questions"]
        answer = {"job_id": job, "question_id": open_question["question_id"], "answer": "yes"}
        await client.call_tool("job_answer", answer)
        done = await client.call_tool("job_wait", {"job_id": job})
        assert json.loads(text(done)) == {"outcome": "answered", "answer": "yes"}, done


def children() -> list[int]:
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children", encoding="ascii") as names:
            found += [int(name) for name in names.read().split()]
    return found


async def sharing(connect: Connect) -> None:
    """The second program on a data directory asks the first one; when that is killed, it goes on by itself."""
    where, what = sys.argv[4:6]
    first = await asyncio.create_subprocess_exec(where, "--data-dir", what, "mcp", stdin=asyncio.subprocess.PIPE,
                                                 stdout=asyncio.subprocess.DEVNULL)
    while not os.path.exists(os.path.join(what, "towline.sock")):
        assert first.returncode is None
        await asyncio.sleep(0.05)
    async with connect() as client:
        heard: list[float] = []

        async def note(current: float, total: float | None, message: str | None) -> None:
            heard.append(current)

        result = await client.call_tool("chatty", {"n": 3, "delay_ms": 50}, progress_callback=note)
        assert json.loads(text(result)) == {"emitted": 3}, result
        assert document(result)["principal"] == "local" and document(result)["started_at"], result
        job = document(result)["job_id"]
        streamed = await client.call_tool("stream", {"chunks": 2, "bytes": 10})
        assert text(streamed) == "a" * 20 and document(streamed)["result_size"] == 20, streamed
        failed = await client.call_tool("fail", {})
        assert failed.is_error and document(failed)["error"]["code"] == "INTERNAL_ERROR", failed
        events = document(await client.call_tool("job_events", {"job_id": job}))
        assert [event["job_seq"] for event in events["events"]] == list(range(1, 9)), events
        assert events["events"][-1]["type"] == "job.result", events
        asked = await client.call_tool("ask", {"kind": "text", "title": "Name?"})
        [open_question] = document(asked)["questions"]
        answer = {"job_id": document(asked)["job_id"], "question_id": open_question["question_id"], "answer": "Bo"}
        assert not (await client.call_tool("job_answer", answer)).is_error
        done = await client.call_tool("job_wait", {"job_id": document(asked)["job_id"]})
        assert json.loads(text(done)) == {"outcome": "answered", "answer": "Bo"}, done
        jobs = document(await client.call_tool("jobs", {"status": ["success"]}))["jobs"]
        assert len(jobs) == 3, jobs
        first.kill()
        await first.wait()
        result = await client.call_tool("job_get", {"job_id": job})
        for _ in range(100):
            if not result.is_error:
                break
            assert document(result)["retryable"], result
            await asyncio.sleep(0.1)
            result = await client.call_tool("job_get", {"job_id": job})
        assert json.loads(text(result)) == {"emitted": 3}, result
        result = await client.call_tool("echo", {"from": "second"})
        assert json.loads(text(result)) == {"from": "second"}, result


def main() -> None:
    scenario, mode, how, where, what = sys.argv[1:6]
    scenarios: dict[str, Callable[[Connect], Awaitable[None]]] = {
        function.__name__: function
        for function in (tools, progress, submit, handed_over, cancel, question, nobody_asked,
                         begin, go_on, sharing)
    }
    asyncio.run(scenarios[scenario](connector(mode, how, where, what)))


main()
