// A server of the real program and a browser, for each test anew. No fixed port, no file outside a directory of its own;
// conditions are waited for, never time.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = fileURLToPath(new URL('.', import.meta.url));
export const TOWLINE = process.env.TOWLINE_BIN ?? resolve(here, '../../target/debug/towline');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const TOKEN = 's3cret';

/** Environment without anything that could change what the program does. */
const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOWLINE_')));

export function freePort() {
  return new Promise((done, fail) => {
    const server = createServer();
    server.on('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

export class Server {
  static async start(extra = [], { directory = mkdtempSync(join(tmpdir(), 'towline-page-')), token = true } = {}) {
    const server = new Server();
    server.directory = directory;
    const args = ['serve', '--demo', ...(token ? ['--token', `alice:${TOKEN}`] : []), ...extra];
    if (!extra.includes('--listen')) args.push('--listen', '127.0.0.1:0');
    server.child = spawn(TOWLINE, args, { cwd: directory, env: clean, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    server.child.stderr.on('data', (data) => (said = (said + data).slice(-4000)));
    server.ended = new Promise((done) => server.child.on('exit', done));
    server.lines = [];
    const lines = createInterface({ input: server.child.stdout });
    await new Promise((done, fail) => {
      lines.on('line', (line) => {
        server.lines.push(line);
        if (line.startsWith('listening on ')) {
          server.url = line.slice('listening on '.length);
          done();
        }
      });
      server.ended.then((status) => fail(new Error(`the server ended with ${status}: ${said}`)));
    });
    server.address = new URL(server.url).host;
    server.page = `http://${server.address}/`;
    server.link = `${server.page}#token=${TOKEN}`;
    return server;
  }

  /** A server for one test. */
  static async for(t, extra = ['--store', 'memory'], options = {}) {
    const server = await Server.start(extra, options);
    t.after(() => server.stop());
    return server;
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  async stop() {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  /** A client of our own, to submit and cancel beside the page. */
  async client() {
    return Client.connect(this.url);
  }
}

/** Just enough ARCP to make things happen. */
export class Client {
  static async connect(url) {
    const client = new Client();
    client.socket = new WebSocket(url);
    client.waiting = new Map();
    client.ends = new Map();
    client.sent = 0;
    client.socket.onmessage = ({ data }) => client.received(JSON.parse(data));
    await new Promise((done, fail) => {
      client.socket.onopen = done;
      client.socket.onerror = fail;
    });
    const features = ['heartbeat', 'list_jobs', 'subscribe', 'cost.budget', 'lease_expires_at', 'agent_versions', 'model.use'];
    const welcome = new Promise((done) => (client.welcomed = done));
    client.send('session.hello', { auth: { scheme: 'bearer', token: TOKEN }, capabilities: { encodings: ['json'], features } });
    await welcome;
    return client;
  }

  send(type, payload) {
    const id = `msg_test${++this.sent}`;
    this.socket.send(JSON.stringify({ arcp: '1.1', id, type, ...(payload.job_id ? { job_id: payload.job_id } : {}), payload }));
    return id;
  }

  request(type, payload) {
    return new Promise((resolve, reject) => this.waiting.set(this.send(type, payload), { resolve, reject }));
  }

  async submit(agent, input, rest = {}) {
    const { payload } = await this.request('job.submit', { agent, input, ...rest });
    return payload.job_id;
  }

  /** The terminal of a job of this client. */
  end(job) {
    return new Promise((done) => {
      const known = this.ends.get(job);
      if (known?.type) done(known);
      else this.ends.set(job, { done });
    });
  }

  async run(agent, input, rest) {
    const job = await this.submit(agent, input, rest);
    return { job, end: await this.end(job) };
  }

  received(frame) {
    const { type, payload, job_id: job } = frame;
    if (type === 'session.welcome') this.welcomed();
    if (type === 'session.ping') this.send('session.pong', { ping_nonce: payload.nonce });
    if (type === 'job.result' || type === 'job.error') {
      this.ends.get(job)?.done?.(frame);
      this.ends.set(job, frame);
    }
    const waiting = payload.request_id && this.waiting.get(payload.request_id);
    if (!waiting) return;
    this.waiting.delete(payload.request_id);
    if (type === 'session.error') waiting.reject(new Error(`${payload.code}: ${payload.message}`));
    else waiting.resolve(frame);
  }

  close() {
    this.socket.close();
  }
}

export function launch() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--enable-precise-memory-info',
      // A page that does not come from this machine, as the browser sees it, may otherwise not connect to it.
      ...(process.env.TOWLINE_DIST ? ['--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets'] : []),
    ],
  });
}

/**
 * With TOWLINE_DIST, a folder, the page comes from there instead of out of the program, under the program's own headers: the
 * page can be worked on without building the program each time.
 */
export async function newPage(browser, options) {
  const page = await browser.newPage(options);
  const folder = process.env.TOWLINE_DIST;
  if (!folder) return page;
  await page.context().route(/^http:\/\/127\.0\.0\.1:\d+\/(assets\/.*)?([?#].*)?$/, async (route) => {
    const { pathname, origin } = new URL(route.request().url());
    const answer = await fetch(`${origin}/`);
    const { 'content-length': _, ...headers } = Object.fromEntries(answer.headers);
    if (pathname === '/') {
      const index = readFileSync(join(folder, 'index.html'), 'utf8').replace('%ARCP_ENDPOINT%', '/arcp');
      return route.fulfill({ body: index, headers });
    }
    const type = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }[pathname.split('.').at(-1)];
    return route.fulfill({ body: readFileSync(join(folder, pathname)), headers: { ...headers, 'content-type': type } });
  });
  return page;
}

/** A page that is signed in to a server, at one of its views; closed with the test. */
export async function openPage(t, browser, server, hash = '', options = {}) {
  const page = await newPage(browser, options);
  t.after(() => page.close());
  page.setDefaultTimeout(20_000);
  page.errors = watchErrors(page);
  await page.goto(server.link);
  await page.getByRole('status').filter({ hasText: 'Connected' }).waitFor();
  if (hash) await page.goto(`${server.page}${hash}`);
  return page;
}

/** Errors of a page that nobody caught, and what its policy forbade. */
export function watchErrors(page) {
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    // A connection that fails is what some tests are about; a program without the HTTP interface does not know of inputs.
    const expected = /WebSocket connection to .* failed/.test(message.text()) || message.location().url.includes('/v1/jobs/');
    if (message.type() === 'error' && !expected) errors.push(message.text());
  });
  return errors;
}
