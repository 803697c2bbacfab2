/**
 * The array as a block device: takes bios, gives each a request of its own when one is free, and ends it when all its pieces are done. Bios
 * that find no request free wait in line, linked through themselves. Nothing is allocated in flight.
 */
import {
  type Bio,
  BioFifo,
  BioOp,
  type BlockDeviceOps,
  Errno,
  type NodeFootprint,
  PAGE_SIZE,
  type StandingCharge,
  WRITE_AGAIN,
  type WriteoutNode,
} from '@tidemark/core';
import { waitOn, WaiterList } from '../waiters.js';
import type { ArrayCore } from './array-core.js';
import type { MemberPins } from './member-pins.js';
import { ReadPath } from './read-path.js';
import { REQUEST_SEGMENTS, type Request } from './request.js';
import { WritePath } from './write-path.js';

export interface Raid1DeviceParts {
  readonly name: string;
  readonly core: ArrayCore;
  readonly requests: readonly Request[];
  readonly charge: StandingCharge;
  readonly footprint: NodeFootprint;
  readonly pins: MemberPins;
  /** Nodes that its writeout needs: members, bitmap. */
  readonly needs: readonly WriteoutNode[];
  /** Gives everything else back, when nothing is under way any more. */
  readonly letGo: () => Promise<void>;
}

export class Raid1Device implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly trusted: boolean;
  readonly viaSocket: boolean;
  readonly can: BlockDeviceOps['can'];
  readonly needs: readonly WriteoutNode[];
  readonly footprint: NodeFootprint;
  readonly core: ArrayCore;
  readonly pins: MemberPins;
  readonly #parts: Raid1DeviceParts;
  readonly #writePath: WritePath;
  readonly #readPath: ReadPath;
  readonly #drained = new WaiterList();
  #free: Request | null = null;
  #nrBusy = 0;
  readonly #waiting = new BioFifo();
  #isPumping = false;
  #pieceBytes: number;
  #closing: Promise<void> | null = null;

  constructor(parts: Raid1DeviceParts) {
    const { core } = parts;
    const devices = core.state.members.map(({ device }) => device);
    this.#parts = parts;
    this.core = core;
    this.pins = parts.pins;
    this.name = parts.name;
    this.sizeBytes = core.state.sizeBytes;
    this.blockSizeBytes = Math.max(...devices.map((device) => device.blockSizeBytes));
    this.#pieceBytes = Math.min(REQUEST_SEGMENTS * PAGE_SIZE, ...devices.map((device) => device.maxTransferBytes));
    this.maxTransferBytes = this.#pieceBytes;
    this.readOnly = core.readOnly;
    this.trusted = devices.every((device) => device.trusted);
    this.viaSocket = devices.some((device) => device.viaSocket);
    this.can = {
      flush: devices.some(({ can }) => can.flush),
      fua: devices.every(({ can }) => can.fua),
      discard: false,
      writeZeroes: false,
    };
    this.needs = parts.needs;
    this.footprint = parts.footprint;
    const pieceDone = (request: Request): void => this.#pieceDone(request);
    this.#writePath = new WritePath(core, pieceDone);
    this.#readPath = new ReadPath(core, pieceDone);
    for (const request of parts.requests) this.#put(request);
  }

  /** A member that takes less at a time has come. */
  limitPieces(maxBytes: number): void {
    this.#pieceBytes = Math.min(this.#pieceBytes, maxBytes);
  }

  submit(bio: Bio): void {
    this.#waiting.push(bio);
    this.#pump();
  }

  #put(request: Request): void {
    request.nextFree = this.#free;
    this.#free = request;
  }

  /** Gives bios requests, as far as there are any. Members may end theirs at once: then it goes round here, not down the stack. */
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    while (this.#free !== null && this.#waiting.first !== null) {
      const request = this.#free;
      this.#free = request.nextFree;
      this.#start(request, this.#waiting.shift() as Bio);
    }
    this.#isPumping = false;
  }

  #start(request: Request, bio: Bio): void {
    this.#nrBusy++;
    const isRead = bio.op === BioOp.READ;
    request.begin(bio, isRead ? this.#readPath : this.#writePath);
    if (bio.op === BioOp.FLUSH) this.#writePath.flush(request);
    else {
      if (!isRead) this.core.writeBegins();
      this.#nextPiece(request);
    }
  }

  #nextPiece(request: Request): void {
    if (request.nextPiece(this.#pieceBytes, this.blockSizeBytes)) request.resume();
    else {
      request.status = -Errno.EINVAL; // a block in more pieces of memory than a member's bio takes
      this.#finish(request);
    }
  }

  #pieceDone(request: Request): void {
    if (request.status !== 0 || request.parent.op === BioOp.FLUSH || request.isLastPiece) {
      this.#finish(request);
      return;
    }
    request.pieceDone();
    this.#nextPiece(request);
  }

  #finish(request: Request): void {
    const { parent } = request;
    let { status } = request;
    if (parent.op === BioOp.WRITE) this.core.writeEnds();
    if (parent.op === BioOp.FLUSH && status === 0 && this.core.takeUntoldLoss()) status = WRITE_AGAIN;
    request.forget();
    this.#put(request);
    this.#nrBusy--;
    parent.end(status);
    this.#pump();
    if (this.#nrBusy === 0) this.#drained.resumeAll();
  }

  /** Ends what waits in line with EIO, lets what is under way end, makes the array clean, and lets go of its members. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#waiting.endAll(-Errno.EIO);
    while (this.#nrBusy > 0) await waitOn(this.#drained);
    try {
      await this.core.stop();
    } finally {
      this.#parts.charge.free();
      await this.#parts.letGo();
    }
  }
}
