/** What the page and its worker say to each other. */

import type { Phase } from '../arcp/connection';
import type { AgentInfo, ErrorPayload, Lease, Status } from '../arcp/wire';
import type { Artifact, Progress, Question } from '../model/digest';
import type { Filter, Gauge, Job, Overview } from '../model/jobs';
import type { Denial } from '../model/lease';
import type { Entry } from '../model/log';
import type { RowData, Terminal } from '../model/watch';

export interface RuntimeInfo {
  name: string;
  version: string;
  features: string[];
  agents: AgentInfo[];
}

export interface Head {
  id: string;
  status?: Status;
  agent: string;
  principal?: string;
  lease: Lease;
  expiresAt?: number;
  gauges: Gauge[];
  costs: { currency: string; sum: string }[];
  traceId?: string;
  parent?: string;
  created?: number;
  started?: number;
  completed?: number;
  schedule?: string;
  waitingFor?: string;
  /** The job's own number of its last event. */
  count: number;
  rows: number;
  folds: { folds: number; open: number };
  counts: [string, number][];
  isFiltered: boolean;
  isSearching: boolean;
  isLoading: boolean;
  /** Where the log will reach, when that is known. */
  expected: number;
  progress?: Progress;
  phase?: string;
  questions: Question[];
  denials: Denial[];
  artifacts: Artifact[];
  children: Job[];
  terminal?: Terminal;
  error?: ErrorPayload;
  refusal?: { code: string; message: string };
  /** Changes with every change of what rows show. */
  version: number;
}

export interface Costs {
  by: { agent: Sum[]; principal: Sum[]; day: Sum[] };
  currencies: string[];
  jobs: number;
}

export interface Sum {
  key: string;
  currency: string;
  sum: string;
  rough: number;
  jobs: number;
}

export interface DenialList {
  denials: (Denial & { agent: string })[];
  scanned: number;
  skipped: number;
  isScanning: boolean;
}

export interface Submission {
  agent: string;
  /** JSON text; empty is none. */
  input: string;
  lease?: Lease;
  expiresAt?: string;
  maxRuntimeSec?: number;
}

/** Every operation: what it takes and what it gives. */
export interface Operations {
  connect: [{ url: string; token: string }, void];
  disconnect: [Record<string, never>, void];
  hurry: [Record<string, never>, void];
  attend: [{ isVisible: boolean }, void];
  overview: [{ filter: Filter; limit: number }, Overview];
  open: [{ job: string }, void];
  leave: [{ job: string }, void];
  children: [{ job: string }, Job[]];
  rows: [{ job: string; from: number; to: number }, { rows: RowData[]; version: number }];
  rowOf: [{ job: string; seq: number }, number];
  detail: [{ job: string; seq: number }, { entry: Entry; other?: Entry } | undefined];
  filter: [{ job: string; kinds: string[]; text: string }, void];
  fold: [{ job: string; first?: number; isOpen: boolean }, void];
  result: [{ job: string }, { text?: string; bytes?: Uint8Array<ArrayBuffer>; isJson: boolean } | undefined];
  inputOf: [{ job: string }, string | undefined];
  cancel: [{ job: string }, void];
  submit: [Submission, { job: string }];
  answer: [{ job: string; question: string; answer: unknown; note?: string; remember?: boolean }, void];
  say: [{ job: string; body: unknown }, void];
  costs: [Record<string, never>, Costs];
  denials: [{ more: boolean }, DenialList];
  questions: [Record<string, never>, Question[]];
}

export type Op = keyof Operations;

export interface Command<O extends Op = Op> {
  id: number;
  op: O;
  args: Operations[O][0];
}

export interface Failure {
  code: string;
  message: string;
  details?: Record<string, unknown>;
}

export type Push =
  | { push: 'phase'; phase: Phase; runtime?: RuntimeInfo }
  | { push: 'jobs' }
  | { push: 'head'; head: Head }
  | { push: 'questions' }
  | { push: 'denials' }
  | { push: 'blocked'; url: string };

export type Answer = { id: number; value: unknown } | { id: number; error: Failure };
