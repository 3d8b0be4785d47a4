import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, freePort, launch, openPage } from './support.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

async function open(t, server, job) {
  const page = await openPage(t, browser, server, `#/jobs/${job}`);
  await page.locator('.job').waitFor();
  return page;
}

/** Which numbers the timeline covers while it is scrolled from its top to its end. */
function covered(page) {
  return page.evaluate(async () => {
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const box = document.querySelector('.scroller');
    const seen = new Map();
    box.scrollTop = 0;
    for (;;) {
      for (let n = 0; n < 40 && box.querySelector('li.row[aria-hidden]'); n++) await frame();
      for (let n = 0; n < 3; n++) await frame();
      for (const row of box.querySelectorAll('[data-job-seq]')) seen.set(Number(row.dataset.jobSeq), 1);
      for (const row of box.querySelectorAll('[data-first-seq]'))
        for (let n = Number(row.dataset.firstSeq); n <= Number(row.dataset.lastSeq); n++) seen.set(n, 1);
      if (box.scrollTop + box.clientHeight >= box.scrollHeight - 1) break;
      box.scrollTop += box.clientHeight - 30;
      await frame();
    }
    return [...seen.keys()].sort((a, b) => a - b);
  });
}

const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

test('every kind of event is an entry, and a call stands beside its result', async (t) => {
  const server = await Server.for(t);
  const client = await server.client();
  const { job } = await client.run('kinds', {});
  const page = await open(t, server, job);
  for (const kind of ['log', 'thought', 'tool_call', 'tool_result', 'status', 'metric', 'artifact_ref', 'progress', 'job.result'])
    await page.locator(`[data-kind="${kind}"]`).first().waitFor();
  assert.deepEqual(await covered(page), upTo(10));
  await page.locator('[data-kind="tool_call"] button').click();
  assert.match(await page.getByRole('region', { name: 'Arguments' }).textContent(), /towline/);
  assert.match(await page.getByRole('region', { name: 'Result' }).last().textContent(), /hits/);
  await page.getByRole('searchbox', { name: 'Search events' }).fill('reasoning');
  await page.waitForFunction(() => document.querySelectorAll('.scroller li').length === 1);
  assert.equal(await page.locator('.scroller li').getAttribute('data-kind'), 'thought');
  assert.deepEqual(page.errors, []);
  client.close();
});

test('folds open and close, and cover what they hide', async (t) => {
  const server = await Server.for(t);
  const client = await server.client();
  const { job } = await client.run('chatty', { n: 300 });
  const page = await open(t, server, job);
  const fold = page.locator('[data-first-seq="2"][data-last-seq="601"]');
  await fold.waitFor();
  assert.deepEqual(await covered(page), upTo(602));
  await page.evaluate(() => (document.querySelector('.scroller').scrollTop = 0));
  await fold.getByRole('button').click();
  await page.locator('[data-job-seq="3"]').waitFor();
  assert.equal(await page.locator('[data-first-seq]').count(), 0);
  assert.deepEqual(await covered(page), upTo(602));
  client.close();
});

test('a failure says why and what to do, cancel asks nothing, run again runs', async (t) => {
  const server = await Server.for(t);
  const client = await server.client();
  const failed = await client.run('fail', { code: 'TIMEOUT', message: 'the disk is full' });
  const page = await open(t, server, failed.job);
  await page.getByRole('heading', { name: 'Why it failed' }).waitFor();
  await page.getByText('the disk is full').first().waitFor();
  await page.getByText('Give a longer runtime').waitFor();
  // Submitted by another session of the same principal.
  const sleep = await client.submit('sleep', { ms: 600_000 });
  await page.goto(`${server.page}#/jobs/${sleep}`);
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await page.locator('[data-kind="job.error"]').waitFor();
  await page.locator('.job[data-status="cancelled"]').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Cancel', exact: true }).count(), 0);
  await page.getByLabel('Agent').fill('echo');
  await page.getByLabel('Input (JSON)').fill('{"again": [1, 2]}');
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.locator('[data-kind="job.result"]').waitFor();
  assert.match(await page.locator('.result pre').textContent(), /"again"/);
  // What this page gave a job, it gives again.
  const first = page.url();
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.waitForFunction((url) => location.href !== url, first);
  await page.locator('[data-kind="job.result"]').waitFor();
  assert.match(await page.locator('.result pre').textContent(), /"again"/);
  assert.deepEqual(page.errors, []);
  client.close();
});

test('a streamed result is put together and can be downloaded', async (t) => {
  const server = await Server.for(t);
  const client = await server.client();
  const { job } = await client.run('stream', { chunks: 5, bytes: 1000, binary: true });
  const page = await open(t, server, job);
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download' }).click();
  const { createReadStream } = await import('node:fs');
  const path = await (await download).path();
  let size = 0;
  for await (const part of createReadStream(path)) size += part.length;
  assert.equal(size, 5000);
  client.close();
});

test('a server that is killed is found again, and the log is caught up exactly', async (t) => {
  const port = await freePort();
  const args = ['--store', 'sqlite:jobs.db', '--listen', `127.0.0.1:${port}`];
  let server = await Server.for(t, args);
  const client = await server.client();
  const job = await client.submit('chatty', { n: 100_000, delay_ms: 5 });
  const page = await open(t, server, job);
  await page.waitForFunction(() => Number(document.querySelector('#events .num').textContent.replaceAll(',', '')) > 40);
  const { directory } = server;
  await server.kill();
  await page.getByRole('status').filter({ hasText: 'Reconnecting' }).waitFor();
  await page.getByText('The connection is lost').waitFor();
  server = await Server.for(t, args, { directory });
  await page.getByRole('status').filter({ hasText: 'Connected' }).waitFor();
  await page.getByText('The connection is lost').waitFor({ state: 'detached' });
  // The agent is not restartable, so the runtime has ended the job; its log is what was committed, and then that end.
  await page.locator('.job[data-status="error"]').waitFor();
  await page.getByText('The runtime was restarted while the job ran').waitFor();
  const beside = await server.client();
  const listed = await beside.request('session.list_jobs', { limit: 10 });
  const known = listed.payload.jobs.find((entry) => entry.job_id === job).last_event_seq;
  await page.waitForFunction((n) => document.querySelector('#events .num').textContent === n.toLocaleString('en'), known);
  assert.deepEqual(await covered(page), upTo(known));
  // The session is the same one, and live: it sees what happens now.
  const fresh = await beside.submit('echo', {});
  await page.goto(`${server.page}#/`);
  await page.locator(`tr[data-job-id="${fresh}"][data-status="success"]`).waitFor();
  assert.deepEqual(page.errors, []);
  beside.close();
});
