/**
 * A read: from one member in sync; from another if that fails, after what could not be read was written anew from a good one.
 *
 * Which one (balancing): the one whose last read ended where this one begins, unless it has much more to do than another; else the one with the
 * fewest bytes under way, else the one in the lowest slot. Where members may differ it is always the one that the others are made equal to, so that a block never seems to change
 * by itself.
 */
import { type Bio, BioOp, Errno } from '@tidemark/core';
import { SECTOR_BYTES } from '../format/fields.js';
import type { ArrayCore } from './array-core.js';
import type { Member } from './member.js';
import type { Request, RequestPath } from './request.js';

/** Bytes by which a member may be ahead of another in what it has to do, and still be given what follows its last read. */
const RUN_AHEAD_BYTES = 128 * 1024;

export class ReadPath implements RequestPath {
  constructor(
    private readonly core: ArrayCore,
    private readonly pieceDone: (request: Request) => void,
  ) {}

  advance(request: Request): void {
    const member = this.#choose(request);
    if (member === null) {
      request.status = -Errno.EIO;
      this.pieceDone(request);
      return;
    }
    const { slot } = member;
    request.triedSlots |= 1 << slot;
    const bio = request.fill(slot, member, BioOp.READ);
    bio.fua = false;
    member.pendingBytes += bio.lengthBytes;
    member.headBytes = request.toBytes;
    member.device.submit(bio);
  }

  memberEnded(request: Request, slot: number, bio: Bio): void {
    const member = request.targets[slot] as Member;
    member.pendingBytes -= bio.lengthBytes;
    if (bio.status === 0) this.pieceDone(request);
    else if (this.core.mayRepair(member)) this.core.readRepair.repair(request, member);
    else this.advance(request);
  }

  #choose(request: Request): Member | null {
    const { state } = this.core;
    const { fromBytes, toBytes, triedSlots } = request;
    const mayDiffer = state.resyncFrom !== null && toBytes > state.resyncFrom * SECTOR_BYTES;
    let best: Member | null = null;
    let follows: Member | null = null;
    for (const member of state.slots) {
      if (member === null || (triedSlots & (1 << member.slot)) !== 0 || !member.canRead(fromBytes, toBytes - fromBytes)) continue;
      if (mayDiffer) return member;
      if (member.headBytes === fromBytes && fromBytes > 0) follows = member;
      if (best === null || member.pendingBytes < best.pendingBytes) best = member;
    }
    if (follows === null || best === null) return best;
    return follows.pendingBytes - best.pendingBytes <= RUN_AHEAD_BYTES ? follows : best;
  }
}
