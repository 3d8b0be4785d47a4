/** What is on the wire, as far as this client reads it. Unknown fields are left alone, `null` reads as absent. */

import { members, unquote, type Span } from './raw';

export const VERSION = '1.1';

/** What this client can do. `provisioned_credentials` is missing on purpose: secrets have no business in a page. */
export const FEATURES = [
  'heartbeat',
  'ack',
  'list_jobs',
  'subscribe',
  'lease_expires_at',
  'cost.budget',
  'model.use',
  'progress',
  'result_chunk',
  'agent_versions',
  'x-vendor.towline.input',
  'x-vendor.towline.list',
] as const;

export const INPUT = 'x-vendor.towline.input';
export const LIST = 'x-vendor.towline.list';

export type Status = 'pending' | 'running' | 'success' | 'error' | 'cancelled' | 'timed_out';
export const STATUSES: readonly Status[] = ['running', 'pending', 'success', 'error', 'cancelled', 'timed_out'];
export const isLive = (status: Status) => status === 'running' || status === 'pending';

export type Lease = Record<string, string[]>;

export interface AgentInfo {
  name: string;
  versions: string[];
  default?: string;
  description?: string;
  input_schema?: unknown;
}

export interface ErrorPayload {
  code: string;
  message: string;
  retryable: boolean;
  request_id?: string;
  details?: Record<string, unknown>;
  final_status?: Status;
}

export interface Welcome {
  sessionId: string;
  resumeToken?: string;
  resumeWindowSec: number;
  heartbeatSec?: number;
  features: Set<string>;
  agents: AgentInfo[];
  runtime: { name: string; version: string };
  admin: boolean;
}

/** One event of a job, its body still text. */
export interface EventFrame {
  jobId: string;
  eventSeq?: number;
  jobSeq?: number;
  kind: string;
  /** Milliseconds since 1970. */
  time: number;
  body: string;
}

/** Any other message, read. `text` is what it was read from. */
export interface Message {
  type: string;
  id?: string;
  sessionId?: string;
  jobId?: string;
  eventSeq?: number;
  jobSeq?: number;
  payload: Record<string, unknown>;
  text: string;
}

export type Frame = { event: EventFrame } | { message: Message };

/** Reads a frame; `undefined` when it is none. */
export function read(text: string): Frame | undefined {
  const head = members(text);
  const type = head && stringAt(text, head.get('type'));
  if (!head || !type) return undefined;
  if (type === 'job.event') {
    const event = readEvent(text, head);
    if (event) return { event };
  }
  try {
    return { message: readMessage(type, text) };
  } catch {
    return undefined;
  }
}

function readEvent(text: string, head: Map<string, Span>): EventFrame | undefined {
  const at = head.get('payload');
  const payload = at && members(text, at[0]);
  const jobId = stringAt(text, head.get('job_id')) ?? stringAt(text, payload?.get('job_id'));
  const kind = stringAt(text, payload?.get('kind'));
  if (!payload || !jobId || !kind) return undefined;
  const body = payload.get('body');
  return {
    jobId,
    eventSeq: numberAt(text, head.get('event_seq')),
    jobSeq: numberAt(text, head.get('job_seq')),
    kind,
    time: Date.parse(stringAt(text, payload.get('ts')) ?? ''),
    body: body ? text.slice(body[0], body[1]) : '{}',
  };
}

function readMessage(type: string, text: string): Message {
  const envelope = JSON.parse(text) as Record<string, unknown>;
  const payload = isObject(envelope.payload) ? envelope.payload : {};
  return {
    type,
    id: asString(envelope.id),
    sessionId: asString(envelope.session_id),
    jobId: asString(envelope.job_id) ?? asString(payload.job_id),
    eventSeq: asNumber(envelope.event_seq),
    jobSeq: asNumber(envelope.job_seq),
    payload,
    text,
  };
}

export function readWelcome(message: Message): Welcome {
  const { payload } = message;
  const capabilities = isObject(payload.capabilities) ? payload.capabilities : {};
  const runtime = isObject(payload.runtime) ? payload.runtime : {};
  const offered = Array.isArray(capabilities.features) ? capabilities.features : [];
  return {
    sessionId: message.sessionId ?? asString(payload.session_id) ?? '',
    resumeToken: asString(payload.resume_token),
    resumeWindowSec: asNumber(payload.resume_window_sec) ?? 0,
    heartbeatSec: asNumber(payload.heartbeat_interval_sec),
    // Some runtimes answer with all they know instead of what both sides do.
    features: new Set(FEATURES.filter((feature) => offered.includes(feature))),
    agents: Array.isArray(capabilities.agents) ? capabilities.agents.flatMap(readAgent) : [],
    runtime: {
      name: asString(runtime.name) ?? asString(payload.runtime_name) ?? 'runtime',
      version: asString(runtime.version) ?? asString(payload.runtime_version) ?? '',
    },
    admin: payload['x-vendor.towline.admin'] === true,
  };
}

function readAgent(value: unknown): AgentInfo[] {
  if (typeof value === 'string') return [{ name: value, versions: [] }];
  if (!isObject(value) || typeof value.name !== 'string') return [];
  const versions = Array.isArray(value.versions) ? value.versions.filter((v) => typeof v === 'string') : [];
  return [
    {
      name: value.name,
      versions,
      default: asString(value.default),
      description: asString(value.description) ?? asString(value['x-vendor.towline.description']),
      input_schema: value.input_schema ?? value['x-vendor.towline.input_schema'],
    },
  ];
}

export function readError(payload: Record<string, unknown>): ErrorPayload {
  const details = payload.details ?? payload.detail;
  return {
    code: asString(payload.code) ?? 'INTERNAL_ERROR',
    message: asString(payload.message) ?? '',
    retryable: payload.retryable === true,
    request_id: asString(payload.request_id),
    details: isObject(details) ? details : undefined,
    final_status: asStatus(payload.final_status),
  };
}

export function asStatus(value: unknown): Status | undefined {
  if (value === 'timedout') return 'timed_out';
  return STATUSES.find((status) => status === value);
}

export function asLease(value: unknown): Lease {
  const lease: Lease = {};
  if (!isObject(value)) return lease;
  for (const [namespace, patterns] of Object.entries(value))
    if (Array.isArray(patterns)) lease[namespace] = patterns.filter((p): p is string => typeof p === 'string');
  return lease;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const asString = (value: unknown) => (typeof value === 'string' ? value : undefined);
export const asNumber = (value: unknown) => (typeof value === 'number' ? value : undefined);

function stringAt(text: string, span: Span | undefined): string | undefined {
  return span && text[span[0]] === '"' ? unquote(text.slice(span[0], span[1])) : undefined;
}

function numberAt(text: string, span: Span | undefined): number | undefined {
  const number = span ? Number(text.slice(span[0], span[1])) : NaN;
  return Number.isFinite(number) ? number : undefined;
}
