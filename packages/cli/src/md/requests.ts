/**
 * What can be asked of an array that runs, in this process or, over a control socket, in the one that serves it. Plain data, both ways.
 *
 *     → {"verb":"add","array":null,"devices":["/srv/c.img"],"force":false,"wait":true}
 *     ← {"progress":{"action":"recovery","positionBytes":…,"sizeBytes":…,…}}      any number of these
 *     ← {"answer":{…}}   or   {"error":{"code":"EBUSY","message":"…"}}
 */
import { KernelError, parseSize } from '@tidemark/core';
import type { Raid1Info, SyncProgress } from '@tidemark/md';

/** What can be asked. */
export const REQUEST_VERBS = ['status', 'fail', 'remove', 'add', 'check', 'repair'] as const;
export type RequestVerb = (typeof REQUEST_VERBS)[number];

/** A request. */
export interface MdRequest {
  readonly verb: RequestVerb;
  /** The array, by its word or its name; null for the only one. */
  readonly array: string | null;
  /** Members that it is about. */
  readonly devices: readonly string[];
  /** Of `add`: takes a member of another array. */
  readonly force: boolean;
  /** Ends when passes have. */
  readonly wait: boolean;
}

/** What became of one member. */
export interface MemberOutcome {
  readonly device: string;
  readonly result: 'failed' | 'removed' | 're-added' | 'recovering' | 'spare';
}

/** An array as `--json` prints it: that of the package, its events a number. */
export type ArrayFacts = Omit<Raid1Info, 'events'> & { readonly events: number };

/** An answer. */
export interface MdAnswer {
  readonly arrays: readonly ArrayFacts[];
  readonly members: readonly MemberOutcome[];
  /** The pass that was waited for. */
  readonly sync: Readonly<SyncProgress> | null;
}

/** Longest line either way. */
export const LINE_BYTES_MAX = 64 * 2 ** 10;
const DEVICES_MAX = 64;

/** Reads a request. @throws KernelError EINVAL for what is none. */
export function parseRequest(line: string): MdRequest {
  const bad = (what: string): KernelError => new KernelError('EINVAL', `a request over the control socket: ${what}`);
  let found: unknown;
  try {
    found = JSON.parse(line);
  } catch {
    throw bad('it is no JSON');
  }
  if (typeof found !== 'object' || found === null) throw bad('it is no object');
  const { verb, array, devices, force, wait } = found as Record<keyof MdRequest, unknown>;
  const isVerb = (word: unknown): word is RequestVerb => REQUEST_VERBS.some((known) => known === word);
  if (!isVerb(verb)) throw bad(`its verb is ${JSON.stringify(verb)}; want ${REQUEST_VERBS.join(', ')}`);
  if (array !== null && typeof array !== 'string') throw bad('"array" is neither text nor null');
  if (!Array.isArray(devices) || devices.length > DEVICES_MAX || devices.some((device) => typeof device !== 'string' || device === ''))
    throw bad(`"devices" is no list of up to ${DEVICES_MAX} words`);
  if (typeof force !== 'boolean' || typeof wait !== 'boolean') throw bad('"force" and "wait" are to be true or false');
  return { verb, array, devices: devices as string[], force, wait };
}

/** `--rate`: bytes a second. @throws KernelError EINVAL. */
export function parseRate(word: string): number {
  return parseSize(word, '--rate');
}
