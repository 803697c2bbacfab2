/**
 * One RPC connection of a client: calls out, replies in, in any order, and whatever has to be done again.
 *
 * | what happens | what is done |
 * |---|---|
 * | no reply within `timeoMs` | the call is sent again, with its xid |
 * | none after `retrans` of these | the connection counts as dead and is closed; `soft`: the call ends with ETIMEDOUT |
 * | the connection is lost | a new one is made, and every unanswered call sent again, with its xid |
 * | a reply that cannot be read | its call ends with EPROTO |
 * | a record that cannot be one | the connection is closed; three in a row end everything with EPROTO |
 * | a reply to no call | is read to its end and forgotten |
 * | the caller's signal | the caller leaves; the call is forgotten when the host has let go of its head |
 *
 * Everything the path needs stands from the beginning: a receive slot, the heads of the calls. Data go out by reference to their pages, and
 * come from the slot straight into theirs.
 */
import {
  type Arena,
  type Clock,
  Errno,
  isKernelError,
  KernelError,
  type NegErrno,
  type TaskContext,
  type TimerHandle,
  type TracePoints,
  type WaitParty,
} from '@tidemark/core';
import type { ReceiveSlot, Socket, SocketHandler } from '@tidemark/net';
import { padded, XdrError, XdrReader } from '../xdr/xdr-reader.js';
import { XdrWriter } from '../xdr/xdr-writer.js';
import { fillSpan, sendSpan } from './page-span.js';
import { LAST_FRAGMENT, RecordStream } from './record-stream.js';
import { CallState, type CallSpec, type RpcCall, RpcLane } from './rpc-call.js';
import { RpcLink, type RpcLinkParts } from './rpc-link.js';
import { AcceptStatus, type Credentials, getReply, type ParsedReply, putCall } from './rpc-message.js';

/** How long, and how often. */
export interface RpcTimes {
  /** Milliseconds without a reply after which a call is sent again. */
  readonly timeoMs: number;
  /** Times it is, before the connection counts as dead. */
  readonly retrans: number;
  /** Then the call ends with ETIMEDOUT, and does not wait for the server to come back. */
  readonly isSoft: boolean;
}

/** What a connection is made of; the memory stays its owner's. */
export interface RpcConnectionParts {
  /** For people: `nfs://server/export`. */
  readonly name: string;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly trace: TracePoints;
  readonly slot: ReceiveSlot;
  readonly credentials: Credentials;
  readonly machineName: Uint8Array;
  /** The first xid; any number. */
  readonly firstXid: number;
  readonly times: RpcTimes;
  /** Longest record that is read: the largest READ and its head. */
  readonly recordBytesMax: number;
  connect: (handler: SocketHandler, ...args: Parameters<RpcLinkParts['connect']>) => Promise<Socket>;
  /** Of this kernel, who must act for a reply to come; for stall reports. */
  heldBy(): Iterable<WaitParty>;
}

/** What stands before the data of a READ, at most: xid, heads, a verifier, attributes, counts. */
const READ_HEAD_BYTES = 4 + 20 + 400 + 4 + 88 + 12;
const PADDING = new Uint8Array(4);
const ERRNO_OF_ACCEPT: Readonly<Record<number, NegErrno>> = {
  [AcceptStatus.PROG_UNAVAIL]: -Errno.EPROTONOSUPPORT,
  [AcceptStatus.PROC_UNAVAIL]: -Errno.EOPNOTSUPP,
  [AcceptStatus.GARBAGE_ARGS]: -Errno.EINVAL,
};
const CLOSE_TIMEOUT_MS = 1_000;

export class RpcConnection implements SocketHandler {
  readonly #parts: RpcConnectionParts;
  readonly #lanes: RpcLane[] = [];
  readonly #byXid = new Map<number, RpcCall>();
  readonly #link: RpcLink;
  readonly #out = new XdrWriter();
  readonly #input = new XdrReader();
  #stream: RecordStream;
  /** The READ whose data arrive, and how many bytes are there. */
  #filling: RpcCall | null = null;
  #filledBytes = 0;
  /** What is left of the record is nobody's. */
  #isSkipping = false;
  #nextXid: number;
  #timer: TimerHandle | null = null;
  #hasSocket = false;
  #closing: Promise<void> | null = null;
  #onGone: (() => void) | null = null;
  /** Calls sent again over the same connection, and over another. */
  nrRetransmissions = 0;
  nrReplays = 0;

  constructor(parts: RpcConnectionParts) {
    this.#parts = parts;
    this.#nextXid = parts.firstXid >>> 0;
    this.#stream = new RecordStream(parts.slot, parts.recordBytesMax);
    this.#link = new RpcLink({
      name: parts.name,
      clock: parts.clock,
      trace: parts.trace,
      connect: async (timeoutMs, signal) => {
        const socket = await parts.connect(this, timeoutMs, signal);
        this.#hasSocket = true;
        return socket;
      },
      hasWork: () => this.#byXid.size > 0,
      onUp: (socket) => this.#up(socket),
      onBroken: () => this.#failAll(-Errno.EPROTO),
    });
  }

  /** A lane of calls. @param memory of their heads. */
  lane(name: string, nrCalls: number, memory: Uint8Array): RpcLane {
    const lane = new RpcLane(
      `${this.#parts.name}, ${name}`,
      nrCalls,
      memory,
      (call) => this.#mark(call, CallState.SENT),
      () => this.waitsFor(),
    );
    this.#lanes.push(lane);
    return lane;
  }

  /** Calls in flight. */
  get nrInFlight(): number {
    return this.#byXid.size;
  }

  /** Connections made so far. */
  get nrConnections(): number {
    return this.#link.nrConnections;
  }

  /** Calls wait for a connection. */
  get isLost(): boolean {
    return this.#byXid.size > 0 && this.#link.socket === null;
  }

  /** What its calls wait for now. */
  *waitsFor(): Iterable<WaitParty> {
    if (this.#byXid.size === 0) return;
    if (this.#link.socket === null) yield { kind: 'connection', name: `to ${this.#parts.name}, which is lost` };
    else yield* this.#parts.heldBy();
  }

  /** Connects now, in one attempt. @throws KernelError as `Transport.connect`. */
  open(task: TaskContext, timeoutMs: number): Promise<void> {
    return this.#link.open(timeoutMs, task.signal);
  }

  /**
   * Calls, and waits for the reply.
   * @returns what `spec.get` made of the results; or a negative errno: of the task's signal; ETIMEDOUT (soft); EPROTO for a reply that is
   * none; EACCES for a refusal of the credentials; EPROTONOSUPPORT, EOPNOTSUPP, EINVAL as the server says; EIO once it is closed.
   */
  async call<T extends object>(task: TaskContext, lane: RpcLane, spec: CallSpec<T>): Promise<T | NegErrno> {
    if (this.#link.isClosed) return -Errno.EIO;
    const call = await lane.take(task);
    if (typeof call === 'number') return call;
    if (this.#link.isClosed) {
      lane.put(call);
      return -Errno.EIO;
    }
    this.#start(call, spec);
    const woken = await call.done.wait(spec.data === undefined && spec.into === undefined ? task : task.withSignal(null));
    if (woken < 0) {
      this.#abandon(call);
      return woken;
    }
    const answer = call.status < 0 ? call.status : (call.result as T);
    lane.put(call);
    return answer;
  }

  /** True if the call that has just been answered may have been done twice. For `spec.get`. */
  static wasSentAgain(call: RpcCall): boolean {
    return call.nrSends > 1;
  }

  #start(call: RpcCall, spec: CallSpec<unknown>): void {
    const { credentials, machineName, clock, times } = this.#parts;
    while (this.#byXid.has(this.#nextXid)) this.#nextXid = (this.#nextXid + 1) >>> 0;
    call.xid = this.#nextXid;
    this.#nextXid = (this.#nextXid + 1) >>> 0;
    call.spec = spec;
    call.status = 0;
    call.result = null;
    call.nrSends = call.nrTimeouts = call.incomingBytes = 0;
    call.state = CallState.BUSY;
    const out = this.#out.reset(call.head);
    out.u32(0);
    const { program, version, procedure } = spec;
    putCall(out, { xid: call.xid, program, version, procedure }, credentials, machineName);
    spec.put(out);
    call.headBytes = out.length;
    const dataBytes = spec.data === undefined ? 0 : padded(spec.data.lengthBytes);
    out.patch(0, (LAST_FRAGMENT + call.headBytes - 4 + dataBytes) >>> 0);
    this.#byXid.set(call.xid, call);
    call.dueMs = clock.nowMs() + times.timeoMs;
    this.#send(call);
    if (this.#timer === null) this.#watch();
  }

  #send(call: RpcCall): void {
    const { socket } = this.#link;
    call.state = CallState.BUSY;
    if (socket === null) {
      this.#link.wake();
      return;
    }
    call.nrSends++;
    const { data } = call.spec as CallSpec<unknown>;
    const head = call.head.subarray(0, call.headBytes);
    if (data === undefined || data.lengthBytes === 0) {
      socket.send(head, call.onSent);
      return;
    }
    socket.send(head, null);
    const nrPadding = padded(data.lengthBytes) - data.lengthBytes;
    sendSpan(this.#parts.arena, socket, data, nrPadding === 0 ? call.onSent : null);
    if (nrPadding > 0) socket.send(PADDING.subarray(0, nrPadding), call.onSent);
  }

  /** Who called is gone. */
  #abandon(call: RpcCall): void {
    this.#byXid.delete(call.xid);
    if ((call.state & CallState.SENT) !== 0 || this.#link.socket === null) call.lane.put(call);
    else call.isAbandoned = true;
  }

  /** A call was sent, or answered; both, and it is over. */
  #mark(call: RpcCall, bit: number): void {
    if (call.state === CallState.FREE) return;
    call.state |= bit;
    if (call.isAbandoned) {
      if ((call.state & CallState.SENT) !== 0) call.lane.put(call);
    } else if (call.isOver) this.#finish(call);
  }

  #finish(call: RpcCall): void {
    this.#byXid.delete(call.xid);
    call.done.wakeOne();
  }

  #answered(call: RpcCall, status: NegErrno): void {
    call.status = status;
    this.#mark(call, CallState.ANSWERED);
  }

  onReceive(socket: Socket): boolean {
    try {
      this.#receive(socket.slot);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      socket.destroy(new KernelError(error.code, `${this.#parts.name}: ${error.message}`, { cause: error }));
      return false;
    }
    return true;
  }

  /** @throws KernelError EPROTO: the connection cannot be used any more. */
  #receive(slot: ReceiveSlot): void {
    for (;;) {
      if (this.#filling !== null) {
        if (!this.#fill(slot, this.#filling)) return;
      } else if (this.#isSkipping) {
        if (!this.#stream.skip()) return;
        this.#isSkipping = false;
      } else if (!this.#reply(slot)) return;
    }
  }

  /** Reads a reply, if enough of it is there. */
  #reply(slot: ReceiveSlot): boolean {
    const stream = this.#stream;
    if (stream.gather(4) < 4) {
      if (stream.isComplete) throw new KernelError('EPROTO', 'a record is too short to be a reply');
      return false;
    }
    const call = this.#byXid.get(slot.view.getUint32(slot.start));
    if (call === undefined || (call.state & CallState.ANSWERED) !== 0) {
      this.#isSkipping = true;
      return true;
    }
    const { into } = call.spec as CallSpec<unknown>;
    const bytesMax = slot.sizeBytes / 2;
    const wanted = into === undefined ? bytesMax + 1 : Math.min(READ_HEAD_BYTES, bytesMax);
    const there = stream.gather(wanted);
    if (into === undefined && stream.left > bytesMax)
      throw new KernelError('EPROTO', `a reply of ${stream.left} bytes or more, where ${bytesMax} are the most`);
    if (!stream.isComplete && (into === undefined || there < wanted)) return false;
    this.#link.progress();
    const input = this.#input.reset(slot.bytes, slot.start + 4, slot.start + there, slot.view);
    const status = this.#parse(call, input);
    if (status === 0 && call.incomingBytes > 0) {
      stream.consume(input.position - slot.start);
      this.#filling = call;
      this.#filledBytes = 0;
      return true;
    }
    this.#isSkipping = true;
    this.#answered(call, status);
    return true;
  }

  #parse(call: RpcCall, input: XdrReader): NegErrno {
    const spec = call.spec as CallSpec<unknown>;
    try {
      const reply = getReply(input);
      if (reply.kind !== 'success') return refusalOf(reply);
      call.result = spec.get(input, call);
      return 0;
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      return -Errno.EPROTO;
    }
  }

  /** Moves data of a READ to its pages. @returns false if there is nothing left in the slot. */
  #fill(slot: ReceiveSlot, call: RpcCall): boolean {
    const stream = this.#stream;
    const { into } = call.spec as CallSpec<unknown>;
    while (this.#filledBytes < call.incomingBytes) {
      const there = Math.min(stream.gather(1), call.incomingBytes - this.#filledBytes);
      if (there === 0) {
        if (!stream.isComplete) return false;
        break;
      }
      if (into !== undefined) fillSpan(this.#parts.arena, slot, into, this.#filledBytes, there);
      stream.consume(there);
      this.#filledBytes += there;
    }
    this.#filling = null;
    this.#isSkipping = true;
    this.#answered(call, this.#filledBytes < call.incomingBytes ? -Errno.EPROTO : 0);
    return true;
  }

  onEnd(socket: Socket): void {
    socket.destroy(new KernelError('ECONNRESET', `${this.#parts.name}: the server closed the connection`));
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    const { slot, recordBytesMax } = this.#parts;
    this.#stream = new RecordStream(slot, recordBytesMax);
    this.#filling = null;
    this.#isSkipping = false;
    this.#hasSocket = false;
    for (const lane of this.#lanes) {
      for (const call of lane.all) {
        if (call.state === CallState.FREE) continue;
        if (call.isAbandoned) lane.put(call);
        else if ((call.state & CallState.ANSWERED) !== 0 && this.#byXid.get(call.xid) === call)
          this.#finish(call); // its pages are free, now that the host has let go of them
        else if ((call.state & CallState.ANSWERED) === 0) call.state = CallState.BUSY;
      }
    }
    this.#endLate();
    if (this.#closing === null) this.#link.lost(error);
    this.#onGone?.();
  }

  #up(socket: Socket): void {
    if (this.#closing !== null) {
      socket.destroy();
      return;
    }
    const now = this.#parts.clock.nowMs();
    for (const call of this.#byXid.values()) {
      if (call.nrSends > 0) this.nrReplays++;
      call.dueMs = now + this.#parts.times.timeoMs;
      if (!this.#parts.times.isSoft) call.nrTimeouts = 0;
      this.#send(call);
    }
  }

  /** One timer, however many calls: at the earliest that is due. */
  #watch(): void {
    const { clock } = this.#parts;
    if (this.#byXid.size === 0) return;
    let dueMs = Infinity;
    for (const call of this.#byXid.values()) dueMs = Math.min(dueMs, call.dueMs);
    this.#timer = clock.setTimer(Math.max(dueMs - clock.nowMs(), 0), () => {
      this.#timer = null;
      this.#due();
      if (this.#timer === null) this.#watch();
    });
  }

  #due(): void {
    const { clock, times, name } = this.#parts;
    const now = clock.nowMs();
    let isDead = false;
    for (const call of this.#byXid.values()) {
      if (call.dueMs > now) continue;
      call.dueMs = now + times.timeoMs;
      call.nrTimeouts++;
      if (call.nrTimeouts > times.retrans) isDead = true;
      else if (this.#link.socket !== null && (call.state & (CallState.SENT | CallState.ANSWERED)) === CallState.SENT) {
        this.nrRetransmissions++;
        this.#send(call);
      }
    }
    if (!isDead) return;
    const { socket } = this.#link;
    if (socket !== null)
      socket.destroy(new KernelError('ETIMEDOUT', `${name}: no reply within ${times.timeoMs} ms, ${times.retrans + 1} times`));
    else this.#endLate();
  }

  /** There is no socket: what has waited too long ends, if it is soft. */
  #endLate(): void {
    const { times } = this.#parts;
    for (const call of [...this.#byXid.values()]) {
      if (call.nrTimeouts <= times.retrans) continue;
      if (times.isSoft) this.#fail(call, -Errno.ETIMEDOUT);
      else call.nrTimeouts = 0;
    }
  }

  #fail(call: RpcCall, status: NegErrno): void {
    call.status = status;
    call.state |= CallState.ANSWERED | CallState.SENT;
    this.#finish(call);
  }

  /** There is no socket, so heads and pages are free. */
  #failAll(status: NegErrno): void {
    for (const call of [...this.#byXid.values()]) this.#fail(call, status);
  }

  /** Ends it; what is in flight ends with EIO, at once. Twice is fine. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { socket } = this.#link;
    const gone = new Promise<void>((resolve) => {
      this.#onGone = resolve;
    });
    const closed = this.#link.close();
    if (this.#byXid.size > 0) socket?.destroy();
    else socket?.closeWhenSent();
    await closed;
    if (this.#hasSocket) {
      const timer = this.#parts.clock.setTimer(CLOSE_TIMEOUT_MS, () => socket?.destroy());
      await gone;
      this.#parts.clock.clearTimer(timer);
    }
    if (this.#timer !== null) this.#parts.clock.clearTimer(this.#timer);
    this.#timer = null;
    this.#failAll(-Errno.EIO);
  }
}

function refusalOf(reply: Exclude<ParsedReply, { kind: 'success' }>): NegErrno {
  if (reply.kind === 'auth-error') return -Errno.EACCES;
  return reply.kind === 'mismatch' ? -Errno.EPROTONOSUPPORT : (ERRNO_OF_ACCEPT[reply.status] ?? -Errno.EIO);
}
