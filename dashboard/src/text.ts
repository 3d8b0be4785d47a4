/** Text of agents and peers as people may see it: what would be obeyed is shown instead [ARCP 14-8]. */

// C0 but tab and line feed, DEL, C1, and everything that turns the direction of writing.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

const escape = (character: string) => {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
};

/** Several lines: line breaks and tabs stay, everything else that controls is an escape such as `\x1b` or `\u202e`. */
export const visible = (text: string) => text.replaceAll('\r\n', '\n').replace(CONTROLS, escape);

/** One line. */
export const visibleLine = (text: string) =>
  visible(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t');

const LETTERS = /^[\w.@:+-]+$/;
/** A name that stands in an address or an attribute: its visible form, cut. */
export const nameOf = (text: string) => (LETTERS.test(text) ? text : visibleLine(text).slice(0, 200));

export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return '';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
export const clock = (ms: number) => (Number.isNaN(ms) ? '' : `${CLOCK.format(ms)}.${String(Math.floor(ms % 1000)).padStart(3, '0')}`);
export const date = (ms: number) => (Number.isNaN(ms) ? '' : DATE.format(ms));

const NUMBER = new Intl.NumberFormat('en');
export const number = (n: number) => NUMBER.format(n);

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  const units = ['KiB', 'MiB', 'GiB'];
  let at = -1;
  do n /= 1024;
  while (++at < units.length - 1 && n >= 1024);
  return `${n.toFixed(1)} ${units[at]}`;
}
