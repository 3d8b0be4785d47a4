/** One line for an event, its text as the agent wrote it: whoever shows it makes control characters visible. */

import { asString, isObject, readError } from '../arcp/wire';
import { parsed } from './digest';

export interface Summary {
  text: string;
  /** A word before the text: a log's level, a tool's name. */
  label?: string;
  tone?: 'good' | 'bad' | 'warn' | 'quiet';
}

const LONGEST = 500;

export function summarise(kind: string, body: string): Summary {
  // What is very long is not read as a whole for one line.
  if (body.length > 64 * 1024) return { text: body.slice(0, LONGEST) };
  const summary = read(kind, parsed(body), body);
  return summary.text.length > LONGEST ? { ...summary, text: `${summary.text.slice(0, LONGEST)}…` } : summary;
}

function read(kind: string, body: Record<string, unknown>, text: string): Summary {
  switch (kind) {
    case 'log':
      return log(body);
    case 'thought':
      return { text: asString(body.text) ?? text };
    case 'tool_call':
      return { label: asString(body.tool), text: short(body.args) };
    case 'tool_result':
      return result(body);
    case 'status':
      return { label: asString(body.phase), text: asString(body.message) ?? '' };
    case 'metric':
      return { label: asString(body.name), text: `${String(body.value)} ${asString(body.unit) ?? ''}`, tone: 'quiet' };
    case 'artifact_ref':
      return { label: asString(body.content_type), text: asString(body.uri) ?? text };
    case 'delegate':
      return { label: asString(body.agent), text: asString(body.child_job_id) ?? '' };
    case 'progress':
      return { text: progress(body), tone: 'quiet' };
    case 'result_chunk':
      return { label: `chunk ${String(body.chunk_seq)}`, text: asString(body.data)?.slice(0, 200) ?? '', tone: 'quiet' };
    case 'job.result':
      return { label: 'success', text: 'result' in body ? short(body.result) : `${String(body.result_size ?? '?')} bytes`, tone: 'good' };
    case 'job.error': {
      const error = readError(body);
      return { label: error.code, text: error.message, tone: error.final_status === 'cancelled' ? 'warn' : 'bad' };
    }
    default:
      return vendor(kind, body, text);
  }
}

function log(body: Record<string, unknown>): Summary {
  const level = asString(body.level)?.toLowerCase() ?? 'info';
  const tone = level === 'error' || level === 'fatal' ? 'bad' : level.startsWith('warn') ? 'warn' : undefined;
  return { label: level, text: asString(body.message) ?? '', tone };
}

function result(body: Record<string, unknown>): Summary {
  if (!isObject(body.error)) return { text: short(body.result) };
  const error = readError(body.error);
  return { label: error.code, text: error.message, tone: 'bad' };
}

function vendor(kind: string, body: Record<string, unknown>, text: string): Summary {
  const name = kind.replace(/^x-vendor\.towline\./, '');
  if (name === 'input_request') return { label: 'asks', text: asString(body.title) ?? '', tone: 'warn' };
  if (name === 'input_resolved')
    return { label: asString(body.outcome), text: `${body.by ? `by ${String(body.by)}: ` : ''}${short(body.answer)}` };
  if (name === 'message') return { label: 'message', text: short(body.body ?? body) };
  if (name === 'grant') return { label: 'granted', text: `${String(body.namespace)}=${String(body.pattern)}` };
  return { text };
}

function progress(body: Record<string, unknown>): string {
  const of = body.total === undefined ? '' : ` of ${String(body.total)}`;
  const units = asString(body.units);
  const message = asString(body.message);
  return `${String(body.current)}${of}${units ? ` ${units}` : ''}${message ? `: ${message}` : ''}`;
}

function short(value: unknown): string {
  if (value === undefined) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
