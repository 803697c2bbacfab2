/**
 * SQLite's files on `kernel.fs`: a VFS for the asynchronous build of wa-sqlite. One connection at a time: locks are not kept.
 *
 * | SQLite | here |
 * |---|---|
 * | xOpen, xClose | `promises.open`, `handle.close`; a file that goes with its connection is unlinked when it is closed |
 * | xRead | `handle.read` to the end of the file; the rest is zeroes, and SQLITE_IOERR_SHORT_READ |
 * | xSync | `handle.sync` |
 * | xDelete with syncDir | `promises.unlink`, then `sync` of the directory's handle |
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { FsPromises } from '@tidemark/core/host';
import * as SQLite from 'wa-sqlite';
import ModuleFactory from 'wa-sqlite/dist/wa-sqlite-async.mjs';
import * as VFS from 'wa-sqlite/src/VFS.js';

interface Opened {
  readonly handle: Awaited<ReturnType<FsPromises['open']>>;
  readonly file: string;
  readonly goesWithConnection: boolean;
}

export class TreeVfs extends VFS.Base {
  readonly #fs: FsPromises;
  readonly #opened = new Map<number, Opened>();
  #nrTemporary = 0;
  /** What the filesystem said when SQLite was told of an error. */
  readonly errors: unknown[] = [];

  constructor(
    readonly name: string,
    fs: FsPromises,
  ) {
    super();
    this.#fs = fs;
  }

  /** Files that are open now. */
  get nrOpen(): number {
    return this.#opened.size;
  }

  #run(failure: number, work: () => Promise<number>): number {
    return this.handleAsync(async () => {
      try {
        return await work();
      } catch (error) {
        this.errors.push(error);
        return failure;
      }
    });
  }

  #of(fileId: number): Opened {
    const opened = this.#opened.get(fileId);
    if (opened === undefined) throw new Error(`SQLite uses file ${fileId}, which is not open`);
    return opened;
  }

  override xOpen(name: string | null, fileId: number, flags: number, outFlags: DataView): number {
    return this.#run(VFS.SQLITE_CANTOPEN, async () => {
      const file = name ?? `/temporary-${this.#nrTemporary++}`;
      const isWritable = (flags & VFS.SQLITE_OPEN_READWRITE) !== 0;
      const how = this.#fs.constants;
      const bits =
        (isWritable ? how.O_RDWR : how.O_RDONLY) |
        ((flags & VFS.SQLITE_OPEN_CREATE) !== 0 ? how.O_CREAT : 0) |
        ((flags & VFS.SQLITE_OPEN_EXCLUSIVE) !== 0 ? how.O_EXCL : 0);
      const handle = await this.#fs.open(file, bits, 0o644);
      this.#opened.set(fileId, { handle, file, goesWithConnection: (flags & VFS.SQLITE_OPEN_DELETEONCLOSE) !== 0 });
      outFlags.setInt32(0, flags, true);
      return VFS.SQLITE_OK;
    });
  }

  override xClose(fileId: number): number {
    return this.#run(VFS.SQLITE_IOERR_CLOSE, async () => {
      const { handle, file, goesWithConnection } = this.#of(fileId);
      this.#opened.delete(fileId);
      await handle.close();
      if (goesWithConnection) await this.#fs.unlink(file);
      return VFS.SQLITE_OK;
    });
  }

  /** @param memory a view of SQLite's memory, which stays where it is until we answer; the package's types say something else. */
  override xRead(fileId: number, memory: unknown, offset: number): number {
    return this.#run(VFS.SQLITE_IOERR_READ, async () => {
      const target = memory as Uint8Array;
      let done = 0;
      while (done < target.length) {
        const { bytesRead } = await this.#of(fileId).handle.read(target, done, target.length - done, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      target.fill(0, done);
      return done < target.length ? VFS.SQLITE_IOERR_SHORT_READ : VFS.SQLITE_OK;
    });
  }

  override xWrite(fileId: number, memory: unknown, offset: number): number {
    const bytes = memory as Uint8Array;
    return this.#run(VFS.SQLITE_IOERR_WRITE, async () => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#of(fileId).handle.write(bytes, done, bytes.length - done, offset + done);
        done += bytesWritten;
      }
      return VFS.SQLITE_OK;
    });
  }

  override xTruncate(fileId: number, sizeBytes: number): number {
    return this.#run(VFS.SQLITE_IOERR_TRUNCATE, async () => {
      await this.#of(fileId).handle.truncate(sizeBytes);
      return VFS.SQLITE_OK;
    });
  }

  override xSync(fileId: number): number {
    return this.#run(VFS.SQLITE_IOERR_FSYNC, async () => {
      await this.#of(fileId).handle.sync();
      return VFS.SQLITE_OK;
    });
  }

  override xFileSize(fileId: number, size: DataView): number {
    return this.#run(VFS.SQLITE_IOERR_FSTAT, async () => {
      size.setBigInt64(0, BigInt((await this.#of(fileId).handle.stat()).size), true);
      return VFS.SQLITE_OK;
    });
  }

  override xDelete(name: string, syncDir: number): number {
    return this.#run(VFS.SQLITE_IOERR_DELETE, async () => {
      await this.#fs.unlink(name);
      if (syncDir) {
        const dir = await this.#fs.open(path.posix.dirname(name), 'r');
        await dir.sync().finally(() => dir.close());
      }
      return VFS.SQLITE_OK;
    });
  }

  override xAccess(name: string, _flags: number, result: DataView): number {
    return this.#run(VFS.SQLITE_IOERR_ACCESS, async () => {
      const isThere = await this.#fs.access(name).then(
        () => true,
        () => false,
      );
      result.setInt32(0, isThere ? 1 : 0, true);
      return VFS.SQLITE_OK;
    });
  }
}

/** One SQLite, for one connection at a time. */
export class Sqlite {
  private constructor(readonly api: SQLiteAPI) {}

  static async load(): Promise<Sqlite> {
    const wasmBinary = await readFile(createRequire(import.meta.url).resolve('wa-sqlite/dist/wa-sqlite-async.wasm'));
    return new Sqlite(SQLite.Factory(await ModuleFactory({ wasmBinary })));
  }

  /** Opens a database in a tree, runs `body` with it, closes it. */
  async with<T>(vfs: TreeVfs, file: string, body: (query: (sql: string) => Promise<unknown[][]>) => Promise<T>): Promise<T> {
    this.api.vfs_register(vfs as unknown as SQLiteVFS, false);
    const db = await this.api.open_v2(file, VFS.SQLITE_OPEN_READWRITE | VFS.SQLITE_OPEN_CREATE, vfs.name);
    const query = async (sql: string): Promise<unknown[][]> => {
      const rows: unknown[][] = [];
      await this.api.exec(db, sql, (row) => rows.push(row));
      return rows;
    };
    try {
      return await body(query);
    } finally {
      await this.api.close(db);
    }
  }
}
