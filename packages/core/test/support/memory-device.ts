/**
 * A block device in host memory that behaves as badly as a real one may: it ends requests late and out of order, loses what was
 * acknowledged and not flushed, tears failed writes, scribbles into the memory of reads in progress, and fails when told to.
 */
import { type Arena, type Bio, BioOp, type BlockDeviceOps, Errno, PAGE_SIZE } from '@tidemark/core';
import type { VirtualTime } from './virtual-time.js';

export interface MemoryDeviceOptions {
  readonly arena: Arena;
  readonly sizeBytes: number;
  readonly name?: string;
  /** With it requests end later; without it within `submit`. */
  readonly time?: VirtualTime;
  /** Milliseconds of the next request. Default 1. */
  readonly delayMs?: () => number;
  /** Status of the n-th request (from 1) of an operation. */
  readonly status?: (op: BioOp, nth: number, bio: Bio) => number;
  readonly trusted?: boolean;
  readonly viaSocket?: boolean;
  readonly readOnly?: boolean;
  readonly maxTransferPages?: number;
  /** True if a flush that fails has lost what it was to make durable. Default true. */
  readonly losesOnFailedFlush?: boolean;
  /** Called whenever a request has ended: what follows runs among the reactions to it. */
  readonly onEnded?: () => void;
}

const SECTOR = 512;

export class MemoryDevice implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes = SECTOR;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly trusted: boolean;
  readonly viaSocket: boolean;
  readonly can = { flush: true, fua: false, discard: false, writeZeroes: false };
  /** Requests seen, by operation. */
  readonly counts = [0, 0, 0, 0, 0];
  /** Requests that were submitted and have not ended. */
  readonly inFlight = new Set<Bio>();
  /** While true, nothing ends. */
  isSilent = false;
  isClosed = false;
  readonly #options: MemoryDeviceOptions;
  readonly #durable = new Map<number, Uint8Array>();
  /** Acknowledged and not flushed, with when. */
  readonly #volatile = new Map<number, { data: Uint8Array; acknowledged: number }>();
  #nrAcknowledged = 0;
  readonly #held: (() => void)[] = [];

  constructor(options: MemoryDeviceOptions) {
    this.#options = options;
    this.name = options.name ?? 'memory-device';
    this.sizeBytes = options.sizeBytes;
    this.maxTransferBytes = (options.maxTransferPages ?? 16) * PAGE_SIZE;
    this.readOnly = options.readOnly ?? false;
    this.trusted = options.trusted ?? true;
    this.viaSocket = options.viaSocket ?? false;
  }

  get nrReads(): number {
    return this.counts[BioOp.READ];
  }

  get nrWrites(): number {
    return this.counts[BioOp.WRITE];
  }

  get nrFlushes(): number {
    return this.counts[BioOp.FLUSH];
  }

  submit(bio: Bio): void {
    const nth = ++this.counts[bio.op];
    const status = this.#options.status?.(bio.op, nth, bio) ?? 0;
    this.inFlight.add(bio);
    if (this.isClosed) {
      this.#end(bio, -Errno.EIO);
      return;
    }
    const acknowledgedBefore = this.#nrAcknowledged;
    const finish = (): void => {
      if (this.isSilent) this.#held.push(finish);
      else if (this.inFlight.has(bio)) this.#finish(bio, status, acknowledgedBefore);
    };
    if (bio.op === BioOp.READ) this.#eachSector(bio, (_sector, memory) => memory.fill(0xee));
    const { time, delayMs } = this.#options;
    if (time === undefined) finish();
    else time.after(delayMs?.() ?? 1, finish);
  }

  /** Speaks again after a silence. */
  resume(): void {
    this.isSilent = false;
    for (const finish of this.#held.splice(0)) finish();
  }

  /** Loses what was not flushed, as a server that is killed does. */
  loseUnflushed(): void {
    this.#volatile.clear();
  }

  /** Changes a stored byte behind everybody's back. */
  corrupt(offsetBytes: number): void {
    const sector = Math.floor(offsetBytes / SECTOR);
    const data = this.#load(sector).slice();
    data[offsetBytes % SECTOR] ^= 0xff;
    this.#volatile.delete(sector);
    this.#durable.set(sector, data);
  }

  /** A copy of what the device would answer now. */
  peek(offsetBytes: number, lengthBytes: number): Uint8Array {
    const out = new Uint8Array(lengthBytes);
    for (let at = 0; at < lengthBytes; at += SECTOR) out.set(this.#load((offsetBytes + at) / SECTOR), at);
    return out;
  }

  /** Puts bytes there, durably. */
  poke(offsetBytes: number, data: Uint8Array): void {
    for (let at = 0; at < data.length; at += SECTOR) this.#durable.set((offsetBytes + at) / SECTOR, data.slice(at, at + SECTOR));
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const bio of [...this.inFlight]) this.#end(bio, -Errno.EIO);
  }

  #finish(bio: Bio, status: number, acknowledgedBefore: number): void {
    if (bio.op === BioOp.FLUSH) this.#finishFlush(status, acknowledgedBefore);
    else if (bio.op === BioOp.READ) {
      if (status === 0) this.#eachSector(bio, (sector, memory) => memory.set(this.#load(sector)));
    } else {
      const acknowledged = ++this.#nrAcknowledged;
      let n = 0;
      this.#eachSector(bio, (sector, memory) => {
        if (status !== 0 && n++ % 2 === 1) return; // torn
        this.#volatile.set(sector, { data: memory.slice(), acknowledged });
      });
    }
    this.#end(bio, status);
  }

  #finishFlush(status: number, acknowledgedBefore: number): void {
    if (status !== 0) {
      if (this.#options.losesOnFailedFlush ?? true) this.#volatile.clear();
      return;
    }
    for (const [sector, { data, acknowledged }] of [...this.#volatile]) {
      if (acknowledged > acknowledgedBefore) continue;
      this.#durable.set(sector, data);
      this.#volatile.delete(sector);
    }
  }

  #end(bio: Bio, status: number): void {
    this.inFlight.delete(bio);
    bio.end(status);
    this.#options.onEnded?.();
  }

  #load(sector: number): Uint8Array {
    return this.#volatile.get(sector)?.data ?? this.#durable.get(sector) ?? ZEROES;
  }

  #eachSector(bio: Bio, use: (sector: number, memory: Uint8Array) => void): void {
    let sector = bio.offsetBytes / SECTOR;
    for (let i = 0; i < bio.nrSegments; i++) {
      const memory = this.#options.arena.view(bio.addresses[i], bio.lengths[i]);
      for (let at = 0; at < memory.length; at += SECTOR) use(sector++, memory.subarray(at, at + SECTOR));
    }
  }
}

const ZEROES = new Uint8Array(SECTOR);
