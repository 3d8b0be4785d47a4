"""An agent on the published PyPI package. Its prompt is what it is to do: `all`, `edit PATH`, `run COMMAND`, `tools`, `wait`,
`crash` or `once`."""

import asyncio
import json
import os
import time
from pathlib import Path

import acp
import httpx2
from acp import schema
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def kept(session):
    return Path(os.environ["HOME"]) / f"{session}.session"


async def use_tools(server):
    """What the tools of the job give, by the official client."""
    headers = {header.name: header.value for header in server.headers}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(server.url, http_client=http)) as client:

            async def call(name, arguments):
                return (await client.call_tool(name, arguments)).content[0].text

            listed = await client.list_tools()
            gave = {
                "tools": [tool.name for tool in listed.tools],
                "delegate": json.loads(await call("delegate", {"agent": "echo", "input": "hi"}))["result"],
                "progress": await call("progress", {"current": 1, "total": 2}),
                "checkpoint": await call("checkpoint", {"value": {"at": 1}}),
                "spend": await call("spend", {"currency": "USD", "amount": "0.25"}),
                "server": await call("peer__shout", {"text": "hi"}),
            }
            return json.dumps(gave)


class Interop(acp.Agent):
    def on_connect(self, conn):
        self.client = conn
        self.cancelled = asyncio.Event()

    async def initialize(self, protocol_version, client_capabilities=None, client_info=None, **kwargs):
        return acp.InitializeResponse(
            protocol_version=acp.PROTOCOL_VERSION,
            agent_capabilities=schema.AgentCapabilities(
                load_session=True, mcp_capabilities=schema.McpCapabilities(http=True)
            ),
        )

    async def new_session(self, cwd, mcp_servers=None, **kwargs):
        self.servers = mcp_servers
        session = f"session-{os.getpid()}-{time.time_ns()}"
        kept(session).touch()
        return acp.NewSessionResponse(session_id=session)

    async def load_session(self, cwd, session_id, mcp_servers=None, **kwargs):
        if not kept(session_id).exists():
            raise acp.RequestError.invalid_params({"session_id": session_id})
        kept(f"{session_id}.loaded").touch()
        await self.client.session_update(session_id, acp.update_agent_message_text("said before"))
        return schema.LoadSessionResponse()

    async def cancel(self, session_id, **kwargs):
        self.cancelled.set()

    async def prompt(self, prompt, session_id, message_id=None, **kwargs):
        async def update(update):
            await self.client.session_update(session_id, update)

        what, _, path = prompt[0].text.partition(" ")
        if what == "all":
            await update(acp.update_agent_thought_text("hm"))
            await update(acp.update_plan([acp.plan_entry("do", priority="high", status="completed")]))
            await update(acp.start_tool_call("1", "Edit", kind="edit", status="pending"))
            diff = acp.tool_diff_content("/a/b", "y", "x")
            await update(acp.update_tool_call("1", status="completed", content=[diff]))
            await update(
                schema.AvailableCommandsUpdate(session_update="available_commands_update", available_commands=[])
            )
            await update(schema.CurrentModeUpdate(session_update="current_mode_update", current_mode_id="code"))
            await update(schema.SessionInfoUpdate(session_update="session_info_update", title="t"))
            cost = schema.Cost(amount=0.25, currency="USD")
            await update(schema.UsageUpdate(session_update="usage_update", used=1, size=2, cost=cost))
            await update(acp.update_agent_message_text("do"))
            await update(acp.update_agent_message_text("ne"))
        elif what == "edit":
            call = schema.ToolCallUpdate(
                tool_call_id="1", title="Edit", kind="edit", locations=[schema.ToolCallLocation(path=path)]
            )
            options = [
                schema.PermissionOption(option_id="always", name="Always", kind="allow_always"),
                schema.PermissionOption(option_id="once", name="Once", kind="allow_once"),
                schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
            ]
            answer = await self.client.request_permission(session_id, call, options)
            await update(acp.update_agent_message_text(getattr(answer.outcome, "option_id", "cancelled")))
        elif what == "run":
            command, *args = path.split(",")
            terminal = (await self.client.create_terminal(session_id, command, args=args)).terminal_id
            ended = await self.client.wait_for_terminal_exit(session_id, terminal)
            output = (await self.client.terminal_output(session_id, terminal)).output
            await self.client.release_terminal(session_id, terminal)
            await update(acp.update_agent_message_text(f"{ended.exit_code} {output}"))
        elif what == "tools":
            await update(acp.update_agent_message_text(await use_tools(self.servers[0])))
        elif what == "once" and kept(f"{session_id}.loaded").exists():
            await update(acp.update_agent_message_text("again"))
        elif what in ("once", "wait"):
            await update(schema.CurrentModeUpdate(session_update="current_mode_update", current_mode_id="waiting"))
            await self.cancelled.wait()
            return acp.PromptResponse(stop_reason="cancelled")
        elif what == "crash":
            os._exit(3)
        return acp.PromptResponse(stop_reason="end_turn")


asyncio.run(acp.run_agent(Interop()))
