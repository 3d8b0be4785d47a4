/** What is kept of a job's events beside the log: where it is, what it asks, what it was refused. */

import { members, textAt, unquote } from '../arcp/raw';
import { asString, isObject, readError, type EventFrame, type Status } from '../arcp/wire';
import { flagFor, isDenial, operationOf, type Denial } from './lease';
import { ZERO, amount, plus, type Amount } from './money';

export interface Question {
  jobId: string;
  agent: string;
  id: string;
  kind: string;
  title: string;
  message?: string;
  operation?: { namespace: string; value: string };
  options: { id: string; label: string }[];
  schema?: unknown;
  expires?: number;
  asked: number;
  mayAnswer: boolean;
}

export interface Progress {
  current: number;
  total?: number;
  units?: string;
  message?: string;
}

export interface Artifact {
  seq: number;
  uri: string;
  contentType: string;
  bytes?: number;
}

const MOST_KEPT = 500;

export class Digest {
  seq = 0;
  phase: string | undefined;
  status: Status | undefined;
  questions = new Map<string, Question>();
  denials: Denial[] = [];
  artifacts: Artifact[] = [];
  children = new Set<string>();
  costs = new Map<string, Amount>();
  left: Record<string, string> = {};
  #progress: string | undefined;
  #calls = new Map<string, string>();

  constructor(
    readonly jobId: string,
    public agent = '',
  ) {}

  get progress(): Progress | undefined {
    const body = parsed(this.#progress);
    if (typeof body.current !== 'number') return undefined;
    return {
      current: body.current,
      total: typeof body.total === 'number' ? body.total : undefined,
      units: asString(body.units),
      message: asString(body.message),
    };
  }

  /** Takes the next event. Most cost a look at their kind. */
  take(event: EventFrame, seq: number): void {
    this.seq = seq;
    const { kind, body } = event;
    if (kind === 'log' || kind === 'thought' || kind === 'result_chunk') return;
    if (kind === 'progress') this.#progress = body;
    else if (kind === 'metric') this.#metric(body);
    else if (kind === 'tool_call') this.#call(body);
    else if (kind === 'tool_result') this.#result(body, seq, event.time);
    else if (kind === 'status') this.phase = asString(parsed(body).phase);
    else if (kind === 'artifact_ref') this.#artifact(parsed(body), seq);
    else if (kind === 'delegate') this.#delegate(parsed(body));
    else if (kind === 'x-vendor.towline.input_request') this.#asked(parsed(body), event.time);
    else if (kind === 'x-vendor.towline.input_resolved') this.questions.delete(String(parsed(body).question_id));
  }

  /** The job has ended: nobody waits for answers any more. */
  end(status: Status): void {
    this.status = status;
    this.questions.clear();
    this.#calls.clear();
  }

  #metric(body: string): void {
    if (!body.includes('"cost.')) return;
    const found = members(body);
    const at = (name: string) => {
      const span = found?.get(name);
      return span ? body.slice(span[0], span[1]) : '';
    };
    const name = unquote(at('name') || '""');
    const unit = unquote(at('unit') || '""');
    const value = amount(at('value'));
    if (!name.startsWith('cost.') || !unit || !value) return;
    if (name === 'cost.budget.remaining') this.left[unit] = at('value');
    else this.costs.set(unit, plus(this.costs.get(unit) ?? ZERO, value));
  }

  #call(body: string): void {
    const id = textAt(body, 'call_id');
    const tool = textAt(body, 'tool');
    if (!id || !tool) return;
    this.#calls.set(unquote(id), unquote(tool));
    if (this.#calls.size > MOST_KEPT) this.#calls.delete(this.#calls.keys().next().value as string);
  }

  #result(body: string, seq: number, time: number): void {
    if (!body.includes('"error"')) return;
    const { error, call_id } = parsed(body);
    if (!isObject(error)) return;
    const { code, message, details } = readError(error);
    if (!isDenial(code) || this.denials.length >= MOST_KEPT) return;
    const told = isObject(details?.operation) ? details.operation : undefined;
    const tool = this.#calls.get(String(call_id));
    const namespace = asString(told?.namespace);
    const operation =
      (namespace !== undefined ? { namespace, value: String(told?.value ?? '') } : operationOf(message)) ??
      (tool === undefined ? undefined : { namespace: 'tool.call', value: tool });
    this.denials.push({ jobId: this.jobId, seq, time, code, message, operation, flag: flagFor(code, operation) });
  }

  #artifact(body: Record<string, unknown>, seq: number): void {
    if (this.artifacts.length >= MOST_KEPT) return;
    const bytes = typeof body.byte_size === 'number' ? body.byte_size : undefined;
    this.artifacts.push({ seq, uri: String(body.uri), contentType: String(body.content_type ?? ''), bytes });
  }

  #delegate(body: Record<string, unknown>): void {
    if (typeof body.child_job_id === 'string' && this.children.size < MOST_KEPT) this.children.add(body.child_job_id);
  }

  #asked(body: Record<string, unknown>, time: number): void {
    const id = asString(body.question_id);
    if (!id || this.questions.size >= MOST_KEPT) return;
    const operation = isObject(body.operation) ? body.operation : undefined;
    const expires = Date.parse(String(body.expires_at));
    this.questions.set(id, {
      jobId: this.jobId,
      agent: this.agent,
      id,
      kind: asString(body.kind) ?? 'text',
      title: asString(body.title) ?? 'Question',
      message: asString(body.message),
      operation: operation && { namespace: String(operation.namespace), value: String(operation.value) },
      options: Array.isArray(body.options) ? body.options.filter(isObject).map(option) : [],
      schema: body.schema,
      expires: Number.isNaN(expires) ? undefined : expires,
      asked: time,
      mayAnswer: body.may_answer !== false,
    });
  }
}

const option = (value: Record<string, unknown>) => ({ id: String(value.id), label: String(value.label ?? value.id) });

/** A body as an object, whatever it was. */
export function parsed(body: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body ?? '{}');
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

