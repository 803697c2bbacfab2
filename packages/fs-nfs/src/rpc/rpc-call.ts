/**
 * Calls of an RPC connection: objects that are made once, each with the memory of its head, and lanes of them.
 *
 * A lane is a number of calls that are had for one purpose, first come first served: calls of one lane never wait for those of another (M15:
 * a COMMIT has its own, and no number of WRITEs can keep it from it).
 *
 *     FREE → BUSY ──sent──▶ SENT ┐  in either order; both, and it is over: until the host has taken what was sent,
 *                └─answered─▶ ANSWERED ┘  head and pages belong to it, whatever the server says
 */
import { type NegErrno, Semaphore, type TaskContext, type WaitParty, WaitQueue } from '@tidemark/core';
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';
import type { PageSpan } from './page-span.js';

/** Bits of `RpcCall.state`. */
export const CallState = { FREE: 0, BUSY: 1, SENT: 2, ANSWERED: 4 } as const;
const OVER = CallState.BUSY | CallState.SENT | CallState.ANSWERED;

/** What is to be called, and what becomes of the answer. */
export interface CallSpec<T> {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  put(out: XdrWriter): void;
  /**
   * Reads the results. With `into` it stops in front of the data and says in `call.incomingBytes` how many follow, at most the span's.
   * What it keeps of the message it copies. What it throws is an `XdrError`, or a bug.
   */
  get(input: XdrReader, call: RpcCall): T;
  /** Sent behind the arguments, with padding. */
  readonly data?: PageSpan;
  /** Where the data of the results go. */
  readonly into?: PageSpan;
}

export class RpcCall {
  state: number = CallState.FREE;
  xid = 0;
  /** Bytes of the head that are used, the record mark among them. */
  headBytes = 0;
  spec: CallSpec<unknown> | null = null;
  incomingBytes = 0;
  /** 0, or why there is no result. */
  status: NegErrno = 0;
  result: unknown = null;
  dueMs = 0;
  nrTimeouts = 0;
  /** Times it was sent. */
  nrSends = 0;
  /** Who called waits no more. */
  isAbandoned = false;
  readonly done: WaitQueue;
  readonly onSent: () => void;

  constructor(
    readonly lane: RpcLane,
    /** Memory of its head, standing. */
    readonly head: Uint8Array,
    sent: (call: RpcCall) => void,
    heldBy: () => Iterable<WaitParty>,
  ) {
    this.done = new WaitQueue({ kind: 'reply', name: `of ${lane.name}`, heldBy });
    this.onSent = () => sent(this);
  }

  get isOver(): boolean {
    return this.state === OVER;
  }
}

export class RpcLane {
  readonly all: RpcCall[] = [];
  readonly #free: RpcCall[] = [];
  readonly #turns: Semaphore;

  /** @param memory heads of the calls, one behind the other. */
  constructor(
    readonly name: string,
    readonly nrCalls: number,
    memory: Uint8Array,
    sent: (call: RpcCall) => void,
    heldBy: () => Iterable<WaitParty>,
  ) {
    this.#turns = new Semaphore(nrCalls, { kind: 'slots', name: `calls of ${name}`, heldBy });
    const headBytes = Math.floor(memory.length / nrCalls) & ~3;
    for (let i = 0; i < nrCalls; i++) this.all.push(new RpcCall(this, memory.subarray(i * headBytes, (i + 1) * headBytes), sent, heldBy));
    this.#free.push(...this.all);
  }

  /** Calls that are not free. */
  get nrBusy(): number {
    return this.nrCalls - this.#free.length;
  }

  /** A free call, waited for. @returns it, or the errno of the task's signal. */
  async take(task: TaskContext): Promise<RpcCall | NegErrno> {
    const status = await this.#turns.acquire(task);
    return status < 0 ? status : (this.#free.pop() as RpcCall);
  }

  /** Takes a call back that nobody refers to. */
  put(call: RpcCall): void {
    call.state = CallState.FREE;
    call.spec = null;
    call.result = null;
    call.isAbandoned = false;
    this.#free.push(call);
    this.#turns.release();
  }
}
