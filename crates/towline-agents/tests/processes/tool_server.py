"""A server of tools over standard input and output, as bare as the protocol lets it be."""

import json
import os
import sys

TOOLS = [
    {"name": "add", "description": "Adds.", "inputSchema": {"type": "object", "properties": {"a": {}, "b": {}}}},
    {"name": "meta", "inputSchema": {"type": "object"}},
    {"name": "fail", "inputSchema": {"type": "object"}},
    {"name": "die", "inputSchema": {"type": "object"}},
    {"name": "much", "inputSchema": {"type": "object"}},
    {"name": "hang", "inputSchema": {"type": "object"}},
    {"name": "flood", "inputSchema": {"type": "object"}},
    {"name": "rail", "inputSchema": {"type": "object"}},
    {"name": "read", "inputSchema": {"type": "object"}},
]


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def call(name, arguments, meta):
    if name == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if name == "meta":
        return text(json.dumps({"meta": meta, "pid": os.getpid(), "kept": "TOWLINE_CHECKPOINT" in os.environ}))
    if name == "fail":
        return dict(text("it is broken"), isError=True)
    if name == "die":
        print("about to go", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "much":
        return text("x" * (2 << 20))
    if name == "flood":
        return text("x" * (9 << 20))
    if name == "read":
        try:
            with open(arguments["path"]) as file:
                return text(file.read())
        except OSError as error:
            return dict(text(str(error)), isError=True)
    while True:
        sys.stdin.readline()


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bare", "version": "1"},
        }
    elif method == "tools/list" and not params.get("cursor"):
        result = {"tools": TOOLS[:2], "nextCursor": "more"}
    elif method == "tools/list":
        result = {"tools": TOOLS[2:]}
    elif params["name"] == "rail":
        error = {"code": 1, "message": "x" * 100000}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        continue
    else:
        result = call(params["name"], params.get("arguments") or {}, params.get("_meta"))
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
