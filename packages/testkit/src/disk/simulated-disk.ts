/**
 * A disk in virtual time: a block device with latency, bandwidth, a volatile write cache, and faults.
 *
 * A request takes its turn on the wire (length / bandwidth), then its latency, stretched by up to `jitter` of itself; so requests that are
 * under way together end in any order. Until a read ends its memory holds 0xEE. A write takes its data when it is submitted or when it
 * ends, as the seed says: whoever changes a page under way cannot know which. A write that fails may have written some of its sectors.
 *
 * The disk belongs to a machine. When the machine dies, `crash()` is what the next one finds; the disk itself answers no more.
 */
import { type Arena, type Bio, BioOp, type BlockDeviceOps, Errno, type NegErrno, PAGE_SIZE, WRITE_AGAIN } from '@tidemark/core';
import type { Machine } from '../simulation/machine.js';
import type { World } from '../simulation/world.js';
import type { EventSource, SimulatedEvent } from '../time/event-queue.js';
import type { Random } from '../time/random.js';
import { DiskImage, SECTOR_BYTES } from './disk-image.js';
import { type CachedWrite, tear, WriteCache } from './write-cache.js';
import { WriteLog } from './write-log.js';

/** A request, as a fault sees it. */
export interface DiskRequest {
  /** Which request of this disk, from 1 on. */
  readonly nr: number;
  readonly op: BioOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** What a simulated disk is like. */
export interface SimulatedDiskOptions {
  readonly sizeBytes: number;
  /** Default `disk`. */
  readonly name?: string;
  /** What is on it. Default: zeroes. */
  readonly image?: DiskImage;
  /** Default 0.1. */
  readonly latencyMs?: number;
  /** Latency is stretched by up to this part of itself. Default 3. */
  readonly jitter?: number;
  /** Default 500,000: half a gigabyte a second. */
  readonly bytesPerMs?: number;
  /** Default 512. */
  readonly blockSizeBytes?: number;
  /** Default 16. */
  readonly maxTransferPages?: number;
  /** Default false: what is acknowledged may be lost until it is flushed. */
  readonly trusted?: boolean;
  readonly readOnly?: boolean;
  readonly can?: Partial<BlockDeviceOps['can']>;
  /** Asked about each request when it is submitted; not 0: it ends with that. */
  readonly fault?: (request: DiskRequest) => 0 | NegErrno;
  /** Keeps every write, for crashing at each. Default false. */
  readonly keepsLog?: boolean;
}

interface Request extends DiskRequest {
  readonly bio: Bio;
  readonly status: 0 | NegErrno;
  /** Write: the data, if they were taken at the start. Flush: what it covers. */
  readonly early: Uint8Array | null;
  readonly mark: number;
  readonly fua: boolean;
  event: SimulatedEvent | null;
}

/** A disk in virtual time: latency, bandwidth, a volatile write cache, faults. A driver record for `kernel.attach`. */
export class SimulatedDisk implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly trusted: boolean;
  readonly viaSocket = false;
  readonly can: BlockDeviceOps['can'];
  /** The log, if it is kept. */
  readonly log: WriteLog | null;
  readonly #world: World;
  readonly #machine: Machine;
  readonly #arena: Arena;
  readonly #options: SimulatedDiskOptions;
  readonly #source: EventSource;
  readonly #random: Random;
  readonly #cache: WriteCache;
  readonly #inFlight = new Set<Request>();
  #nrRequests = 0;
  #busyUntilMs = 0;
  #isSilent = false;
  #isClosed = false;
  #hasUntoldLoss = false;

  /** @param arena of the kernel that it is attached to (`kernel.attach(disk)`). */
  constructor(world: World, machine: Machine, arena: Arena, options: SimulatedDiskOptions) {
    const { name = 'disk', image = DiskImage.empty(), can } = options;
    this.#world = world;
    this.#machine = machine;
    this.#arena = arena;
    this.#options = options;
    this.name = name;
    this.sizeBytes = options.sizeBytes;
    this.blockSizeBytes = options.blockSizeBytes ?? SECTOR_BYTES;
    this.maxTransferBytes = (options.maxTransferPages ?? 16) * PAGE_SIZE;
    this.readOnly = options.readOnly ?? false;
    this.trusted = options.trusted ?? false;
    this.can = { flush: true, fua: true, discard: true, writeZeroes: true, ...can };
    this.#source = world.events.source(`${machine.name}: ${name}`);
    this.#random = world.randomOf(`${machine.name}: ${name}`);
    this.#cache = new WriteCache(image);
    this.log = options.keepsLog ? new WriteLog(image) : null;
    world.onTrouble(() =>
      this.#isSilent && machine.isAlive ? `${machine.name}: ${name} is silent, with ${this.#inFlight.size} requests` : null,
    );
  }

  /** Requests so far. */
  get nrRequests(): number {
    return this.#nrRequests;
  }

  get nrInFlight(): number {
    return this.#inFlight.size;
  }

  submit(bio: Bio): void {
    const nr = ++this.#nrRequests;
    const { op, offsetBytes, lengthBytes, fua } = bio;
    const status = this.#options.fault?.({ nr, op, offsetBytes, lengthBytes }) ?? 0;
    const isWrite = op !== BioOp.READ && op !== BioOp.FLUSH;
    const early = isWrite && (this.log !== null || this.#random.chance(0.5)) ? this.#dataOf(bio) : null;
    const request: Request = { nr, bio, op, offsetBytes, lengthBytes, fua, status, early, mark: this.#cache.mark, event: null };
    this.#inFlight.add(request);
    this.#note(request, 0);
    if (op === BioOp.READ) for (let i = 0; i < bio.nrSegments; i++) this.#segment(bio, i).fill(0xee);
    if (early !== null) this.log?.add({ step: 'begin', nr, offsetBytes, bytes: early });
    if (this.#isClosed) this.#end(request, -Errno.EIO);
    else if (!this.#isSilent) this.#start(request);
  }

  #start(request: Request): void {
    const { latencyMs = 0.1, jitter = 3, bytesPerMs = 500_000 } = this.#options;
    const { events } = this.#world;
    const bytes = request.op <= BioOp.WRITE ? request.lengthBytes : 0;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, events.nowMs) + bytes / bytesPerMs;
    const delayMs = this.#busyUntilMs - events.nowMs + latencyMs * (1 + jitter * this.#random.next());
    request.event = events.add(this.#source, delayMs, () => this.#finish(request), this.#machine);
  }

  #finish(request: Request): void {
    const { bio, nr, op, offsetBytes, fua } = request;
    let { status } = request;
    if (op === BioOp.FLUSH) {
      if (this.#hasUntoldLoss) {
        status = WRITE_AGAIN;
        this.#hasUntoldLoss = false;
      }
      if (status === 0) {
        this.#cache.settle(request.mark);
        this.log?.add({ step: 'flushed', mark: request.mark });
      }
    } else if (op === BioOp.READ) {
      if (status === 0) this.#read(bio);
    } else {
      const bytes = request.early ?? this.#dataOf(bio);
      const isSettled = fua || this.trusted;
      this.log?.add(status === 0 ? { step: 'end', nr, offsetBytes, bytes, isSettled } : { step: 'failed', nr });
      if (status === 0) this.#cache.add(offsetBytes, bytes, isSettled);
      else
        for (const piece of tear({ offsetBytes, bytes }, this.#random)) {
          this.#cache.add(piece.offsetBytes, piece.bytes, false);
          this.log?.add({ step: 'end', nr, ...piece });
        }
    }
    this.#end(request, status);
  }

  #end(request: Request, status: 0 | NegErrno): void {
    this.#inFlight.delete(request);
    this.#note(request, 1 - status);
    request.bio.end(status);
  }

  #note(request: Request, state: number): void {
    const { trace } = this.#world;
    trace.add(request.nr * 8 + request.op);
    trace.add(request.offsetBytes);
    trace.add(request.lengthBytes);
    trace.add(state);
  }

  #segment(bio: Bio, i: number): Uint8Array {
    return this.#arena.view(bio.addresses[i], bio.lengths[i]);
  }

  #read(bio: Bio): void {
    let at = bio.offsetBytes;
    for (let i = 0; i < bio.nrSegments; i++) {
      this.#cache.visible.read(at, this.#segment(bio, i));
      at += bio.lengths[i];
    }
  }

  /** A copy of a write's data; zeroes for a discard, which here always clears. */
  #dataOf(bio: Bio): Uint8Array {
    const bytes = new Uint8Array(bio.lengthBytes);
    if (bio.op === BioOp.WRITE) {
      for (let i = 0, at = 0; i < bio.nrSegments; at += bio.lengths[i++]) bytes.set(this.#segment(bio, i), at);
    }
    return bytes;
  }

  /** Answers no more, whatever it is asked; what is under way is held too. */
  silence(): void {
    this.#isSilent = true;
    for (const request of this.#inFlight) {
      if (request.event !== null) this.#world.events.cancel(request.event);
      request.event = null;
    }
  }

  /** Answers again, from the start of each request that waits. */
  resume(): void {
    if (!this.#isSilent) return;
    this.#isSilent = false;
    for (const request of this.#inFlight) this.#start(request);
  }

  /**
   * Forgets every write that was not flushed.
   * @param tells true: the next flush to end ends with `WRITE_AGAIN`, as that of a device whose server restarted. False: nobody learns of
   * it, as from a disk that lies about its cache.
   */
  loseUnflushed(tells = false): void {
    this.#cache.lose();
    this.#hasUntoldLoss ||= tells;
  }

  /** Writes that would be lost. */
  get nrVolatile(): number {
    return this.#cache.nrVolatile;
  }

  /** What is on the disk as the kernel sees it now. */
  get image(): DiskImage {
    return this.#cache.visible.clone();
  }

  /** The power is gone: an image that a restart may find, as the seed has it. */
  crash(): DiskImage {
    return this.#cache.crash(this.#random, this.#writesInFlight());
  }

  /** Images that a restart may find: all of them when few, else samples (see `WriteCache.crashes`). */
  crashes(nrSamples = 8): Iterable<DiskImage> {
    return this.#cache.crashes(this.#random, nrSamples, this.#writesInFlight());
  }

  #writesInFlight(): CachedWrite[] {
    const writes = [...this.#inFlight].filter(({ op }) => op !== BioOp.READ && op !== BioOp.FLUSH);
    return writes.map(({ offsetBytes, early, bio }) => ({ offsetBytes, bytes: early ?? this.#dataOf(bio), isSettled: false }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const request of [...this.#inFlight]) {
      if (request.event !== null) this.#world.events.cancel(request.event);
      this.#end(request, -Errno.EIO);
    }
  }
}

/** Faults that are often wanted, for `SimulatedDiskOptions.fault`. */
export const diskFaults = {
  /** The n-th request fails; the others do not. */
  nth(n: number, status: NegErrno = -Errno.EIO): (request: DiskRequest) => 0 | NegErrno {
    return ({ nr }) => (nr === n ? status : 0);
  },
  /** Every request from the n-th on fails. */
  from(n: number, status: NegErrno = -Errno.EIO): (request: DiskRequest) => 0 | NegErrno {
    return ({ nr }) => (nr >= n ? status : 0);
  },
};
