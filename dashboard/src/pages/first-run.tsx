/** The first minutes: no event has come yet. The page turns into the overview with the first one. */

import type { Definition } from "../api";
import { CopyButton } from "../components/controls";
import { sampleEvent } from "../sample-event";

export function FirstRun({ definition }: { definition: Definition }) {
  const event = JSON.stringify(sampleEvent(definition, Date.now())).replaceAll("'", "\\u0027");
  const command = `curl ${location.origin}/v1/events \\\n  -H 'Content-Type: application/json' \\\n  -d '${event}'`;
  const script = `<script src="${location.origin}/tally.js" data-key="YOUR-KEY" defer></script>`;
  const conditional = definition.counters.filter((counter) => counter.where !== null);
  return (
    <div class="first-run">
      <h1>Waiting for the first event</h1>
      <p class="lead">
        <bdi>{definition.name}</bdi> is ready to count. Send an event and this page shows it at once; there is nothing to
        reload.
      </p>
      <figure class="command">
        <figcaption>From a terminal</figcaption>
        <pre>
          <code>{command}</code>
        </pre>
        <CopyButton text={command} />
      </figure>
      <p>
        When an event happened is read from <code>{definition.stream.event_time}</code>. If sending needs a token, add{" "}
        <code>-H 'Authorization: Bearer TOKEN'</code>.
        {conditional.length > 0 && (
          <>
            {" "}
            Some counters take only matching events: {conditional.map(({ name, where }) => `${name} where ${where}`).join("; ")}
            .
          </>
        )}
      </p>
      <figure class="command">
        <figcaption>
          From a web page, once its origin and key are in <code>[browser]</code>
        </figcaption>
        <pre>
          <code>{script}</code>
        </pre>
        <CopyButton text={script} />
      </figure>
      <figure class="command">
        <figcaption>From a file or a log</figcaption>
        <pre>
          <code>{`tally ingest events.ndjson --url ${location.origin}\ntail -F access.json | tally ingest - --url ${location.origin}`}</code>
        </pre>
      </figure>
    </div>
  );
}
