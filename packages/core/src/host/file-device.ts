/**
 * A block device whose store is a file of the host: `file:PATH`, or a bare PATH.
 *
 * How its I/O is done is the opener's explicit choice. `sync`, the default, ends each request within `submit`: for an image that the
 * host has cached, which is what images mostly are, that beats the thread pool 40 times at depth 1. `threaded` keeps up to 32 requests
 * in the thread pool and the rest waiting in order of arrival; it is for stores that really are slow, and whoever submits bounds how
 * many wait. Reads and writes go straight between the file and the arena.
 *
 * Flush is fdatasync; a write with FUA is a write and an fdatasync. Once an fdatasync has failed, every later flush fails: the host may
 * have thrown the pages away, and nothing can tell which. Write-zeroes writes zeroes, in slices with other work between them, since
 * Node can punch no holes. For the same reason there is no discard: to write zeroes instead would fill a sparse file.
 */
import fs from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { Errno, errnoName, errnoOf, isKernelError, KernelError, type NegErrno } from '../base/errno.js';
import { andThen, isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE, parseSize, type Size } from '../base/size.js';
import { type Bio, BioOp } from '../block/bio.js';
import type { BlockDeviceOps, Extent, OpenDeviceOptions } from '../block/block-device.js';
import type { Arena } from '../mm/arena.js';
import { Semaphore } from '../task/semaphore.js';
import { TaskContext } from '../task/task-context.js';
import { fileExtents } from './file-extents.js';
import { createFileIo, type FileIo, type FileIoMode } from './file-io.js';
import { type FileLock, lockFile } from './file-lock.js';

const BLOCK_BYTES = 512;
const MAX_TRANSFER_BYTES = 1024 * PAGE_SIZE;
/** Requests in the thread pool at once. */
const NR_SLOTS = 32;
/** Bytes of zeroes written before other work gets its turn. */
const ZERO_SLICE_BYTES = 2 ** 20;
/** What write-zeroes writes, again and again. */
const ZEROES = new Uint8Array(2 ** 16);
const TASK = TaskContext.root('file device');

/** Options of a file device. */
export interface FileDeviceOptions extends OpenDeviceOptions {
  /** See the head of this module. Default `sync`. */
  readonly io?: FileIoMode;
  /** Makes the file if it is missing; then `sizeBytes` says how large. Default false. */
  readonly create?: boolean;
  /** The file is made at least this large; it is never cut. A multiple of 512 bytes. */
  readonly sizeBytes?: Size;
}

/**
 * Opens a file as a block device.
 * @throws KernelError naming the path: ENOENT, EACCES, EISDIR, EROFS; EBUSY if somebody writes it; EINVAL if it is no regular file, is
 * empty, or has a size that is no multiple of 512; ENOSPC.
 */
export async function openFileDevice(arena: Arena, path: string, options: FileDeviceOptions = {}): Promise<BlockDeviceOps> {
  const { io = 'sync', create = false, readOnly = false } = options;
  if (path === '') throw new KernelError('EINVAL', 'cannot open a file device without a path');
  if (io !== 'sync' && io !== 'threaded') throw new KernelError('EINVAL', `cannot open ${path}: io is "${io}"; want sync or threaded`);
  const wantBytes = options.sizeBytes === undefined ? 0 : parseSize(options.sizeBytes, `size of ${path}`);
  if (wantBytes % BLOCK_BYTES !== 0)
    throw new KernelError('EINVAL', `cannot open ${path}: size ${wantBytes} is no multiple of ${BLOCK_BYTES}`);
  if (readOnly && (create || wantBytes > 0))
    throw new KernelError('EINVAL', `cannot open ${path}: read-only, so it can be neither made nor extended`);

  const { fd, isNew } = openFd(path, readOnly, create);
  let lock: FileLock | null = null;
  try {
    const stat = fs.fstatSync(fd, { bigint: true });
    if (stat.isDirectory()) throw new KernelError('EISDIR', `cannot open ${path}: it is a directory`);
    if (!stat.isFile()) throw new KernelError('EINVAL', `cannot open ${path}: it is no regular file`);
    if (!readOnly) lock = await lockFile(path, stat.dev, stat.ino);
    const sizeBytes = Math.max(Number(stat.size), wantBytes);
    if (sizeBytes > Number(stat.size)) fs.ftruncateSync(fd, sizeBytes);
    if (sizeBytes === 0) throw new KernelError('EINVAL', `cannot open ${path}: the file is empty, and no size is given`);
    if (sizeBytes % BLOCK_BYTES !== 0)
      throw new KernelError('EINVAL', `cannot open ${path}: its size ${sizeBytes} is no multiple of ${BLOCK_BYTES}`);
    return new FileDevice({ arena, path, fd, lock, sizeBytes, readOnly, io });
  } catch (cause) {
    fs.closeSync(fd);
    await lock?.release();
    if (isNew) fs.unlinkSync(path);
    throw asKernelError(cause, path);
  }
}

function openFd(path: string, readOnly: boolean, create: boolean): { fd: number; isNew: boolean } {
  // Non-blocking, or a path that names a pipe would hang the process.
  const flags = (readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR) | (fs.constants.O_NONBLOCK ?? 0);
  try {
    return { fd: fs.openSync(path, flags), isNew: false };
  } catch (cause) {
    if (!create || errnoOf(cause) !== -Errno.ENOENT) throw asKernelError(cause, path);
  }
  try {
    return { fd: fs.openSync(path, flags | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600), isNew: true };
  } catch (cause) {
    throw asKernelError(cause, path);
  }
}

function asKernelError(cause: unknown, path: string): KernelError {
  if (isKernelError(cause)) return cause;
  const { code, errno, message } = cause as NodeJS.ErrnoException;
  const known = errno === undefined ? undefined : getSystemErrorMap().get(errno);
  const name = code === 'ERR_INVALID_ARG_VALUE' ? 'EINVAL' : errnoName(errnoOf(cause));
  return new KernelError(name, `cannot open ${path}: ${known?.[1] ?? message}`, { cause });
}

interface FileDeviceParts {
  readonly arena: Arena;
  readonly path: string;
  readonly fd: number;
  readonly lock: FileLock | null;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly io: FileIoMode;
}

class FileDevice implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes = BLOCK_BYTES;
  readonly maxTransferBytes = MAX_TRANSFER_BYTES;
  readonly readOnly: boolean;
  readonly trusted = true;
  readonly viaSocket = false;
  readonly can = { flush: true, fua: true, discard: false, writeZeroes: true };
  readonly #parts: FileDeviceParts;
  readonly #io: FileIo;
  /** One for each request that does not end within `submit`. */
  readonly #slots: Semaphore;
  /** Of the first fdatasync that failed. */
  #syncError: 0 | NegErrno = 0;
  #isClosed = false;

  constructor(parts: FileDeviceParts) {
    this.#parts = parts;
    this.name = `file:${parts.path}`;
    this.sizeBytes = parts.sizeBytes;
    this.readOnly = parts.readOnly;
    this.#io = createFileIo(parts.fd, parts.io);
    this.#slots = new Semaphore(NR_SLOTS, { kind: 'file', name: this.name });
  }

  submit(bio: Bio): void {
    if (this.#parts.io === 'threaded' || bio.op === BioOp.WRITE_ZEROES) void this.#runLater(bio);
    else {
      const status = this.#run(bio);
      if (isPromise(status)) void status.then((ended) => bio.end(ended));
      else bio.end(status);
    }
  }

  extents(offsetBytes: number, lengthBytes: number, nrMost: number): readonly Extent[] | NegErrno {
    return this.#isClosed ? -Errno.EIO : fileExtents(this.#parts.fd, offsetBytes, lengthBytes, nrMost);
  }

  /** Ends what waits with `-EIO`, waits for what the thread pool has: it holds arena memory. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#slots.acquire(TASK, NR_SLOTS);
    try {
      fs.closeSync(this.#parts.fd);
    } catch (cause) {
      throw new KernelError(errnoName(errnoOf(cause)), `closing ${this.name} failed`, { cause });
    } finally {
      await this.#parts.lock?.release();
    }
  }

  async #runLater(bio: Bio): Promise<void> {
    await this.#slots.acquire(TASK);
    const status = this.#isClosed ? -Errno.EIO : await this.#run(bio);
    this.#slots.release();
    bio.end(status);
  }

  #run(bio: Bio): MaybePromise<0 | NegErrno> {
    switch (bio.op) {
      case BioOp.READ:
        return this.#io.read(this.#views(bio), bio.offsetBytes);
      case BioOp.WRITE:
        return this.#thenSync(bio, this.#io.write(this.#views(bio), bio.offsetBytes));
      case BioOp.WRITE_ZEROES:
        return this.#writeZeroes(bio);
      case BioOp.FLUSH:
        return this.#sync();
      default:
        return -Errno.EOPNOTSUPP;
    }
  }

  #views(bio: Bio): Uint8Array[] {
    const views: Uint8Array[] = [];
    for (let i = 0; i < bio.nrSegments; i++) views.push(this.#parts.arena.view(bio.addresses[i], bio.lengths[i]));
    return views;
  }

  /** Adds the sync that FUA asks for. */
  #thenSync(bio: Bio, written: MaybePromise<0 | NegErrno>): MaybePromise<0 | NegErrno> {
    return bio.fua ? andThen(written, (status) => (status === 0 ? this.#sync() : status)) : written;
  }

  #sync(): MaybePromise<0 | NegErrno> {
    if (this.#syncError !== 0) return this.#syncError;
    return andThen(this.#io.sync(), (status) => {
      if (status !== 0 && this.#syncError === 0) this.#syncError = status;
      return this.#syncError;
    });
  }

  async #writeZeroes(bio: Bio): Promise<0 | NegErrno> {
    const end = bio.offsetBytes + bio.lengthBytes;
    for (let at = bio.offsetBytes; at < end; ) {
      if (this.#isClosed) return -Errno.EIO;
      const sliceEnd = Math.min(at + ZERO_SLICE_BYTES, end);
      const views: Uint8Array[] = [];
      for (let from = at; from < sliceEnd; from += ZEROES.length) views.push(ZEROES.subarray(0, Math.min(ZEROES.length, sliceEnd - from)));
      const status = await this.#io.write(views, at);
      if (status !== 0) return status;
      at = sliceEnd;
      if (at < end) await new Promise((resolve) => setImmediate(resolve));
    }
    return this.#thenSync(bio, 0);
  }
}
