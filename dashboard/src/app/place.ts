/** Where the page is, which runtime it is for, and the token for it. */

import { computed, signal } from '@preact/signals';

export type Place =
  | { view: 'overview' }
  | { view: 'job'; job: string }
  | { view: 'inbox' }
  | { view: 'denials' }
  | { view: 'costs' }
  | { view: 'runtime' };

const hash = signal(location.hash);
addEventListener('hashchange', () => {
  // A link with a token may be opened in a tab that has the page already.
  if (location.hash.startsWith('#token=')) arrived.value = firstToken();
  hash.value = location.hash;
});

/** A token that came in the fragment while the page was open. */
export const arrived = signal<string | undefined>(undefined);

export const place = computed<Place>(() => {
  const [, first, second] = hash.value.split('/');
  if (first === 'jobs' && second) return { view: 'job', job: decoded(second) };
  if (first === 'inbox' || first === 'denials' || first === 'costs' || first === 'runtime') return { view: first };
  return { view: 'overview' };
});

export const jobLink = (job: string) => `#/jobs/${encodeURIComponent(job)}`;
export function goTo(link: string): void {
  location.hash = link;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The endpoint of the server this page came from. */
const own = (() => {
  const told = document.querySelector('meta[name="arcp-endpoint"]')?.getAttribute('content') ?? '';
  const path = told.startsWith('/') ? told : '/arcp';
  return `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}${path}`;
})();

/** The runtime's address: `?url=` names another than the page's own. */
export const target = (() => {
  const given = new URLSearchParams(location.search).get('url');
  if (!given) return { url: own, host: location.host, isOwn: true, problem: undefined };
  try {
    const url = new URL(given);
    if (url.protocol === 'http:') url.protocol = 'ws:';
    if (url.protocol === 'https:') url.protocol = 'wss:';
    if (url.protocol !== 'ws:' && url.protocol !== 'wss:') throw new Error('not a WebSocket');
    url.hash = url.username = url.password = '';
    if (url.pathname === '/') url.pathname = '/arcp';
    return { url: url.href, host: url.host, isOwn: url.href === own, problem: undefined };
  } catch {
    return { url: '', host: given, isOwn: false, problem: 'This is not the address of a runtime: write ?url=wss://HOST/arcp' };
  }
})();

const key = `towline.token ${target.url}`;

/**
 * The token to begin with. One in the fragment is taken once, only by the page's own server, and leaves the address and
 * the history at once; the others are of this tab and of the very runtime they were typed for.
 */
export function firstToken(): string | undefined {
  if (location.hash.startsWith('#token=')) {
    const token = decoded(location.hash.slice('#token='.length));
    history.replaceState(null, '', `${location.pathname}${location.search}#/`);
    hash.value = location.hash;
    if (target.isOwn && token) {
      keep(token);
      return token;
    }
  }
  return kept();
}

export function keep(token: string): void {
  try {
    sessionStorage.setItem(key, token);
  } catch {
    // A browser that keeps nothing asks again after a reload.
  }
}

export function forget(): void {
  try {
    sessionStorage.removeItem(key);
  } catch {
    // Nothing was kept.
  }
}

/**
 * What a job of this page's own server was given, from its HTTP interface; ARCP itself does not tell. `undefined` where
 * there is no such interface, or nothing was given.
 */
export async function toldInput(job: string): Promise<string | undefined> {
  const token = kept();
  if (!target.isOwn || token === undefined) return undefined;
  try {
    const answer = await fetch(`/v1/jobs/${encodeURIComponent(job)}`, { headers: { authorization: `Bearer ${token}` } });
    const told: unknown = answer.ok ? await answer.json() : undefined;
    const input = typeof told === 'object' && told !== null && 'input' in told ? told.input : undefined;
    return input === undefined ? undefined : JSON.stringify(input, null, 2);
  } catch {
    return undefined;
  }
}

function kept(): string | undefined {
  try {
    return sessionStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}
