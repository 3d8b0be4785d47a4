import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Server, launch, newPage, watchErrors } from './support.mjs';

// EVENTS=100000 is enough to look at a change.
const EVENTS = Number(process.env.EVENTS ?? 1_000_000);
const MIDDLE = Math.floor(EVENTS * 0.77);

test('a job of a million events scrolls smoothly and stays small', async (t) => {
  const server = await Server.for(t);
  const client = await server.client();
  const browser = await launch();
  t.after(() => browser.close());
  const { job } = await client.run('burst', { n: EVENTS });
  // A submitter that lags adds status events of its own, so the log may be a little longer.
  const { payload } = await client.request('session.list_jobs', { limit: 10 });
  const last = payload.jobs.find((entry) => entry.job_id === job).last_event_seq;
  client.close();
  const page = await newPage(browser, { viewport: { width: 1280, height: 800 } });
  const errors = watchErrors(page);
  await page.goto(server.link);
  await page.goto(`${server.page}#/jobs/${job}`);
  await page.locator('[data-first-seq]').first().waitFor({ timeout: 300_000 });
  await page.waitForFunction((n) => document.querySelector('#events .num')?.textContent === n.toLocaleString('en'), last, { timeout: 300_000 });
  await page.getByRole('button', { name: 'Unfold all' }).click();
  // Wherever unfolding has left the view: at the end, say, where the page follows what comes.
  await page.evaluate(() => {
    document.querySelector('.scroller').scrollTop = 0;
  });
  await page.locator('[data-job-seq="5"]').waitFor();
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
