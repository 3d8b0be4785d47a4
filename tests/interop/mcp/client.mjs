// The official TypeScript client of MCP against towline: one scenario a run, over stdio or Streamable HTTP.
//
//     client.mjs SCENARIO stdio PROGRAM DATA_DIR
//     client.mjs SCENARIO http URL TOKEN
//
// This client speaks the revisions before 2026-07-28.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// The package is installed in the build's directory, not beside this file.
const from = createRequire(pathToFileURL(join(process.env.NODE_MODULES_OF, "x.js")));
const load = (name) => import(pathToFileURL(from.resolve(`@modelcontextprotocol/sdk/${name}`)));
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { ElicitRequestSchema } = await load("types.js");

const [scenario, how, where, what, job] = process.argv.slice(2);

async function connected(capabilities = {}, prepare = () => {}) {
  const client = new Client({ name: "test", version: "1" }, { capabilities });
  prepare(client);
  const transport = how === "stdio"
    ? new StdioClientTransport({ command: where, args: ["--data-dir", what, "mcp"], stderr: "inherit" })
    : new StreamableHTTPClientTransport(new URL(where), { requestInit: { headers: { Authorization: `Bearer ${what}` } } });
  await client.connect(transport);
  return client;
}

const call = (client, name, args, options) => client.callTool({ name, arguments: args }, undefined, options);
const result = (answer) => JSON.parse(answer.content[0].text);

const scenarios = {
  async tools() {
    const client = await connected();
    const { tools } = await client.listTools();
    const named = new Map(tools.map((tool) => [tool.name, tool]));
    for (const name of ["echo", "sleep", "job_get", "job_wait", "job_events", "job_cancel", "job_answer", "jobs"]) {
      assert(named.has(name), name);
    }
    assert(named.get("sleep").description.startsWith("Sleeps"));
    const answer = await call(client, "echo", { hi: 1 });
    assert.deepEqual(result(answer), { hi: 1 });
    assert.equal(answer.structuredContent.status, "success");
    await assert.rejects(call(client, "nobody", {}), (error) => error.code === -32602);
    const unknown = await call(client, "job_get", { job_id: "job_none" });
    assert(unknown.isError && unknown.structuredContent.code === "JOB_NOT_FOUND");
    await client.close();
  },

  async progress() {
    const client = await connected();
    const heard = [];
    const answer = await call(client, "chatty", { n: 3, delay_ms: 50 }, { onprogress: (told) => heard.push(told.progress) });
    assert.deepEqual(result(answer), { emitted: 3 });
    assert.deepEqual(heard, [1, 2, 3]);
    await client.close();
  },

  async handed_over() {
    const client = await connected();
    await assert.rejects(call(client, "sleep", { ms: 3000 }, { timeout: 1000 }));
    const [{ job_id, status }] = (await call(client, "jobs", { agent: "sleep" })).structuredContent.jobs;
    assert.equal(status, "running");
    assert.deepEqual(result(await call(client, "job_wait", { job_id })), { slept_ms: 3000 });
    await client.close();
  },

  async cancel() {
    const client = await connected();
    await assert.rejects(call(client, "sleep", { ms: 600_000 }, { timeout: 1000 }));
    const [{ job_id }] = (await call(client, "jobs", { status: "running" })).structuredContent.jobs;
    await call(client, "job_cancel", { job_id, reason: "enough" });
    const ended = await call(client, "job_wait", { job_id });
    assert(ended.isError && ended.structuredContent.status === "cancelled");
    await client.close();
  },

  async question() {
    const asked = [];
    const client = await connected({ elicitation: {} }, (client) => client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
      asked.push(params.message);
      const { type } = params.requestedSchema.properties.answer;
      return { action: "accept", content: { answer: type === "boolean" ? true : "Ada" } };
    }));
    assert.deepEqual(result(await call(client, "ask", { kind: "text", title: "Name?" })), { outcome: "answered", answer: "Ada" });
    assert.deepEqual(result(await call(client, "ask", { kind: "approval", title: "Go?" })), { outcome: "answered", answer: true });
    assert.equal(asked.length, 2);
    await client.close();
  },

  async begin() {
    const client = await connected();
    const answer = await call(client, "ask", { kind: "text", title: "Still there?" });
    assert.equal(answer.structuredContent.questions.length, 1);
    console.log(answer.structuredContent.job_id);
    if (how === "stdio") process.kill(client.transport.pid, "SIGKILL");
    else await client.close();
  },

  async go_on() {
    const client = await connected();
    const waiting = await call(client, "job_wait", { job_id: job });
    const [{ question_id }] = waiting.structuredContent.questions;
    await call(client, "job_answer", { job_id: job, question_id, answer: "yes" });
    assert.deepEqual(result(await call(client, "job_wait", { job_id: job })), { outcome: "answered", answer: "yes" });
    await client.close();
  },
};

await scenarios[scenario]();
process.exit(0);
