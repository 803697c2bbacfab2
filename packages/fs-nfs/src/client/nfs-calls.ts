/**
 * The procedures of NFSv3 as a client calls them, over the two connections of a mount (M12): WRITE, COMMIT and what a pinned file reads over the
 * first, everything else over the second.
 *
 * JUKEBOX is no answer: after a pause the call is made again, with another xid (M15). Who waits keeps what it holds meanwhile.
 */
import { type Clock, type NegErrno, type TaskContext, WaitQueue } from '@tidemark/core';
import * as args from '../protocol/arguments.js';
import { type FileAttributes, getAttributes, getWcc, type NewAttributes, NO_WCC, type WeakCacheData } from '../protocol/attributes.js';
import { errnoOfStatus, Nfs3, NFS_PROGRAM, NFS_VERSION, NfsStatus } from '../protocol/nfs3-constants.js';
import * as results from '../protocol/results.js';
import type { PageSpan } from '../rpc/page-span.js';
import type { RpcCall, RpcLane } from '../rpc/rpc-call.js';
import type { RpcConnection } from '../rpc/rpc-connection.js';
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';

/** What a call was answered. */
export interface NfsReply<T> {
  /** 0, or the errno of the server's status. */
  readonly status: NegErrno;
  /** `nfsstat3`. */
  readonly nfsStatus: number;
  /** The results; null for a failure. */
  readonly ok: T | null;
  /** Of a failure: what it says of the files it is about. */
  readonly failure: results.Failure;
  /** The call may have been done twice. */
  readonly wasSentAgain: boolean;
  /** Which of all calls it was: replies of one that began earlier may tell of an earlier state. */
  readonly startedAt: number;
}

/** What the calls go over. */
export interface NfsCallsParts {
  readonly name: string;
  readonly clock: Clock;
  /** Milliseconds before a call is made again that was answered JUKEBOX. */
  jukeboxMs(): number;
  readonly writeout: RpcConnection;
  readonly general: RpcConnection;
  readonly writes: RpcLane;
  readonly commits: RpcLane;
  /** Those of pinned files: no other call can keep them from theirs. */
  readonly pinnedWrites: RpcLane;
  readonly pinnedReads: RpcLane;
  readonly pinnedCommits: RpcLane;
  readonly others: RpcLane;
  /** One call, for a long SYMLINK. */
  readonly long: RpcLane;
}

const NO_FAILURE: results.Failure = { first: NO_WCC, second: NO_WCC };
/** Bytes of a SYMLINK's target with which it fits into any call. */
const SHORT_TARGET_BYTES = 256;

/** Largest `count` of a COMMIT is the whole file. */
const WHOLE_FILE = 0;

export class NfsCalls {
  readonly #parts: NfsCallsParts;
  readonly #pauses: WaitQueue;
  /** Calls begun so far. */
  serial = 0;
  /** Of each procedure. */
  readonly counts = new Float64Array(Nfs3.COMMIT + 1);
  /** Replies that said JUKEBOX. */
  nrJukebox = 0;

  constructor(parts: NfsCallsParts) {
    this.#parts = parts;
    this.#pauses = new WaitQueue({ kind: 'server', name: `${parts.name}, which asked to be asked later` });
  }

  get nrRetransmissions(): number {
    return this.#parts.writeout.nrRetransmissions + this.#parts.general.nrRetransmissions;
  }

  get nrReplays(): number {
    return this.#parts.writeout.nrReplays + this.#parts.general.nrReplays;
  }

  /** Ends the pauses of calls that were answered JUKEBOX: the server has room again, or the mount ends. */
  wake(): void {
    this.#pauses.wakeAll();
  }

  async #pause(task: TaskContext): Promise<number> {
    const { clock, jukeboxMs } = this.#parts;
    const timer = clock.setTimer(jukeboxMs(), () => this.#pauses.wakeAll());
    const woken = await this.#pauses.wait(task);
    clock.clearTimer(timer);
    return woken;
  }

  async #call<T>(
    task: TaskContext,
    lane: RpcLane,
    procedure: number,
    put: (out: XdrWriter) => void,
    get: (input: XdrReader, call: RpcCall) => T,
    span?: { readonly data?: PageSpan; readonly into?: PageSpan },
  ): Promise<NfsReply<T> | NegErrno> {
    const { writeout, general, others, long } = this.#parts;
    const connection = lane === others || lane === long ? general : writeout;
    for (;;) {
      const startedAt = ++this.serial;
      this.counts[procedure]++;
      const read = (input: XdrReader, call: RpcCall): NfsReply<T> => {
        const nfsStatus = input.u32();
        const isOk = nfsStatus === NfsStatus.OK;
        return {
          status: errnoOfStatus(nfsStatus),
          nfsStatus,
          ok: isOk ? get(input, call) : null,
          failure: isOk ? NO_FAILURE : results.getFailure(input, procedure),
          wasSentAgain: call.nrSends > 1,
          startedAt,
        };
      };
      const reply = await connection.call(task, lane, { program: NFS_PROGRAM, version: NFS_VERSION, procedure, put, get: read, ...span });
      if (typeof reply === 'number' || reply.nfsStatus !== NfsStatus.JUKEBOX) return reply;
      this.nrJukebox++;
      const woken = await this.#pause(task);
      if (woken < 0) return woken;
    }
  }

  #other<T>(
    task: TaskContext,
    procedure: number,
    put: (out: XdrWriter) => void,
    get: (input: XdrReader) => T,
  ): Promise<NfsReply<T> | NegErrno> {
    return this.#call(task, this.#parts.others, procedure, put, get);
  }

  /** NULL, over both connections: the server answers. */
  async ping(task: TaskContext): Promise<0 | NegErrno> {
    const { writeout, general, commits, others } = this.#parts;
    const spec = { program: NFS_PROGRAM, version: NFS_VERSION, procedure: Nfs3.NULL, put: () => {}, get: () => NO_FAILURE };
    this.counts[Nfs3.NULL] += 2;
    const first = await general.call(task, others, spec);
    const second = typeof first === 'number' ? first : await writeout.call(task, commits, spec);
    return typeof second === 'number' ? second : 0;
  }

  getAttributes(task: TaskContext, handle: Uint8Array): Promise<NfsReply<FileAttributes> | NegErrno> {
    return this.#other(task, Nfs3.GETATTR, (out) => out.opaque(handle), getAttributes);
  }

  setAttributes(task: TaskContext, handle: Uint8Array, attributes: NewAttributes): Promise<NfsReply<WeakCacheData> | NegErrno> {
    return this.#other(task, Nfs3.SETATTR, (out) => args.putSetAttributes(out, { handle, attributes, guard: null }), getWcc);
  }

  lookup(task: TaskContext, directory: Uint8Array, name: Uint8Array): Promise<NfsReply<results.LookupResult> | NegErrno> {
    return this.#other(
      task,
      Nfs3.LOOKUP,
      (out) => args.putDirectoryArguments(out, { directory, name }),
      (input) => {
        const found = results.getLookup(input);
        return { ...found, handle: found.handle.slice() };
      },
    );
  }

  access(task: TaskContext, handle: Uint8Array, wanted: number): Promise<NfsReply<ReturnType<typeof results.getAccess>> | NegErrno> {
    return this.#other(task, Nfs3.ACCESS, (out) => out.opaque(handle).u32(wanted), results.getAccess);
  }

  readLink(task: TaskContext, handle: Uint8Array): Promise<NfsReply<ReturnType<typeof results.getReadLink>> | NegErrno> {
    return this.#other(
      task,
      Nfs3.READLINK,
      (out) => out.opaque(handle),
      (input) => {
        const read = results.getReadLink(input);
        return { ...read, target: read.target.slice() };
      },
    );
  }

  /** READ into pages. @param isPinned over the first connection. */
  read(
    task: TaskContext,
    handle: Uint8Array,
    offsetBytes: number,
    into: PageSpan,
    isPinned: boolean,
  ): Promise<NfsReply<results.ReadResult> | NegErrno> {
    const { others, pinnedReads } = this.#parts;
    const get = (input: XdrReader, call: RpcCall): results.ReadResult => {
      const read = results.getRead(input, into.lengthBytes);
      call.incomingBytes = read.countBytes;
      return read;
    };
    const put = (out: XdrWriter): void => args.putRange(out, { handle, offsetBytes, countBytes: into.lengthBytes });
    return this.#call(task, isPinned ? pinnedReads : others, Nfs3.READ, put, get, { into });
  }

  /** WRITE from pages. @param stable of `Stable`. */
  write(
    task: TaskContext,
    handle: Uint8Array,
    offsetBytes: number,
    data: PageSpan,
    stable: number,
    isPinned: boolean,
  ): Promise<NfsReply<results.WriteResult> | NegErrno> {
    const get = (input: XdrReader): results.WriteResult => {
      const written = results.getWritten(input);
      if (written.countBytes > data.lengthBytes) input.fail(`a write of ${data.lengthBytes} bytes has written ${written.countBytes}`);
      if (written.committed < stable) input.fail('a write is less stable than was asked for');
      return { ...written, verifier: written.verifier.slice() };
    };
    const put = (out: XdrWriter): void => args.putWrite(out, { handle, offsetBytes, countBytes: data.lengthBytes }, stable);
    return this.#call(task, isPinned ? this.#parts.pinnedWrites : this.#parts.writes, Nfs3.WRITE, put, get, { data });
  }

  /** COMMIT of the whole file. */
  commit(task: TaskContext, handle: Uint8Array, isPinned: boolean): Promise<NfsReply<results.CommitResult> | NegErrno> {
    const get = (input: XdrReader): results.CommitResult => {
      const committed = results.getCommitted(input);
      return { ...committed, verifier: committed.verifier.slice() };
    };
    const put = (out: XdrWriter): void => args.putRange(out, { handle, offsetBytes: 0, countBytes: WHOLE_FILE });
    return this.#call(task, isPinned ? this.#parts.pinnedCommits : this.#parts.commits, Nfs3.COMMIT, put, get);
  }

  create(task: TaskContext, made: args.CreateArguments): Promise<NfsReply<results.CreateResult> | NegErrno> {
    return this.#other(task, Nfs3.CREATE, (out) => args.putCreate(out, made), getMade);
  }

  makeDirectory(task: TaskContext, made: args.MakeDirectoryArguments): Promise<NfsReply<results.CreateResult> | NegErrno> {
    return this.#other(task, Nfs3.MKDIR, (out) => args.putMakeDirectory(out, made), getMade);
  }

  makeSymlink(task: TaskContext, made: args.MakeSymlinkArguments): Promise<NfsReply<results.CreateResult> | NegErrno> {
    const { others, long } = this.#parts;
    const lane = made.target.length > SHORT_TARGET_BYTES ? long : others;
    return this.#call(task, lane, Nfs3.SYMLINK, (out) => args.putMakeSymlink(out, made), getMade);
  }

  makeNode(task: TaskContext, made: args.MakeNodeArguments): Promise<NfsReply<results.CreateResult> | NegErrno> {
    return this.#other(task, Nfs3.MKNOD, (out) => args.putMakeNode(out, made), getMade);
  }

  /** REMOVE, or RMDIR. */
  remove(task: TaskContext, where: args.DirectoryArguments, isDirectory: boolean): Promise<NfsReply<WeakCacheData> | NegErrno> {
    return this.#other(task, isDirectory ? Nfs3.RMDIR : Nfs3.REMOVE, (out) => args.putDirectoryArguments(out, where), getWcc);
  }

  rename(task: TaskContext, move: args.RenameArguments): Promise<NfsReply<ReturnType<typeof results.getRenamed>> | NegErrno> {
    return this.#other(task, Nfs3.RENAME, (out) => args.putRename(out, move), results.getRenamed);
  }

  link(task: TaskContext, link: args.LinkArguments): Promise<NfsReply<ReturnType<typeof results.getLinked>> | NegErrno> {
    return this.#other(task, Nfs3.LINK, (out) => args.putLink(out, link), results.getLinked);
  }

  /** READDIRPLUS, or READDIR. What is kept of the entries is the caller's to copy: they are good until its next wait. */
  readDirectory(
    task: TaskContext,
    what: args.ReadDirectoryArguments,
    isPlus: boolean,
  ): Promise<NfsReply<results.ReadDirectoryResult> | NegErrno> {
    const get = (input: XdrReader): results.ReadDirectoryResult => {
      const { entries, verifier, ...rest } = results.getReadDirectoryResult(input, isPlus);
      const copied = entries.map((entry) => ({
        ...entry,
        name: entry.name.slice(),
        cookie: entry.cookie.slice(),
        handle: entry.handle === null ? null : entry.handle.slice(),
      }));
      return { ...rest, verifier: verifier.slice(), entries: copied };
    };
    return this.#other(task, isPlus ? Nfs3.READDIRPLUS : Nfs3.READDIR, (out) => args.putReadDirectory(out, what, isPlus), get);
  }

  status(task: TaskContext, handle: Uint8Array): Promise<NfsReply<ReturnType<typeof results.getFileSystemStatus>> | NegErrno> {
    return this.#other(task, Nfs3.FSSTAT, (out) => out.opaque(handle), results.getFileSystemStatus);
  }

  info(task: TaskContext, handle: Uint8Array): Promise<NfsReply<ReturnType<typeof results.getFileSystemInfo>> | NegErrno> {
    return this.#other(task, Nfs3.FSINFO, (out) => out.opaque(handle), results.getFileSystemInfo);
  }

  limits(task: TaskContext, handle: Uint8Array): Promise<NfsReply<ReturnType<typeof results.getPathLimits>> | NegErrno> {
    return this.#other(task, Nfs3.PATHCONF, (out) => out.opaque(handle), results.getPathLimits);
  }
}

function getMade(input: XdrReader): results.CreateResult {
  const made = results.getCreated(input);
  return { ...made, handle: made.handle === null ? null : made.handle.slice() };
}
