/**
 * The buffer cache: a block device read and written through the page cache, byte by byte if need be. Dirty pages go out through the
 * `WRITEOUT_HOOK` of the package the device belongs to.
 */
import { errorFrom, KernelError, type NegErrno } from '../base/errno.js';
import { andThen, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { AddressSpaceOperations } from '../cache/address-space-operations.js';
import type { ErrorCursor } from '../cache/error-sequence.js';
import { PageCache, type PageCacheParts } from '../cache/page-cache.js';
import type { WriteoutHook } from '../cache/pinned-file.js';
import type { Pfn } from '../mm/arena.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';
import type { BlockDevice } from './block-device.js';
import { DeviceIo } from './device-io.js';

/** Reads in flight at once. */
const READ_UNITS = 8;

class DeviceOperations implements AddressSpaceOperations {
  readonly sizeBytes: number;

  constructor(
    readonly device: BlockDevice,
    readonly hook: WriteoutHook,
    readonly io: DeviceIo,
    readonly writesThrough: () => WriteoutNode | null,
  ) {
    this.sizeBytes = Math.floor(device.sizeBytes / PAGE_SIZE) * PAGE_SIZE;
  }

  readFolio(task: TaskContext, index: number, pfn: Pfn): MaybePromise<0 | NegErrno> {
    return this.io.read(task, index * PAGE_SIZE, Uint32Array.of(pfn), 0, 1);
  }

  readahead(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.io.read(task, index * PAGE_SIZE, pfns, from, count);
  }

  writepages(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.hook.writeout(task, this.device, index * PAGE_SIZE, pfns, from, count);
  }

  sync(task: TaskContext): MaybePromise<0 | NegErrno> {
    return this.hook.sync(task, this.device);
  }

  cutOff(): Promise<void> {
    return this.device.abort();
  }
}

/** A block device behind the page cache. The face: errors are thrown here. */
export class DeviceCache {
  readonly #pages: PageCache;
  readonly #io: DeviceIo;
  readonly #device: BlockDevice;
  readonly #task: TaskContext;
  #closing: Promise<void> | null = null;
  #closed: () => void = () => {};

  /** Holds the device until it is closed. @throws KernelError EBUSY if somebody has it, EINVAL for one smaller than a page, EFBIG beyond 2^44 bytes, ENOMEM. */
  constructor(
    parts: PageCacheParts,
    task: TaskContext,
    device: BlockDevice,
    hook: WriteoutHook,
    node: () => WriteoutNode | null = () => null,
  ) {
    if (device.sizeBytes < PAGE_SIZE)
      throw new KernelError('EINVAL', `${device.name} has ${device.sizeBytes} bytes: too small for a page cache`);
    this.#task = task;
    this.#device = device;
    device.hold('a cache');
    let io: DeviceIo | null = null;
    try {
      hook.prepare?.(device);
      io = new DeviceIo(parts.memory, device, READ_UNITS);
      this.#pages = new PageCache(parts, `cache of ${device.name}`, new DeviceOperations(device, hook, io, node));
    } catch (error) {
      io?.release();
      device.unhold();
      throw error;
    }
    this.#io = io;
  }

  /** Has `closed` called when this is closed. */
  onClose(closed: () => void): void {
    this.#closed = closed;
  }

  /** The address space underneath. */
  get pages(): PageCache {
    return this.#pages;
  }

  /** Whole pages of the device, in bytes. */
  get sizeBytes(): number {
    return this.#pages.sizeBytes;
  }

  /** Reads; fewer bytes than asked for only at the end. @throws KernelError EINVAL, EIO, ENOMEM. */
  read(offsetBytes: number, target: Uint8Array): MaybePromise<number> {
    this.#check(offsetBytes, 'read');
    const got = this.#pages.read(this.#task, offsetBytes, target);
    if (got === target.length) return got;
    return this.#readRest(offsetBytes, target, got);
  }

  /** What stopped early has met the end, or a page that cannot be read: then the next call says why. */
  #readRest(offsetBytes: number, target: Uint8Array, first: MaybePromise<number>): MaybePromise<number> {
    const wanted = Math.max(Math.min(target.length, this.sizeBytes - offsetBytes), 0);
    const whole = (got: number): MaybePromise<number> => {
      if (this.#unwrap(got, 'read') >= wanted) return got;
      const rest = this.#pages.read(this.#task, offsetBytes + got, target.subarray(got));
      const add = (more: number): MaybePromise<number> => whole(got + this.#unwrap(more, 'read'));
      return andThen(rest, add);
    };
    return andThen(first, whole);
  }

  /** Writes to the cache. @throws KernelError EINVAL, ENOSPC past the end, EROFS, EIO, ENOMEM. */
  async write(offsetBytes: number, source: Uint8Array): Promise<number> {
    this.#check(offsetBytes, 'write');
    if (this.#device.readOnly) throw new KernelError('EROFS', `write ${this.#device.name}: it is read-only`);
    const wanted = Math.min(source.length, Math.max(this.sizeBytes - offsetBytes, 1));
    for (let done = 0; ; ) {
      done += this.#unwrap(await this.#pages.write(this.#task, offsetBytes + done, done === 0 ? source : source.subarray(done)), 'write');
      if (done >= wanted) return done;
    }
  }

  /** For one of several users: hears of each loss once, by `sync`. */
  errorCursor(): ErrorCursor {
    return this.#pages.errorCursor();
  }

  /**
   * Writes what is dirty and makes it durable.
   * @param cursor of the user who asks. Default: one for all who have none.
   * @throws KernelError EIO and the like, for a loss that this user has not heard of.
   */
  async sync(cursor?: ErrorCursor): Promise<void> {
    this.#unwrap(await this.#pages.sync(this.#task, cursor), 'sync');
  }

  /** Syncs and gives the memory back; twice is fine. @throws KernelError if writing failed; the memory is given back all the same. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const status = await this.#pages.close(this.#task);
    this.#io.release();
    this.#device.unhold();
    this.#closed();
    this.#unwrap(status, 'close');
  }

  #check(offsetBytes: number, doing: string): void {
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0)
      throw new KernelError('EINVAL', `${doing} ${this.#device.name} at ${offsetBytes}: no such offset`);
  }

  #unwrap(status: number, doing: string): number {
    if (status < 0) throw errorFrom(status, `${doing} ${this.#device.name} through its cache`);
    return status;
  }
}
