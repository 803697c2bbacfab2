/**
 * What can be done with an open file, and with whole files: the calls behind file descriptors, `FileHandle`, `readFile` and
 * `writeFile`. In steps, for a caller; arguments are already tested.
 */
import { Errno, type NegErrno } from '../../base/errno.js';
import type { MaybePromise } from '../../base/maybe-promise.js';
import { OpenFlag } from '../../vfs/mode.js';
import type { OpenFile } from '../../vfs/open-file.js';
import { type Steps, settle } from '../../vfs/steps.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import { FsError, nodeError } from './errors.js';
import { check, must } from './path-calls.js';
import { BigIntStats, Stats } from './stats.js';

/** Most bytes of a file that `readFile` gives in one piece, as Node. */
const READ_FILE_MAX_BYTES = 2 ** 31;
/** First read of a file whose size is not known. */
const CHUNK_BYTES = 65_536;

export class FileCalls {
  constructor(protected readonly vfs: Vfs) {}

  *open(who: Caller, path: string, flags: number, mode: number): Steps<OpenFile> {
    return must(yield* this.vfs.open(who, path, flags, mode), 'open', path);
  }

  /** @returns bytes read, 0 at the end. */
  *read(who: Caller, file: OpenFile, target: Uint8Array, position: number | null): Steps<number> {
    const got = yield* settle(this.#readNow(who, file, target, position));
    check(got, 'read');
    return got;
  }

  #readNow(who: Caller, file: OpenFile, target: Uint8Array, position: number | null): MaybePromise<number> {
    return this.vfs.data.read(who, file, target, position);
  }

  *readv(who: Caller, file: OpenFile, targets: readonly Uint8Array[], position: number | null): Steps<number> {
    let total = 0;
    for (const target of targets) {
      const got = yield* this.read(who, file, target, position === null ? null : position + total);
      total += got;
      if (got < target.length) break;
    }
    return total;
  }

  /** @returns bytes written. */
  *write(who: Caller, file: OpenFile, source: Uint8Array, position: number | null): Steps<number> {
    const put = yield* this.vfs.data.write(who, file, source, position);
    check(put, 'write');
    return put;
  }

  *writev(who: Caller, file: OpenFile, sources: readonly Uint8Array[], position: number | null): Steps<number> {
    let total = 0;
    for (const source of sources) {
      const put = yield* this.write(who, file, source, position === null ? null : position + total);
      total += put;
      if (put < source.length) break;
    }
    return total;
  }

  /** Writes all of it. */
  *writeAll(who: Caller, file: OpenFile, source: Uint8Array, position: number | null): Steps<void> {
    for (let done = 0; done < source.length; ) {
      const rest = done === 0 ? source : source.subarray(done);
      done += yield* this.write(who, file, rest, position === null ? null : position + done);
    }
  }

  *stat(who: Caller, file: OpenFile, bigint: boolean): Steps<Stats | BigIntStats> {
    this.#requireOpen(file, 'fstat');
    check(yield* this.vfs.refresh(who.task, file.inode), 'fstat');
    return bigint ? new BigIntStats(file.inode) : new Stats(file.inode);
  }

  *truncate(who: Caller, file: OpenFile, size: number): Steps<void> {
    this.#requireOpen(file, 'ftruncate');
    if (!file.mayWrite) throw new FsError(-Errno.EINVAL, 'ftruncate');
    check(yield* this.vfs.attributes.changeSize(who, file.inode, size), 'ftruncate');
  }

  *sync(who: Caller, file: OpenFile, dataOnly: boolean): Steps<void> {
    const syscall = dataOnly ? 'fdatasync' : 'fsync';
    this.#requireOpen(file, syscall);
    check(yield* this.vfs.data.sync(who.task, file, dataOnly), syscall);
  }

  *chmod(who: Caller, file: OpenFile, mode: number): Steps<void> {
    this.#requireOpen(file, 'fchmod');
    check(yield* this.vfs.attributes.changeMode(who, file.inode, mode), 'fchmod');
  }

  *chown(who: Caller, file: OpenFile, uid: number, gid: number): Steps<void> {
    this.#requireOpen(file, 'fchown');
    check(yield* this.vfs.attributes.changeOwner(who, file.inode, uid, gid), 'fchown');
  }

  *utimes(who: Caller, file: OpenFile, accessed: number, modified: number): Steps<void> {
    this.#requireOpen(file, 'futime');
    check(yield* this.vfs.attributes.changeTimes(who, file.inode, { accessed, modified }), 'futime');
  }

  /** Closes it, and tells what `sync` would have told of failures to write back; a second time is EBADF. */
  *close(who: Caller, file: OpenFile): Steps<void> {
    this.#requireOpen(file, 'close');
    check(yield* this.vfs.close(who, file), 'close');
  }

  #requireOpen(file: OpenFile, syscall: string): void {
    if (!file.isOpen) throw new FsError(-Errno.EBADF, syscall);
  }

  /** Everything from the file's position to its end. */
  *readAll(who: Caller, file: OpenFile): Steps<Buffer> {
    if (!file.isOpen || !file.mayRead) throw new FsError(-Errno.EBADF, 'read');
    if (file.inode.isDirectory) throw new FsError(-Errno.EISDIR, 'read');
    const size = file.inode.sizeBytes;
    if (size > READ_FILE_MAX_BYTES) throw nodeError('ERR_FS_FILE_TOO_LARGE', `File size (${size}) is greater than 2 GiB`, RangeError);
    const wanted = Math.max(size - file.positionBytes, 0);
    const buffer = Buffer.allocUnsafeSlow(wanted);
    let done = 0;
    while (done < wanted) {
      const got = yield* this.read(who, file, done === 0 ? buffer : buffer.subarray(done), null);
      if (got === 0) return buffer.subarray(0, done); // it was truncated meanwhile
      done += got;
    }
    if (file.inode.sizeBytes <= file.positionBytes) return buffer;
    return Buffer.concat([buffer, yield* this.#readTail(who, file, done)]);
  }

  /** What was written behind the end that a reader had seen. */
  *#readTail(who: Caller, file: OpenFile, already: number): Steps<Buffer> {
    const chunks: Buffer[] = [];
    for (let total = already; ; ) {
      const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      const got = yield* this.read(who, file, chunk, null);
      if (got === 0) return Buffer.concat(chunks);
      total += got;
      if (total > READ_FILE_MAX_BYTES) throw nodeError('ERR_FS_FILE_TOO_LARGE', `File size (${total}) is greater than 2 GiB`, RangeError);
      chunks.push(chunk.subarray(0, got));
    }
  }

  /** Opens, does, closes, whatever happens. */
  *with<T>(who: Caller, path: string, flags: number, mode: number, work: (file: OpenFile) => Steps<T>): Steps<T> {
    const file = yield* this.open(who, path, flags, mode);
    let result: T;
    try {
      result = yield* work(file);
    } catch (error) {
      file.release();
      throw error;
    }
    check(yield* this.vfs.close(who, file), 'close');
    return result;
  }

  /**
   * Copies a regular file. If that fails once the target is open, the target is removed, as Node says.
   * @param mode bits of `COPYFILE_*`; only EXCL means something.
   */
  *copyFile(who: Caller, from: string, to: string, mode: number): Steps<void> {
    const source = must(yield* this.vfs.open(who, from, OpenFlag.READ_ONLY, 0), 'copyfile', from, to);
    try {
      const exclusive = (mode & 1) !== 0 ? OpenFlag.EXCLUSIVE : 0;
      const flags = OpenFlag.WRITE_ONLY | OpenFlag.CREATE | exclusive;
      const target = must(yield* this.vfs.open(who, to, flags, source.inode.mode & 0o777), 'copyfile', from, to);
      try {
        if (target.inode === source.inode) return;
        let status = yield* this.#copyContents(who, source, target);
        if (status >= 0) status = yield* this.vfs.close(who, target);
        if (status >= 0) return;
        yield* this.vfs.directories.remove(who, to, false);
        throw new FsError(status, 'copyfile', from, to);
      } finally {
        target.release();
      }
    } finally {
      source.release();
    }
  }

  *#copyContents(who: Caller, source: OpenFile, target: OpenFile): Steps<NegErrno> {
    const { data, attributes } = this.vfs;
    const status = yield* attributes.changeSize(who, target.inode, 0);
    if (status < 0) return status;
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    for (;;) {
      const got = yield* settle(data.read(who, source, buffer, null));
      if (got <= 0) return got;
      for (let done = 0; done < got; ) {
        const put = yield* data.write(who, target, buffer.subarray(done, got), null);
        if (put < 0) return put;
        done += put;
      }
    }
  }
}
