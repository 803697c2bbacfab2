/**
 * The server's side of transmission: requests from the slot to the device, replies from the ring to the socket.
 *
 * All requests of one read are handled in one loop, and their replies leave in one send. A device that ends its requests at once
 * (RAM disk, file read synchronously) makes this loop plain calls: no promise, no object for a request. One that ends them later works
 * the same way with more entries open, and answers in the order of its ends.
 *
 * A WRITE's payload goes to the device straight out of the slot, in pieces, each cut at a page of the device: the slot holds the bytes
 * until the piece has ended. A READ's data come straight into its reply. A READ that is larger than the ring is answered in pieces, by
 * itself, one after the other (only clients that did not ask for block sizes send such).
 *
 * Bounds: units, bios, ring entries, ring bytes, slot bytes. Whatever runs out, the loop stops where it is ("blocked"), the socket is not read,
 * and the next end or send goes on. Nothing grows.
 */
import { type Bio, BioOp, Errno, type Extent, invariant, isPromise, KernelError, type NegErrno } from '@tidemark/core';
import type { ReceiveSlot, ReplyRing } from '@tidemark/net';
import {
  Command,
  CommandFlag,
  DEFAULT_MAX_PAYLOAD_BYTES,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
} from '../protocol/constants.js';
import { getU64, putSimpleReply } from '../protocol/messages.js';
import { wireError } from '../protocol/wire-errors.js';
import { BioStack } from './bio-stack.js';
import {
  DATA_CHUNK_BYTES,
  ERROR_CHUNK_BYTES,
  EXTENTS_MAX,
  putDataChunk,
  putErrorChunk,
  putStatusChunk,
  STATUS_CHUNK_BYTES_MAX,
} from './chunks.js';
import type { Export } from './export.js';

import { type Agreed, checkRequest } from './request-check.js';
import type { ServerUnits, UnitWaiter } from './units.js';

const PAGE_BYTES = 4096;
/** Marks of a bio, in `bio.owner`: what to do when it ends. */
const Purpose = { READ: 'read', WRITE: 'write', FLUSH: 'flush', OTHER: 'other', READ_PIECE: 'read-piece' } as const;

/** What a connection makes a transmission of. */
export interface TransmissionParts {
  readonly target: Export;
  readonly slot: ReceiveSlot;
  readonly ring: ReplyRing;
  /** What bounds its work with the device, for itself or together with others. */
  readonly units: ServerUnits;
  readonly nrEntries: number;
  readonly nrBios: number;
  /** Largest payload the server advertises, and what the handshake has agreed on. */
  readonly maxPayloadBytes: number;
  readonly agreed: Agreed;
  /** Something ended outside of `receive`: call `progress`. */
  onProgress(): void;
  /** The connection must end: the client broke the protocol, or a reply cannot be finished. */
  fail(error: KernelError): void;
}

export class Transmission implements UnitWaiter {
  readonly #target: Export;
  readonly #slot: ReceiveSlot;
  readonly #ring: ReplyRing;
  readonly #bios: BioStack;
  readonly #units: ServerUnits;
  readonly #parts: TransmissionParts;
  readonly #payloadMaxBytes: number;
  /** By ring entry: parts still to end, first error, and whether a flush must follow (FUA on what the device cannot force). */
  readonly #nrPending: Uint32Array;
  readonly #status: Int32Array;
  readonly #flushAfter: Uint8Array;
  /** By ring entry: how long the reply is if there is no error, 0 for all that was reserved; and whether it is a structured one. */
  readonly #replyBytes: Uint32Array;
  readonly #isChunk: Uint8Array;
  /** Questions about extents that the device has not answered. */
  #nrAsked = 0;
  /** The WRITE whose payload is arriving: entry, device offset, bytes left; −1 for none. */
  #writeEntry = -1;
  #writeOffset = 0;
  #writeLeft = 0;
  #writeForced = false;
  /** The READ answered in pieces: bytes left and where, 0 for none. */
  #readLeft = 0;
  #readOffset = 0;
  #readStarted = false;
  #readDontFragment = false;
  #readCookieHigh = 0;
  #readCookieLow = 0;
  #inLoop = false;
  #blocked = false;
  #failed = false;
  #draining = false;
  /** The client said DISC. */
  hasDisconnected = false;

  constructor(parts: TransmissionParts) {
    this.#parts = parts;
    this.#units = parts.units;
    this.#target = parts.target;
    this.#slot = parts.slot;
    this.#ring = parts.ring;
    this.#payloadMaxBytes = parts.agreed.askedBlockSize ? parts.maxPayloadBytes : DEFAULT_MAX_PAYLOAD_BYTES;
    this.#nrPending = new Uint32Array(parts.nrEntries);
    this.#status = new Int32Array(parts.nrEntries);
    this.#flushAfter = new Uint8Array(parts.nrEntries);
    this.#replyBytes = new Uint32Array(parts.nrEntries);
    this.#isChunk = new Uint8Array(parts.nrEntries);
    this.#bios = new BioStack(parts.nrBios, (bio) => this.#bioEnded(bio));
  }

  /** Bios and questions with the device. The slot and the ring must stay until it is 0. */
  get nrInFlight(): number {
    return this.#bios.nrBios - this.#bios.nrFree + this.#nrAsked;
  }

  /** Everything taken in has been answered, and the answers are with the host. */
  get isIdle(): boolean {
    return this.#ring.isEmpty && this.nrInFlight === 0 && this.#readLeft === 0;
  }

  /** True if a bound has been reached and the slot holds what could not be taken in. */
  get isBlocked(): boolean {
    return this.#blocked;
  }

  /** There may be units again. */
  onRoom(): void {
    this.#parts.onProgress();
  }

  /** It takes in nothing more, and has no use for units. */
  close(): void {
    this.#units.leave(this);
  }

  /** Takes in what the slot holds and sends what can be answered. @returns false if blocked or over. */
  receive(): boolean {
    this.#blocked = false;
    this.#inLoop = true;
    while (!this.#failed && this.#step());
    this.#inLoop = false;
    this.#ring.flush();
    return !(this.#blocked || this.#failed || this.#draining);
  }

  /** Takes in nothing more. A WRITE whose payload has not all come is answered with ESHUTDOWN; everything else runs to its end. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.close();
    const entry = this.#writeEntry;
    if (entry < 0) return;
    this.#writeEntry = -1;
    this.#status[entry] = -Errno.ESHUTDOWN;
    this.#partEnded(entry);
    this.#ring.flush();
  }

  /** One step of the loop. @returns false if it cannot go on. */
  #step(): boolean {
    if (this.#readLeft > 0) return this.#readNextPiece();
    if (this.#draining) return false;
    if (this.#writeEntry >= 0) return this.#takePayload();
    const slot = this.#slot;
    if (slot.length < REQUEST_BYTES) return false;
    const { view, start } = slot;
    if (view.getUint32(start) !== REQUEST_MAGIC) return this.#fail('a request does not begin with its magic');
    const flags = view.getUint16(start + 4);
    const command = view.getUint16(start + 6);
    const high = view.getUint32(start + 8);
    const low = view.getUint32(start + 12);
    const offsetBytes = getU64(view, start + 16);
    const lengthBytes = view.getUint32(start + 24);
    if (command === Command.DISC) {
      slot.consume(REQUEST_BYTES);
      this.hasDisconnected = true;
      this.#draining = true;
      return false;
    }
    let status = checkRequest(this.#target, this.#parts.agreed, command, flags, offsetBytes, lengthBytes);
    if (command === Command.WRITE) return this.#startWrite(flags, high, low, offsetBytes, lengthBytes, status);
    if (command === Command.READ && status === 0) {
      if (lengthBytes > this.#payloadMaxBytes) status = -Errno.EINVAL;
      else return this.#startRead(flags, high, low, offsetBytes, lengthBytes);
    }
    if (command === Command.CACHE && status === 0) return this.#startCache(high, low, offsetBytes, lengthBytes);
    if (command === Command.BLOCK_STATUS && status === 0) return this.#startStatus(flags, high, low, offsetBytes, lengthBytes);
    return this.#startOther(command, flags, high, low, offsetBytes, lengthBytes, status);
  }

  #block(): false {
    this.#blocked = true;
    return false;
  }

  #fail(why: string): false {
    this.#failed = true;
    this.close();
    this.#parts.fail(new KernelError('EPROTO', why));
    return false;
  }

  /** Reserves the reply of a request and takes the request from the slot. @returns its entry, or −1 if there is no room. */
  #admit(high: number, low: number, replyBytes: number): number {
    const entry = this.#ring.reserve(replyBytes);
    if (entry < 0) return -1;
    this.#slot.consume(REQUEST_BYTES);
    putSimpleReply(this.#ring.view, this.#ring.start[entry], 0, high, low);
    this.#replyBytes[entry] = 0;
    this.#isChunk[entry] = 0;
    this.#nrPending[entry] = 1; // the taking in itself; ended by `#partEnded` when everything is submitted
    this.#status[entry] = 0;
    this.#flushAfter[entry] = 0;
    return entry;
  }

  /** Bytes before the data of a READ. */
  get #readHeadBytes(): number {
    return this.#parts.agreed.isStructured ? DATA_CHUNK_BYTES : SIMPLE_REPLY_BYTES;
  }

  #startRead(flags: number, high: number, low: number, offsetBytes: number, lengthBytes: number): boolean {
    const { device } = this.#target;
    const headBytes = this.#readHeadBytes;
    const nrPieces = Math.ceil(lengthBytes / device.maxTransferBytes);
    const nrUnits = unitsOf(lengthBytes);
    if (headBytes + lengthBytes > this.#ring.sizeBytes || nrPieces > this.#bios.nrBios || nrUnits > this.#units.nrUnits) {
      this.#slot.consume(REQUEST_BYTES);
      this.#readLeft = lengthBytes;
      this.#readOffset = offsetBytes;
      this.#readStarted = false;
      this.#readDontFragment = (flags & CommandFlag.DF) !== 0;
      this.#readCookieHigh = high;
      this.#readCookieLow = low;
      return true;
    }
    if (this.#bios.nrFree < nrPieces || !this.#units.has(nrUnits, this)) return this.#block();
    const entry = this.#admit(high, low, headBytes + lengthBytes);
    if (entry < 0) return this.#block();
    if (this.#parts.agreed.isStructured) {
      this.#isChunk[entry] = 1;
      putDataChunk(this.#ring.view, this.#ring.start[entry], true, high, low, offsetBytes, lengthBytes);
    }
    this.#units.take(nrUnits); // all, before the first piece can end and others take what is free
    const address = this.#ring.address + this.#ring.start[entry] + headBytes;
    for (let done = 0; done < lengthBytes; done += device.maxTransferBytes) {
      const piece = Math.min(device.maxTransferBytes, lengthBytes - done);
      this.#submit(Purpose.READ, BioOp.READ, entry, offsetBytes + done, address + done, piece, false);
    }
    this.#partEnded(entry);
    return true;
  }

  /**
   * CACHE: the device reads what it is told it will be asked for, and the bytes go no further. It is a hint: of a range that is larger than the ring
   * its beginning is read.
   */
  #startCache(high: number, low: number, offsetBytes: number, lengthBytes: number): boolean {
    const { maxTransferBytes } = this.#target.device;
    const most = Math.min(maxTransferBytes, this.#ring.sizeBytes / 2, this.#units.nrUnits * PAGE_BYTES);
    const length = Math.min(lengthBytes, most);
    if (this.#bios.nrFree === 0 || !this.#units.has(unitsOf(length), this)) return this.#block();
    const entry = this.#admit(high, low, SIMPLE_REPLY_BYTES + length);
    if (entry < 0) return this.#block();
    this.#replyBytes[entry] = SIMPLE_REPLY_BYTES;
    this.#units.take(unitsOf(length));
    const address = this.#ring.address + this.#ring.start[entry] + SIMPLE_REPLY_BYTES;
    this.#submit(Purpose.READ, BioOp.READ, entry, offsetBytes, address, length, false);
    this.#partEnded(entry);
    return true;
  }

  /** BLOCK_STATUS: how a range is stored, as far as the device tells in one answer. */
  #startStatus(flags: number, high: number, low: number, offsetBytes: number, lengthBytes: number): boolean {
    const entry = this.#admit(high, low, STATUS_CHUNK_BYTES_MAX);
    if (entry < 0) return this.#block();
    this.#isChunk[entry] = 1;
    const nrMost = (flags & CommandFlag.REQ_ONE) !== 0 ? 1 : EXTENTS_MAX;
    const extents = this.#target.device.extents(offsetBytes, lengthBytes, nrMost);
    if (!isPromise(extents)) {
      this.#statusKnown(entry, extents);
      return true;
    }
    this.#nrAsked++;
    void extents.then((known) => {
      this.#nrAsked--;
      this.#statusKnown(entry, known);
      this.#parts.onProgress();
    });
    return true;
  }

  #statusKnown(entry: number, extents: readonly Extent[] | NegErrno): void {
    if (typeof extents === 'number') this.#status[entry] = extents;
    else this.#replyBytes[entry] = putStatusChunk(this.#ring.view, this.#ring.start[entry], extents);
    this.#partEnded(entry);
  }

  #startWrite(flags: number, high: number, low: number, offsetBytes: number, lengthBytes: number, checked: number): boolean {
    if (lengthBytes > 2 * this.#payloadMaxBytes)
      return this.#fail(`a WRITE of ${lengthBytes} bytes, where ${this.#payloadMaxBytes} are the most`);
    const entry = this.#admit(high, low, SIMPLE_REPLY_BYTES);
    if (entry < 0) return this.#block();
    this.#status[entry] = lengthBytes > this.#payloadMaxBytes ? -Errno.EINVAL : checked;
    const fua = (flags & CommandFlag.FUA) !== 0;
    this.#writeForced = fua && this.#target.device.can.fua;
    this.#flushAfter[entry] = fua && !this.#writeForced ? 1 : 0;
    this.#writeOffset = offsetBytes;
    this.#writeLeft = lengthBytes;
    this.#writeEntry = entry;
    return true;
  }

  /** Hands on what has arrived of a WRITE's payload; drains it once the WRITE has failed. */
  #takePayload(): boolean {
    const slot = this.#slot;
    const entry = this.#writeEntry;
    if (this.#writeLeft > 0) {
      let piece = Math.min(slot.length, this.#writeLeft);
      if (piece === 0) return false;
      if (this.#status[entry] === 0) {
        piece = Math.min(piece, this.#target.device.maxTransferBytes, this.#units.nrUnits * PAGE_BYTES);
        if (piece < this.#writeLeft) piece -= (this.#writeOffset + piece) % PAGE_BYTES;
        if (piece <= 0) return false; // not yet to the end of a page: it stays in the slot
        if (this.#bios.nrFree === 0 || !this.#units.has(unitsOf(piece), this)) return this.#block();
        const address = slot.address + slot.start;
        slot.consume(piece);
        slot.hold();
        this.#units.take(unitsOf(piece));
        this.#submit(Purpose.WRITE, BioOp.WRITE, entry, this.#writeOffset, address, piece, this.#writeForced);
      } else slot.consume(piece);
      this.#writeOffset += piece;
      this.#writeLeft -= piece;
    }
    if (this.#writeLeft > 0) return true;
    this.#writeEntry = -1;
    this.#partEnded(entry);
    return true;
  }

  /** FLUSH, TRIM, WRITE_ZEROES, and everything that is only refused. */
  #startOther(
    command: number,
    flags: number,
    high: number,
    low: number,
    offsetBytes: number,
    lengthBytes: number,
    status: number,
  ): boolean {
    const needsUnit = status === 0 && command !== Command.FLUSH;
    if (status === 0 && this.#bios.nrFree === 0) return this.#block();
    if (needsUnit && !this.#units.has(1, this)) return this.#block();
    const isChunk = this.#parts.agreed.isStructured && (command === Command.READ || command === Command.BLOCK_STATUS);
    const entry = this.#admit(high, low, isChunk ? ERROR_CHUNK_BYTES : SIMPLE_REPLY_BYTES);
    if (entry < 0) return this.#block();
    this.#isChunk[entry] = isChunk ? 1 : 0;
    this.#status[entry] = status;
    if (status === 0) {
      if (command === Command.FLUSH) this.#submitFlush(entry);
      else {
        if ((flags & CommandFlag.FUA) !== 0) this.#flushAfter[entry] = 1;
        this.#units.take(1);
        const bio = this.#bios.take() as Bio;
        bio.start(command === Command.TRIM ? BioOp.DISCARD : BioOp.WRITE_ZEROES, offsetBytes);
        bio.lengthBytes = lengthBytes;
        bio.noUnmap = (flags & CommandFlag.NO_HOLE) !== 0;
        this.#submitBio(bio, Purpose.OTHER, entry);
      }
    }
    this.#partEnded(entry);
    return true;
  }

  /** The next piece of a READ that is larger than the ring. Nothing else is open while it runs, so its pieces are neighbours in the stream. */
  #readNextPiece(): boolean {
    const ring = this.#ring;
    if (ring.nrReserved > 0 || this.nrInFlight > 0) return this.#block();
    const { isStructured } = this.#parts.agreed;
    const isOwnChunk = isStructured && !this.#readDontFragment;
    const header = this.#readStarted && !isOwnChunk ? 0 : this.#readHeadBytes;
    const { maxTransferBytes } = this.#target.device;
    const length = Math.min(this.#readLeft, maxTransferBytes, ring.sizeBytes / 2, this.#units.nrUnits * PAGE_BYTES);
    if (!this.#units.has(unitsOf(length), this)) return this.#block();
    const entry = ring.reserve(header + length);
    if (entry < 0) return this.#block();
    this.#units.take(unitsOf(length));
    this.#nrPending[entry] = 1;
    this.#status[entry] = 0;
    this.#isChunk[entry] = isStructured ? 1 : 0;
    const chunkBytes = isOwnChunk ? length : this.#readLeft;
    if (header > 0) this.#putReadHead(ring.start[entry], chunkBytes);
    this.#submit(Purpose.READ_PIECE, BioOp.READ, entry, this.#readOffset, ring.address + ring.start[entry] + header, length, false);
    return true;
  }

  #putReadHead(at: number, dataBytes: number): void {
    const { view } = this.#ring;
    const [high, low] = [this.#readCookieHigh, this.#readCookieLow];
    if (this.#parts.agreed.isStructured) putDataChunk(view, at, dataBytes === this.#readLeft, high, low, this.#readOffset, dataBytes);
    else putSimpleReply(view, at, 0, high, low);
  }

  #readPieceEnded(entry: number, status: number, lengthBytes: number): void {
    if (status === 0) {
      this.#readStarted = true;
      this.#readOffset += lengthBytes;
      this.#readLeft -= lengthBytes;
      this.#ring.complete(entry);
      return;
    }
    this.#readLeft = 0;
    const isOwnChunk = this.#isChunk[entry] === 1 && !this.#readDontFragment;
    if (this.#readStarted && !isOwnChunk) {
      // The header has said success, and is not taken back.
      this.#failed = true;
      this.#ring.complete(entry, 0);
      this.#parts.fail(new KernelError('EIO', `a read failed at byte ${this.#readOffset}, in the middle of its reply`));
      return;
    }
    this.#completeWithError(entry, status);
  }

  #completeWithError(entry: number, status: number): void {
    const { view, start } = this.#ring;
    if (this.#isChunk[entry] === 1) putErrorChunk(view, start[entry], status);
    else view.setUint32(start[entry] + 4, wireError(status));
    this.#ring.complete(entry, this.#isChunk[entry] === 1 ? ERROR_CHUNK_BYTES : SIMPLE_REPLY_BYTES);
  }

  #submit(purpose: string, op: BioOp, entry: number, offsetBytes: number, address: number, lengthBytes: number, fua: boolean): void {
    const bio = this.#bios.take();
    invariant(bio !== undefined, 'a request was taken in without its bios');
    bio.start(op, offsetBytes);
    bio.addSegment(address, lengthBytes);
    bio.fua = fua;
    this.#submitBio(bio, purpose, entry);
  }

  #submitFlush(entry: number): void {
    const bio = this.#bios.take();
    invariant(bio !== undefined, 'a flush was taken in without its bio');
    bio.start(BioOp.FLUSH, 0);
    this.#submitBio(bio, Purpose.FLUSH, entry);
  }

  #submitBio(bio: Bio, purpose: string, entry: number): void {
    bio.owner = purpose;
    bio.ownerIndex = entry;
    if (purpose !== Purpose.READ_PIECE) this.#nrPending[entry]++;
    this.#target.device.submit(bio);
  }

  #bioEnded(bio: Bio): void {
    const entry = bio.ownerIndex;
    const { status } = bio;
    const purpose = bio.owner as string;
    const nrUnits = unitsOfBio(purpose, bio);
    this.#bios.put(bio);
    if (purpose === Purpose.WRITE) this.#slot.release();
    if (purpose === Purpose.READ_PIECE) this.#readPieceEnded(entry, status, bio.lengthBytes);
    else {
      if (status !== 0 && this.#status[entry] === 0) this.#status[entry] = status;
      if (status !== 0 && (purpose === Purpose.FLUSH || (bio.fua && status === -Errno.EIO))) this.#target.hasFailedFlush = true;
      if (purpose === Purpose.FLUSH && this.#target.hasFailedFlush && this.#status[entry] === 0) this.#status[entry] = -Errno.EIO;
      this.#partEnded(entry);
    }
    if (nrUnits > 0) this.#units.give(nrUnits);
    if (!this.#inLoop) this.#parts.onProgress();
  }

  /** One part of a request is over; the last one answers it. */
  #partEnded(entry: number): void {
    if (--this.#nrPending[entry] > 0) return;
    const status = this.#status[entry];
    if (status === 0 && this.#flushAfter[entry] === 1) {
      this.#flushAfter[entry] = 0;
      this.#submitFlush(entry); // there is a bio: the last part that ended has put one back, and nothing was taken in since
      return;
    }
    if (status !== 0) this.#completeWithError(entry, status);
    else this.#ring.complete(entry, this.#replyBytes[entry] === 0 ? undefined : this.#replyBytes[entry]);
  }
}

/** Units that a piece of `lengthBytes` takes: those of its pages. */
function unitsOf(lengthBytes: number): number {
  return Math.ceil(lengthBytes / PAGE_BYTES);
}

/** Units that a bio takes: one for TRIM and WRITE_ZEROES, which carry no payload, and none for FLUSH. */
function unitsOfBio(purpose: string, bio: Bio): number {
  return purpose === Purpose.FLUSH ? 0 : purpose === Purpose.OTHER ? 1 : unitsOf(bio.lengthBytes);
}
