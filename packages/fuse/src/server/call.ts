/**
 * A request in progress.
 *
 * An operation is a function in steps: it reads its arguments before it first waits, because the next request comes into the same buffer; it
 * writes the body of its reply after it last waited, because replies are put together in one place; and it returns the bytes of the body, or a
 * negative errno. Two exceptions keep their buffers: a WRITE and a SETXATTR the one their data stand in, a READ one of its own for the reply.
 */
import { AbortSource, type Caller, type Inode, type NegErrno, type Steps, SUPERUSER, type TaskContext, type Vfs } from '@tidemark/core';
import type { Reply, Validity } from '../protocol/replies.js';
import type { Request } from '../protocol/request.js';
import type { Handles } from './handles.js';
import type { Node, Nodes } from './nodes.js';
import type { FuseSizes } from './sizes.js';
import type { Slot, Slots } from './slots.js';

/** What an operation returns if there is no reply. */
export const NO_REPLY: NegErrno = -0x10000;

/** What operations work with: one for each mount. */
export interface FuseService {
  readonly vfs: Vfs;
  readonly nodes: Nodes;
  readonly handles: Handles;
  readonly sizes: FuseSizes;
  /** Slots for replies that are filled while the call waits. */
  readonly replySlots: Slots;
  /** The task of the mount. */
  readonly task: TaskContext;
  readonly options: ServiceOptions;
  /** What the kernel was granted by INIT. */
  grantedFlags: number;
  /** Minor version that the kernel speaks. */
  kernelMinor: number;
  /** Calls that wait for an advisory lock. */
  nrLockWaits: number;
  /** Ends what another request began. */
  interrupt(uniqueLow: number, uniqueHigh: number): void;
}

/** What the user chose. */
export interface ServiceOptions {
  readonly readOnly: boolean;
  readonly writebackCache: boolean;
  /** For how long names and attributes may be believed. */
  readonly validity: Validity;
}

/** One operation. */
export interface Operation {
  /** Its arguments are used to the end: their slot is kept. */
  readonly keepsRequest?: boolean;
  /** What is waited for lasts for as long as somebody likes. */
  run(call: Call, request: Request, service: FuseService): Steps<number>;
}

/** One request in progress. */
export class Call {
  /** The pages the filesystem of a file is throttled by, and nothing else, pause what is written. */
  who: Caller;
  /** Where the body of the reply goes. */
  out: Reply;
  /** A slot of its own for the reply, if it has one. */
  replySlot: Slot | null = null;
  /** The slot its arguments stand in, if it keeps it. */
  requestSlot: Slot | null = null;
  /** Nodes that the reply tells the kernel of: taken back if it cannot be sent. */
  readonly granted: Node[] = [];
  readonly abort = new AbortSource();

  constructor(
    readonly service: FuseService,
    readonly opcode: number,
    readonly uniqueLow: number,
    readonly uniqueHigh: number,
    readonly nodeId: number,
    readonly uid: number,
    readonly gid: number,
    out: Reply,
  ) {
    const root = service.nodes.root.inode as Inode;
    this.out = out;
    const task = service.task.withSignal(this.abort.signal);
    // The kernel has checked what the program may do; it knows groups and capabilities that the request does not tell of.
    this.who = { task, credentials: SUPERUSER, umask: 0, root, cwd: root, mayWait: true };
  }

  get task(): TaskContext {
    return this.who.task;
  }

  /** The node of the request, or null. */
  get node(): Node | null {
    return this.service.nodes.byId(this.nodeId);
  }

  /** Whose the files are that it makes. */
  get owner(): { readonly uid: number; readonly gid: number } {
    return { uid: this.uid, gid: this.gid };
  }
}
