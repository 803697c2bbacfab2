/**
 * Writes the members' superblocks (M17, ordering): one round after the other, however many ask.
 *
 *     events + 1 → the bitmap's superblock, durable → all members' superblocks side by side, durable → whoever asked before the round goes on
 *     a member that cannot be written is faulty, and there is another round, which says so
 *
 * Everyone who asks waits for a round that began after it asked. Ends by itself: a round that fails has fewer members than the one before.
 */
import type { NegErrno } from '@tidemark/core';
import { encodeSuperblock, SUPERBLOCK_OFFSET_BYTES } from '../format/superblock.js';
import { type Waiter, WaiterList, waitOn } from '../waiters.js';
import type { ArrayState } from './array-state.js';
import type { Member } from './member.js';

/** What the writer needs of its array. */
export interface SuperblockWriterHost {
  readonly state: ArrayState;
  nowMs(): number;
  /** The bitmap's superblock first. */
  updateBitmap(): Promise<void>;
  /** A member could not be written. The writer itself sees to the superblocks. */
  memberFailed(member: Member, status: NegErrno): void;
}

export class SuperblockWriter {
  readonly #waiting = new WaiterList();
  readonly #settled = new WaiterList();
  #isWanted = false;
  #isRunning = false;
  #isActiveStored = false;
  /** Rounds so far. */
  nrRounds = 0;

  constructor(private readonly host: SuperblockWriterHost) {}

  /** True if what the superblocks say is what is, as far as it was asked for. */
  get isStored(): boolean {
    return !this.#isWanted && !this.#isRunning;
  }

  /** True if the members' superblocks say that data may be under way. */
  get isActiveStored(): boolean {
    return this.#isActiveStored && this.host.state.isActive;
  }

  /** Has the state as it is now written. Nobody waits. */
  want(): void {
    this.#isWanted = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run();
  }

  /** The same; `waiter` is resumed when it is on every member. */
  wantFor(waiter: Waiter): void {
    this.#waiting.push(waiter);
    this.want();
  }

  /** The same; ends then. */
  write(): Promise<void> {
    const done = waitOn(this.#waiting);
    this.want();
    return done;
  }

  /** Resumes `waiter` when nothing is to be written any more; asks for nothing. */
  waitStored(waiter: Waiter): void {
    this.#settled.push(waiter);
  }

  /** Ends when nothing is to be written any more. */
  async settle(): Promise<void> {
    while (!this.isStored) await waitOn(this.#settled);
  }

  async #run(): Promise<void> {
    await null; // whoever asks in this same turn is part of the round
    while (this.#isWanted && !this.host.state.isBroken) {
      this.#isWanted = false;
      const covered = new WaiterList();
      this.#waiting.moveTo(covered);
      const isWhole = await this.#round();
      if (isWhole || this.host.state.isBroken) covered.resumeAll();
      else this.#putBack(covered); // nobody goes on before a round says who failed in this one
    }
    this.#isWanted = false;
    this.#isRunning = false;
    this.#waiting.resumeAll();
    this.#settled.resumeAll();
  }

  #putBack(covered: WaiterList): void {
    this.#waiting.moveTo(covered);
    covered.moveTo(this.#waiting);
  }

  /** @returns whether it reached every member. */
  async #round(): Promise<boolean> {
    const { host } = this;
    const { state } = host;
    this.nrRounds++;
    state.events++;
    await host.updateBitmap();
    const { isActive } = state;
    if (!isActive) this.#isActiveStored = false; // from now on, whatever becomes of this round
    const members = state.members.filter((member) => member.state !== 'faulty');
    const nowMs = host.nowMs();
    for (const member of members) encodeSuperblock(member.page.bytes, state.superblockOf(member, nowMs));
    const statuses = await Promise.all(
      members.map((member) => member.superblockIo.write(SUPERBLOCK_OFFSET_BYTES, member.page.address, member.page.bytes.length, true)),
    );
    let isSaved = false;
    let isWhole = true;
    for (const [i, member] of members.entries()) {
      if (statuses[i] === 0) isSaved ||= member.state === 'in-sync';
      else {
        isWhole = false;
        host.memberFailed(member, statuses[i]);
      }
    }
    if (!isSaved) state.isBroken = true;
    else if (!isWhole) this.#isWanted = true;
    this.#isActiveStored = isActive && isSaved;
    return isWhole;
  }
}
