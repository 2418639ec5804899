/** The client of the HTTP API: docs/http-api.md says what each answer means. */

import { signal } from "@preact/signals";
import type { GroupValue } from "./text";
import { formatDuration, type Span } from "./time";

export type { GroupValue };

/** Field → value. Read it by field name only: a field may be called anything, `__proto__` too. */
export type Group = Record<string, GroupValue>;

/** A window's start and its value; null where a measure saw no number. */
export type Point = [windowStart: number, value: number | null];

export interface CounterInfo {
  name: string;
  where: string | null;
  group_by: string[];
  windows: string[];
  measures: string[];
  keep: string | null;
  generation: number | string;
  since: number | null;
}

/** The stack that counts, where that is on AWS. */
export interface Aws {
  stack: string;
  region: string;
  stream: string;
  console: string;
}

export interface Definition {
  name: string;
  stream: { event_time: string; shards: number; retention: string };
  counters: CounterInfo[];
  aws: Aws | null;
}

export interface Series {
  group: Group;
  other?: true;
  total: number | null;
  points: Point[];
  previous_total?: number | null;
  previous?: Point[];
}

export interface QueryResult {
  counter: string;
  window: string;
  measure: string;
  from: number;
  to: number;
  series: Series[];
  groups: number;
  truncated: boolean;
}

/** Keeps the groups that have exactly this value. */
export interface Filter {
  field: string;
  value: GroupValue;
}

export type Show = "value" | "rate" | "share" | "change";

export interface QueryRequest extends Span {
  counter: string;
  windowMs: number;
  measure: string;
  filters: Filter[];
  by: string[] | null; // null: the counter's group_by
  top: number | null;
  other: boolean;
  overMs: number | null;
  show: Show;
  compare: boolean;
}

export const OUTCOMES = ["counted", "unmatched", "late", "rejected", "duplicate"] as const;
export type Outcome = (typeof OUTCOMES)[number];
export type Ledger = Record<"received" | Outcome, number>;

export interface ShardHealth {
  shard: number;
  next_sequence: number | null;
  counted_sequence: number;
  lag_events: number | null;
  lag_ms: number | null;
}

export interface Health {
  version: string;
  name: string;
  now: number;
  started: number;
  ledger: Ledger;
  shards: ShardHealth[];
  disk: { stream_bytes: number; counters_bytes: number; free_bytes: number } | null;
  throughput: [minuteStart: number, received: number, ...outcomes: number[]][] | null;
  backlog_events_max: number | null;
  warnings: string[];
}

export interface RejectedEvent {
  id: number | string;
  shard: number;
  sequence: number | string;
  arrival: number;
  reason: string;
  message: string;
  data: string;
  encoding: "utf-8" | "base64";
}

export interface RejectedPage {
  total: number;
  reasons: Record<string, number>;
  next: number | string | null;
  events: RejectedEvent[];
  /** `total` and `reasons` are of so many; null: of all. */
  newest: number | null;
}

/** An alarm of the stack, as CloudWatch has it. */
export interface CloudAlarm {
  name: string;
  state: string;
  since: number;
  reason: string;
}

export type Retried = Record<"retried" | Outcome, number>;

/** An answer that is an error, or no answer at all (status 0). */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** True from the moment the server asked for a read token until one was accepted. */
export const signInNeeded = signal(false);

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { cache: "no-store", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The server does not answer. It may be restarting, or the network may be down.");
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  const { error, message } = (body ?? {}) as { error?: string; message?: string };
  throw new ApiError(
    response.status,
    error ?? "http",
    message ?? `The server answered ${response.status} ${response.statusText}.`,
  );
}

let signIns = 0;

/** Ask for JSON. A missing token brings the sign-in form up; one that was given meanwhile, the same question again. */
export async function read<T>(path: string, abort?: AbortSignal): Promise<T> {
  const before = signIns;
  try {
    const response = await request(path, abort ? { signal: abort } : {});
    return (await response.json()) as T;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      if (before !== signIns) return read(path, abort);
      signInNeeded.value = true;
    }
    throw error;
  }
}

function authorization(token: string | undefined): Record<string, string> {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Send JSON. Without a token, an answer of 401 is the caller's to deal with: reading may be allowed all the same. */
export function post(path: string, body: unknown, token?: string): Promise<Response> {
  const headers = { "Content-Type": "application/json", ...authorization(token) };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export function remove(path: string, token?: string): Promise<Response> {
  return request(path, { method: "DELETE", headers: authorization(token) });
}

/** Return the value that a JSON text stands for, undefined if it is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Return the group value that a JSON literal stands for, undefined if it is none, or a number too large to be exact here. */
export function parseLiteral(text: string): GroupValue | undefined {
  const value = parseJson(text);
  if (typeof value === "object" && value !== null) return undefined;
  return typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER ? undefined : (value as GroupValue | undefined);
}

/** Append filters: `group.FIELD=text` reads well, `exact.FIELD=JSON` is for values that it could take for others. */
export function appendFilters(params: URLSearchParams, filters: readonly Filter[]): void {
  for (const { field, value } of filters) {
    if (typeof value === "string" && parseJson(value) === undefined) params.append(`group.${field}`, value);
    else params.append(`exact.${field}`, JSON.stringify(value));
  }
}

/** Append fields to keep apart, each by itself, since a name may hold a comma; none is an empty `by`. */
export function appendFields(params: URLSearchParams, fields: readonly string[]): void {
  for (const field of fields.length === 0 ? [""] : fields) params.append("by", field);
}

/** Return the address of a query; with format csv, of its download. */
export function queryUrl(query: QueryRequest, format: "json" | "csv" = "json"): string {
  const params = new URLSearchParams({
    counter: query.counter,
    window: formatDuration(query.windowMs),
    from: String(query.from),
    to: String(query.to),
    measure: query.measure,
  });
  appendFilters(params, query.filters);
  if (query.by !== null) appendFields(params, query.by);
  if (query.top !== null) params.set("top", String(query.top));
  if (query.other) params.set("other", "true");
  if (query.overMs !== null) params.set("over", formatDuration(query.overMs));
  if (query.show !== "value") params.set("show", query.show);
  if (query.compare) params.set("compare", "previous");
  if (format === "csv") params.set("format", "csv");
  else params.set("fill", "zero");
  return `/v1/query?${params}`;
}

export function rejectedExportUrl(format: "ndjson" | "raw", reason: string | null): string {
  return `/v1/rejected/export?${new URLSearchParams({ format, ...(reason === null ? {} : { reason }) })}`;
}

export const api = {
  definition: () => read<Definition>("/v1/definition"),

  query: (query: QueryRequest, abort?: AbortSignal) => read<QueryResult>(queryUrl(query), abort),

  groups: (counter: string, field: string, search: string, limit: number, abort?: AbortSignal) =>
    read<{ values: GroupValue[] }>(
      `/v1/groups?${new URLSearchParams({ counter, field, q: search, limit: String(limit) })}`,
      abort,
    ),

  health: () => read<Health>("/v1/health"),

  cloudAlarms: () => read<{ alarms: CloudAlarm[] | null }>("/v1/aws/alarms"),

  rejected: (reason: string | null, before: string | null, limit: number) => {
    const params = new URLSearchParams({ limit: String(limit) });
    if (reason !== null) params.set("reason", reason);
    if (before !== null) params.set("before", before);
    return read<RejectedPage>(`/v1/rejected?${params}`);
  },

  /** Judge rejected events again. It changes counts, so it needs the write token where one is set. */
  retryRejected: async (reason: string | null, token?: string): Promise<Retried> => {
    const response = await post("/v1/rejected/retry", reason === null ? {} : { reason }, token);
    return (await response.json()) as Retried;
  },

  signIn: async (token: string): Promise<void> => {
    await post("/v1/session", { token });
    signIns += 1;
    signInNeeded.value = false;
  },

  signOut: async (): Promise<void> => {
    await remove("/v1/session");
  },
};
