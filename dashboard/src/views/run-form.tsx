/** What to run, and with what: for a job again or for a new one. */

import { useRef, useState } from 'preact/hooks';
import { Told, ask, runtime } from '../app/link';
import { goTo, jobLink } from '../app/place';
import type { Lease } from '../arcp/wire';
import { nameOf } from '../text';
import { Alert } from './bits';

interface Props {
  button: string;
  first: { agent: string; input: string; lease: Lease };
  /** Where the input is not known yet: who may know it. Asked once, when somebody turns to the form. */
  findInput?: () => Promise<string | undefined>;
}

/** The input that is typed; where nothing is, what was found. */
function useInput(first: string, findInput: Props['findInput']) {
  const [input, setInput] = useState(first);
  const [isUnknown, setUnknown] = useState(false);
  const search = useRef<Promise<string | undefined> | undefined>(undefined);
  const look = async () => {
    if (!findInput || input) return input;
    search.current ??= findInput();
    const found = await search.current;
    if (found === undefined) setUnknown(true);
    else setInput((typed) => typed || found);
    return found ?? '';
  };
  return { input, setInput, look, isUnknown };
}

export function RunForm({ button, first, findInput }: Props) {
  const [agent, setAgent] = useState(first.agent);
  const { input, setInput, look, isUnknown } = useInput(first.input, findInput);
  const [lease, setLease] = useState(written(first.lease));
  const [seconds, setSeconds] = useState('');
  const [error, setError] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const agents = runtime.value?.agents ?? [];
  const run = async (event: Event) => {
    event.preventDefault();
    setError(undefined);
    setBusy(true);
    try {
      const { job } = await ask('submit', {
        agent,
        input: checked(await look()),
        lease: read(lease),
        maxRuntimeSec: seconds.trim() ? Number(seconds) : undefined,
      });
      goTo(jobLink(job));
    } catch (refused) {
      setError(refused instanceof Told ? `${refused.failure.code}: ${refused.message}` : String((refused as Error).message));
    }
    setBusy(false);
  };
  return (
    <form class="run" onSubmit={run} onFocusIn={look}>
      <label>
        Agent
        <input value={agent} list="agents" autocomplete="off" onInput={(event) => setAgent(event.currentTarget.value)} />
      </label>
      <datalist id="agents">
        {agents.map(({ name }) => (
          <option key={name} value={name}>
            {nameOf(name)}
          </option>
        ))}
      </datalist>
      <label>
        Input (JSON)
        <textarea
          rows={4}
          spellcheck={false}
          value={input}
          placeholder={findInput && !isUnknown ? 'as it was' : undefined}
          onInput={(event) => setInput(event.currentTarget.value)}
        />
      </label>
      {isUnknown && !input && <p class="quiet">This runtime does not tell what the job was given; write it here.</p>}
      <label>
        Lease, a line each: NAMESPACE=PATTERN
        <textarea rows={3} spellcheck={false} value={lease} onInput={(event) => setLease(event.currentTarget.value)} />
      </label>
      <label>
        Longest runtime, seconds
        <input inputMode="decimal" value={seconds} onInput={(event) => setSeconds(event.currentTarget.value)} placeholder="no limit" />
      </label>
      <button type="submit" class="primary" disabled={!agent.trim() || isBusy}>
        {button}
      </button>
      <Alert error={error} />
    </form>
  );
}

function written(lease: Lease): string {
  return Object.entries(lease)
    .flatMap(([namespace, patterns]) => patterns.map((pattern) => `${namespace}=${pattern}`))
    .join('\n');
}

function read(text: string): Lease {
  const lease: Lease = {};
  for (const line of text.split('\n').map((line) => line.trim())) {
    if (!line) continue;
    const at = line.indexOf('=');
    if (at < 1) throw new Error(`“${line}” is not NAMESPACE=PATTERN, such as fs.read=/work/**`);
    (lease[line.slice(0, at)] ??= []).push(line.slice(at + 1));
  }
  return lease;
}

function checked(input: string): string {
  if (!input.trim()) return '';
  try {
    JSON.parse(input);
    return input;
  } catch (error) {
    throw new Error(`The input is not JSON: ${(error as Error).message}`);
  }
}
