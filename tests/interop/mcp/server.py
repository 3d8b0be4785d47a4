"""A server of tools on the published Python package of MCP: over stdio, or over Streamable HTTP at a port that it prints."""

import socket
import sys

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("peer")


@server.tool()
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@server.tool()
def trace(context: Context) -> str:
    """Where the call is in a trace."""
    meta = context.request_context.meta or {}
    return meta.get("traceparent", "nowhere") if isinstance(meta, dict) else getattr(meta, "traceparent", "nowhere")


@server.tool()
def fail() -> str:
    """Never works."""
    raise ValueError("it is broken")


if sys.argv[1] == "stdio":
    server.run()
else:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print(port, flush=True)
    server.run("streamable-http", host="127.0.0.1", port=port)
