/**
 * The server's side of the handshake (fixed newstyle), from the client's flags to the option that starts transmission.
 *
 * Everything the client sends is bounded: options a connection (`OPTIONS_MAX`), bytes of an option that are looked at (half a slot) and
 * of one that is skipped (`SKIP_MAX_BYTES`); time is bounded by the connection. Replies are made in the connection's transmit memory,
 * and the next option waits until they are sent. INFO and GO are answered from the same facts.
 */
import { decodeUtf8, encodeUtf8, KernelError } from '@tidemark/core';
import type { ReceiveSlot } from '@tidemark/net';
import {
  ALLOCATION_CONTEXT,
  EXPORT_NAME_ZEROES,
  GREETING_BYTES,
  GREETING_MAGIC,
  HandshakeFlag,
  Info,
  Option,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OptionReply,
  STRING_MAX_BYTES,
  TransmissionFlag,
} from '../protocol/constants.js';
import { hasMagic, putOptionReply, setMagic, setU64 } from '../protocol/messages.js';
import { ALLOCATION_ID } from './chunks.js';
import type { Export } from './export.js';
import { asksAllocation, readMetaQuery } from './meta-contexts.js';
import type { Agreed } from './request-check.js';

/** Options a client may send. */
const OPTIONS_MAX = 32;
/** Data of one option that is skipped to answer it with TOO_BIG; a client with more is cut off. */
const SKIP_MAX_BYTES = 2 ** 20;

/** What a server offers. */
export interface Offer {
  /** By name, in the order given; the first is also the default, the empty name. */
  readonly exports: ReadonlyMap<string, Export>;
  readonly defaultExport: Export;
  /** Largest payload advertised and accepted, in bytes. */
  readonly maxPayloadBytes: number;
}

/** What the connection does for the handshake. */
export interface NegotiationHost {
  readonly slot: ReceiveSlot;
  /** Transmit memory. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Sends the first `lengthBytes` of the transmit memory. */
  sendReply(lengthBytes: number, onSent: () => void): void;
  /** The handshake is over. */
  onTransmission(chosen: Export, agreed: Agreed): void;
  /** The client said goodbye; what was sent has been sent. */
  onAbort(): void;
}

/** Bytes of transmit memory that the longest answer of `LIST` takes. */
export function listReplyBytes(exports: ReadonlyMap<string, Export>): number {
  let bytes = OPTION_REPLY_HEADER_BYTES;
  for (const name of exports.keys()) bytes += OPTION_REPLY_HEADER_BYTES + 4 + encodeUtf8(name).length;
  return bytes;
}

export class Negotiation {
  #clientFlags = -1;
  #nrOptions = 0;
  /** Data left to skip, and the option it belongs to. */
  #skipLeft = 0;
  #skipOption = 0;
  #isStructured = false;
  /** The export for which the client wants to know of allocation, or null. */
  #contextsOf: Export | null = null;
  /** A reply is on its way. */
  #busy = false;
  #length = 0;

  constructor(
    private readonly host: NegotiationHost,
    private readonly offer: Offer,
  ) {}

  /** Sends the greeting. */
  begin(resume: () => void): void {
    const { view } = this.host;
    setMagic(view, 0, GREETING_MAGIC);
    setMagic(view, 8, OPTION_MAGIC);
    view.setUint16(16, HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES);
    this.#send(GREETING_BYTES, resume);
  }

  /**
   * Takes what it can from the slot. `resume` is called when it could go on after having returned false.
   * @returns false while a reply is being sent.
   * @throws KernelError EPROTO if the connection must end.
   */
  receive(resume: () => void): boolean {
    const { slot } = this.host;
    while (!this.#busy) {
      if (this.#clientFlags < 0) {
        if (slot.length < 4) return true;
        this.#takeClientFlags(slot);
      } else if (this.#skipLeft > 0) {
        if (slot.length === 0) return true;
        const skipped = Math.min(slot.length, this.#skipLeft);
        slot.consume(skipped);
        this.#skipLeft -= skipped;
        if (this.#skipLeft === 0) this.#answer(this.#skipOption, OptionReply.ERR_TOO_BIG, resume);
      } else {
        if (slot.length < OPTION_HEADER_BYTES) return true;
        const { view } = slot;
        const at = slot.start;
        if (!hasMagic(view, at, OPTION_MAGIC)) throw new KernelError('EPROTO', 'an option does not begin with IHAVEOPT');
        const option = view.getUint32(at + 8);
        const lengthBytes = view.getUint32(at + 12);
        if (lengthBytes > slot.sizeBytes / 2) this.#skip(option, lengthBytes);
        else {
          if (slot.length < OPTION_HEADER_BYTES + lengthBytes) return true;
          slot.consume(OPTION_HEADER_BYTES + lengthBytes);
          this.#count();
          this.#option(option, at + OPTION_HEADER_BYTES, lengthBytes, resume);
        }
      }
    }
    return false;
  }

  #takeClientFlags(slot: ReceiveSlot): void {
    const flags = slot.view.getUint32(slot.start);
    slot.consume(4);
    if ((flags & ~(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)) !== 0) {
      throw new KernelError('EPROTO', `client flags 0x${flags.toString(16)} were not offered`);
    }
    this.#clientFlags = flags;
  }

  #count(): void {
    if (++this.#nrOptions > OPTIONS_MAX) throw new KernelError('EPROTO', `more than ${OPTIONS_MAX} options`);
  }

  #skip(option: number, lengthBytes: number): void {
    if (lengthBytes > SKIP_MAX_BYTES || option === Option.EXPORT_NAME)
      throw new KernelError('EPROTO', `option ${option} has ${lengthBytes} bytes of data`);
    this.#count();
    this.host.slot.consume(OPTION_HEADER_BYTES);
    this.#skipOption = option;
    this.#skipLeft = lengthBytes;
  }

  /** One whole option, its data at `at` in the slot (consumed, and untouched until this returns). */
  #option(option: number, at: number, lengthBytes: number, resume: () => void): void {
    switch (option) {
      case Option.EXPORT_NAME:
        this.#exportName(at, lengthBytes);
        break;
      case Option.ABORT:
        this.#length = putOptionReply(this.host.view, 0, option, OptionReply.ACK, 0);
        this.#send(this.#length, () => this.host.onAbort());
        break;
      case Option.LIST:
        if (lengthBytes > 0) this.#answer(option, OptionReply.ERR_INVALID, resume);
        else this.#list(resume);
        break;
      case Option.INFO:
      case Option.GO:
        this.#infoOrGo(option, at, lengthBytes, resume);
        break;
      case Option.STRUCTURED_REPLY:
        this.#isStructured ||= lengthBytes === 0;
        this.#answer(option, lengthBytes === 0 ? OptionReply.ACK : OptionReply.ERR_INVALID, resume);
        break;
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        this.#metaContexts(option, at, lengthBytes, resume);
        break;
      default:
        this.#answer(option, OptionReply.ERR_UNSUP, resume);
    }
  }

  #exportName(at: number, lengthBytes: number): void {
    const name = lengthBytes > STRING_MAX_BYTES ? null : decodeUtf8(this.host.slot.bytes, at, at + lengthBytes);
    const chosen = name === null ? null : this.#find(name);
    if (chosen === null) throw new KernelError('EPROTO', `EXPORT_NAME of an export that is not here: ${JSON.stringify(name)}`);
    const { bytes, view } = this.host;
    setU64(view, 0, chosen.device.sizeBytes);
    view.setUint16(8, this.#flagsOf(chosen));
    const zeroes = (this.#clientFlags & HandshakeFlag.NO_ZEROES) === 0 ? EXPORT_NAME_ZEROES : 0;
    bytes.fill(0, 10, 10 + zeroes);
    this.#send(10 + zeroes, () => this.host.onTransmission(chosen, this.#agreed(chosen, false)));
  }

  /** Transmission flags: those of the export, and what structured replies make possible. */
  #flagsOf({ flags }: Export): number {
    return this.#isStructured ? flags | TransmissionFlag.SEND_DF : flags;
  }

  #agreed(chosen: Export, askedBlockSize: boolean): Agreed {
    return { askedBlockSize, isStructured: this.#isStructured, hasAllocation: this.#contextsOf === chosen };
  }

  /** Contexts are chosen for one export; choosing again forgets what was chosen, also if it fails. */
  #metaContexts(option: number, at: number, lengthBytes: number, resume: () => void): void {
    const { slot, view, bytes } = this.host;
    const lists = option === Option.LIST_META_CONTEXT;
    if (!lists) this.#contextsOf = null;
    const asked = readMetaQuery(slot.bytes, slot.view, at, at + lengthBytes);
    const chosen = typeof asked === 'number' ? null : this.#find(asked.exportName);
    if (typeof asked === 'number' || chosen === null || !this.#isStructured) {
      const isUnknown = typeof asked !== 'number' && this.#isStructured;
      this.#answer(option, typeof asked === 'number' ? asked : isUnknown ? OptionReply.ERR_UNKNOWN : OptionReply.ERR_INVALID, resume);
      return;
    }
    let length = 0;
    if (asksAllocation(asked, lists)) {
      if (!lists) this.#contextsOf = chosen;
      const name = encodeUtf8(ALLOCATION_CONTEXT);
      length += putOptionReply(view, 0, option, OptionReply.META_CONTEXT, 4 + name.length);
      view.setUint32(length, lists ? 0 : ALLOCATION_ID);
      bytes.set(name, length + 4);
      length += 4 + name.length;
    }
    length += putOptionReply(view, length, option, OptionReply.ACK, 0);
    this.#send(length, resume);
  }

  #list(resume: () => void): void {
    const { bytes, view } = this.host;
    let length = 0;
    for (const name of this.offer.exports.keys()) {
      const encoded = encodeUtf8(name);
      length += putOptionReply(view, length, Option.LIST, OptionReply.SERVER, 4 + encoded.length);
      view.setUint32(length, encoded.length);
      bytes.set(encoded, length + 4);
      length += 4 + encoded.length;
    }
    length += putOptionReply(view, length, Option.LIST, OptionReply.ACK, 0);
    this.#send(length, resume);
  }

  #infoOrGo(option: number, at: number, lengthBytes: number, resume: () => void): void {
    const asked = this.#parseInfo(at, lengthBytes);
    if (typeof asked === 'number') {
      this.#answer(option, asked, resume);
      return;
    }
    const { chosen, asksBlockSize, asksName } = asked;
    const length = this.#putInfo(option, chosen, asksBlockSize, asksName);
    this.#send(length, option === Option.GO ? () => this.host.onTransmission(chosen, this.#agreed(chosen, asksBlockSize)) : resume);
  }

  /**
   * Data of INFO and GO: name length u32, name, number of requests u16, requests u16 each.
   * @returns what is asked for, or the error to answer with.
   */
  #parseInfo(at: number, lengthBytes: number): { chosen: Export; asksBlockSize: boolean; asksName: boolean } | number {
    const { bytes, view } = this.host.slot;
    const nameBytes = lengthBytes >= 6 ? view.getUint32(at) : Number.POSITIVE_INFINITY;
    if (nameBytes > lengthBytes - 6) return OptionReply.ERR_INVALID;
    const nrRequests = view.getUint16(at + 4 + nameBytes);
    if (6 + nameBytes + 2 * nrRequests !== lengthBytes) return OptionReply.ERR_INVALID;
    const name = nameBytes > STRING_MAX_BYTES ? null : decodeUtf8(bytes, at + 4, at + 4 + nameBytes);
    if (name === null) return OptionReply.ERR_INVALID;
    const chosen = this.#find(name);
    if (chosen === null) return OptionReply.ERR_UNKNOWN;
    let asksBlockSize = false;
    let asksName = false;
    for (let i = 0; i < nrRequests; i++) {
      const request = view.getUint16(at + 6 + nameBytes + 2 * i);
      asksBlockSize ||= request === Info.BLOCK_SIZE;
      asksName ||= request === Info.NAME;
    }
    return { chosen, asksBlockSize, asksName };
  }

  #putInfo(option: number, chosen: Export, asksBlockSize: boolean, asksName: boolean): number {
    const { bytes, view } = this.host;
    let length = putOptionReply(view, 0, option, OptionReply.INFO, 12);
    view.setUint16(length, Info.EXPORT);
    setU64(view, length + 2, chosen.device.sizeBytes);
    view.setUint16(length + 10, this.#flagsOf(chosen));
    length += 12;
    if (asksBlockSize) {
      length += putOptionReply(view, length, option, OptionReply.INFO, 14);
      view.setUint16(length, Info.BLOCK_SIZE);
      view.setUint32(length + 2, chosen.device.blockSizeBytes);
      view.setUint32(length + 6, 4096);
      view.setUint32(length + 10, this.offer.maxPayloadBytes);
      length += 14;
    }
    if (asksName) {
      const encoded = encodeUtf8(chosen.name);
      length += putOptionReply(view, length, option, OptionReply.INFO, 2 + encoded.length);
      view.setUint16(length, Info.NAME);
      bytes.set(encoded, length + 2);
      length += 2 + encoded.length;
    }
    return length + putOptionReply(view, length, option, OptionReply.ACK, 0);
  }

  #find(name: string): Export | null {
    return this.offer.exports.get(name) ?? (name === '' ? this.offer.defaultExport : null);
  }

  #answer(option: number, type: number, resume: () => void): void {
    this.#send(putOptionReply(this.host.view, 0, option, type, 0), resume);
  }

  #send(lengthBytes: number, next: () => void): void {
    this.#busy = true;
    this.host.sendReply(lengthBytes, () => {
      this.#busy = false;
      next();
    });
  }
}
