// The pictures of docs/dashboard.md, and with a folder as argument many more to look at: `npm run pictures -- FOLDER`.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Server, launch, newPage } from './support.mjs';

const docs = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const folder = process.argv[2];
for (const path of [docs, folder]) if (path) mkdirSync(path, { recursive: true });

const server = await Server.start(['--store', 'memory']);
const client = await server.client();
const browser = await launch();

async function page(hash, drawn, options) {
  const page = await newPage(browser, options);
  await page.goto(server.link);
  await page.getByRole('status').filter({ hasText: 'Connected' }).waitFor();
  await page.goto(server.page + hash);
  await page.locator(drawn).first().waitFor();
  // Progress, costs and listings come a moment after the frame.
  await page.waitForTimeout(2500);
  return page;
}

try {
  const tools = { 'tool.call': ['search.*'], 'fs.read': ['/srv/repo/**'], 'cost.budget': ['USD:1.00'] };
  await client.run('kinds', {});
  await client.run('echo', { question: 'what is new?' });
  await client.run('spend', { costs: [['USD', 0.12], ['USD', 0.31]] }, { lease_request: tools });
  await client.run('access', { ops: [['fs.read', '/etc/passwd'], ['net.fetch', 'https://api.example.com/v1']] }, { lease_request: tools });
  const failed = await client.run('fail', { message: 'the index is locked by another process' });
  const spent = await client.run('spend', { costs: [['USD', 0.4], ['USD', 0.7], ['USD', 0.2]] }, { lease_request: tools });
  await client.run('chatty', { n: 50 });
  await client.run('delegate', { agent: 'echo', input: 1 }, { lease_request: { 'agent.delegate': ['*'] } });
  const live = await client.submit(
    'chatty',
    { n: 400, delay_ms: 60 },
    {
      lease_request: { 'fs.read': ['/srv/repo/**'], 'fs.write': ['/srv/repo/src/**'], 'tool.call': ['search.*', 'exec:git'], 'cost.budget': ['USD:2.00'] },
      lease_constraints: { expires_at: `${new Date(Date.now() + 3_600_000).toISOString().slice(0, 19)}Z` },
    },
  );
  await client.submit('sleep', { ms: 600_000 });
  const size = { width: 1200, height: 700 };
  const shot = async (path, hash, drawn, options, more) => {
    const it = await page(hash, drawn, options);
    await more?.(it);
    await it.screenshot({ path });
    await it.close();
  };
  await shot(join(docs, 'dashboard-overview.png'), '#/', 'tr[data-job-id]', { viewport: size, colorScheme: 'light' });
  await shot(join(docs, 'dashboard-job.png'), `#/jobs/${live}`, '[data-first-seq]', { viewport: size, colorScheme: 'dark' });
  if (folder) {
    for (const colorScheme of ['light', 'dark'])
      for (const [name, hash, drawn] of [
        ['overview', '#/', 'tr[data-job-id]'],
        ['failed', `#/jobs/${failed.job}`, '.why'],
        ['inbox', '#/inbox', '.empty'],
        ['denials', '#/denials', '[data-denial]'],
        ['costs', '#/costs', '.plot canvas'],
        ['agents', '#/runtime', '.agents'],
      ])
        await shot(join(folder, `${name}-${colorScheme}.png`), hash, drawn, { viewport: size, colorScheme });
    const call = (it) => it.locator('[data-kind="tool_call"] button').first().click().then(() => it.waitForTimeout(300));
    await shot(join(folder, 'call.png'), `#/jobs/${spent.job}`, '[data-kind="tool_call"]', { viewport: { width: 1200, height: 1000 } }, call);
    const phone = { viewport: { width: 360, height: 740 } };
    await shot(join(folder, 'overview-360.png'), '#/', 'tr[data-job-id]', phone);
    await shot(join(folder, 'job-360.png'), `#/jobs/${failed.job}`, '.why', phone);
    await shot(join(folder, 'nobody.png'), '#/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV', '.empty', { viewport: size });
    await shot(join(folder, 'overview-800.png'), '#/', 'tr[data-job-id]', { viewport: { width: 800, height: 700 } });
    await shot(join(folder, 'overview-1000.png'), '#/', 'tr[data-job-id]', { viewport: { width: 1000, height: 700 } });
    await client.submit('ask', { kind: 'approval', title: 'Release 1.2 to the world?' });
    await client.submit('ask', { kind: 'choice', title: 'Which branch?', options: [{ id: 'main', label: 'main' }, { id: 'dev', label: 'development' }] });
    for (const [name, hash, drawn] of [
      ['asked', '#/inbox', '.question'],
      ['costs', '#/costs', '.plot canvas'],
      ['denials', '#/denials', '[data-denial]'],
      ['agents', '#/runtime', '.agents'],
    ])
      await shot(join(folder, `${name}-360.png`), hash, drawn, phone);
    await shot(join(folder, 'asked.png'), '#/inbox', '.question', { viewport: size, colorScheme: 'dark' });
    await shot(join(folder, 'overview-asked.png'), '#/', '.badge.asks', { viewport: size });
    const start = (it) => it.getByRole('button', { name: 'Start ask' }).click();
    await shot(join(folder, 'start.png'), '#/runtime', '.agents', { viewport: size }, start);
    const signin = await newPage(browser, { viewport: size });
    await signin.goto(server.page);
    await signin.getByLabel('Token').fill('wrong');
    await signin.getByRole('button', { name: 'Connect' }).click();
    await signin.locator('.alert').waitFor();
    await signin.screenshot({ path: join(folder, 'signin.png') });
    const empty = await Server.start(['--store', 'memory']);
    const alone = await newPage(browser, { viewport: size });
    await alone.goto(empty.link);
    await alone.locator('.empty').waitFor();
    await alone.screenshot({ path: join(folder, 'empty.png') });
    await empty.stop();
    await alone.getByRole('status').filter({ hasText: 'Reconnecting' }).waitFor();
    await alone.getByText('The connection is lost').waitFor();
    await alone.screenshot({ path: join(folder, 'lost.png') });
  }
} finally {
  client.close();
  await browser.close();
  await server.stop();
}
