import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Server, TOKEN, launch, newPage, watchErrors } from './support.mjs';

// EVENTS=100000 is enough to look at a change.
const EVENTS = Number(process.env.EVENTS ?? 1_000_000);
const MIDDLE = Math.floor(EVENTS * 0.77);

/** A job whose submitter reads none of its events, once it has ended. */
async function ended(server, agent, input) {
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', prefer: 'wait=60' };
  const ask = async (path, options) => (await fetch(`${server.page}v1/jobs${path}`, { headers, ...options })).json();
  let job = await ask('', { method: 'POST', body: JSON.stringify({ agent, input }) });
  while (!job.completed_at) {
    await new Promise((done) => setTimeout(done, 200));
    job = await ask(`/${job.job_id}`);
  }
  return job;
}

test('a job of a million events scrolls smoothly and stays small', async (t) => {
  const server = await Server.for(t);
  const browser = await launch();
  t.after(() => browser.close());
  const { job_id: job, last_event_seq: last } = await ended(server, 'burst', { n: EVENTS });
  assert.ok(last >= EVENTS, `${last} events`);
  const page = await newPage(browser, { viewport: { width: 1280, height: 800 } });
  const errors = watchErrors(page);
  await page.goto(server.link);
  await page.goto(`${server.page}#/jobs/${job}`);
  await page.locator('[data-first-seq]').first().waitFor({ timeout: 300_000 });
  await page.waitForFunction((n) => document.querySelector('#events .num')?.textContent === n.toLocaleString('en'), last, { timeout: 300_000 });
  await page.getByRole('button', { name: 'Unfold all' }).click();
  // Wherever unfolding leaves the view, and whenever: at the end, say, where the page follows what comes.
  const atTheTop = () => {
    document.querySelector('.scroller').scrollTop = 0;
    return document.querySelector('[data-job-seq="5"]');
  };
  await page.waitForFunction(atTheTop, null, { timeout: 120_000 });
  const frames = await page.evaluate(async () => {
    const box = document.querySelector('.scroller');
    let frames = 0;
    let steps = 0;
    const begin = performance.now();
    while (performance.now() - begin < 3000) {
      box.scrollTop += 137;
      if (++steps % 40 === 0) box.scrollTop = (box.scrollHeight * (steps % 7)) / 7;
      await new Promise((done) => requestAnimationFrame(done));
      frames++;
    }
    return (frames * 1000) / (performance.now() - begin);
  });
  // Not a matter of the clock's time but of whether frames are skipped; a busy machine skips some by itself.
  console.log(`frames a second while scrolling: ${frames.toFixed(1)}`);
  assert.ok(frames > 20, `${frames} frames a second`);
  await page.evaluate(() => {
    const box = document.querySelector('.scroller');
    box.scrollTop = box.scrollHeight;
  });
  await page.locator(`[data-job-seq="${last - 1}"]`).waitFor();
  await page.locator(`[data-job-seq="${last}"][data-kind="job.result"]`).waitFor();
  await page.getByRole('searchbox', { name: 'Search events' }).fill(`${MIDDLE} x`);
  await page.locator('[data-kind="log"]').filter({ hasText: `${MIDDLE} x` }).waitFor();
  // Everything the page holds, its worker included, as the process that runs them sees it.
  const bytes = await page.evaluate(() => performance.memory.usedJSHeapSize);
  const nodes = await page.evaluate(() => document.querySelectorAll('*').length);
  console.log(`heap of the page: ${(bytes / 1048576).toFixed(1)} MiB, ${nodes} elements`);
  assert.ok(bytes < 100 * 1024 * 1024, `${bytes} bytes`);
  assert.ok(nodes < 3000, `${nodes} elements`);
  assert.deepEqual(errors, []);
});
