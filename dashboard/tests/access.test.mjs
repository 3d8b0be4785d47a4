import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { Server, launch, newPage, openPage } from './support.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let browser, server, client, kinds, denied;
before(async () => {
  browser = await launch();
  server = await Server.start(['--store', 'memory']);
  client = await server.client();
  kinds = (await client.run('kinds', {})).job;
  await client.run('chatty', { n: 50 });
  denied = (await client.run('access', { ops: [['fs.read', '/etc/passwd']] })).job;
  const lease = { 'cost.budget': ['USD:1.00'], 'tool.call': ['search.*'] };
  await client.run('spend', { costs: [['USD', 0.4]] }, { lease_request: lease });
  await client.run('fail', { message: 'broken' });
  await client.submit('chatty', { n: 10_000, delay_ms: 50 }, { lease_request: lease });
});
after(async () => {
  client?.close();
  await browser?.close();
  await server?.stop();
});

/** Where each view is, and what stands there once it is drawn. */
const views = () => [
  ['#/', 'tr[data-job-id]'],
  [`#/jobs/${kinds}`, '[data-kind="job.result"]'],
  ['#/inbox', '.empty'],
  ['#/denials', '[data-denial]'],
  ['#/costs', '.bars'],
  ['#/runtime', '.agents'],
];

for (const colorScheme of ['light', 'dark'])
  test(`axe finds nothing serious, ${colorScheme}`, async (t) => {
    const page = await openPage(t, browser, server, '', { colorScheme });
    for (const [hash, drawn] of views()) {
      await page.goto(server.page + hash);
      await page.locator(drawn).first().waitFor();
      if (hash.includes('jobs')) await page.locator('[data-kind="tool_call"] button').click();
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
      const grave = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
      assert.deepEqual(grave.map((v) => `${hash} ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')}`), []);
    }
    assert.deepEqual(page.errors, []);
  });

test('everything can be reached and done with the keyboard', async (t) => {
  const page = await newPage(browser);
  t.after(() => page.close());
  page.setDefaultTimeout(20_000);
  await page.goto(server.page);
  const press = (key) => page.keyboard.press(key);
  /** Tab until the focus is on something with this name. */
  const tabTo = async (name) => {
    for (let n = 0; n < 80; n++) {
      const at = await page.evaluate(() => document.activeElement?.getAttribute('aria-label') || document.activeElement?.id || document.activeElement?.textContent);
      if (at?.trim().startsWith(name)) return;
      await press('Tab');
    }
    assert.fail(`the focus never came to ${name}`);
  };
  await page.getByLabel('Token').waitFor();
  await tabTo('token');
  await page.keyboard.type('s3cret');
  await press('Enter');
  await page.locator('tr[data-job-id]').first().waitFor();
  await tabTo(kinds);
  await press('Enter');
  await page.locator('[data-kind="job.result"]').waitFor();
  await tabTo('Timeline');
  await press('ArrowDown');
  await press('End');
  await page.waitForFunction(() => document.activeElement?.closest('[data-kind="job.result"]'));
  await press('Home');
  await press('ArrowDown');
  await press('ArrowDown');
  await page.waitForFunction(() => document.activeElement?.closest('[data-job-seq="3"]'));
  await press('Enter');
  await page.getByRole('region', { name: 'Event 3' }).waitFor();
  await tabTo('Run again');
  await press('Enter');
  await page.waitForFunction((job) => !location.hash.includes(job), kinds);
});

for (const width of [360, 800, 1000, 1200])
  test(`at ${width} pixels nothing is cut off or broken, and nothing scrolls sideways`, async (t) => {
    const page = await openPage(t, browser, server, '', { viewport: { width, height: 740 } });
    for (const [hash, drawn] of [...views(), [`#/jobs/${denied}`, '[data-kind="tool_result"]']]) {
      await page.goto(server.page + hash);
      await page.locator(drawn).first().waitFor();
      const wide = await page.evaluate((width) => {
        const seen = (what) => [...document.querySelectorAll(what)].filter((e) => e.checkVisibility() && !e.closest('.scroller, .hidden, .skip'));
        /** Whether some of its text is wholly below other. */
        const isBroken = (e) => {
          const range = document.createRange();
          range.selectNodeContents(e);
          const rects = [...range.getClientRects()];
          return Math.max(...rects.map((rect) => rect.top)) >= Math.min(...rects.map((rect) => rect.bottom));
        };
        return {
          page: document.documentElement.scrollWidth,
          cut: seen('button, a, input').filter((e) => e.getBoundingClientRect().right > width + 1).map((e) => e.outerHTML.slice(0, 100)),
          broken: seen('nav a, th[scope="col"], button.small, .badge').filter((e) => !e.querySelector('.hidden') && isBroken(e)).map((e) => e.textContent),
        };
      }, width);
      assert.deepEqual(wide, { page: width, cut: [], broken: [] }, hash);
    }
  });
