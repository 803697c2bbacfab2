/**
 * Block devices: what a driver implements (`BlockDeviceOps`, a flat record) and what everybody else uses (`BlockDevice`, one concrete
 * class, so that hot call sites see one shape).
 *
 * The driver is called with requests that are already checked: inside the device, aligned, not longer than `maxTransferBytes`, no
 * write to a read-only device. Ranges of arena memory are given as addresses; `arena.chunkOf(address)` and
 * `arena.offsetInChunk(address)` turn them into bytes.
 */
import { Errno, KernelError, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import { Completion } from '../task/completion.js';
import type { TaskContext } from '../task/task-context.js';
import type { WaitParty } from '../task/wait-queue.js';
import { BIO_OP_NAMES, Bio, BioOp } from './bio.js';

/** The client's end of a device's connections, as the kernel sees it: a `LocalClient`. */
export interface DeviceClient {
  /** The server of this kernel it has reached, or null. */
  readonly server: { readonly node: WriteoutNode } | null;
  /** The device's node is in the writeout graph, with an edge to that server's. */
  admitted(node: WriteoutNode): void;
}

/** A part of a device that is stored in one way. */
export interface Extent {
  readonly lengthBytes: number;
  /** It takes no room: nothing was ever written there, or what was has been given back. */
  readonly isHole: boolean;
  /** It reads as zeroes. */
  readonly isZero: boolean;
}

/** What a driver implements. Later fields are optional and come last. */
export interface BlockDeviceOps {
  readonly apiVersion: 1;
  /** For people and for the writeout graph: `ram:0`, `nbd://127.0.0.1:10809/disk`. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Smallest unit of reads and writes in bytes: a power of two, at most 4096. */
  readonly blockSizeBytes: number;
  /** Longest read or write in bytes; a multiple of 4096. */
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  /** True if what was acknowledged is as safe as what was flushed, as far as this kernel can tell (M9). */
  readonly trusted: boolean;
  /** True if completion depends on a socket. */
  readonly viaSocket: boolean;
  readonly can: { readonly flush: boolean; readonly fua: boolean; readonly discard: boolean; readonly writeZeroes: boolean };
  /** What the kernel's table of local connections knows it by, if it reaches a server over a socket: then that server may be this kernel's. */
  readonly client?: DeviceClient;
  /** Nodes that its writeout needs beside a server of this kernel: the transport of its socket. */
  readonly needs?: readonly WriteoutNode[];
  /**
   * What requests in flight wait for: `{ kind: 'reply', name: 'of nbd://…' }`. Empty if nothing is in flight, or if the device itself is what
   * works. For stall reports.
   * @param isServerLocal the one who must answer is a node of this kernel, and in the report by itself.
   */
  waitsFor?(isServerLocal: boolean): Iterable<WaitParty>;
  /** Starts a request. Must end it with `bio.end(status)` exactly once, now or later; must not throw, must not wait. */
  submit(bio: Bio): void;
  /** Lets go of files and sockets. Requests still in flight end with `-EIO`. */
  close(): Promise<void>;
  /**
   * How what stands from `offsetBytes` on is stored: extents one after the other, at least one, at most `nrMost`, `lengthBytes` in all at most. What
   * is written meanwhile may make it untrue. Absent: it is all data.
   */
  extents?(offsetBytes: number, lengthBytes: number, nrMost: number): MaybePromise<readonly Extent[] | NegErrno>;
}

/** A block device as the rest of the kernel sees it. */
export class BlockDevice implements WaitParty {
  readonly kind = 'block-device';
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly trusted: boolean;
  readonly viaSocket: boolean;
  readonly can: BlockDeviceOps['can'];
  /** The driver's record. Its package's hooks know it by this; nobody else looks inside. */
  readonly ops: BlockDeviceOps;
  /** Who has it to itself (a swap area, later a superblock), or null. */
  #holder: string | null = null;
  #aborting: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  readonly #closers: (() => void | Promise<void>)[] = [];

  /** @param name tells this device from others of the same driver's name; default: the driver's. */
  constructor(ops: BlockDeviceOps, name = ops.name) {
    const bad =
      !Number.isSafeInteger(ops.sizeBytes) || ops.sizeBytes < 0
        ? 'size'
        : ops.blockSizeBytes < 1 || ops.blockSizeBytes > PAGE_SIZE || (ops.blockSizeBytes & (ops.blockSizeBytes - 1)) !== 0
          ? 'block size'
          : ops.maxTransferBytes < PAGE_SIZE || ops.maxTransferBytes % PAGE_SIZE !== 0
            ? 'largest transfer'
            : null;
    if (bad !== null) throw new KernelError('EINVAL', `block device ${ops.name} declares an impossible ${bad}`);
    this.name = name;
    this.sizeBytes = ops.sizeBytes;
    this.blockSizeBytes = ops.blockSizeBytes;
    this.maxTransferBytes = ops.maxTransferBytes;
    this.readOnly = ops.readOnly;
    this.trusted = ops.trusted;
    this.viaSocket = ops.viaSocket;
    this.can = ops.can;
    this.ops = ops;
  }

  /** Submits a checked or unchecked request; errors, too, arrive by `bio.end`. Never throws, never waits. */
  submit(bio: Bio): void {
    bio.markSubmitted();
    const refused = this.#check(bio);
    if (refused !== 0) bio.end(refused);
    else if (bio.op === BioOp.FLUSH && !this.can.flush)
      bio.end(0); // it keeps nothing back that could be flushed
    else this.ops.submit(bio);
  }

  #check(bio: Bio): 0 | NegErrno {
    if (this.#aborting !== null) return -Errno.EIO;
    if (bio.op === BioOp.FLUSH) return 0;
    const writes = bio.op !== BioOp.READ;
    if (writes && this.readOnly) return -Errno.EROFS;
    if (bio.fua && !this.can.fua) return -Errno.EOPNOTSUPP;
    if (bio.op === BioOp.DISCARD && !this.can.discard) return -Errno.EOPNOTSUPP;
    if (bio.op === BioOp.WRITE_ZEROES && !this.can.writeZeroes) return -Errno.EOPNOTSUPP;
    if (bio.offsetBytes < 0 || bio.lengthBytes <= 0) return -Errno.EINVAL;
    if (bio.offsetBytes + bio.lengthBytes > this.sizeBytes) return writes ? -Errno.ENOSPC : -Errno.EINVAL;
    if (bio.offsetBytes % this.blockSizeBytes !== 0 || bio.lengthBytes % this.blockSizeBytes !== 0) return -Errno.EINVAL;
    if (bio.op <= BioOp.WRITE && bio.lengthBytes > this.maxTransferBytes) return -Errno.EINVAL;
    return 0;
  }

  /**
   * Submits and waits until the device has ended it, whatever the task's signal says: until then the memory is the device's.
   * @returns 0 or a negative errno.
   */
  submitAndWait(task: TaskContext, bio: Bio): MaybePromise<0 | NegErrno> {
    const done = new Completion({ kind: 'bio', name: `${BIO_OP_NAMES[bio.op]} on ${this.name}`, heldBy: () => [this] });
    bio.onEnd = (ended) => done.complete(ended.status);
    this.submit(bio);
    return done.wait(task.withSignal(null));
  }

  /** How a range inside of the device is stored, as `BlockDeviceOps.extents` has it. */
  extents(offsetBytes: number, lengthBytes: number, nrMost: number): MaybePromise<readonly Extent[] | NegErrno> {
    if (this.#aborting !== null) return -Errno.EIO;
    if (this.ops.extents !== undefined) return this.ops.extents(offsetBytes, lengthBytes, nrMost);
    return [{ lengthBytes, isHole: false, isZero: false }];
  }

  /** Takes the device for one user. @throws KernelError EBUSY naming the user that has it. */
  hold(holder: string): void {
    if (this.#holder !== null) throw new KernelError('EBUSY', `${this.name} is in use by ${this.#holder}, wanted by ${holder}`);
    this.#holder = holder;
  }

  /** Gives it back. */
  unhold(): void {
    this.#holder = null;
  }

  get holder(): string | null {
    return this.#holder;
  }

  /** Has `closer` called when the device is closed and nothing is in flight any more. */
  onClose(closer: () => void | Promise<void>): void {
    this.#closers.push(closer);
  }

  /** Ends everything in flight with EIO, and takes nothing more. It must still be closed. */
  abort(): Promise<void> {
    this.#aborting ??= this.ops.close();
    return this.#aborting;
  }

  /**
   * Closes it. Safe to call twice.
   * @throws KernelError EBUSY while somebody holds it; what the driver's closing throws, with everything else given back all the same.
   */
  close(): Promise<void> {
    if (this.#closing === null && this.#holder !== null) {
      return Promise.reject(new KernelError('EBUSY', `${this.name} is in use by ${this.#holder}`));
    }
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.abort();
    } finally {
      for (const closer of this.#closers) await closer();
    }
  }
}

/** Opens devices named by a URL or path; registered under `BLOCK_DRIVER`. */
export interface BlockDriver {
  /** `nbd`, `file`, `mem`: what stands before the first colon. */
  readonly schemes: readonly string[];
  /** @throws KernelError naming the URL and what is wrong with it. */
  open(url: string, options: OpenDeviceOptions): Promise<BlockDeviceOps>;
}

/** Options of `kernel.openBlockDevice`. */
export interface OpenDeviceOptions {
  readonly readOnly?: boolean;
  /** Longest the opening may take. Default 30,000. */
  readonly timeoutMs?: number;
  readonly signal?: import('../task/abort.js').AbortSignalLike;
}
