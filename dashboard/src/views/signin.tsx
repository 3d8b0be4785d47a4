import { useState } from 'preact/hooks';
import type { ErrorPayload } from '../arcp/wire';
import { target } from '../app/place';
import { visibleLine } from '../text';

/** Asks for the token of the runtime that is named. */
export function SignIn({ enter, refused }: { enter: (token: string) => void; refused?: ErrorPayload }) {
  const [token, setToken] = useState('');
  const submit = (event: Event) => {
    event.preventDefault();
    if (token.trim()) enter(token.trim());
  };
  if (target.problem)
    return (
      <section class="signin card">
        <h1>No runtime there</h1>
        <p class="alert">{target.problem}</p>
      </section>
    );
  return (
    <section class="signin card">
      <h1>Connect to {visibleLine(target.host)}</h1>
      {!target.isOwn && (
        <p class="warnbox">
          This is another runtime than the one that serves this page: {visibleLine(target.url)}. Only type a token that is meant
          for it.
        </p>
      )}
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="off"
          spellcheck={false}
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
          aria-describedby="token-help"
        />
        <button type="submit" class="primary" disabled={!token.trim()}>
          Connect
        </button>
      </form>
      <div role="alert">
        {refused && (
          <p class="alert">
            {refused.code === 'UNAUTHENTICATED' ? 'The runtime does not know this token. ' : ''}
            {visibleLine(`${refused.code}: ${refused.message}`)}
          </p>
        )}
      </div>
      <p id="token-help" class="quiet">
        The token stays in this tab and is forgotten with it. A server started without tokens prints a link that signs in by itself.
      </p>
    </section>
  );
}
