// An agent on the published npm package. Its prompt is what it is to do: `all`, `edit PATH`, `run COMMAND`, `tools`, `wait`, `crash`
// or `once`.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { agent: mine, client: theirs } = acp.methods;
const kept = (session) => join(process.env.HOME, `${session}.session`);
let cancelled = () => {};
let servers = [];

// What the tools of the job give, by the official client.
async function useTools() {
  const [server] = servers;
  const headers = Object.fromEntries(server.headers.map(({ name, value }) => [name, value]));
  const client = new Client({ name: "interop", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(server.url), { requestInit: { headers } }));
  const { tools } = await client.listTools();
  const call = async (name, args) => (await client.callTool({ name, arguments: args })).content[0].text;
  const gave = {
    tools: tools.map((tool) => tool.name),
    delegate: JSON.parse(await call("delegate", { agent: "echo", input: "hi" })).result,
    progress: await call("progress", { current: 1, total: 2 }),
    checkpoint: await call("checkpoint", { value: { at: 1 } }),
    spend: await call("spend", { currency: "USD", amount: "0.25" }),
    server: await call("peer__shout", { text: "hi" }),
  };
  await client.close();
  return JSON.stringify(gave);
}

async function turn({ sessionId, prompt }, client) {
  const update = (update) => client.notify(theirs.session.update, { sessionId, update });
  const say = (text) => update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
  const [what, ...words] = prompt[0].text.split(" ");
  const path = words.join(" ");
  switch (what) {
    case "all":
      await update({ sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "hm" } });
      await update({ sessionUpdate: "plan", entries: [{ content: "do", priority: "high", status: "completed" }] });
      await update({ sessionUpdate: "tool_call", toolCallId: "1", title: "Edit", kind: "edit", status: "pending" });
      await update({
        sessionUpdate: "tool_call_update", toolCallId: "1", status: "completed",
        content: [{ type: "diff", path: "/a/b", oldText: "x", newText: "y" }],
      });
      await update({ sessionUpdate: "available_commands_update", availableCommands: [] });
      await update({ sessionUpdate: "current_mode_update", currentModeId: "code" });
      await update({ sessionUpdate: "session_info_update", title: "t" });
      await update({ sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount: 0.25, currency: "USD" } });
      await say("do");
      await say("ne");
      break;
    case "edit": {
      const { outcome } = await client.request(theirs.session.requestPermission, {
        sessionId,
        toolCall: { toolCallId: "1", title: "Edit", kind: "edit", locations: [{ path }] },
        options: [
          { optionId: "always", name: "Always", kind: "allow_always" },
          { optionId: "once", name: "Once", kind: "allow_once" },
          { optionId: "no", name: "No", kind: "reject_once" },
        ],
      });
      await say(outcome.optionId ?? outcome.outcome);
      break;
    }
    case "run": {
      const [command, ...args] = path.split(",");
      const { terminalId } = await client.request(theirs.terminal.create, { sessionId, command, args });
      const terminal = { sessionId, terminalId };
      const { exitCode } = await client.request(theirs.terminal.waitForExit, terminal);
      const { output } = await client.request(theirs.terminal.output, terminal);
      await client.request(theirs.terminal.release, terminal);
      await say(`${exitCode} ${output}`);
      break;
    }
    case "tools":
      await say(await useTools());
      break;
    case "once":
      if (existsSync(kept(`${sessionId}.loaded`))) {
        await say("again");
        break;
      }
    // falls through
    case "wait":
      await update({ sessionUpdate: "current_mode_update", currentModeId: "waiting" });
      await new Promise((done) => { cancelled = done; });
      return { stopReason: "cancelled" };
    case "crash":
      process.exit(3);
  }
  return { stopReason: "end_turn" };
}

acp.agent({ name: "interop" })
  .onRequest(mine.initialize, () => ({
    protocolVersion: acp.PROTOCOL_VERSION,
    agentCapabilities: { loadSession: true, mcpCapabilities: { http: true } },
  }))
  .onRequest(mine.session.new, ({ params }) => {
    servers = params.mcpServers;
    const sessionId = `session-${process.pid}-${Date.now()}`;
    writeFileSync(kept(sessionId), "");
    return { sessionId };
  })
  .onRequest(mine.session.load, async ({ params, client }) => {
    const { sessionId } = params;
    if (!existsSync(kept(sessionId))) throw acp.RequestError.resourceNotFound(sessionId);
    writeFileSync(kept(`${sessionId}.loaded`), "");
    const old = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "said before" } };
    await client.notify(theirs.session.update, { sessionId, update: old });
    return {};
  })
  .onRequest(mine.session.prompt, ({ params, client }) => turn(params, client))
  .onNotification(mine.session.cancel, () => cancelled())
  .connect(acp.ndJsonStream(Writable.toWeb(process.stdout), Readable.toWeb(process.stdin)));
