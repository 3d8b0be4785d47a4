import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, launch, openPage } from './support.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const MARKUP = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script><a href="javascript:window.harmed=1">x</a>';
const HOSTILE = `${MARKUP}\u001b[2J\u001b]0;title\u0007\u009b31m\u202eevil\u2066isolate\u2069\u0000end`;

/** No control or direction character anywhere in the page, and nothing that the text asked for. */
async function harmless(page) {
  const found = await page.evaluate(() => ({
    harmed: window.harmed,
    controls: /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.exec(document.body.innerText + document.title)?.index,
    images: document.querySelectorAll('#page img, #page script, #page iframe').length,
    links: [...document.querySelectorAll('a')].filter((a) => /^javascript:/i.test(a.href)).length,
  }));
  assert.deepEqual(found, { harmed: undefined, controls: undefined, images: 0, links: 0 });
}

test('output full of HTML, ANSI and bidi text is text, in every view', async (t) => {
  const server = await Server.for(t);
  const client = await server.client();
  t.after(() => client.close());
  const echo = await client.run('echo', { [HOSTILE]: HOSTILE });
  const failed = await client.run('fail', { message: HOSTILE });
  const denied = await client.run('access', { ops: [['fs.read', `/tmp/${MARKUP}\u202e`], ['tool.call', MARKUP]] });
  const text = await client.run('echo', HOSTILE, { lease_request: { 'tool.call': ['x<b>y</b>'], 'x-vendor.a.<i>': ['*'] } });
  const page = await openPage(t, browser, server);
  for (const { job } of [echo, failed, denied, text]) {
    await page.goto(`${server.page}#/jobs/${job}`);
    await page.locator(`.job[data-job-id="${job}"] [data-job-seq]`).last().waitFor();
    await page.locator('[data-job-seq] button').last().click();
    await page.locator('.detail pre').first().waitFor();
    await harmless(page);
  }
  // It is all there, as escapes.
  await page.locator('.result pre').filter({ hasText: '\\x1b[2J' }).filter({ hasText: '\\u202eevil' }).filter({ hasText: '<script>' }).waitFor();
  await page.goto(`${server.page}#/denials`);
  await page.locator('[data-denial]').first().waitFor();
  await harmless(page);
  await page.goto(`${server.page}#/`);
  await page.locator('tr[data-job-id]').first().waitFor();
  await harmless(page);
  assert.deepEqual(page.errors, []);
});

test('the policy lets nothing inline run and nothing foreign load', async (t) => {
  const server = await Server.for(t);
  const page = await openPage(t, browser, server);
  const violated = await page.evaluate(async () => {
    const seen = [];
    document.addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
    const script = document.createElement('script');
    script.textContent = 'window.harmed = 1';
    document.body.append(script);
    const style = document.createElement('style');
    style.textContent = 'body { display: none }';
    document.body.append(style);
    const image = new Image();
    image.src = 'https://other.example/pixel.png';
    await fetch('https://other.example/').catch(() => {});
    new WebSocket('ws://127.0.0.1:9/arcp');
    for (let n = 0; seen.length < 5 && n < 100; n++) await new Promise((done) => setTimeout(done, 20));
    return { seen: [...new Set(seen)].sort(), harmed: window.harmed };
  });
  assert.deepEqual(violated, { seen: ['connect-src', 'img-src', 'script-src-elem', 'style-src-elem'], harmed: undefined });
  const answer = await page.request.get(server.page);
  const headers = answer.headers();
  assert.match(headers['content-security-policy'], /^default-src 'none'; script-src 'self'; style-src 'self'/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(headers['referrer-policy'], 'no-referrer');
  assert.equal(headers['cache-control'], 'no-cache');
});
