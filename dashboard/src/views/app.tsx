/** The frame around the views: who is asked, where one is, and whether the connection stands. */

import { useEffect, useState } from 'preact/hooks';
import type { Phase } from '../arcp/connection';
import { INPUT } from '../arcp/wire';
import { ask, blocked, phase, questionsChanged, runtime } from '../app/link';
import { arrived, firstToken, forget, keep, place, target } from '../app/place';
import { choose, theme, type Theme } from '../app/theme';
import { visibleLine } from '../text';
import { useAsked } from './bits';
import { Costs } from './costs';
import { Denials } from './denials';
import { Inbox } from './inbox';
import { JobPage } from './job';
import { Overview } from './overview';
import { RuntimePage } from './runtime';
import { SignIn } from './signin';

const first = firstToken();

export function App() {
  const [token, setToken] = useState(target.problem ? undefined : first);
  const now = phase.value;
  useEffect(() => {
    if (token === undefined) void ask('disconnect', {});
    else void ask('connect', { url: target.url, token });
  }, [token]);
  useEffect(() => {
    if (arrived.value !== undefined) enter(arrived.value);
    arrived.value = undefined;
  }, [arrived.value]);
  const refused = now.is === 'ended' ? now.error : undefined;
  const leave = () => {
    forget();
    setToken(undefined);
    phase.value = { is: 'offline' };
  };
  const enter = (typed: string) => {
    keep(typed);
    blocked.value = undefined;
    // The same token once more is another try.
    if (typed === token) void ask('connect', { url: target.url, token });
    else setToken(typed);
  };
  const isIn = token !== undefined && !refused;
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to content
      </a>
      <Header isIn={isIn} leave={leave} />
      <main id="main" tabIndex={-1}>
        {blocked.value && <Blocked url={blocked.value} />}
        {isIn && now.is === 'reconnecting' && <Lost />}
        {isIn ? <View /> : <SignIn enter={enter} refused={refused} />}
      </main>
    </>
  );
}

/** Not by the address, which says what is shown. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function View() {
  const here = place.value;
  useEffect(() => {
    const titles = { overview: 'Overview', inbox: 'Inbox', denials: 'Denials', costs: 'Costs', runtime: 'Agents', job: 'Job' };
    document.title = `${titles[here.view]} · towline`;
  }, [here]);
  switch (here.view) {
    case 'job':
      return <JobPage key={here.job} id={here.job} />;
    case 'inbox':
      return <Inbox />;
    case 'denials':
      return <Denials />;
    case 'costs':
      return <Costs />;
    case 'runtime':
      return <RuntimePage />;
    default:
      return <Overview />;
  }
}

function Header({ isIn, leave }: { isIn: boolean; leave: () => void }) {
  const told = runtime.value;
  return (
    <header class="top">
      <div class="brand">
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
          <path d="M5 21c6 0 6-10 11-10s5 10 11 10" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round" />
          <circle cx="5" cy="21" r="3" fill="currentColor" />
          <circle cx="27" cy="21" r="3" fill="currentColor" />
        </svg>
        <strong>towline</strong>
        {isIn && told && (
          <span class="runtime quiet" title={visibleLine(`${told.name} ${told.version}`)}>
            {visibleLine(told.name === 'towline' ? told.version : `${told.name} ${told.version}`)}
          </span>
        )}
        {!target.isOwn && <span class="host">{visibleLine(target.host)}</span>}
      </div>
      {isIn && <Navigation />}
      <div class="tools">
        <ConnectionState phase={phase.value} />
        <ThemeChoice />
        {isIn && (
          <button type="button" class="small" onClick={leave}>
            Sign out
          </button>
        )}
      </div>
    </header>
  );
}

function Navigation() {
  const here = place.value.view;
  const questions = useAsked(() => ask('questions', {}), [questionsChanged.value]);
  const mayBeAsked = runtime.value?.features.includes(INPUT) ?? false;
  const waiting = mayBeAsked ? (questions?.length ?? 0) : 0;
  const link = (view: string, name: string, href: string, extra?: string) => (
    <a href={href} aria-current={here === view ? 'page' : undefined} aria-description={extra}>
      {name}
      {extra && (
        <span class="count" aria-hidden="true">
          {waiting}
        </span>
      )}
    </a>
  );
  return (
    <nav aria-label="Views">
      {link('overview', 'Overview', '#/')}
      {link('inbox', 'Inbox', '#/inbox', waiting > 0 ? `${waiting} open` : undefined)}
      {link('denials', 'Denials', '#/denials')}
      {link('costs', 'Costs', '#/costs')}
      {link('runtime', 'Agents', '#/runtime')}
    </nav>
  );
}

function ConnectionState({ phase }: { phase: Phase }) {
  const word = phase.is === 'connected' ? 'Connected' : phase.is === 'reconnecting' ? 'Reconnecting' : 'Offline';
  const why = phase.is === 'reconnecting' ? phase.why : undefined;
  return (
    <span role="status" class={`state ${word.toLowerCase()}`} title={why && visibleLine(why)}>
      {word}
    </span>
  );
}

/** Said after a moment, for most connections are back by then. */
function Lost() {
  const [isSaid, setSaid] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSaid(true), 1500);
    return () => clearTimeout(timer);
  }, []);
  if (!isSaid) return null;
  return <p class="warnbox">The connection is lost. What is here is as it was, and goes on when the server is back.</p>;
}

function ThemeChoice() {
  const next: Record<Theme, Theme> = { system: 'dark', dark: 'light', light: 'system' };
  const names: Record<Theme, string> = { system: 'System', dark: 'Dark', light: 'Light' };
  const signs: Record<Theme, string> = { system: '◐', dark: '●', light: '○' };
  return (
    <button
      type="button"
      class="small"
      onClick={() => choose(next[theme.value])}
      aria-label={`Theme: ${names[theme.value]}. Change to ${names[next[theme.value]]}`}
    >
      <span aria-hidden="true">{signs[theme.value]}</span>
    </button>
  );
}

function Blocked({ url }: { url: string }) {
  return (
    <p class="alert">
      This page may not connect to <code>{visibleLine(url)}</code>. Whoever serves it can allow that:{' '}
      <code>[server] dashboard_connect = [&quot;{visibleLine(url)}&quot;]</code>
    </p>
  );
}
