/** Arrays in words, and passes as they go on. */
import { formatSize } from '@tidemark/core';
import type { SyncProgress } from '@tidemark/md';
import { createProgress, type Progress } from '../progress.js';
import { printable } from '../files/printable.js';
import type { ArrayFacts, MdAnswer } from './requests.js';
import type { Tell } from './perform.js';

/** Passes on stderr: a bar on a terminal, a line for each when piped, nothing with `--json`. */
export class SyncTelling {
  readonly #progress: Progress;
  #action: string | null = null;

  constructor(json: boolean) {
    this.#progress = createProgress(json);
  }

  readonly tell: Tell = (sync) => {
    if (sync === null || (this.#action !== null && this.#action !== sync.action)) this.#end();
    if (sync === null) return;
    if (this.#action === null) this.#progress.begin(sync.action, sync.sizeBytes);
    this.#action = sync.action;
    this.#progress.advance(sync.positionBytes);
  };

  #end(): void {
    if (this.#action !== null) this.#progress.end();
    this.#action = null;
  }

  /** Leaves the terminal as it was. */
  stop(): void {
    this.#progress.stop();
  }
}

/** An array, as `md status` prints it. */
export function describeArray(facts: ArrayFacts): string {
  const { bitmap, members, refused, sync } = facts;
  const degraded = facts.isDegraded ? `, degraded: ${members.filter(({ state }) => state === 'in-sync').length} of ${facts.raidDisks}` : '';
  const rows = [
    ['array', printable(facts.name)],
    ['uuid', facts.uuid],
    ['size', `${formatSize(facts.sizeBytes)} in ${facts.raidDisks} slots`],
    ['state', `${facts.state}${degraded}, ${facts.events} events`],
    ['resync', sync === null ? resyncNeeded(facts) : passSoFar(sync)],
    ...members.map((member) => [
      member.slot < 0 ? 'member' : `member ${member.slot}`,
      `${printable(member.name)}, ${member.state}${member.nrCorrectedReads > 0 ? `, ${member.nrCorrectedReads} reads corrected` : ''}`,
    ]),
    ...refused.map(({ name, why }) => ['refused', `${printable(name)}: ${why}`]),
    ['bitmap', bitmap === null ? 'none' : `${printable(bitmap.where)}, ${bitmapInWords(bitmap)}`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(10)}${value}`).join('\n');
}

function bitmapInWords({ chunkBytes, nrChunks, nrDirty, nrNeeded, isFailed }: NonNullable<ArrayFacts['bitmap']>): string {
  const dirty = `${nrDirty} of ${nrChunks} chunks of ${formatSize(chunkBytes)} dirty, ${nrNeeded} to be resynced`;
  return isFailed ? `given up: it could not be written; ${dirty}` : dirty;
}

function resyncNeeded({ resyncFromBytes, isDegraded, members }: ArrayFacts): string {
  if (members.some(({ state }) => state === 'recovering')) return 'recovery is not done';
  if (resyncFromBytes === null || isDegraded) return 'not needed';
  return resyncFromBytes === 0 ? 'needed' : `needed from ${formatSize(resyncFromBytes)} on`;
}

function passSoFar({ action, positionBytes, sizeBytes, doneBytes }: SyncProgress): string {
  const percent = sizeBytes === 0 ? 100 : Math.floor((100 * positionBytes) / sizeBytes);
  return `${action} under way: ${percent} %, ${formatSize(doneBytes)} so far`;
}

/** What was done, a line each; the arrays themselves for `status`. */
export function describeAnswer(answer: MdAnswer, withArrays: boolean): string {
  const lines = answer.members.map(({ device, result }) => `${printable(device)}: ${result}`);
  const { sync } = answer;
  if (sync !== null) lines.push(passDone(sync));
  if (withArrays) lines.push(answer.arrays.map(describeArray).join('\n\n'));
  return lines.join('\n');
}

function passDone({ action, doneBytes, sizeBytes, nrMismatchSectors }: SyncProgress): string {
  if (action === 'check' || action === 'repair') {
    const what = action === 'check' ? 'differ' : 'differed, and are equal now';
    return `${action}: ${formatSize(doneBytes)} compared, ${nrMismatchSectors} sectors ${what}`;
  }
  return `${action}: ${formatSize(doneBytes)} of ${formatSize(sizeBytes)} copied`;
}
