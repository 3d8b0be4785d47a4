/** Leases and refusals in words, and as the flags that would change them. */

import type { ErrorPayload, Lease } from '../arcp/wire';

const WORDS: Record<string, string> = {
  'fs.read': 'May read files',
  'fs.write': 'May write files',
  'net.fetch': 'May fetch',
  'tool.call': 'May call tools',
  'agent.delegate': 'May delegate to',
  'model.use': 'May use models',
  'cost.budget': 'May spend up to',
  'x-vendor.towline.ask': 'Asks before',
};

export interface Clause {
  namespace: string;
  words: string;
  patterns: string[];
}

/** What a lease allows, a clause a namespace; empty when it allows nothing. */
export function clauses(lease: Lease): Clause[] {
  const order = Object.keys(WORDS);
  const rank = (namespace: string) => (order.indexOf(namespace) + 99) % 99;
  return Object.entries(lease)
    .filter(([, patterns]) => patterns.length > 0)
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .map(([namespace, patterns]) => ({
      namespace,
      words: WORDS[namespace] ?? `May use ${namespace}`,
      patterns: namespace === 'cost.budget' ? patterns.map((p) => p.replace(':', ' ')) : patterns,
    }));
}

export interface Denial {
  jobId: string;
  seq: number;
  time: number;
  code: string;
  message: string;
  operation?: { namespace: string; value: string };
  /** What to add to `towline run` so that it would have been allowed. */
  flag?: string;
}

const DENIALS = new Set(['PERMISSION_DENIED', 'BUDGET_EXHAUSTED', 'LEASE_EXPIRED', 'LEASE_SUBSET_VIOLATION']);
export const isDenial = (code: string) => DENIALS.has(code);

/** Reads the operation out of a refusal of ours: `` fs.read `/etc/passwd` denied: … ``. */
export function operationOf(message: string): { namespace: string; value: string } | undefined {
  const found = /^([a-z][\w.-]*) `([\s\S]*)` denied: /.exec(message);
  return found?.[1] && found[2] !== undefined ? { namespace: found[1], value: found[2] } : undefined;
}

export function flagFor(code: string, operation: { namespace: string; value: string } | undefined): string | undefined {
  if (code === 'BUDGET_EXHAUSTED') return '--budget USD:5.00';
  if (code === 'LEASE_EXPIRED') return '--expires-in 1h';
  // A value that was cut for the message would make a pattern that matches nothing.
  if (!operation || operation.value.endsWith('…')) return undefined;
  const pattern = operation.namespace === 'net.fetch' ? withoutQuery(operation.value) : operation.value;
  return `--lease ${quoted(`${operation.namespace}=${escaped(pattern)}`)}`;
}

const withoutQuery = (url: string) => url.replace(/[?#].*$/s, '');
/** A value as the pattern that matches just it. */
const escaped = (value: string) => value.replace(/[\\*?[\]{}]/g, '\\$&');
/** A word as a shell reads it. */
export const quoted = (word: string) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** What can be done about a job that failed so. */
export function remedy(error: ErrorPayload, lease: Lease): string {
  const reason = error.details?.reason;
  if (reason === 'runtime_restarted')
    return 'The runtime was restarted while the job ran, and its agent is not registered as restartable. Run it again.';
  switch (error.code) {
    case 'PERMISSION_DENIED':
      return 'The lease does not cover what the agent tried. Grant it below and run again, or see Denials for the pattern.';
    case 'BUDGET_EXHAUSTED':
      return `The budget (${(lease['cost.budget'] ?? ['none']).join(', ')}) is used up. Give a larger one and run again.`;
    case 'LEASE_EXPIRED':
      return 'The lease’s time was over before the work was. Give it more time, or none, and run again.';
    case 'LEASE_SUBSET_VIOLATION':
      return 'The job asked for more than its parent, or its submitter’s role, may give. Ask for less.';
    case 'TIMEOUT':
      return 'The job ran longer than it was allowed to. Give a longer runtime and run again.';
    case 'CANCELLED':
      return 'Somebody cancelled it. Run it again when it is wanted after all.';
    case 'INVALID_REQUEST':
      return 'The agent could not use its input. Change the input below and run again.';
    case 'AGENT_NOT_AVAILABLE':
    case 'AGENT_VERSION_NOT_AVAILABLE':
      return 'No such agent is registered now. Choose one that is, or start it and run again.';
    default:
      return error.retryable
        ? 'This may pass by itself: run it again. If it stays, look at the last lines of the log.'
        : 'Look at the last lines of the log, change what they name, and run again.';
  }
}
