/**
 * The calls of one connection: from the receive slot to the procedures, and their replies through the ring.
 *
 *     record in the slot → head of the call → program, version, procedure → arguments → kept replies → a place in the ring → work → reply
 *
 * Each step refuses in its own way (RFC 5531): what is no call ends the connection or is dropped, then RPC_MISMATCH, AUTH_ERROR, PROG_UNAVAIL,
 * PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS. What can be done at once is; replies leave in the order in which calls end.
 *
 * Bounds: calls in progress, bytes of the ring, bytes of the slot. Where one is reached nothing more is taken in ("blocked") until a call ends
 * or a reply was sent. Nothing grows. One WRITE at a time has its data taken in; others before it may still be made stable.
 */
import { type Clock, isPromise, KernelError, run, type Steps, type TaskContext } from '@tidemark/core';
import type { ReceiveSlot, ReplyRing } from '@tidemark/net';
import { Nfs3, NFS_PROGRAM, NfsStatus } from '../protocol/nfs3-constants.js';
import { putFailure } from '../protocol/results.js';
import { LAST_FRAGMENT, RecordStream } from '../rpc/record-stream.js';
import {
  AcceptStatus,
  CALL_BYTES_MIN,
  type CallHead,
  type Credentials,
  getCall,
  MessageType,
  type ParsedCall,
  putAccepted,
  putDenied,
  putProgramMismatch,
} from '../rpc/rpc-message.js';
import { XdrError, XdrReader } from '../xdr/xdr-reader.js';
import { XdrWriter } from '../xdr/xdr-writer.js';
import { Call, type NfsService, type Prepared, type Procedure } from './call.js';
import { PROGRAMS } from './nfs-program.js';
import type { Entitlement } from './entitlement.js';
import { Patience } from './patience.js';
import { Payload } from './payload.js';
import { checksumOf, type ReplyCache, Seen } from './reply-cache.js';
import { readWriteHead, writing } from './write-call.js';

/** A fragment's head and that of an accepted reply. */
const REPLY_HEAD_BYTES = 4 + 24;
/** Room for every refusal. */
const REFUSAL_BYTES = 64;
const WRITE_RESULT_BYTES = 256;
/** Every head of a WRITE fits: credentials, verifier, handle, numbers. */
const WRITE_HEAD_BYTES = 1024;

type Parsed = ParsedCall | { readonly kind: 'garbage'; readonly xid: number };

/** What a connection makes its intake of. */
export interface IntakeParts {
  readonly service: NfsService;
  readonly replies: ReplyCache;
  readonly slot: ReceiveSlot;
  readonly ring: ReplyRing;
  readonly task: TaskContext;
  readonly clock: Clock;
  /** Address of the client's host. */
  readonly host: string;
  /** What a client of this kernel is entitled to; null for a stranger. */
  readonly entitled: Entitlement | null;
  /** Something ended outside of `receive`: it is to be called again. */
  onProgress(): void;
  /** The rest of a record is wanted: the socket is to be read. */
  resume(): void;
  /** The client broke the protocol: the connection must end. */
  fail(error: KernelError): void;
}

export class CallIntake {
  readonly #parts: IntakeParts;
  readonly #stream: RecordStream;
  readonly #input = new XdrReader();
  readonly #spareWriters: XdrWriter[] = [];
  readonly #patience: Patience;
  /** The WRITE whose data are coming. */
  #payload: Payload | null = null;
  #nrInFlight = 0;
  #inLoop = false;
  #blocked = false;
  #isOver = false;
  /** Calls answered, whatever with. */
  nrAnswered = 0;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
    this.#stream = new RecordStream(parts.slot, parts.service.sizes.recordBytes);
    this.#patience = new Patience(parts.task, parts.clock);
  }

  /** Calls in progress. The slot and the ring must stay until it is 0. */
  get nrInFlight(): number {
    return this.#nrInFlight;
  }

  /** Everything taken in has been answered, and the answers are with the host. */
  get isIdle(): boolean {
    return this.#nrInFlight === 0 && this.#parts.ring.isEmpty;
  }

  /** What is unfinished is the client's to go on with: it does not send the rest of its data, or does not read its replies. */
  get isStalled(): boolean {
    return this.#payload !== null || this.#nrInFlight === 0;
  }

  get isBlocked(): boolean {
    return this.#blocked;
  }

  /** Takes in what the slot holds. @returns false to stop being read. */
  receive(): boolean {
    if (this.#inLoop) return !this.#isOver; // a send that ended at once: the loop goes on anyway
    this.#blocked = false;
    this.#inLoop = true;
    this.#payload?.arrived();
    try {
      while (!this.#isOver && this.#payload === null && this.#step());
    } catch (error) {
      this.#fail(error as KernelError);
    }
    this.#inLoop = false;
    this.#parts.ring.flush();
    return !this.#blocked && !this.#isOver;
  }

  /** Takes in no more; what was taken in is answered. */
  stop(): void {
    this.#isOver = true;
    this.#payload?.cut();
  }

  #fail(error: KernelError): void {
    this.stop();
    this.#parts.fail(error);
  }

  /** Takes in one record. @returns false if it has not come, or there is no room for its answer. */
  #step(): boolean {
    const { slot, service } = this.#parts;
    const { callBytes } = service.sizes;
    const stream = this.#stream;
    const there = stream.gather(WRITE_HEAD_BYTES);
    if (there < WRITE_HEAD_BYTES && !stream.isComplete) return false;
    const input = this.#input.reset(slot.bytes, slot.start, slot.start + there, slot.view);
    const parsed = this.#parseHead(input, there);
    if (parsed.kind === 'call' && parsed.head.program === NFS_PROGRAM && parsed.head.procedure === Nfs3.WRITE && parsed.head.version === 3)
      return this.#startWrite(parsed.head, parsed.credentials, input, there);
    if (!stream.isComplete || stream.left > callBytes) {
      if (stream.left > callBytes) throw new KernelError('EPROTO', `a call of ${stream.left} bytes, where ${callBytes} are the most`);
      const all = stream.gather(callBytes);
      if (!stream.isComplete) {
        if (all >= callBytes) throw new KernelError('EPROTO', `a call of more than ${callBytes} bytes`);
        return false;
      }
      return this.#step();
    }
    return this.#startCall(parsed, input, there);
  }

  /** @throws KernelError EPROTO for what is too short to be answered. */
  #parseHead(input: XdrReader, there: number): Parsed {
    try {
      return getCall(input);
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      if (there < CALL_BYTES_MIN) throw new KernelError('EPROTO', `a message of ${there} bytes is no call`);
      const { view, start } = this.#parts.slot;
      const isCall = view.getUint32(start + 4) === MessageType.CALL;
      return isCall ? { kind: 'garbage', xid: view.getUint32(start) } : { kind: 'drop' };
    }
  }

  #startCall(parsed: Parsed, input: XdrReader, lengthBytes: number): boolean {
    if (parsed.kind === 'drop') return this.#stream.skip();
    if (parsed.kind === 'garbage') return this.#refuse((out) => putAccepted(out, parsed.xid, AcceptStatus.GARBAGE_ARGS));
    if (parsed.kind !== 'call') return this.#refuse((out) => putDenied(out, parsed));
    const { head, credentials } = parsed;
    const { xid } = head;
    const program = PROGRAMS.get(head.program);
    if (program === undefined) return this.#refuse((out) => putAccepted(out, xid, AcceptStatus.PROG_UNAVAIL));
    const { version } = program;
    if (head.version !== version) return this.#refuse((out) => putProgramMismatch(out, xid, version, version));
    const procedure = program.procedures[head.procedure];
    if (procedure === undefined) return this.#refuse((out) => putAccepted(out, xid, AcceptStatus.PROC_UNAVAIL));
    let prepared: Prepared;
    try {
      prepared = procedure.prepare(input, this.#parts.service);
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      return this.#refuse((out) => putAccepted(out, xid, AcceptStatus.GARBAGE_ARGS));
    }
    return this.#begin(head, credentials, procedure, prepared, lengthBytes);
  }

  #begin(head: CallHead, credentials: Credentials, procedure: Procedure, prepared: Prepared, lengthBytes: number): boolean {
    const { service, ring, task, replies } = this.#parts;
    if (this.#nrInFlight >= service.sizes.callsPerConnection) return this.#block();
    const key = procedure.isUpdate ? this.#keyOf(head, lengthBytes) : null;
    if (key !== null && replies.isInProgress(key)) return this.#stream.skip();
    const entry = ring.reserve(REPLY_HEAD_BYTES + prepared.resultBytes);
    if (entry < 0) return this.#block();
    let kept = -1;
    if (key !== null) {
      const seen = replies.look(key);
      if (seen !== Seen.NEW) return this.#answerSeen(seen, head, entry);
      kept = replies.entry;
    }
    this.#stream.skip();
    const out = this.#writer(entry, head.xid);
    const call = new Call(service, task, this.#parts, credentials, out);
    this.#work(call, prepared.run(call), entry, kept, null);
    return true;
  }

  #keyOf({ xid, program, procedure }: CallHead, lengthBytes: number): string {
    const { slot, host } = this.#parts;
    const checksum = checksumOf(slot.bytes, slot.start + 4, slot.start + lengthBytes);
    return `${host} ${xid} ${program} ${procedure} ${lengthBytes} ${checksum}`;
  }

  /** Answers a call that was seen before; or that finds no place to keep its reply. */
  #answerSeen(seen: number, { xid, procedure }: CallHead, entry: number): boolean {
    const { ring, replies } = this.#parts;
    this.#stream.skip();
    const out = this.#writer(entry, xid);
    if (seen === Seen.DONE) {
      out.back(ring.start[entry] + 4);
      const reply = replies.replyOf(replies.entry);
      out.space(reply.length).set(reply);
    } else putFailure(out, procedure, NfsStatus.JUKEBOX);
    this.#answered(out, entry);
    return true;
  }

  #startWrite(head: CallHead, credentials: Credentials, input: XdrReader, there: number): boolean {
    const { service, ring, slot, task } = this.#parts;
    const stream = this.#stream;
    if (this.#nrInFlight >= service.sizes.callsPerConnection) return this.#block();
    let args: ReturnType<typeof readWriteHead>;
    try {
      args = readWriteHead(input, service);
      if (stream.isLast && stream.left < there - input.left + args.countBytes) input.fail('the data of a write are cut off');
    } catch (error) {
      if (!(error instanceof XdrError)) throw error;
      return this.#refuse((out) => putAccepted(out, head.xid, AcceptStatus.GARBAGE_ARGS));
    }
    const entry = ring.reserve(REPLY_HEAD_BYTES + WRITE_RESULT_BYTES);
    if (entry < 0) return this.#block();
    stream.consume(there - input.left);
    const out = this.#writer(entry, head.xid);
    const call = new Call(service, task, this.#parts, credentials, out);
    const payload = new Payload(slot, stream, () => {
      if (!this.#inLoop) this.#parts.resume();
    });
    this.#payload = payload;
    const onTaken = (): void => this.#taken(payload);
    this.#work(call, writing(call, args, payload, this.#patience, onTaken), entry, -1, payload);
    return true;
  }

  /** The data of a WRITE are in: the next call may come. */
  #taken(payload: Payload): void {
    if (this.#payload !== payload) return;
    this.#payload = null;
    if (payload.error !== null) this.#fail(payload.error as KernelError);
    else if (!this.#inLoop) this.#parts.onProgress();
  }

  /** Runs the steps of a call, and answers when they have ended. */
  #work(call: Call, steps: Steps<void>, entry: number, kept: number, payload: Payload | null): void {
    this.#nrInFlight++;
    const working = run(this.#guarded(steps));
    if (isPromise(working)) {
      void working.then(() => {
        this.#ended(call, entry, kept, payload);
        this.#parts.onProgress();
      });
    } else this.#ended(call, entry, kept, payload);
  }

  /** Steps that never throw: a bug ends the connection, and is counted. */
  *#guarded(steps: Steps<void>): Steps<void> {
    try {
      yield* steps;
    } catch (error) {
      this.#parts.service.onBug(error);
      this.#fail(new KernelError('EIO', 'a call could not be answered', { cause: error }));
    }
  }

  #ended(call: Call, entry: number, kept: number, payload: Payload | null): void {
    const { ring, replies } = this.#parts;
    call.release();
    this.#nrInFlight--;
    if (payload !== null) this.#taken(payload);
    const { out } = call;
    if (kept >= 0) replies.end(kept, ring.bytes.subarray(ring.start[entry] + 4, out.position));
    this.#answered(out, entry);
  }

  /** A writer on a reserved reply, behind the head of one that is accepted. */
  #writer(entry: number, xid: number): XdrWriter {
    const { ring } = this.#parts;
    const at = ring.start[entry];
    const out = (this.#spareWriters.pop() ?? new XdrWriter()).reset(ring.bytes, at, at + ring.lengthOf(entry), ring.view);
    putAccepted(out.u32(0), xid, AcceptStatus.SUCCESS);
    return out;
  }

  /** A reply is written: it leaves as one fragment. */
  #answered(out: XdrWriter, entry: number): void {
    const { ring } = this.#parts;
    out.patch(ring.start[entry], LAST_FRAGMENT + out.length - 4);
    ring.complete(entry, out.length);
    this.#spareWriters.push(out);
    this.nrAnswered++;
  }

  /** Answers a call that is not done. */
  #refuse(put: (out: XdrWriter) => void): boolean {
    const { ring } = this.#parts;
    const entry = ring.reserve(REFUSAL_BYTES);
    if (entry < 0) return this.#block();
    const out = this.#writer(entry, 0);
    out.back(ring.start[entry] + 4);
    put(out);
    this.#answered(out, entry);
    return this.#skipRecord();
  }

  /** Throws the rest of a record away, as it comes. */
  #skipRecord(): boolean {
    if (this.#stream.skip()) return true;
    const payload = new Payload(this.#parts.slot, this.#stream, () => {
      if (!this.#inLoop) this.#parts.resume();
    });
    this.#payload = payload;
    void run(
      (function* (intake: CallIntake): Steps<void> {
        yield* payload.drain();
        intake.#taken(payload);
      })(this),
    );
    return true;
  }

  #block(): false {
    this.#blocked = true;
    return false;
  }
}
