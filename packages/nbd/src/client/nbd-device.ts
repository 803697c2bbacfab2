/**
 * The NBD client as a block device.
 *
 * Everything its path needs is taken when it is opened: a receive slot, request slots with their header buffers, `nrUnits` page units
 * (M21). A request takes a slot and as many units as it has pages; what is beyond them waits in a list linked through the bios
 * themselves, which their submitters' pools bound. Pages are sent by reference; what is read goes from the slot straight to its pages.
 *
 * A lost connection: the link reconnects, and every unanswered request is sent again under the same units. The generation rises, and if
 * writes were acknowledged and not flushed before, the next flush (and every one waiting) ends with `WRITE_AGAIN`, once. After the time
 * limit without a reply, what is in flight ends with EIO, and the device stays closed until a new request makes one more attempt; if the
 * export is no longer the same (size, flags, block size), it is dead for good.
 *
 * A server without FLUSH has nothing to flush to: a flush ends at once, with `WRITE_AGAIN` or 0 by the same rule.
 */
import {
  type Arena,
  type Bio,
  BioFifo,
  BioOp,
  type BlockDeviceOps,
  type Clock,
  Errno,
  KernelError,
  type LocalClient,
  type NegErrno,
  PAGE_SIZE,
  type StandingMemory,
  type TimerHandle,
  type TracePoints,
  type WaitParty,
  WRITE_AGAIN,
  type WriteoutNode,
} from '@tidemark/core';
import type { ReceiveSlot, Socket, SocketHandler } from '@tidemark/net';
import { Command, CommandFlag, TransmissionFlag } from '../protocol/constants.js';
import { putRequest } from '../protocol/messages.js';
import type { Connected } from './connect.js';
import { FlushLedger } from './flush-ledger.js';
import type { ExportInfo } from './handshake.js';
import { Link, type LinkParts } from './link.js';
import { ReplyReader } from './reply-reader.js';
import { RequestSlots, SlotState } from './request-slots.js';

/** Longest part of a discard or write-zeroes: the length on the wire has 32 bits. */
const PART_MAX_BYTES = 2 ** 30;
/** Longest wait for an orderly close. */
const CLOSE_TIMEOUT_MS = 1_000;
const COMMANDS = [Command.READ, Command.WRITE, Command.FLUSH, Command.TRIM, Command.WRITE_ZEROES] as const;

/** What a device is made of; the memory is its own from then on. */
export interface NbdDeviceParts {
  readonly name: string;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly trace: TracePoints;
  readonly receiveMemory: StandingMemory;
  readonly headerMemory: StandingMemory;
  readonly slot: ReceiveSlot;
  /** What its connections are known by in this kernel; closed with the device. */
  readonly client: LocalClient;
  /** The transport's node of the writeout graph, if it has one. */
  readonly needs: readonly WriteoutNode[];
  readonly nrUnits: number;
  /** Largest payload the kernel's plan allows. */
  readonly payloadBytes: number;
  readonly readOnly: boolean;
  readonly reconnectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly connect: LinkParts['connect'];
}

export class NbdDevice implements BlockDeviceOps, SocketHandler {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly client: LocalClient;
  readonly needs: readonly WriteoutNode[];
  readonly trusted = false;
  readonly viaSocket = true;
  readonly can: BlockDeviceOps['can'];
  readonly nrUnits: number;
  readonly #parts: NbdDeviceParts;
  readonly #info: ExportInfo;
  readonly #canFlush: boolean;
  readonly #requests: RequestSlots;
  readonly #replies: ReplyReader;
  readonly #ledger = new FlushLedger();
  readonly #link: Link;
  readonly #waiting = new BioFifo();
  readonly #flushes = new BioFifo();
  /** What the flush in flight covers. */
  #flushMark = 0;
  #nrReplies = 0;
  #watchdog: TimerHandle | null = null;
  #closing: Promise<void> | null = null;
  #onSocketGone: (() => void) | null = null;

  constructor(parts: NbdDeviceParts, connected: Connected) {
    const { info } = connected;
    const has = (flag: number): boolean => (info.flags & flag) !== 0;
    this.#parts = parts;
    this.#info = info;
    this.name = parts.name;
    this.client = parts.client;
    this.needs = parts.needs;
    this.nrUnits = parts.nrUnits;
    this.blockSizeBytes = info.minBlockBytes;
    this.sizeBytes = info.sizeBytes - (info.sizeBytes % info.minBlockBytes); // the specification has a partial last block out of reach
    this.maxTransferBytes = Math.floor(Math.min(parts.payloadBytes, info.maxPayloadBytes) / PAGE_SIZE) * PAGE_SIZE;
    this.readOnly = parts.readOnly || has(TransmissionFlag.READ_ONLY);
    this.#canFlush = has(TransmissionFlag.SEND_FLUSH);
    this.can = {
      flush: true,
      fua: has(TransmissionFlag.SEND_FUA),
      discard: has(TransmissionFlag.SEND_TRIM),
      writeZeroes: has(TransmissionFlag.SEND_WRITE_ZEROES),
    };
    this.#requests = new RequestSlots(parts.headerMemory, parts.nrUnits, (slot) => this.#mark(slot, SlotState.SENT));
    this.#replies = new ReplyReader(parts.arena, this.#requests, (slot, status) => this.#answered(slot, status));
    this.#link = new Link(
      {
        name: parts.name,
        clock: parts.clock,
        trace: parts.trace,
        timeLimitMs: parts.reconnectTimeoutMs,
        connect: async (timeoutMs, signal) => this.#checkSame(await parts.connect(timeoutMs, signal)),
        onUp: (again) => this.#up(again),
        onGivenUp: () => this.#failAll(),
      },
      connected.socket,
    );
    this.#takeOver(connected);
  }

  /** Connections made so far: raised by each reconnect. */
  get generation(): number {
    return this.#link.generation;
  }

  /** From the handshake: what has come after it is looked at at once, for reading may have stopped on it. */
  #takeOver(connected: Connected): void {
    connected.takeOver(this);
    if (connected.socket.slot.length > 0) this.onReceive(connected.socket);
    connected.socket.resume();
  }

  async #checkSame(connected: Connected): Promise<Connected> {
    const { info } = connected;
    const was = this.#info;
    if (
      info.sizeBytes === was.sizeBytes &&
      info.flags === was.flags &&
      info.minBlockBytes === was.minBlockBytes &&
      info.maxPayloadBytes >= this.maxTransferBytes
    ) {
      return connected;
    }
    await connected.abandon();
    throw new KernelError('ESTALE', `${this.name}: after a reconnect the export has another size or other flags`);
  }

  waitsFor(isServerLocal: boolean): WaitParty[] {
    if (this.#requests.nrBusy === 0) return [];
    if (this.#link.socket === null) return [{ kind: 'connection', name: `to ${this.name}, which is lost` }];
    return isServerLocal ? [] : [{ kind: 'reply', name: `of ${this.name}`, heldBy: () => this.needs }];
  }

  submit(bio: Bio): void {
    if (this.#closing !== null || this.#link.isDead) {
      bio.end(-Errno.EIO);
      return;
    }
    if (bio.op === BioOp.FLUSH) {
      this.#flushes.push(bio);
      this.#pumpFlushes();
    } else {
      this.#waiting.push(bio);
      this.#pump();
    }
    this.#link.wake();
  }

  /** Starts what has units now. */
  #pump(): void {
    for (let bio = this.#waiting.first; bio !== null; bio = this.#waiting.first) {
      const units = bio.op <= BioOp.WRITE ? Math.ceil(bio.lengthBytes / PAGE_SIZE) : 1;
      const slot = this.#requests.take(bio, units);
      if (slot < 0) return;
      this.#waiting.shift();
      this.#send(slot);
    }
  }

  #pumpFlushes(): void {
    if (this.#ledger.hasLosses) this.#reportLosses();
    for (let bio = this.#flushes.first; bio !== null; bio = this.#flushes.first) {
      if (this.#canFlush && !this.#requests.takeFlush(bio)) return;
      this.#flushes.shift();
      this.#flushMark = this.#ledger.mark;
      if (this.#canFlush) this.#send(this.#requests.flushSlot);
      else {
        this.#ledger.flushed(this.#flushMark);
        bio.end(0);
      }
    }
  }

  /** Ends every flush there is now with `WRITE_AGAIN`; if there is none, the next one will be told. */
  #reportLosses(): void {
    const { flushSlot, state } = this.#requests;
    const ended = new BioFifo();
    if (state[flushSlot] !== SlotState.FREE) ended.push(this.#requests.release(flushSlot));
    ended.takeAll(this.#flushes);
    if (ended.first === null) return;
    this.#ledger.reportLosses();
    ended.endAll(WRITE_AGAIN);
  }

  /** Sends the request of a slot, if there is a connection; else the next one will. */
  #send(slot: number): void {
    const { socket, generation } = this.#link;
    const requests = this.#requests;
    requests.state[slot] = SlotState.BUSY;
    if (socket === null) return;
    const bio = requests.bios[slot] as Bio;
    let flags = 0;
    let offsetBytes = 0;
    let lengthBytes = 0;
    if (bio.op !== BioOp.FLUSH) {
      const doneBytes = requests.doneBytes[slot];
      offsetBytes = bio.offsetBytes + doneBytes;
      lengthBytes = bio.op <= BioOp.WRITE ? bio.lengthBytes : Math.min(bio.lengthBytes - doneBytes, PART_MAX_BYTES);
      requests.partBytes[slot] = lengthBytes;
      if (bio.op === BioOp.WRITE && bio.fua) flags = CommandFlag.FUA;
      if (bio.op === BioOp.WRITE_ZEROES && bio.noUnmap) flags = CommandFlag.NO_HOLE;
    }
    const header = requests.headerBytes[slot];
    putRequest(requests.headers, slot * header.length, flags, COMMANDS[bio.op], generation, slot, offsetBytes, lengthBytes);
    const onSent = requests.onSent[slot];
    if (bio.op === BioOp.WRITE) {
      socket.send(header, null);
      const last = bio.nrSegments - 1;
      for (let i = 0; i <= last; i++) socket.send(this.#parts.arena.view(bio.addresses[i], bio.lengths[i]), i === last ? onSent : null);
    } else socket.send(header, onSent);
    if (this.#watchdog === null) this.#watch();
  }

  onReceive(socket: Socket): boolean {
    try {
      this.#replies.receive(socket.slot, this.#link.generation);
    } catch (error) {
      const { code, message } = error as KernelError;
      socket.destroy(new KernelError(code, `${this.name}: ${message}`, { cause: error }));
      return false;
    }
    return true;
  }

  onEnd(socket: Socket): void {
    socket.destroy(new KernelError('ECONNRESET', `${this.name}: the server closed the connection`));
  }

  #answered(slot: number, status: 0 | NegErrno): void {
    this.#nrReplies++;
    this.#link.progress();
    this.#requests.status[slot] = status;
    this.#mark(slot, SlotState.ANSWERED);
  }

  /** A slot was sent, or answered; both, and it is over. */
  #mark(slot: number, bit: number): void {
    const { state } = this.#requests;
    if (state[slot] === SlotState.FREE) return;
    state[slot] |= bit;
    if (state[slot] === (SlotState.BUSY | SlotState.SENT | SlotState.ANSWERED)) this.#finish(slot);
  }

  #finish(slot: number): void {
    const requests = this.#requests;
    const status = requests.status[slot];
    const { op, fua, lengthBytes } = requests.bios[slot] as Bio;
    if (status === 0) {
      if (op === BioOp.FLUSH) this.#ledger.flushed(this.#flushMark);
      else if (op !== BioOp.READ && !(op === BioOp.WRITE && fua)) this.#ledger.acknowledge();
      if (op > BioOp.FLUSH) {
        requests.doneBytes[slot] += requests.partBytes[slot];
        if (requests.doneBytes[slot] < lengthBytes) {
          this.#send(slot);
          return;
        }
      }
    }
    requests.release(slot).end(status);
    if (op === BioOp.FLUSH) this.#pumpFlushes();
    else this.#pump();
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    const requests = this.#requests;
    this.#replies.reset();
    this.#stopWatching();
    if (this.#closing !== null) {
      this.#onSocketGone?.();
      return;
    }
    this.#link.lost(error); // before anything is ended: what a submitter sends now waits for the next connection
    for (let slot = 0; slot <= requests.nrUnits; slot++) {
      const state = requests.state[slot];
      if ((state & SlotState.ANSWERED) !== 0)
        this.#finish(slot); // its pages are free, now that the host has let go of them
      else if (state !== SlotState.FREE) requests.state[slot] = SlotState.BUSY;
    }
    this.#ledger.connectionLost();
    if (this.#ledger.hasLosses) this.#reportLosses();
  }

  #up(connected: Connected): void {
    this.#takeOver(connected);
    const { state, nrUnits } = this.#requests;
    for (let slot = 0; slot <= nrUnits; slot++) if (state[slot] !== SlotState.FREE) this.#send(slot);
    this.#pump();
    this.#pumpFlushes();
  }

  /** Ends everything with EIO. There is no socket, so the pages are free. */
  #failAll(): void {
    const { state, nrUnits } = this.#requests;
    const ended = new BioFifo();
    for (let slot = 0; slot <= nrUnits; slot++) if (state[slot] !== SlotState.FREE) ended.push(this.#requests.release(slot));
    ended.takeAll(this.#waiting);
    ended.takeAll(this.#flushes);
    ended.endAll(-Errno.EIO);
  }

  /** Ends a connection that owes replies and has sent none for `requestTimeoutMs`. One timer, however many requests. */
  #watch(): void {
    const { clock, requestTimeoutMs } = this.#parts;
    const seen = this.#nrReplies;
    this.#watchdog = clock.setTimer(requestTimeoutMs, () => {
      this.#watchdog = null;
      if (this.#requests.nrBusy === 0) return;
      if (this.#nrReplies !== seen) this.#watch();
      else this.#link.socket?.destroy(new KernelError('ETIMEDOUT', `${this.name}: no reply within ${requestTimeoutMs} ms`));
    });
  }

  #stopWatching(): void {
    if (this.#watchdog !== null) this.#parts.clock.clearTimer(this.#watchdog);
    this.#watchdog = null;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, receiveMemory, headerMemory } = this.#parts;
    const { socket } = this.#link;
    const gone = new Promise<void>((resolve) => (this.#onSocketGone = resolve));
    await this.#link.close();
    if (socket !== null) {
      const timer = clock.setTimer(CLOSE_TIMEOUT_MS, () => socket.destroy());
      this.#goodbye(socket);
      await gone;
      clock.clearTimer(timer);
    }
    this.#stopWatching();
    this.#failAll();
    this.client.close();
    receiveMemory.free();
    headerMemory.free();
  }

  /** DISC if nothing is in flight; else the socket is closed at once. */
  #goodbye(socket: Socket): void {
    const { discSlot, headers, headerBytes, nrBusy } = this.#requests;
    if (nrBusy > 0 || !socket.isOpen) {
      socket.destroy();
      return;
    }
    const header = headerBytes[discSlot];
    putRequest(headers, discSlot * header.length, 0, Command.DISC, this.#link.generation, discSlot, 0, 0);
    socket.send(header, null);
    socket.closeWhenSent();
  }
}
