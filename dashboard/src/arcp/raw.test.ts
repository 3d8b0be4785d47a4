import { describe, expect, it } from 'vitest';
import { amountsAt, members, textAt } from './raw';
import { read } from './wire';

describe('members', () => {
  it('finds values whatever is in them', () => {
    const text = ' { "a" : "x\\"}{" , "b":[1,{"c":"]"}],"n":-1.50e3 , "t":true,"o":{} } ';
    const found = members(text);
    const values = [...(found ?? [])].map(([key, [from, to]]) => [key, text.slice(from, to)]);
    expect(values).toEqual([
      ['a', '"x\\"}{"'],
      ['b', '[1,{"c":"]"}]'],
      ['n', '-1.50e3'],
      ['t', 'true'],
      ['o', '{}'],
    ]);
  });

  it('refuses what is no object', () => {
    for (const text of ['', '[]', '{', '{"a"', '{"a":', '{"a":"', '{"a":1,}', '{a:1}', '{"a" 1}', '{"a":{"b":1}']) expect(members(text), text).toBeUndefined();
  });
});

it('keeps the digits of an amount', () => {
  const text = '{"payload":{"budget":{"USD":0.1000000000000000000001,"EUR":"EUR:5.00"}}}';
  expect(amountsAt(text, 'payload', 'budget')).toEqual({ USD: '0.1000000000000000000001', EUR: '5.00' });
  expect(textAt(text, 'payload', 'nothing')).toBeUndefined();
});

it('reads an event and leaves its body as it came', () => {
  const body = '{"level":"info","message":"\\u202e \\"payload\\":{}"}';
  const frame = read(`{"arcp":"1.1","type":"job.event","job_id":"j","event_seq":7,"job_seq":3,"payload":{"kind":"log","ts":"2026-01-01T00:00:00Z","body":${body}}}`);
  expect(frame).toEqual({ event: { jobId: 'j', eventSeq: 7, jobSeq: 3, kind: 'log', time: Date.UTC(2026, 0, 1), body } });
  for (const text of ['', 'nonsense', '[]', '{}', '{"type":5}']) expect(read(text)).toBeUndefined();
});
