import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { scripted } from './scripted.mjs';
import { Server, launch, newPage, watchErrors } from './support.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const FEATURES = ['ack', 'list_jobs', 'subscribe', 'x-vendor.towline.list', 'x-vendor.towline.input'];
const QUESTIONS = [
  { question_id: 'q1', kind: 'approval', title: 'Push to main?', operation: { namespace: 'tool.call', value: 'exec:git' } },
  { question_id: 'q2', kind: 'choice', title: 'Which branch?', options: [{ id: 'a', label: 'stable' }, { id: 'b', label: 'next' }] },
  { question_id: 'q3', kind: 'text', title: 'What name?' },
  {
    question_id: 'q4',
    kind: 'form',
    title: 'How much?',
    schema: { type: 'object', required: ['n'], properties: { n: { type: 'integer', title: 'Number' }, fast: { type: 'boolean', title: 'Fast' } } },
  },
  { question_id: 'q5', kind: 'approval', title: 'Delete it?' },
  { question_id: 'q6', kind: 'approval', title: 'Not yours', may_answer: false },
];

/** A runtime with one job that asks all of these. */
function asking() {
  const log = [];
  let seq = 0;
  const tell = (say, { kind, ts, body }, index) =>
    say('job.event', { kind, ts, body }, { job_id: 'job_1', event_seq: ++seq, job_seq: index + 1 });
  const event = (say, kind, body) => {
    log.push({ kind, ts: new Date().toISOString(), body });
    tell(say, log.at(-1), log.length - 1);
  };
  return (frame, say) => {
    const { id, type, payload } = frame;
    if (type === 'session.list_jobs') {
      const created_at = new Date().toISOString();
      const job = { job_id: 'job_1', agent: 'coder@1.0.0', status: 'running', lease: {}, parent_job_id: null, created_at, last_event_seq: 7 };
      say('session.jobs', { request_id: id, jobs: [{ ...job, principal: 'alice', open_questions: 6 }], next_cursor: null });
    } else if (type === 'job.subscribe') {
      say('job.subscribed', { request_id: id, job_id: 'job_1', current_status: 'running', agent: 'coder@1.0.0', lease: {} });
      if (log.length > 0) return log.forEach((entry, index) => tell(say, entry, index));
      event(say, 'status', { phase: 'awaiting_input' });
      for (const question of QUESTIONS)
        event(say, 'x-vendor.towline.input_request', { ...question, expires_at: new Date(Date.now() + 3_600_000).toISOString(), default: null });
    } else if (type === 'x-vendor.towline.answer') {
      say('x-vendor.towline.answered', { request_id: id, job_id: 'job_1', question_id: payload.question_id });
      event(say, 'x-vendor.towline.input_resolved', { question_id: payload.question_id, outcome: 'answered', answer: payload.answer, by: 'alice' });
    } else if (type === 'x-vendor.towline.message') say('x-vendor.towline.message_accepted', { request_id: id, job_id: 'job_1', job_seq: log.length });
  };
}

test('questions of a runtime that is allowed by its address are answered, and its agents spoken to', async (t) => {
  const other = await scripted(t, FEATURES, asking());
  const directory = mkdtempSync(join(tmpdir(), 'towline-page-'));
  writeFileSync(join(directory, 'towline.toml'), `[server]\ndashboard_connect = ["${other.url}"]\n`);
  const server = await Server.for(t, ['--store', 'memory'], { directory });
  const page = await newPage(browser);
  t.after(() => page.close());
  page.setDefaultTimeout(20_000);
  const errors = watchErrors(page);
  await page.goto(`${server.page}?url=${encodeURIComponent(other.url)}#/inbox`);
  await page.getByLabel('Token').fill('for the other');
  await page.getByRole('button', { name: 'Connect' }).click();
  const card = (id) => page.locator(`[data-question-id="${id}"]`);
  await card('q1').waitFor();
  assert.equal(await page.locator('[data-question-id]').count(), 6);
  assert.equal(await card('q6').getByRole('button').count(), 0);
  await card('q1').getByLabel('For the rest of this job').check();
  await card('q1').getByRole('button', { name: 'Approve' }).click();
  await card('q1').waitFor({ state: 'detached' });
  await card('q5').getByRole('button', { name: 'Deny' }).click();
  await card('q5').waitFor({ state: 'detached' });
  await card('q2').getByLabel('next').check();
  await card('q2').getByRole('button', { name: 'Send' }).click();
  await card('q2').waitFor({ state: 'detached' });
  await page.goto(`${server.page}?url=${encodeURIComponent(other.url)}#/jobs/job_1`);
  await card('q3').getByLabel('Answer').fill('towline');
  await card('q3').getByRole('button', { name: 'Send' }).click();
  await card('q3').waitFor({ state: 'detached' });
  await card('q4').getByLabel('Number').fill('7');
  await card('q4').getByLabel('Fast').check();
  await card('q4').getByRole('button', { name: 'Send' }).click();
  await card('q4').waitFor({ state: 'detached' });
  await page.getByRole('textbox', { name: 'Message' }).fill('go on');
  await page.locator('.speak').getByRole('button', { name: 'Send' }).click();
  await page.waitForFunction(() => document.getElementById('message').value === '');
  const of = (type) => other.received.filter((frame) => frame.type === type).map(({ payload }) => payload);
  assert.deepEqual(
    of('x-vendor.towline.answer').map(({ question_id, answer, remember }) => [question_id, answer, remember]),
    [['q1', true, true], ['q5', false, undefined], ['q2', 'b', undefined], ['q3', 'towline', undefined], ['q4', { n: 7, fast: true }, undefined]],
  );
  assert.deepEqual(of('x-vendor.towline.message'), [{ job_id: 'job_1', body: 'go on' }]);
  assert.equal(of('session.hello')[0].auth.token, 'for the other');
  assert.deepEqual(errors, []);
});
