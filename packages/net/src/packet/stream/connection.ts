/**
 * One connection of the reliable byte stream: TCP (RFC 9293) in its plain form, a `Socket` to its owner. Here is its life; its two halves are
 * in sender.ts and receiver.ts.
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
 * retransmission, the peer's window, half-close, reset. What TCP has and it has not: window scaling, selective acknowledgement, timestamps,
 * congestion control, keepalive, urgent data.
 *
 * Memory: what is sent stays where it is, by reference, until it is acknowledged; what comes in goes from its packet buffer straight into
 * the slot. So a marked connection whose owner reads holds no buffer at all.
 *
 * Offsets count bytes of the stream from 0; sequence = first sequence + 1 + offset, FIN takes the number behind the last byte.
 */
import { type Clock, KernelError, type TimerHandle } from '@tidemark/core';
import type { ReceiveSlot } from '../../receive-slot.js';
import type { SocketHandler } from '../../socket.js';
import type { Holder } from '../holder.js';
import type { PacketBuffer } from '../packet-buffer.js';
import type { Ipv4Address } from '../wire/ipv4-address.js';
import { Flag, type Segment, WINDOW_MAX_BYTES } from '../wire/segment.js';
import type { ReceiveQueue } from './receive-queue.js';
import { Receiver, type ReceiverHost } from './receiver.js';
import type { SendQueue } from './send-queue.js';
import { Sender, type SenderHost } from './sender.js';

/** Longest time without any answer while one is due. */
const GIVE_UP_MS = 100_000;
/** Times a lone FIN is sent again before the peer is taken to be gone, and an answer to a SYN before it is given up. */
const FINS_MAX = 12;
const ANSWERS_MAX = 12;
/** What was sent before must have gone, and what is sent again have come: a partition may lie in between. */
const LINGER_MS = 30_000;

/** A segment to send, but for the ports. */
export interface SegmentToSend {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  /** Bytes `fromOffset … + lengthBytes` of this queue. */
  readonly queue: SendQueue;
  readonly fromOffset: number;
  readonly lengthBytes: number;
}

/** What a connection needs of the stream layer. */
export interface ConnectionHost {
  readonly clock: Clock;
  readonly segmentMaxBytes: number;
  transmit(connection: Connection, segment: SegmentToSend): void;
  /** Has `connection.flush()` called when this turn's work is done. */
  flushSoon(connection: Connection): void;
  /** Calls back when this turn's work is done. */
  soon(what: () => void): void;
  /** The connection is closed as far as its owner is concerned. */
  linger(connection: Connection): void;
  /** The connection is over: nothing comes for it any more. */
  forget(connection: Connection): void;
  freeBuffer(buffer: PacketBuffer): void;
  /** Frees a buffer for which there is no room, and counts it. */
  dropBuffer(buffer: PacketBuffer): void;
  countResent(): void;
}

/** Whose connection it is. */
export interface ConnectionEnds {
  /** `10.0.0.2:49152`. */
  readonly peer: string;
  readonly peerAddress: Ipv4Address;
  readonly peerPort: number;
  readonly localPort: number;
}

type State = 'connecting' | 'accepting' | 'opening' | 'open' | 'lingering' | 'closed';

export class Connection implements ReceiverHost, SenderHost {
  slot!: ReceiveSlot;
  handler!: SocketHandler;
  readonly ends: ConnectionEnds;
  #state: State;
  #isMarked: boolean;
  readonly #host: ConnectionHost;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #firstSequence: number;
  #peerFirstSequence = 0;
  #owesAcknowledgement = false;
  #toldWindowBytes = 0;
  /** Our FIN went out before the peer's had come. */
  #isFirstToEnd = false;
  /** False once the owner has closed it; `onClose` comes when what was sent is acknowledged. */
  #isOpen = false;
  #isClosing = false;
  #lastAnswerMs: number;
  #timer: TimerHandle | null = null;
  /** Told once: the connection is open, or has failed to. */
  onOpened: (error: KernelError | null) => void = () => {};
  /** Told once, after the handler: an open connection is closed. */
  onGone: () => void = () => {};
  /** Told once, first: nobody has it any more. */
  onReleased: () => void = () => {};

  constructor(
    host: ConnectionHost,
    ends: ConnectionEnds,
    parts: {
      readonly state: 'connecting' | 'accepting';
      readonly isMarked: boolean;
      readonly firstSequence: number;
      readonly queue: ReceiveQueue;
    },
  ) {
    this.#host = host;
    this.ends = ends;
    this.#state = parts.state;
    this.#isMarked = parts.isMarked;
    this.#firstSequence = parts.firstSequence;
    this.#sender = new Sender(this, host.segmentMaxBytes);
    this.#receiver = new Receiver(this, parts.queue);
    this.#lastAnswerMs = host.clock.nowMs();
  }

  get peer(): string {
    return this.ends.peer;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get state(): State {
    return this.#state;
  }

  get isUp(): boolean {
    return this.#state === 'open';
  }

  /** The mark (M12). */
  get isMarked(): boolean {
    return this.#isMarked;
  }

  get nrUnsentBytes(): number {
    return this.#sender.nrUnsentBytes;
  }

  /** Bytes of window to tell the peer now. */
  windowToTell(): number {
    this.#toldWindowBytes = this.#receiver.roomBytes(this.#host.segmentMaxBytes);
    return this.#toldWindowBytes;
  }

  /** Marks one that is accepting, now that it is known whose it is. */
  mark(holder: Holder): void {
    this.#isMarked = true;
    this.#receiver.queue.useHolder(holder);
  }

  /** Gives it its end: slot and handler. */
  join(slot: ReceiveSlot, handler: SocketHandler): void {
    slot.reset();
    this.slot = slot;
    this.handler = handler;
  }

  // --- the handshake -----------------------------------------------------------------------------------------------------------------

  /** Sends the first SYN, or the answer to one. */
  open(): void {
    if (this.#state === 'accepting') this.#state = 'opening';
    this.#sendSyn();
  }

  /** What the peer's SYN says. */
  heardSyn(segment: Segment): void {
    this.#peerFirstSequence = segment.sequence;
    this.#sender.windowBytes = segment.windowBytes;
    if (segment.segmentMaxBytes > 0) this.#sender.segmentBytes = Math.min(this.#sender.segmentBytes, segment.segmentMaxBytes);
  }

  #sendSyn(): void {
    this.#transmit(this.#state === 'connecting' ? Flag.SYN : Flag.SYN | Flag.ACK, this.#firstSequence);
    this.#arm();
  }

  #heardAnswer(segment: Segment): void {
    const { SYN, ACK, RST } = Flag;
    if ((segment.flags & ACK) !== 0 && segment.acknowledgement !== this.#sequenceOf(0)) {
      this.#transmit(RST, segment.acknowledgement); // an old connection of the same ports: its end over there must go first
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
    this.#lastAnswerMs = this.nowMs();
    this.#sender.roundTrip.acknowledged(0, this.#lastAnswerMs);
    this.#disarm();
    this.onOpened(null);
  }

  // --- what comes --------------------------------------------------------------------------------------------------------------------

  /** A segment has come; its payload is in `first`, a chain of buffers that is the connection's from now on. */
  receive(segment: Segment, first: PacketBuffer, lengthBytes: number): void {
    const { flags } = segment;
    const isOrdinary = (flags & (Flag.RST | Flag.SYN | Flag.ACK)) === Flag.ACK;
    if (isOrdinary && this.#state === 'opening' && segment.acknowledgement === this.#sequenceOf(0)) this.#opened();
    if (isOrdinary && this.isUp) this.#heardAcknowledgement(segment, lengthBytes);
    if (isOrdinary && this.isUp && (lengthBytes > 0 || (flags & Flag.FIN) !== 0)) {
      this.#owe();
      this.#receiver.take(this.#offsetOf(segment), first, lengthBytes, (flags & Flag.FIN) !== 0);
      if (this.isUp && this.#receiver.hasEnded && this.#sender.isThrough) this.#closeOrderly();
      return;
    }
    this.freeBuffer(first);
    if (isOrdinary && this.isUp) return;
    if ((flags & Flag.RST) !== 0) this.#heardReset(segment);
    else if (this.#state === 'connecting') this.#heardAnswer(segment);
    else if (this.#state === 'lingering') this.#heardLate(segment, lengthBytes);
    else if (this.#state === 'opening' && (flags & Flag.SYN) !== 0)
      this.#sendSyn(); // our answer was lost
    else if (this.isUp) this.#owe(); // our acknowledgement was
  }

  /** Offset of a segment's first byte. */
  #offsetOf(segment: Segment): number {
    const { received } = this.#receiver;
    return received + ((segment.sequence - (this.#peerFirstSequence + 1 + received)) | 0);
  }

  #heardAcknowledgement(segment: Segment, lengthBytes: number): void {
    const sender = this.#sender;
    const offset = sender.acknowledged + ((segment.acknowledgement - this.#sequenceOf(sender.acknowledged)) | 0);
    if (offset < sender.acknowledged || offset > sender.sent) return;
    this.#lastAnswerMs = this.nowMs();
    if (segment.windowBytes !== sender.windowBytes) this.#host.flushSoon(this);
    if (!sender.heard(offset, segment.windowBytes, lengthBytes === 0)) return;
    this.#disarm();
    const isThrough = sender.isThrough;
    sender.release(); // who is told may send, or close
    if (!this.isUp) return;
    if (isThrough && (this.#isClosing || this.#receiver.hasEnded)) {
      this.#closeOrderly();
      return;
    }
    if (sender.isWaiting) this.#arm();
    this.#host.flushSoon(this);
  }

  #heardReset(segment: Segment): void {
    if (this.#state === 'connecting') {
      if ((segment.flags & Flag.ACK) === 0 || segment.acknowledgement !== this.#sequenceOf(0)) return;
      this.#close(new KernelError('ECONNREFUSED', `connect to ${this.peer}: nobody listens`));
      return;
    }
    if (this.#state === 'closed') return;
    const ahead = this.#offsetOf(segment) - this.#receiver.received;
    if (ahead < -1 || ahead > WINDOW_MAX_BYTES) return; // an old one
    if (this.#state === 'lingering') this.drop();
    else {
      const isOver = this.#isClosing && this.#sender.isDrained;
      this.#close(isOver ? null : new KernelError('ECONNRESET', `connection with ${this.peer}: reset by the peer`));
    }
  }

  /** Something for a connection whose owner has closed it: it is acknowledged, whatever it is, or its sender would send it again. */
  #heardLate(segment: Segment, lengthBytes: number): void {
    const hasFin = (segment.flags & Flag.FIN) !== 0;
    this.#receiver.takeLate(this.#offsetOf(segment), lengthBytes, hasFin);
    if (lengthBytes > 0 || hasFin) this.#transmit(Flag.ACK, this.#sequenceOf(this.#sender.sent));
  }

  freeBuffer(buffer: PacketBuffer): void {
    this.#host.freeBuffer(buffer);
  }

  dropBuffer(buffer: PacketBuffer): void {
    this.#host.dropBuffer(buffer);
  }

  // --- what goes ---------------------------------------------------------------------------------------------------------------------

  nowMs(): number {
    return this.#host.clock.nowMs();
  }

  countResent(): void {
    this.#host.countResent();
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    if (!this.#isOpen || this.#sender.hasFin) return;
    this.#sender.queue.push(bytes, onSent);
    this.#host.flushSoon(this);
  }

  /** For the stream layer, when the turn is over: sends what the window lets through, or at least what is owed. */
  flush(): void {
    if (!this.isUp) return;
    this.#sender.flush();
    if (this.#owesAcknowledgement) this.#transmit(Flag.ACK, this.#sequenceOf(this.#sender.sent));
    if (this.#timer === null && this.#sender.isWaiting) this.#arm();
  }

  sendPart(fromOffset: number, lengthBytes: number): void {
    if (lengthBytes === 0 && this.#sender.owesFin) this.#isFirstToEnd = !this.#receiver.hasAll;
    const flags = Flag.ACK | (lengthBytes > 0 ? Flag.PSH : Flag.FIN);
    this.#transmit(flags, this.#sequenceOf(fromOffset), fromOffset, lengthBytes);
  }

  #transmit(flags: number, sequence: number, fromOffset = 0, lengthBytes = 0): void {
    const hasAck = (flags & Flag.ACK) !== 0;
    if (hasAck) this.#owesAcknowledgement = false;
    const acknowledgement = hasAck ? (this.#peerFirstSequence + 1 + this.#receiver.wholeTo) >>> 0 : 0;
    this.#host.transmit(this, { flags, sequence, acknowledgement, queue: this.#sender.queue, fromOffset, lengthBytes });
  }

  #sequenceOf(offset: number): number {
    return (this.#firstSequence + 1 + offset) >>> 0;
  }

  #owe(): void {
    this.#owesAcknowledgement = true;
    this.#host.flushSoon(this);
  }

  #arm(): void {
    this.#disarm();
    this.#timer = this.#host.clock.setTimer(this.#sender.roundTrip.timeoutMs, this.#inVain);
  }

  #disarm(): void {
    if (this.#timer !== null) this.#host.clock.clearTimer(this.#timer);
    this.#timer = null;
  }

  /** No answer in time. */
  readonly #inVain = (): void => {
    const { roundTrip, isDrained } = this.#sender;
    this.#timer = null;
    roundTrip.inVain();
    const isLate = this.nowMs() - this.#lastAnswerMs >= GIVE_UP_MS || (this.#state === 'opening' && roundTrip.nrInVain > ANSWERS_MAX);
    if (this.#isClosing && isDrained && roundTrip.nrInVain > FINS_MAX) this.#close(null);
    else if (isLate) this.#close(new KernelError('ETIMEDOUT', `connection with ${this.peer}: no answer for too long`));
    else if (this.isUp) {
      this.#sender.inVain();
      this.#arm();
    } else {
      this.countResent();
      this.#sendSyn();
    }
  };

  pause(): void {
    this.#receiver.pause();
  }

  resume(): void {
    if (!this.#receiver.resume() || !this.isUp) return;
    if (this.#receiver.hasEnded && this.#sender.isThrough) this.#closeOrderly();
    else if (!this.#receiver.isPaused && this.#toldWindowBytes < this.#sender.segmentBytes * 2) this.#owe();
  }

  // --- the end -----------------------------------------------------------------------------------------------------------------------

  end(): void {
    if (!this.#isOpen || this.#sender.hasFin) return;
    this.#sender.finish();
    this.#host.flushSoon(this);
  }

  closeWhenSent(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#isClosing = true;
    if (this.#sender.isThrough) {
      this.#closeOrderly();
      return;
    }
    this.#sender.finish();
    this.#host.flushSoon(this);
    this.#receiver.deliverQueue(); // what waits is for nobody now
  }

  destroy(error?: KernelError): void {
    if (this.#state === 'closed' || this.#state === 'lingering') return;
    const isOver = this.#sender.isThrough && this.#receiver.hasEnded;
    if (!isOver && this.#state !== 'connecting') this.#transmit(Flag.RST | Flag.ACK, this.#sequenceOf(this.#sender.sent));
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
    const wasOpen = this.isUp;
    this.#isOpen = false;
    this.#disarm();
    this.#sender.queue.clear();
    this.#receiver.queue.clear();
    this.#state = lingers ? 'lingering' : 'closed';
    if (lingers) {
      this.#timer = this.#host.clock.setTimer(LINGER_MS, () => this.drop());
      this.#host.linger(this);
    } else this.#host.forget(this);
    if (!wasOpen) this.onOpened(error ?? new KernelError('ECONNRESET', `connection with ${this.peer}: closed before it was open`));
    else {
      this.#host.soon(() => {
        this.handler.onClose(this, error);
        this.onGone();
      });
    }
  }
}
