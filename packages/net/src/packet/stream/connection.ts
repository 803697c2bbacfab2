/**
 * One connection of the reliable byte stream: TCP (RFC 9293) in its plain form, a `Socket` to its owner.
 *
 *     connecting ──SYN, ACK──▶ open ◀──ACK── opening ◀── accepting (the owner takes memory)
 *                               │ FIN sent and acknowledged             │ RST, or no answer for GIVE_UP_MS
 *                               ▼                                       ▼
 *                           lingering ─────────── LINGER_MS ─────────▶ closed
 *
 * Lingering is FIN-WAIT-2 and TIME-WAIT in one: the owner has been told that it is closed, and memory is referred to no more; what the peer
 * sends again, because an acknowledgement was lost, is still acknowledged. Who is second to close does not linger.
 *
 * What it has: sequence numbers, cumulative acknowledgement (one for each burst that comes in), retransmission with back-off, fast
 * retransmission after three equal acknowledgements, the peer's window, half-close, reset. What TCP has and it has not: window scaling,
 * selective acknowledgement, timestamps, congestion control, keepalive, urgent data.
 *
 * Memory: what is sent stays where it is, by reference, until it is acknowledged; what comes in goes from its packet buffer straight into
 * the slot, and only what cannot go there yet is queued. So a marked connection whose owner reads holds no buffer at all.
 *
 * Offsets count bytes of the stream from 0; sequence = first sequence + 1 + offset, FIN takes the number behind the last byte.
 */
import { type Clock, KernelError, type TimerHandle } from '@tidemark/core';
import type { ReceiveSlot } from '../../receive-slot.js';
import type { Socket, SocketHandler } from '../../socket.js';
import type { Holder } from '../holder.js';
import type { PacketBuffer } from '../packet-buffer.js';
import type { Ipv4Address } from '../wire/ipv4-address.js';
import { Flag, type Segment, WINDOW_MAX_BYTES } from '../wire/segment.js';
import type { ReceiveQueue } from './receive-queue.js';
import { RoundTrip } from './round-trip.js';
import { SendQueue } from './send-queue.js';

/** Longest time without any answer while one is due. */
const GIVE_UP_MS = 100_000;
/** Times a lone FIN is sent again before the peer is taken to be gone, and an answer to a SYN before it is given up. */
const FINS_MAX = 12;
const ANSWERS_MAX = 12;
const DUPLICATES_FOR_RESEND = 3;
/** What was sent before must have gone, and what is sent again have come: a partition may lie in between. */
const LINGER_MS = 30_000;

/** What a connection needs of the stream layer. */
export interface ConnectionHost {
  readonly clock: Clock;
  readonly segmentMaxBytes: number;
  /** Sends a segment with bytes `fromOffset … + lengthBytes` of a queue. */
  transmit(
    connection: Connection,
    flags: number,
    sequence: number,
    acknowledgement: number,
    queue: SendQueue,
    from: number,
    lengthBytes: number,
  ): void;
  /** Has `connection.flush()` called when this turn's work is done. */
  flushSoon(connection: Connection): void;
  /** Calls back when this turn's work is done. */
  soon(what: () => void): void;
  /** The connection is closed as far as its owner is concerned. */
  linger(connection: Connection): void;
  /** The connection is over: nothing comes for it any more. */
  forget(connection: Connection): void;
  freeBuffer(buffer: PacketBuffer): void;
  countLimit(buffer: PacketBuffer): void;
  countResent(): void;
}

type State = 'connecting' | 'accepting' | 'opening' | 'open' | 'lingering' | 'closed';

export class Connection implements Socket {
  slot!: ReceiveSlot;
  handler!: SocketHandler;
  #state: State;
  readonly #host: ConnectionHost;
  readonly #sending = new SendQueue();
  readonly #roundTrip = new RoundTrip();
  readonly #queue: ReceiveQueue;
  readonly #firstSequence: number;
  #peerFirstSequence = 0;
  /** Sending: acknowledged, sent, most ever sent; offsets. */
  #acknowledged = 0;
  #sent = 0;
  #peerWindowBytes = 0;
  #segmentBytes: number;
  #nrDuplicates = 0;
  /** Recovering from a loss until this is acknowledged; -1 if not. */
  #recoverTo = -1;
  #hasFin = false;
  /** Our FIN went out before the peer's had come. */
  #isFirstToEnd = false;
  /** Receiving: the offset the slot waits for, and where the peer's stream ends (-1: not known). */
  #received = 0;
  #peerEnd = -1;
  #hasEnded = false;
  #owesAcknowledgement = false;
  #toldWindowBytes = 0;
  #isPaused = false;
  #isDelivering = false;
  /** False once the owner has closed it; `closed` comes when what was sent is acknowledged. */
  #isOpen = false;
  #isClosing = false;
  #lastAnswerMs: number;
  #timer: TimerHandle | null = null;
  /** Told once: the connection is open, or has failed to. */
  onOpened: (error: KernelError | null) => void = () => {};
  /** Told once, after the handler: an open connection is closed. */
  onGone: () => void = () => {};
  /** Told once, first: nothing of it comes from or goes to the peer's end any more, as far as its owner is concerned. */
  onReleased: () => void = () => {};

  constructor(
    host: ConnectionHost,
    readonly peer: string,
    readonly peerAddress: Ipv4Address,
    readonly peerPort: number,
    readonly localPort: number,
    /** The mark (M12). */
    public isMarked: boolean,
    firstSequence: number,
    queue: ReceiveQueue,
    state: 'connecting' | 'accepting',
  ) {
    this.#host = host;
    this.#firstSequence = firstSequence;
    this.#queue = queue;
    this.#state = state;
    this.#segmentBytes = host.segmentMaxBytes;
    this.#lastAnswerMs = host.clock.nowMs();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get state(): State {
    return this.#state;
  }

  /** True from the handshake to the end. */
  get isUp(): boolean {
    return this.#state === 'open';
  }

  get nrUnsentBytes(): number {
    return Math.max(this.#sending.endOffset - this.#acknowledged, 0);
  }

  /** Bytes of window to tell the peer now. */
  get windowBytes(): number {
    const { maxBuffers, nrBuffers } = this.#queue;
    const slotBytes = this.#isPaused || !this.#isOpen ? 0 : this.slot.target().length;
    this.#toldWindowBytes = Math.min(slotBytes + (maxBuffers - nrBuffers) * this.#host.segmentMaxBytes, WINDOW_MAX_BYTES);
    return this.#toldWindowBytes;
  }

  /** Marks one that is accepting, now that it is known whose it is. */
  mark(holder: Holder): void {
    this.isMarked = true;
    this.#queue.useHolder(holder);
  }

  /** Gives it its end: slot and handler. */
  join(slot: ReceiveSlot, handler: SocketHandler): void {
    slot.reset();
    this.slot = slot;
    this.handler = handler;
  }

  /** Sends the first SYN, or the answer to one. */
  open(): void {
    if (this.#state === 'accepting') this.#state = 'opening';
    this.#sendSyn();
  }

  /** For accepting: what the peer's SYN says. */
  heardSyn(segment: Segment): void {
    this.#peerFirstSequence = segment.sequence;
    this.#peerWindowBytes = segment.windowBytes;
    if (segment.segmentMaxBytes > 0) this.#segmentBytes = Math.min(this.#segmentBytes, segment.segmentMaxBytes);
  }

  #sendSyn(): void {
    const flags = this.#state === 'connecting' ? Flag.SYN : Flag.SYN | Flag.ACK;
    this.#host.transmit(this, flags, this.#firstSequence, this.#acknowledgement, this.#sending, 0, 0);
    this.#arm();
  }

  get #acknowledgement(): number {
    if (this.#state === 'connecting') return 0;
    const whole = this.#queue.contiguousFrom(this.#received);
    const end = this.#peerEnd >= 0 && whole >= this.#peerEnd ? this.#peerEnd + 1 : whole;
    return (this.#peerFirstSequence + 1 + end) >>> 0;
  }

  /** A segment has come; its payload is in `first`, a chain of buffers that is the connection's from now on, or null. */
  receive(segment: Segment, first: PacketBuffer | null, lengthBytes: number): void {
    if (this.#state === 'closed') this.#freeAll(first);
    else if (this.#state === 'lingering') {
      this.#freeAll(first);
      this.#heardLate(segment, lengthBytes);
    } else if ((segment.flags & Flag.RST) !== 0) {
      this.#freeAll(first);
      this.#heardReset(segment);
    } else if (this.#state === 'connecting') {
      this.#freeAll(first);
      this.#heardAnswer(segment);
    } else if (this.#state === 'accepting' || (segment.flags & Flag.ACK) === 0 || (segment.flags & Flag.SYN) !== 0) {
      this.#freeAll(first);
      this.#heardSynAgain(segment);
    } else {
      if (this.#state === 'opening' && segment.acknowledgement === this.#sequenceOf(0)) this.#opened();
      if (this.isUp) this.#heardAcknowledgement(segment, lengthBytes);
      this.#take(segment, first, lengthBytes);
    }
  }

  /** Something for a connection whose owner has closed it: it is acknowledged, whatever it is, or its sender would send it again. */
  #heardLate(segment: Segment, lengthBytes: number): void {
    const { FIN, RST } = Flag;
    if ((segment.flags & RST) !== 0) {
      this.drop();
      return;
    }
    const hasFin = (segment.flags & FIN) !== 0;
    const offset = this.#received + ((segment.sequence - (this.#peerFirstSequence + 1 + this.#received)) | 0);
    if (offset <= this.#received) this.#received = Math.max(this.#received, offset + lengthBytes);
    if (hasFin) this.#peerEnd = offset + lengthBytes;
    if (lengthBytes > 0 || hasFin)
      this.#host.transmit(this, Flag.ACK, this.#sequenceOf(this.#sent), this.#acknowledgement, this.#sending, 0, 0);
  }

  #heardAnswer(segment: Segment): void {
    const { SYN, ACK } = Flag;
    const isForUs = segment.acknowledgement === this.#sequenceOf(0);
    if ((segment.flags & ACK) !== 0 && !isForUs) {
      // An old connection of the same ports: its end over there must go first.
      this.#host.transmit(this, Flag.RST, segment.acknowledgement, 0, this.#sending, 0, 0);
      return;
    }
    if ((segment.flags & (SYN | ACK)) !== (SYN | ACK)) return;
    this.heardSyn(segment);
    this.#opened();
    if (this.isUp) this.#owe();
  }

  #opened(): void {
    this.#state = 'open';
    this.#isOpen = true;
    this.#lastAnswerMs = this.#host.clock.nowMs();
    this.#roundTrip.acknowledged(0, this.#lastAnswerMs);
    this.#disarm();
    this.onOpened(null);
  }

  /** A SYN that was answered already, or something that is no part of an open connection: the answer may have been lost. */
  #heardSynAgain(segment: Segment): void {
    if (this.#state === 'opening' && (segment.flags & Flag.SYN) !== 0) this.#sendSyn();
    else if (this.#state === 'open') this.#owe();
  }

  #heardReset(segment: Segment): void {
    if (this.#state === 'connecting') {
      if ((segment.flags & Flag.ACK) === 0 || segment.acknowledgement !== this.#sequenceOf(0)) return;
      this.#close(new KernelError('ECONNREFUSED', `connect to ${this.peer}: nobody listens`));
      return;
    }
    const ahead = (segment.sequence - (this.#peerFirstSequence + 1 + this.#received)) | 0;
    if (ahead < -1 || ahead > WINDOW_MAX_BYTES) return; // an old one
    const isOver = this.#isClosing && this.#acknowledged >= this.#sending.endOffset;
    this.#close(isOver ? null : new KernelError('ECONNRESET', `connection with ${this.peer}: reset by the peer`));
  }

  // --- sending -----------------------------------------------------------------------------------------------------------------------

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    if (!this.#isOpen || this.#hasFin) return;
    this.#sending.push(bytes, onSent);
    this.#host.flushSoon(this);
  }

  /** For the stream layer, when the turn is over: sends what the window lets through, or at least what is owed. */
  flush(): void {
    if (this.#state !== 'open') return;
    const { endOffset } = this.#sending;
    const windowEnd = this.#acknowledged + this.#peerWindowBytes;
    while (this.#sent < endOffset && this.#sent < windowEnd) {
      const lengthBytes = Math.min(this.#segmentBytes, endOffset - this.#sent, windowEnd - this.#sent);
      const isCutShort = lengthBytes < this.#segmentBytes && lengthBytes < endOffset - this.#sent;
      if (isCutShort && this.#sent > this.#acknowledged) break; // the window will open further
      this.#sendBytes(this.#sent, lengthBytes);
      this.#sent += lengthBytes;
      this.#roundTrip.sent(this.#sent, this.#host.clock.nowMs());
    }
    if (this.#hasFin && this.#sent === endOffset) {
      this.#isFirstToEnd = this.#received !== this.#peerEnd;
      this.#sendFin();
      this.#sent++;
    }
    if (this.#owesAcknowledgement) this.#sendBytes(this.#sent, 0);
    if (this.#timer === null && this.#isWaiting) this.#arm();
  }

  /** True if an answer is due, or a window must open. */
  get #isWaiting(): boolean {
    return this.#sent > this.#acknowledged || this.#sending.endOffset > this.#sent;
  }

  #sendBytes(from: number, lengthBytes: number): void {
    this.#owesAcknowledgement = false;
    const flags = lengthBytes > 0 ? Flag.ACK | Flag.PSH : Flag.ACK;
    this.#host.transmit(this, flags, this.#sequenceOf(from), this.#acknowledgement, this.#sending, from, lengthBytes);
  }

  #sendFin(): void {
    this.#owesAcknowledgement = false;
    const { endOffset } = this.#sending;
    this.#host.transmit(this, Flag.ACK | Flag.FIN, this.#sequenceOf(endOffset), this.#acknowledgement, this.#sending, endOffset, 0);
  }

  #sequenceOf(offset: number): number {
    return (this.#firstSequence + 1 + offset) >>> 0;
  }

  /** Sends the first segment that is not acknowledged again. */
  #resend(): void {
    const { endOffset } = this.#sending;
    this.#host.countResent();
    this.#roundTrip.resent();
    if (this.#acknowledged >= endOffset) this.#sendFin();
    else this.#sendBytes(this.#acknowledged, Math.min(this.#segmentBytes, Math.min(this.#sent, endOffset) - this.#acknowledged));
  }

  #heardAcknowledgement(segment: Segment, lengthBytes: number): void {
    const offset = this.#acknowledged + ((segment.acknowledgement - this.#sequenceOf(this.#acknowledged)) | 0);
    if (offset < this.#acknowledged || offset > this.#sent) return;
    const nowMs = this.#host.clock.nowMs();
    this.#lastAnswerMs = nowMs;
    const isSameWindow = segment.windowBytes === this.#peerWindowBytes;
    this.#peerWindowBytes = segment.windowBytes;
    if (offset === this.#acknowledged) {
      const isDuplicate = lengthBytes === 0 && isSameWindow && this.#sent > offset;
      this.#nrDuplicates = isDuplicate ? this.#nrDuplicates + 1 : 0;
      if (this.#nrDuplicates === DUPLICATES_FOR_RESEND && this.#recoverTo < 0) {
        this.#recoverTo = this.#sent;
        this.#resend();
      }
    } else this.#advance(offset, nowMs);
    if (!isSameWindow && this.isUp) this.#host.flushSoon(this);
  }

  #advance(offset: number, nowMs: number): void {
    this.#acknowledged = offset;
    this.#nrDuplicates = 0;
    this.#roundTrip.acknowledged(offset, nowMs);
    this.#disarm();
    if (offset >= this.#recoverTo) this.#recoverTo = -1;
    else if (offset < this.#sent) this.#resend();
    const finIsThrough = this.#hasFin && offset > this.#sending.endOffset;
    this.#sending.acknowledged(offset);
    if (!this.isUp) return;
    if (finIsThrough && (this.#isClosing || this.#hasEnded)) {
      this.#closeOrderly();
      return;
    }
    if (this.#isWaiting) this.#arm();
    this.#host.flushSoon(this);
  }

  #arm(): void {
    this.#disarm();
    this.#timer = this.#host.clock.setTimer(this.#roundTrip.timeoutMs, this.#inVain);
  }

  #disarm(): void {
    if (this.#timer !== null) this.#host.clock.clearTimer(this.#timer);
    this.#timer = null;
  }

  /** No answer in time. */
  readonly #inVain = (): void => {
    this.#timer = null;
    this.#roundTrip.inVain();
    const onlyFin = this.#hasFin && this.#acknowledged >= this.#sending.endOffset;
    if (onlyFin && this.#isClosing && this.#roundTrip.nrInVain > FINS_MAX) {
      this.#close(null);
      return;
    }
    if (this.#host.clock.nowMs() - this.#lastAnswerMs >= GIVE_UP_MS) {
      this.#close(new KernelError('ETIMEDOUT', `connection with ${this.peer}: no answer for ${GIVE_UP_MS} ms`));
      return;
    }
    if (this.#state === 'opening' && this.#roundTrip.nrInVain > ANSWERS_MAX) {
      this.#close(new KernelError('ETIMEDOUT', `connection with ${this.peer}: asked for and not taken up`));
      return;
    }
    if (this.#state === 'connecting' || this.#state === 'opening') {
      this.#host.countResent();
      this.#sendSyn();
      return;
    }
    if (this.#sent > this.#acknowledged) {
      this.#recoverTo = this.#sent;
      this.#nrDuplicates = 0;
      this.#resend();
    } else if (this.#sending.endOffset > this.#sent) {
      this.#sendBytes(this.#sent, 1); // the window is closed: one byte asks whether it still is
      this.#sent++;
    }
    this.#arm();
  };

  // --- receiving ---------------------------------------------------------------------------------------------------------------------

  #owe(): void {
    this.#owesAcknowledgement = true;
    this.#host.flushSoon(this);
  }

  #freeAll(first: PacketBuffer | null): void {
    if (first !== null) this.#host.freeBuffer(first);
  }

  #take(segment: Segment, first: PacketBuffer | null, lengthBytes: number): void {
    const hasFin = (segment.flags & Flag.FIN) !== 0;
    if (!this.isUp || (lengthBytes === 0 && !hasFin)) {
      this.#freeAll(first);
      return;
    }
    this.#owe();
    let offset = this.#received + ((segment.sequence - (this.#peerFirstSequence + 1 + this.#received)) | 0);
    const isInWindow = offset <= this.#received + WINDOW_MAX_BYTES;
    if (hasFin && isInWindow && this.#peerEnd < 0) this.#peerEnd = offset + lengthBytes;
    for (let buffer = first; buffer !== null; ) {
      const { next } = buffer;
      buffer.next = null;
      buffer.offsetBytes = offset;
      offset += buffer.lengthBytes;
      if (isInWindow && this.isUp) this.#takeBuffer(buffer);
      else this.#host.freeBuffer(buffer);
      buffer = next;
    }
    this.#deliverQueue();
  }

  #takeBuffer(buffer: PacketBuffer): void {
    const isNext = buffer.offsetBytes <= this.#received && (this.#queue.first === null || this.#queue.first.offsetBytes > this.#received);
    const isOld = buffer.offsetBytes + buffer.lengthBytes <= this.#received;
    if (isOld || (isNext && this.#deliver(buffer))) this.#host.freeBuffer(buffer);
    else if (!this.isUp) this.#host.freeBuffer(buffer);
    else if (!this.#queue.add(buffer)) {
      this.#host.countLimit(buffer);
      this.#host.freeBuffer(buffer);
    }
  }

  /** Copies a buffer's bytes into the slot. @returns true if nothing of it is left to do. */
  #deliver(buffer: PacketBuffer): boolean {
    const known = Math.min(this.#received - buffer.offsetBytes, buffer.lengthBytes);
    buffer.start += known;
    buffer.offsetBytes += known;
    if (this.#isDelivering) return buffer.lengthBytes === 0;
    this.#isDelivering = true;
    while (buffer.lengthBytes > 0 && this.#isOpen && !this.#isPaused) {
      const target = this.slot.target();
      const count = Math.min(target.length, buffer.lengthBytes);
      target.set(buffer.bytes.subarray(buffer.start, buffer.start + count));
      buffer.start += count;
      buffer.offsetBytes += count;
      this.#received += count;
      this.slot.received(count);
      const goOn = this.handler.onReceive(this);
      this.slot.plan();
      if (!goOn || !this.slot.takeUp()) this.#isPaused = true;
    }
    this.#isDelivering = false;
    if (this.isUp && !this.#isOpen) {
      this.#received += buffer.lengthBytes; // closed by its owner: what still comes is for nobody
      return true;
    }
    return buffer.lengthBytes === 0;
  }

  #deliverQueue(): void {
    if (this.#isDelivering) return;
    for (let first = this.#queue.first; first !== null && this.isUp; first = this.#queue.first) {
      if (first.offsetBytes > this.#received || !this.#deliver(first)) break;
      if (this.isUp) this.#queue.dropFirst();
    }
    if (!this.isUp || this.#hasEnded || this.#received !== this.#peerEnd || (this.#isPaused && this.#isOpen)) return;
    this.#hasEnded = true;
    if (this.#isOpen) this.handler.onEnd(this);
    if (this.isUp && this.#hasFin && this.#acknowledged > this.#sending.endOffset) this.#closeOrderly();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused || !this.#isOpen || !this.slot.takeUp()) return;
    this.#isPaused = false;
    this.#deliverQueue();
    if (this.isUp && !this.#isPaused && this.#toldWindowBytes < this.#segmentBytes * 2) this.#owe();
  }

  // --- the end -----------------------------------------------------------------------------------------------------------------------

  end(): void {
    if (!this.#isOpen || this.#hasFin) return;
    this.#hasFin = true;
    this.#host.flushSoon(this);
  }

  closeWhenSent(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#isClosing = true;
    if (this.#hasFin && this.#acknowledged > this.#sending.endOffset) {
      this.#closeOrderly();
      return;
    }
    this.#hasFin = true;
    this.#host.flushSoon(this);
    this.#deliverQueue(); // what waits is for nobody now
  }

  destroy(error?: KernelError): void {
    if (this.#state === 'closed' || this.#state === 'lingering') return;
    const isOver = this.#hasFin && this.#acknowledged > this.#sending.endOffset && this.#hasEnded;
    if (!isOver && this.#state !== 'connecting') {
      this.#host.transmit(this, Flag.RST | Flag.ACK, this.#sequenceOf(this.#sent), this.#acknowledgement, this.#sending, 0, 0);
    }
    this.#close(error ?? null);
  }

  /** Both ends, or this one, are done. */
  #closeOrderly(): void {
    this.#close(null, this.#isFirstToEnd);
  }

  /** The end of lingering. */
  drop(): void {
    this.#state = 'closed';
    this.#disarm();
    this.#host.forget(this);
  }

  #close(error: KernelError | null, lingers = false): void {
    const wasOpen = this.#state === 'open';
    this.#isOpen = false;
    this.#disarm();
    this.#sending.clear();
    this.#queue.clear();
    if (lingers) {
      this.#state = 'lingering';
      this.#timer = this.#host.clock.setTimer(LINGER_MS, () => this.drop());
      this.#host.linger(this);
    } else {
      this.#state = 'closed';
      this.#host.forget(this);
    }
    if (wasOpen) {
      this.#host.soon(() => {
        this.handler.onClose(this, error);
        this.onGone();
      });
    } else this.onOpened(error ?? new KernelError('ECONNRESET', `connection with ${this.peer}: closed before it was open`));
  }
}
