/** The worker's end: commands in, answers and pushes out. What is heavy happens here, so that the page never stutters. */

import { browser } from '../arcp/browser';
import { Backend } from './backend';
import type { Answer, Command, Push } from './protocol';

const scope = self as unknown as DedicatedWorkerGlobalScope;
const post = (message: Answer | Push) => scope.postMessage(message);
const backend = new Backend(browser, post);

scope.onmessage = async ({ data }: MessageEvent<Command>) => post(await backend.answer(data));

// A runtime this page may not reach: the browser says so here and nowhere else.
scope.addEventListener('securitypolicyviolation', (violation) => {
  const event = violation as SecurityPolicyViolationEvent;
  if (event.violatedDirective === 'connect-src') post({ push: 'blocked', url: event.blockedURI });
});
