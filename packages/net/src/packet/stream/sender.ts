/**
 * The sending half of a connection: what was given, what was sent, what is acknowledged, and what is sent again.
 *
 *     0 … acknowledged … sent … endOffset      offsets in bytes of the stream; FIN takes the one behind the last byte
 *
 * A loss is known by three equal acknowledgements, or by no answer in time; then the first segment that is not acknowledged is sent again, and
 * the next one whenever an acknowledgement comes that does not cover all that was sent before the loss.
 */
import { RoundTrip } from './round-trip.js';
import { SendQueue } from './send-queue.js';

const DUPLICATES_FOR_RESEND = 3;

/** What the sender needs of its connection. */
export interface SenderHost {
  /** Sends a segment of the stream; `lengthBytes` 0 is FIN. */
  sendPart(fromOffset: number, lengthBytes: number): void;
  nowMs(): number;
  countResent(): void;
}

export class Sender {
  readonly queue = new SendQueue();
  readonly roundTrip = new RoundTrip();
  readonly #host: SenderHost;
  #acknowledged = 0;
  #sent = 0;
  /** What the peer has room for. */
  windowBytes = 0;
  segmentBytes: number;
  #nrDuplicates = 0;
  /** Recovering from a loss until this is acknowledged; -1 if not. */
  #recoverTo = -1;
  #hasFin = false;

  constructor(host: SenderHost, segmentBytes: number) {
    this.#host = host;
    this.segmentBytes = segmentBytes;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Offset behind what was sent. */
  get sent(): number {
    return this.#sent;
  }

  /** Nothing comes behind what was given. */
  get hasFin(): boolean {
    return this.#hasFin;
  }

  get nrUnsentBytes(): number {
    return Math.max(this.queue.endOffset - this.#acknowledged, 0);
  }

  /** True if every byte, though perhaps not FIN, is acknowledged. */
  get isDrained(): boolean {
    return this.#acknowledged >= this.queue.endOffset;
  }

  /** True if FIN was sent and acknowledged. */
  get isThrough(): boolean {
    return this.#hasFin && this.#acknowledged > this.queue.endOffset;
  }

  /** True if an answer is due, or a window must open. */
  get isWaiting(): boolean {
    return this.#sent > this.#acknowledged || this.queue.endOffset > this.#sent;
  }

  /** True if FIN is to be sent and has not been. */
  get owesFin(): boolean {
    return this.#hasFin && this.#sent === this.queue.endOffset;
  }

  finish(): void {
    this.#hasFin = true;
  }

  /** Sends what the window lets through. */
  flush(): void {
    const { endOffset } = this.queue;
    const windowEnd = this.#acknowledged + this.windowBytes;
    while (this.#sent < endOffset && this.#sent < windowEnd) {
      const lengthBytes = Math.min(this.segmentBytes, endOffset - this.#sent, windowEnd - this.#sent);
      const isCutShort = lengthBytes < this.segmentBytes && lengthBytes < endOffset - this.#sent;
      if (isCutShort && this.#sent > this.#acknowledged) return; // the window will open further
      this.#host.sendPart(this.#sent, lengthBytes);
      this.#sent += lengthBytes;
      this.roundTrip.sent(this.#sent, this.#host.nowMs());
    }
    if (!this.owesFin) return;
    this.#host.sendPart(endOffset, 0);
    this.#sent++;
  }

  /**
   * An acknowledgement has come.
   * @param isBare it came without bytes.
   * @returns true if it covers something new; whoever sent that is told by `release`.
   */
  heard(offset: number, windowBytes: number, isBare: boolean): boolean {
    const isSameWindow = windowBytes === this.windowBytes;
    this.windowBytes = windowBytes;
    if (offset > this.#acknowledged) {
      this.#acknowledged = offset;
      this.#nrDuplicates = 0;
      this.roundTrip.acknowledged(offset, this.#host.nowMs());
      if (offset >= this.#recoverTo) this.#recoverTo = -1;
      else if (offset < this.#sent) this.#resend();
      return true;
    }
    const isDuplicate = isBare && isSameWindow && this.#sent > offset;
    this.#nrDuplicates = isDuplicate ? this.#nrDuplicates + 1 : 0;
    if (this.#nrDuplicates === DUPLICATES_FOR_RESEND && this.#recoverTo < 0) {
      this.#recoverTo = this.#sent;
      this.#resend();
    }
    return false;
  }

  /** Lets go of what is acknowledged. */
  release(): void {
    this.queue.acknowledged(this.#acknowledged);
  }

  /** No answer in time: sends the first segment again, or asks whether a closed window still is. */
  inVain(): void {
    if (this.#sent > this.#acknowledged) {
      this.#recoverTo = this.#sent;
      this.#nrDuplicates = 0;
      this.#resend();
    } else if (this.queue.endOffset > this.#sent) {
      this.#host.sendPart(this.#sent, 1);
      this.#sent++;
    }
  }

  #resend(): void {
    const { endOffset } = this.queue;
    this.#host.countResent();
    this.roundTrip.resent();
    const lengthBytes = Math.min(this.segmentBytes, Math.min(this.#sent, endOffset) - this.#acknowledged);
    this.#host.sendPart(Math.min(this.#acknowledged, endOffset), Math.max(lengthBytes, 0));
  }
}
