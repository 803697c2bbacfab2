/**
 * One request to an array on its way: which part of its bio is being worked at, the bios for the members, and where it stands. Made once, used
 * again and again.
 *
 * A bio with more segments, or longer, than the members' bios take is done piece after piece; a piece is whole blocks.
 */
import { Bio, type BioOp } from '@tidemark/core';
import type { WriteIntentBitmap } from '../bitmap/write-intent-bitmap.js';
import type { Waiter } from '../waiters.js';
import type { Member } from './member.js';
import type { RangedWrite } from './range-gate.js';

/** Segments of a member's bio. */
export const REQUEST_SEGMENTS = 64;
const NO_BIO = new Bio(1);

/** What goes on with a request. */
export interface RequestPath {
  advance(request: Request): void;
  /** The bio for the member in a slot has ended. */
  memberEnded(request: Request, slot: number, bio: Bio): void;
}

export class Request implements RangedWrite {
  nextWaiter: Waiter | null = null;
  nextFree: Request | null = null;
  /** One for each slot. */
  readonly bios: Bio[];
  /** The member that each of them went to. */
  readonly targets: (Member | null)[];
  parent = NO_BIO;
  path: RequestPath | null = null;
  /** Where it stands; the path's to say. */
  stage = 0;
  /** The piece, in bytes of the array. */
  fromBytes = 0;
  toBytes = 0;
  isInGate = false;
  nrPending = 0;
  status = 0;
  /** Slots that failed, and of a read those that were tried: one bit each. */
  failedSlots = 0;
  triedSlots = 0;
  /** Read: ranges of members that were repaired for it. */
  nrRepairs = 0;
  /** Write: every slot had a member when it was issued; those in sync that have it now. */
  isEverywhere = false;
  nrGood = 0;
  /** Write: the bitmap that it is in, and its chunks. */
  bitmap: WriteIntentBitmap | null = null;
  firstChunk = 0;
  lastChunk = 0;
  #segment = 0;
  #inSegment = 0;

  constructor(raidDisks: number) {
    this.targets = new Array<Member | null>(raidDisks).fill(null);
    this.bios = Array.from({ length: raidDisks }, (_, slot) => {
      const bio = new Bio(REQUEST_SEGMENTS);
      bio.onEnd = (ended) => (this.path as RequestPath).memberEnded(this, slot, ended);
      return bio;
    });
  }

  /** Begins with a bio. */
  begin(parent: Bio, path: RequestPath): void {
    this.parent = parent;
    this.path = path;
    this.#segment = 0;
    this.#inSegment = 0;
    this.toBytes = parent.offsetBytes;
    this.status = 0;
  }

  /** Takes the next piece. @returns false if no whole block fits into a bio. */
  nextPiece(maxBytes: number, blockBytes: number): boolean {
    const { parent } = this;
    let length = 0;
    let segment = this.#segment;
    let inSegment = this.#inSegment;
    for (let n = 0; n < REQUEST_SEGMENTS && segment < parent.nrSegments && length < maxBytes; n++) {
      const take = Math.min(parent.lengths[segment] - inSegment, maxBytes - length);
      length += take;
      inSegment += take;
      if (inSegment === parent.lengths[segment]) {
        segment++;
        inSegment = 0;
      }
    }
    length -= length % blockBytes;
    this.fromBytes = this.toBytes;
    this.toBytes = this.fromBytes + length;
    this.stage = 0;
    this.failedSlots = 0;
    this.triedSlots = 0;
    this.nrRepairs = 0;
    return length > 0;
  }

  /** True if the piece was the last. */
  get isLastPiece(): boolean {
    return this.toBytes === this.parent.offsetBytes + this.parent.lengthBytes;
  }

  /** Steps over the piece. */
  pieceDone(): void {
    for (let left = this.toBytes - this.fromBytes; left > 0; ) {
      const take = Math.min(this.parent.lengths[this.#segment] - this.#inSegment, left);
      left -= take;
      this.#inSegment += take;
      if (this.#inSegment < this.parent.lengths[this.#segment]) return;
      this.#segment++;
      this.#inSegment = 0;
    }
  }

  /** Makes the bio of a slot the piece, for `member`. */
  fill(slot: number, member: Member, op: BioOp): Bio {
    const { parent } = this;
    const bio = this.bios[slot].start(op, member.dataOffsetBytes + this.fromBytes, parent.task);
    bio.fua = parent.fua;
    this.targets[slot] = member;
    let segment = this.#segment;
    let inSegment = this.#inSegment;
    for (let left = this.toBytes - this.fromBytes; left > 0; ) {
      const take = Math.min(parent.lengths[segment] - inSegment, left);
      bio.addSegment(parent.addresses[segment] + inSegment, take);
      left -= take;
      segment++;
      inSegment = 0;
    }
    return bio;
  }

  resume(): void {
    (this.path as RequestPath).advance(this);
  }

  /** Lets go of what it referred to. */
  forget(): void {
    this.parent = NO_BIO;
    this.bitmap = null;
    this.targets.fill(null);
  }
}
