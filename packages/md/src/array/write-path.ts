/**
 * A write, from the array to its members, stage after stage; a stage that has nothing to wait for goes on at once, so that a write to chunks
 * whose bits are set neither waits nor allocates.
 *
 *     ENTER      past the gate: nobody is making the members equal there
 *     ACTIVATE   the members' superblocks say that data may be under way
 *     INTEND     the bits of its chunks are set, and durable
 *     ISSUE      to every member that is written, side by side
 *     SAVE       a member that missed it is recorded as faulty on the others, before anybody is told that the write is done
 *
 * A flush goes to every member, and through SAVE too.
 */
import { type Bio, BioOp, Errno, type NegErrno } from '@tidemark/core';
import type { ArrayCore } from './array-core.js';
import type { Member } from './member.js';
import type { Request, RequestPath } from './request.js';

const Stage = { ENTER: 0, ACTIVATE: 1, INTEND: 2, ISSUE: 3, SAVE: 4 } as const;

export class WritePath implements RequestPath {
  constructor(
    private readonly core: ArrayCore,
    private readonly pieceDone: (request: Request) => void,
  ) {}

  advance(request: Request): void {
    const { gate, superblocks, state } = this.core;
    if (request.stage === Stage.ENTER) {
      if (!gate.mayEnter(request)) return;
      request.isInGate = true;
      request.stage = Stage.ACTIVATE;
    }
    if (request.stage === Stage.ACTIVATE) {
      if (!superblocks.isActiveStored && !state.isBroken) {
        state.isActive = true;
        superblocks.wantFor(request);
        return;
      }
      request.stage = Stage.INTEND;
    }
    if (request.stage === Stage.INTEND) {
      request.stage = Stage.ISSUE;
      if (!this.#intend(request)) return;
    }
    if (request.stage === Stage.ISSUE) this.#issue(request);
    else this.#save(request);
  }

  /** @returns whether it may go on now. */
  #intend(request: Request): boolean {
    const { bitmap } = this.core;
    request.bitmap = bitmap;
    if (bitmap === null) return true;
    request.firstChunk = Math.floor(request.fromBytes / bitmap.chunkBytes);
    request.lastChunk = Math.floor((request.toBytes - 1) / bitmap.chunkBytes);
    if (bitmap.startWrite(request.firstChunk, request.lastChunk)) return true;
    bitmap.waitStored(request);
    return false;
  }

  #issue(request: Request): void {
    const { state } = this.core;
    request.isEverywhere = state.isEverySlotWritten;
    request.nrGood = 0;
    request.nrPending = 1;
    if (!state.isBroken) {
      for (let slot = 0; slot < state.raidDisks; slot++) {
        const member = state.slots[slot];
        if (member === null || !member.isWritten) continue;
        request.nrPending++;
        member.device.submit(request.fill(slot, member, BioOp.WRITE));
      }
    }
    this.#oneEnded(request);
  }

  /** Flushes every member, for the request's bio. */
  flush(request: Request): void {
    const { state } = this.core;
    request.bitmap = null;
    request.isEverywhere = true;
    request.failedSlots = 0;
    request.nrGood = 0;
    request.nrPending = 1;
    request.stage = Stage.ISSUE;
    for (let slot = 0; slot < state.raidDisks; slot++) {
      const member = state.slots[slot];
      if (member === null || !member.isWritten) continue;
      request.nrPending++;
      request.targets[slot] = member;
      member.device.submit(request.bios[slot].start(BioOp.FLUSH, 0, request.parent.task));
    }
    this.#oneEnded(request);
  }

  memberEnded(request: Request, slot: number, bio: Bio): void {
    const member = request.targets[slot] as Member;
    if (bio.status !== 0) {
      request.failedSlots |= 1 << slot;
      request.isEverywhere = false;
    } else if (member.state === 'in-sync') request.nrGood++;
    this.#oneEnded(request);
  }

  #oneEnded(request: Request): void {
    if (--request.nrPending > 0) return;
    if (request.failedSlots !== 0) this.#failed(request);
    if (request.nrGood === 0 && request.status === 0) request.status = -Errno.EIO;
    request.stage = Stage.SAVE;
    this.#save(request);
  }

  #failed(request: Request): void {
    for (let slot = 0; slot < request.targets.length; slot++) {
      if ((request.failedSlots & (1 << slot)) === 0) continue;
      const status: NegErrno = request.bios[slot].status;
      this.core.memberFailed(request.targets[slot] as Member, status);
      if (request.nrGood === 0) request.status = status;
    }
  }

  #save(request: Request): void {
    const { state, superblocks } = this.core;
    if (state.isDegraded && !superblocks.isStored && !state.isBroken) {
      request.stage = Stage.SAVE;
      superblocks.waitStored(request);
      return;
    }
    if (state.isBroken) request.status = -Errno.EIO;
    this.#done(request);
  }

  #done(request: Request): void {
    if (request.bitmap !== null) {
      request.bitmap.endWrite(request.firstChunk, request.lastChunk, request.isEverywhere && request.status === 0);
      request.bitmap = null;
    }
    if (request.isInGate) {
      request.isInGate = false;
      this.core.gate.left();
    }
    this.pieceDone(request);
  }
}
