/** A question of an agent, and the form to answer it. */

import { useState } from 'preact/hooks';
import { Told, ask } from '../app/link';
import { jobLink } from '../app/place';
import type { Question } from '../model/digest';
import { fields, type Field } from '../model/form';
import { duration, nameOf, visible, visibleLine } from '../text';
import { Alert, useNow } from './bits';

export function QuestionCard({ question, withJob }: { question: Question; withJob?: boolean }) {
  const now = useNow();
  const [error, setError] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const answer = (value: unknown, remember?: boolean) => {
    setBusy(true);
    setError(undefined);
    ask('answer', { job: question.jobId, question: question.id, answer: value, remember }).catch((refused: Told) => {
      setBusy(false);
      setError(told(refused));
    });
  };
  const left = question.expires === undefined ? undefined : question.expires - now;
  return (
    <section class="card question" data-question-id={question.id} aria-label={`Question: ${visibleLine(question.title)}`}>
      <h2>{visibleLine(question.title)}</h2>
      {withJob && (
        <p class="quiet">
          {nameOf(question.agent)} · <a href={jobLink(question.jobId)}>{nameOf(question.jobId)}</a> · asked{' '}
          {duration(Math.max(0, now - question.asked))} ago
        </p>
      )}
      {question.message && <p class="said">{visible(question.message)}</p>}
      {question.operation && (
        <p>
          Operation: <code>{visibleLine(`${question.operation.namespace} ${question.operation.value}`)}</code>
        </p>
      )}
      {question.mayAnswer ? (
        <fieldset disabled={isBusy}>
          <legend class="hidden">Answer</legend>
          <Form question={question} answer={answer} />
        </fieldset>
      ) : (
        <p class="quiet">You may see this question, not answer it.</p>
      )}
      {left !== undefined && <p class="quiet">{left > 0 ? `Open for ${duration(left)}${question.kind === 'approval' ? ', then it is a no' : ''}` : 'Its time is over'}</p>}
      <Alert error={error} />
    </section>
  );
}

function told({ failure }: Told): string {
  const { by, at } = failure.details ?? {};
  return by ? `Already answered by ${String(by)}${at ? ` at ${String(at)}` : ''}` : `${failure.code}: ${failure.message}`;
}

interface FormProps {
  question: Question;
  answer(value: unknown, remember?: boolean): void;
}

function Form({ question, answer }: FormProps) {
  if (question.kind === 'approval') return <Approval question={question} answer={answer} />;
  if (question.kind === 'choice') return <Choice question={question} answer={answer} />;
  if (question.kind === 'form') return <Fields question={question} answer={answer} />;
  return <Free answer={answer} />;
}

function Approval({ question, answer }: FormProps) {
  const [remember, setRemember] = useState(false);
  return (
    <div class="buttons">
      <button type="button" class="primary" onClick={() => answer(true, question.operation && remember)}>
        Approve
      </button>
      <button type="button" onClick={() => answer(false)}>
        Deny
      </button>
      {question.operation && (
        <label class="check">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} />
          For the rest of this job
        </label>
      )}
    </div>
  );
}

function Choice({ question, answer }: FormProps) {
  const [chosen, setChosen] = useState<string>();
  const send = (event: Event) => {
    event.preventDefault();
    if (chosen !== undefined) answer(chosen);
  };
  return (
    <form onSubmit={send}>
      {question.options.map((option) => (
        <label key={option.id} class="check">
          <input
            type="radio"
            name={`choice ${question.id}`}
            checked={chosen === option.id}
            onChange={() => setChosen(option.id)}
          />
          {visibleLine(option.label)}
        </label>
      ))}
      <button type="submit" class="primary" disabled={chosen === undefined}>
        Send
      </button>
    </form>
  );
}

function Free({ answer }: { answer: (value: unknown) => void }) {
  const [text, setText] = useState('');
  const send = (event: Event) => {
    event.preventDefault();
    answer(text);
  };
  return (
    <form onSubmit={send}>
      <label>
        Answer
        <textarea rows={2} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={!text}>
        Send
      </button>
    </form>
  );
}

/** A schema of plain fields is a form; any other is answered as JSON, and the runtime checks it. */
function Fields({ question, answer }: FormProps) {
  const plain = fields(question.schema);
  const [values, setValues] = useState<Record<string, unknown>>({});
  const [json, setJson] = useState('{}');
  const [problem, setProblem] = useState<string>();
  const send = (event: Event) => {
    event.preventDefault();
    try {
      answer(plain ? values : JSON.parse(json));
    } catch (error) {
      setProblem(`This is not JSON: ${(error as Error).message}`);
    }
  };
  const set = (name: string, value: unknown) => {
    const next = { ...values, [name]: value };
    if (value === undefined) delete next[name];
    setValues(next);
  };
  return (
    <form onSubmit={send}>
      {plain?.map((field) => <FieldInput key={field.name} field={field} value={values[field.name]} set={(value) => set(field.name, value)} />)}
      {!plain && (
        <label>
          Answer (JSON)
          <textarea rows={4} spellcheck={false} value={json} onInput={(event) => setJson(event.currentTarget.value)} />
        </label>
      )}
      <button type="submit" class="primary">
        Send
      </button>
      <Alert error={problem} />
    </form>
  );
}

function FieldInput({ field, value, set }: { field: Field; value: unknown; set: (value: unknown) => void }) {
  const name = visibleLine(field.title);
  if (field.type === 'boolean')
    return (
      <label class="check">
        <input type="checkbox" checked={value === true} onChange={(event) => set(event.currentTarget.checked)} />
        {name}
      </label>
    );
  if (field.options)
    return (
      <label>
        {name}
        <select value={String(value ?? '')} onChange={(event) => set(event.currentTarget.value || undefined)}>
          <option value="">–</option>
          {field.options.map((option) => (
            <option key={option} value={option}>
              {visibleLine(option)}
            </option>
          ))}
        </select>
      </label>
    );
  const isNumber = field.type !== 'string';
  const typed = (text: string) => {
    if (!isNumber) return text;
    return text.trim() === '' || Number.isNaN(Number(text)) ? undefined : Number(text);
  };
  return (
    <label>
      {name}
      <input
        type="text"
        inputMode={isNumber ? 'decimal' : 'text'}
        required={field.isRequired}
        onInput={(event) => set(typed(event.currentTarget.value))}
      />
    </label>
  );
}
