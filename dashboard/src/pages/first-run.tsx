/** The first minutes: no event has come yet. The page turns into the overview with the first one. */

import type { Aws, Definition } from "../api";
import { CopyButton } from "../components/controls";
import { sampleEvent } from "../sample-event";

/** An event as a shell takes it in single quotes. */
function sampleText(definition: Definition): string {
  return JSON.stringify(sampleEvent(definition, Date.now())).replaceAll("'", "\\u0027");
}

/** Which events not every counter takes, as a sentence that follows another. */
function Conditions({ definition }: { definition: Definition }) {
  const conditional = definition.counters.filter((counter) => counter.where !== null);
  if (conditional.length === 0) return null;
  return (
    <> Some counters take only matching events: {conditional.map(({ name, where }) => `${name} where ${where}`).join("; ")}.</>
  );
}

/** Where events go into a Kinesis stream. */
function FirstRunOnAws({ definition, aws }: { definition: Definition; aws: Aws }) {
  const put = [
    `aws kinesis put-record --stream-name ${aws.stream} --region ${aws.region} \\`,
    "  --partition-key 1 --cli-binary-format raw-in-base64-out \\",
    `  --data '${sampleText(definition)}'`,
  ].join("\n");
  const backfill = `tally aws backfill events.ndjson --stack ${aws.stack} --region ${aws.region}`;
  return (
    <div class="first-run">
      <h1>Waiting for the first event</h1>
      <p class="lead">
        The stack <bdi>{aws.stack}</bdi> in {aws.region} is ready to count <bdi>{definition.name}</bdi>. Put an event into its
        Kinesis stream, and this page shows it some seconds later; there is nothing to reload.
      </p>
      <figure class="command">
        <figcaption>With AWS's own command</figcaption>
        <pre>
          <code>{put}</code>
        </pre>
        <CopyButton text={put} />
      </figure>
      <p>
        When an event happened is read from <code>{definition.stream.event_time}</code>. Write an event without line breaks;
        several may be in a record, one a line.
        <Conditions definition={definition} />
      </p>
      <figure class="command">
        <figcaption>From files</figcaption>
        <pre>
          <code>{backfill}</code>
        </pre>
        <CopyButton text={backfill} />
      </figure>
    </div>
  );
}

export function FirstRun({ definition }: { definition: Definition }) {
  if (definition.aws) return <FirstRunOnAws definition={definition} aws={definition.aws} />;
  const event = sampleText(definition);
  const command = `curl ${location.origin}/v1/events \\\n  -H 'Content-Type: application/json' \\\n  -d '${event}'`;
  const script = `<script src="${location.origin}/tally.js" data-key="YOUR-KEY" defer></script>`;
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
        <Conditions definition={definition} />
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
