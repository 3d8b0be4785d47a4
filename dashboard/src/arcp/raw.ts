/**
 * Looking into JSON text without building what it describes.
 *
 * An event's body is kept as the text it came in: it costs less than objects, and a number keeps the digits it was
 * written with, which a JavaScript number would not [ARCP 5-10].
 */

/** Where a value stands: from its first character to behind its last. */
export type Span = readonly [number, number];

const QUOTE = 34;
const BACKSLASH = 92;

const isSpace = (code: number) => code === 32 || code === 10 || code === 13 || code === 9;

function skipSpace(text: string, at: number): number {
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** Behind the string whose opening quote is at `at`; -1 when it does not end. */
function skipString(text: string, at: number): number {
  let end = at;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return -1;
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
}

/** Behind the value that begins at `at`; -1 when it does not end. */
export function skipValue(text: string, at: number): number {
  const first = text.charCodeAt(at);
  if (first === QUOTE) return skipString(text, at);
  if (first !== 123 && first !== 91) {
    while (at < text.length) {
      const code = text.charCodeAt(at);
      if (code === 44 || code === 125 || code === 93 || isSpace(code)) break;
      at++;
    }
    return at;
  }
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      i = skipString(text, i) - 1;
      if (i < 0) return -1;
    } else if (code === 123 || code === 91) depth++;
    else if ((code === 125 || code === 93) && --depth === 0) return i + 1;
  }
  return -1;
}

/** The members of the object that begins at `at`, by name; `undefined` when there is no well-formed object. */
export function members(text: string, at = 0): Map<string, Span> | undefined {
  const found = new Map<string, Span>();
  at = skipSpace(text, at);
  if (text.charCodeAt(at) !== 123) return undefined;
  at = skipSpace(text, at + 1);
  if (text.charCodeAt(at) === 125) return found;
  for (;;) {
    if (text.charCodeAt(at) !== QUOTE) return undefined;
    const keyEnd = skipString(text, at);
    if (keyEnd < 0) return undefined;
    const key = text.slice(at + 1, keyEnd - 1);
    at = skipSpace(text, keyEnd);
    if (text.charCodeAt(at) !== 58) return undefined;
    at = skipSpace(text, at + 1);
    const end = skipValue(text, at);
    if (end <= at) return undefined;
    found.set(key.includes('\\') ? unquote(`"${key}"`) : key, [at, end]);
    at = skipSpace(text, end);
    const next = text.charCodeAt(at);
    if (next === 125) return found;
    if (next !== 44) return undefined;
    at = skipSpace(text, at + 1);
  }
}

/** The text of a value some way down, as it was written. */
export function textAt(text: string, ...path: string[]): string | undefined {
  let span: Span = [0, text.length];
  for (const key of path) {
    const next = members(text, span[0])?.get(key);
    if (!next) return undefined;
    span = next;
  }
  return text.slice(span[0], span[1]);
}

/** A JSON string's value; empty when it is none. */
export function unquote(literal: string): string {
  if (!literal.includes('\\')) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return '';
  }
}

/** An object of amounts, each with the digits it was written with: `{"USD":0.10}` and `{"USD":"USD:0.10"}` alike. */
export function amountsAt(text: string, ...path: string[]): Record<string, string> | undefined {
  const object = textAt(text, ...path);
  const entries = object === undefined ? undefined : members(object);
  if (!object || !entries) return undefined;
  const amounts: Record<string, string> = {};
  for (const [currency, [from, to]] of entries) {
    const literal = object.slice(from, to);
    const amount = literal.startsWith('"') ? unquote(literal).split(':').at(-1) : literal;
    if (amount && /^-?[0-9]/.test(amount)) amounts[currency] = amount;
  }
  return amounts;
}
