/**
 * A call in progress, and what procedures are made of.
 *
 *     prepare   reads the arguments while they stand in the receive slot, and keeps nothing that points into it
 *     run       works in steps (at once as far as it can), and writes the result where its reply was reserved
 */
import { type Caller, errnoOf, type Inode, type NegErrno, type Steps, settle, type TaskContext, type Vfs } from '@tidemark/core';
import { NfsStatus, statusOfErrno } from '../protocol/nfs3-constants.js';
import { putFailure } from '../protocol/results.js';
import type { Credentials } from '../rpc/rpc-message.js';
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';
import type { Entitlement } from './entitlement.js';
import type { ExportTable } from './export-table.js';
import type { HandleCodec, HandleFields } from './file-handle.js';
import type { OpenFiles } from './open-files.js';
import type { NfsServerSizes } from './sizes.js';
import { Subject } from './subject.js';
import type { WriteVerifier } from './write-verifier.js';

/** What procedures work with: one for all connections of a server. */
export interface NfsService {
  readonly vfs: Vfs;
  readonly exports: ExportTable;
  readonly handles: HandleCodec;
  readonly files: OpenFiles;
  readonly verifier: WriteVerifier;
  readonly sizes: NfsServerSizes;
  /** A procedure threw: a bug, of ours or of a filesystem. The caller is answered all the same. */
  onBug(error: unknown): void;
}

/** One call. */
export class Call {
  /** The files it is about, in the order in which it names them. */
  readonly subjects: Subject[] = [];

  constructor(
    readonly service: NfsService,
    readonly task: TaskContext,
    /** Who calls: the address of its host; what a client of this kernel is entitled to. */
    readonly caller: { readonly host: string; readonly entitled: Entitlement | null },
    readonly credentials: Credentials,
    /** On the reply, behind its head. */
    readonly out: XdrWriter,
  ) {}

  /** The file of a handle, kept until the call ends; or the status it is refused with. */
  *subject(fields: HandleFields | null): Steps<Subject | number> {
    if (fields === null) return NfsStatus.BADHANDLE;
    const { exports, vfs } = this.service;
    const target = exports.byId(fields.exportId);
    if (target === null || target.fsid !== fields.fsid) return NfsStatus.STALE;
    if (!target.admits(this.caller.host)) return NfsStatus.ACCES;
    const { ino, generation } = fields;
    const inode = yield* vfs.byHandle(this.task, { fsid: target.superblock.fsid, ino, generation });
    if (typeof inode === 'number') return statusOfErrno(inode);
    const subject = new Subject(target, inode);
    this.subjects.push(subject);
    return subject;
  }

  /** As `subject`, for a file that is to be changed. */
  *changeable(fields: HandleFields | null): Steps<Subject | number> {
    const subject = yield* this.subject(fields);
    return typeof subject !== 'number' && subject.target.readOnly ? NfsStatus.ROFS : subject;
  }

  /** Who asks, standing in a subject. */
  who({ target, inode }: Subject): Caller {
    return target.caller(this.task, target.credentialsOf(this.credentials), inode);
  }

  /** The handle of a file of the same export; good until the next one is made. */
  handleOf({ target }: Subject, inode: Inode): Uint8Array {
    return this.service.handles.encode(target.id, target.fsid, inode.generation, inode.ino);
  }

  /** Makes what was changed last: every update is durable before it is answered. @returns 0 or the first error. */
  *makeDurable(inodes: readonly Inode[]): Steps<NegErrno> {
    let first: NegErrno = 0;
    for (const inode of inodes) {
      const status: NegErrno = yield* settle(inode.superblock.ops.syncInode(this.task, inode, false));
      first ||= status;
    }
    return first;
  }

  /** The call is over. */
  release(): void {
    for (const subject of this.subjects) subject.release();
  }
}

/** A call that was read. */
export interface Prepared {
  /** Most bytes that its result takes. */
  readonly resultBytes: number;
  /** Works, and writes the result to `call.out`. Never throws. */
  run(call: Call): Steps<void>;
}

/** One procedure of a program. */
export interface Procedure {
  /** To do it twice is not the same as to do it once: its reply is kept. */
  readonly isUpdate: boolean;
  /** @throws XdrError for arguments that are none. */
  prepare(input: XdrReader, service: NfsService): Prepared;
}

/** How a procedure of NFS is written down. */
export interface NfsProcedureSpec<A> {
  readonly isUpdate?: boolean;
  read(input: XdrReader, service: NfsService): A;
  /** Default 512 bytes. */
  resultBytes?(args: A, service: NfsService): number;
  /** @returns the status; if it is OK the result is written, status first, else what was written is taken back. */
  run(call: Call, args: A): Steps<number>;
}

/** Room for every result of fixed form: the longest are two `wcc_data`, or a handle, attributes and `wcc_data`. */
const RESULT_BYTES = 384;

/** Makes a procedure of NFS, whose failures say what is known of the files they are about. */
export function nfsProcedure<A>(number: number, { isUpdate = false, read, resultBytes, run }: NfsProcedureSpec<A>): Procedure {
  return {
    isUpdate,
    prepare: (input, service) => {
      const args = read(input, service);
      return {
        resultBytes: resultBytes === undefined ? RESULT_BYTES : resultBytes(args, service),
        run: (call) => answering(call, number, () => run(call, args)),
      };
    },
  };
}

/** Has a procedure of NFS run, and writes its failure if it fails. */
export function* answering(call: Call, number: number, work: () => Steps<number>): Steps<void> {
  const { out } = call;
  const start = out.position;
  let status: number;
  try {
    status = yield* work();
  } catch (error) {
    call.service.onBug(error);
    status = statusOfErrno(errnoOf(error));
  }
  if (status !== NfsStatus.OK) {
    out.back(start);
    const [first, second] = call.subjects;
    putFailure(out, number, status, first?.wcc, second?.wcc);
  }
}

/** The status of `-EROFS` and the like, or OK. */
export function statusOf(errno: NegErrno): number {
  return errno < 0 ? statusOfErrno(errno) : NfsStatus.OK;
}
