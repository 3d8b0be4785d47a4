import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, TOKEN, launch, newPage, openPage } from './support.mjs';

let browser, server, client;
before(async () => {
  browser = await launch();
  server = await Server.start(['--store', 'memory']);
  client = await server.client();
});
after(async () => {
  client?.close();
  await browser?.close();
  await server?.stop();
});

test('a token in the fragment signs in and leaves the address; it is kept for the tab and the runtime only', async (t) => {
  const page = await openPage(t, browser, server);
  assert.equal(new URL(page.url()).hash, '#/');
  const kept = await page.evaluate(() => ({ session: { ...sessionStorage }, local: { ...localStorage }, cookie: document.cookie }));
  assert.deepEqual(kept.session, { [`towline.token ${server.url}`]: TOKEN });
  assert.deepEqual(kept.local, {});
  assert.equal(kept.cookie, '');
  await page.reload();
  await page.getByRole('status').filter({ hasText: 'Connected' }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Token').waitFor();
  assert.deepEqual(await page.evaluate(() => ({ ...sessionStorage })), {});
  assert.deepEqual(page.errors, []);
});

test('a wrong token is refused with a reason, a right one gets in', async (t) => {
  const page = await newPage(browser);
  t.after(() => page.close());
  page.setDefaultTimeout(20_000);
  await page.goto(server.page);
  assert.equal(await page.getByRole('status').textContent(), 'Offline');
  await page.getByLabel('Token').fill('wrong');
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByText('does not know this token').waitFor();
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByRole('status').filter({ hasText: 'Connected' }).waitFor();
});

test('another runtime is asked for by name, and never gets the token of this one', async (t) => {
  const other = await Server.for(t, ['--store', 'memory', '--no-dashboard']);
  const page = await openPage(t, browser, server);
  await page.goto(`${server.page}?url=${encodeURIComponent(other.url)}#token=${TOKEN}`);
  await page.getByRole('heading', { name: new URL(other.url).host }).waitFor();
  assert.ok(!page.url().includes(TOKEN));
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByRole('button', { name: 'Connect' }).click();
  // Not listed in dashboard_connect, so the browser does not let it through.
  await page.getByText('may not connect to').waitFor();
});

test('the list stays right while five thousand jobs come and go', async (t) => {
  const page = await openPage(t, browser, server);
  const stay = await client.submit('sleep', { ms: 600_000 });
  const jobs = [];
  for (let round = 0; round < 100; round++) {
    const batch = await Promise.all(Array.from({ length: 50 }, (_, i) => client.submit(i % 10 === 0 ? 'fail' : 'echo', {})));
    await Promise.all(batch.map((job) => client.end(job)));
    jobs.push(...batch);
  }
  const last = await client.submit('sleep', { ms: 600_000 });
  const total = jobs.length + 2;
  await page.waitForFunction((n) => [...document.querySelectorAll('.figure')].some((f) => f.textContent === `Jobs in all${n.toLocaleString('en')}`), total);
  await page.waitForFunction((n) => document.querySelector('.chip.error')?.textContent.includes(`${n}`), jobs.length / 10);
  for (const job of [stay, last]) assert.equal(await page.locator(`tr[data-job-id="${job}"]`).getAttribute('data-status'), 'running');
  await page.getByRole('searchbox', { name: 'Search jobs' }).fill(jobs[10]);
  const row = page.locator(`tr[data-job-id="${jobs[10]}"]`);
  await row.waitFor();
  assert.equal(await row.getAttribute('data-status'), 'error');
  assert.equal(await page.locator('tbody tr').count(), 1);
  assert.equal(await row.getByRole('link', { name: jobs[10] }).getAttribute('href'), `#/jobs/${jobs[10]}`);
  await page.getByRole('searchbox', { name: 'Search jobs' }).fill('');
  await client.request('job.cancel', { job_id: stay });
  await page.getByRole('button', { name: /^Cancelled/ }).click();
  await page.locator(`tr[data-job-id="${stay}"][data-status="cancelled"]`).waitFor();
  assert.deepEqual(page.errors, []);
});

test('denials name the flag that would allow them, costs add up exactly', async (t) => {
  await client.run('access', { ops: [['fs.read', '/etc/passwd']] }, { lease_request: { 'fs.read': ['/work/**'] } });
  const lease = { 'cost.budget': ['USD:1.00'], 'tool.call': ['search.*'] };
  await client.run('spend', { costs: [['USD', 0.1], ['USD', 0.2]] }, { lease_request: lease });
  const page = await openPage(t, browser, server);
  await page.getByRole('link', { name: 'Denials' }).click();
  await page.getByText('--lease fs.read=/etc/passwd').waitFor();
  await page.getByRole('link', { name: 'Costs' }).click();
  await page.getByRole('row', { name: /^spend 0\.30 1$/ }).waitFor();
  await page.getByRole('link', { name: 'Inbox' }).click();
  await page.getByRole('heading', { name: 'Inbox' }).waitFor();
  assert.deepEqual(page.errors, []);
});
