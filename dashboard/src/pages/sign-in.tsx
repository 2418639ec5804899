import { useState } from "preact/hooks";
import { api, ApiError } from "../api";
import { ErrorNote } from "../components/states";
import { session } from "../preferences";

function focusOnce(input: HTMLInputElement | null): void {
  input?.focus();
}

/** Asks for the read token and exchanges it for a session cookie, which scripts cannot read. */
export function SignIn({ onSignedIn }: { onSignedIn: () => void }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await api.signIn(token);
      session.value = "signed-in";
      onSignedIn();
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form class="card sign-in" onSubmit={(event) => void submit(event)}>
      <h1>Sign in</h1>
      <p>
        Reading these numbers needs the read token: the server was started with it (<code>TALLY_READ_TOKEN</code>), or, at a
        function URL on AWS, it is in the secret that <code>tally aws status</code> names.
      </p>
      <label>
        Read token
        <input
          type="password"
          required
          autoComplete="current-password"
          ref={focusOnce}
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary" disabled={busy}>
        Sign in
      </button>
      {error && <ErrorNote error={error} />}
    </form>
  );
}
