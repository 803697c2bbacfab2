/**
 * From requests to replies. A request that can be answered at once is answered before the next one is read; one that has to wait becomes one of
 * the calls in progress, and its buffer is used again, unless its data are still wanted.
 *
 *     reading stops   when every request slot is kept by a WRITE, or as many calls are in progress as there may be
 *     and goes on     when one of those ends: none of them waits for a request that has not been read, but waits for advisory locks, which
 *                     take half of the places at most
 *
 * The kernel's bugs and ours are answered with an error, counted, and harm nobody else.
 */
import { Errno, errnoOf, KernelError, type NegErrno, type Steps } from '@tidemark/core';
import type { ChannelHandler, FuseChannel } from '../channel.js';
import { FUSE_MAJOR, FUSE_MINOR_LEAST, InitFlag, Opcode, REQUEST_HEAD_BYTES } from '../protocol/constants.js';
import { INIT_OUT_BYTES, putInit, readInit } from '../protocol/init.js';
import { bodyBytesLeast, Request } from '../protocol/request.js';
import { Call, type FuseService, NO_REPLY } from './call.js';
import { forget, forgetBatch } from './operations/names.js';
import { OPERATIONS } from './operations/index.js';
import type { Slot, Slots } from './slots.js';

const HIGH = 2 ** 32;
/** Largest errno a reply can bear. */
const ERRNO_MAX = 511;
/** Requests the kernel keeps in the background at once. */
const BACKGROUND = 32;

/** Requests that nobody waits for an answer to. */
const NOT_ANSWERED: ReadonlySet<number> = new Set([Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY]);

/** Granted whenever the kernel offers it. */
const ALWAYS =
  InitFlag.ASYNC_READ |
  InitFlag.POSIX_LOCKS |
  InitFlag.ATOMIC_O_TRUNC |
  InitFlag.BIG_WRITES |
  InitFlag.FLOCK_LOCKS |
  InitFlag.AUTO_INVAL_DATA |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.ABORT_ERROR |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.HANDLE_KILLPRIV_V2;

export class Dispatcher implements ChannelHandler {
  /** The change that is being told of is made by an operation of this mount. */
  isOwnChange = false;
  /** Operations that threw. */
  nrBugs = 0;
  /** Requests that were none. */
  nrMalformed = 0;
  /** Requests. */
  nrRequests = 0;
  readonly #service: FuseService;
  readonly #channel: FuseChannel;
  readonly #slots: Slots;
  readonly #scratch: Slot;
  readonly #request = new Request();
  readonly #inProgress = new Map<number, Call>();
  readonly #onClosed: (error: KernelError | null) => void;
  #current: Slot;
  #isPaused = false;
  #isGreeted = false;
  #onIdle: (() => void) | null = null;

  constructor(service: FuseService, channel: FuseChannel, slots: Slots, scratch: Slot, onClosed: (error: KernelError | null) => void) {
    this.#service = service;
    this.#channel = channel;
    this.#slots = slots;
    this.#scratch = scratch;
    this.#onClosed = onClosed;
    this.#current = slots.get() as Slot;
  }

  /** Calls in progress. */
  get nrInProgress(): number {
    return this.#inProgress.size;
  }

  buffer(): Uint8Array {
    return this.#current.bytes;
  }

  request(length: number): boolean {
    this.nrRequests++;
    const request = this.#request;
    const { bytes, view } = this.#current;
    if (!request.point(bytes, view, length)) {
      this.nrMalformed++;
      if (length >= REQUEST_HEAD_BYTES) this.#refuse(view.getUint32(8, true), view.getUint32(12, true), -Errno.EINVAL);
      return true;
    }
    this.#dispatch(request);
    this.#isPaused = this.#mustPause();
    return !this.#isPaused;
  }

  closed(error: KernelError | null): void {
    this.#onClosed(error);
  }

  #dispatch(request: Request): void {
    const { opcode, uniqueLow, uniqueHigh, nodeId, uid, gid } = request;
    const refused = this.#checked(request);
    if (refused !== 0) {
      if (!NOT_ANSWERED.has(opcode)) this.#refuse(uniqueLow, uniqueHigh, refused);
      return;
    }
    const operation = OPERATIONS.get(opcode);
    if (operation === undefined) {
      this.#doAtOnce(request);
      return;
    }
    const call = new Call(this.#service, opcode, uniqueLow, uniqueHigh, nodeId, uid, gid, this.#scratch.reply);
    const steps = operation.run(call, request, this.#service);
    const waiting = this.#step(call, steps, undefined, null);
    if (waiting === null) return;
    if (operation.keepsRequest === true) this.#keepRequest(call);
    this.#inProgress.set(uniqueHigh * HIGH + uniqueLow, call);
    void this.#goOn(call, steps, waiting);
  }

  /** 0, or what a request is refused with that cannot be served. */
  #checked({ opcode, bodyBytes }: Request): 0 | NegErrno {
    const least = bodyBytesLeast(opcode);
    if (least < 0) return -Errno.ENOSYS;
    if (bodyBytes < least) {
      this.nrMalformed++;
      return -Errno.EINVAL;
    }
    return this.#isGreeted || opcode === Opcode.INIT ? 0 : -Errno.EIO;
  }

  /** Requests that are no calls: INIT, and those that nobody waits for. */
  #doAtOnce(request: Request): void {
    switch (request.opcode) {
      case Opcode.INIT:
        this.#greet(request);
        break;
      case Opcode.FORGET:
        forget(request, this.#service);
        break;
      case Opcode.BATCH_FORGET:
        forgetBatch(request, this.#service);
        break;
      case Opcode.INTERRUPT:
        this.#service.interrupt(request.u32(0), request.u32(4));
        break;
    }
  }

  /** The data of a call stay where they are: the next request goes elsewhere. If there is no other slot, this one is what is waited for. */
  #keepRequest(call: Call): void {
    call.requestSlot = this.#current;
    this.#current = this.#slots.get() ?? this.#current;
  }

  #isKept(slot: Slot): boolean {
    for (const call of this.#inProgress.values()) if (call.requestSlot === slot) return true;
    return false;
  }

  #mustPause(): boolean {
    if (this.#inProgress.size === 0) return false;
    return this.#inProgress.size >= this.#service.sizes.calls || this.#isKept(this.#current);
  }

  /** One step of a call, and its end if it was the last. @returns what the next one waits for; null if it has ended. */
  #step(call: Call, steps: Steps<number>, value: unknown, failed: { error: unknown } | null): Promise<unknown> | null {
    this.isOwnChange = true;
    let result: number;
    try {
      const next = failed === null ? steps.next(value) : steps.throw(failed.error);
      if (next.done !== true) return next.value;
      result = next.value;
    } catch (error) {
      if (!(error instanceof KernelError)) this.nrBugs++;
      result = errnoOf(error);
    } finally {
      this.isOwnChange = false;
    }
    this.#finish(call, result);
    return null;
  }

  async #goOn(call: Call, steps: Steps<number>, first: Promise<unknown>): Promise<void> {
    for (let waiting: Promise<unknown> | null = first; waiting !== null; ) {
      let value: unknown;
      let failed: { error: unknown } | null = null;
      try {
        value = await waiting;
      } catch (error) {
        failed = { error };
      }
      waiting = this.#step(call, steps, value, failed);
    }
    this.#inProgress.delete(call.uniqueHigh * HIGH + call.uniqueLow);
    const { requestSlot } = call;
    if (requestSlot !== null && requestSlot !== this.#current) this.#slots.put(requestSlot);
    if (this.#isPaused && !this.#mustPause()) {
      this.#isPaused = false;
      this.#channel.resume();
    }
    if (this.#inProgress.size === 0) this.#onIdle?.();
  }

  #finish(call: Call, result: number): void {
    const { nodes, replySlots } = this.#service;
    let status: NegErrno = 0;
    if (result !== NO_REPLY) {
      const error = result < 0 ? Math.max(result, -ERRNO_MAX) : 0;
      status = this.#channel.reply(call.out.finish(call.uniqueLow, call.uniqueHigh, error, Math.max(result, 0)));
    }
    if (result < 0 || status < 0) for (const node of call.granted) nodes.forget(node, 1);
    if (call.replySlot !== null) replySlots.put(call.replySlot);
  }

  #refuse(uniqueLow: number, uniqueHigh: number, error: NegErrno): void {
    this.#channel.reply(this.#scratch.reply.finish(uniqueLow, uniqueHigh, error, 0));
  }

  /** INIT. A kernel that speaks a newer major version is told ours and asks again. */
  #greet(request: Request): void {
    const offer = readInit(request);
    const { uniqueLow, uniqueHigh } = request;
    const { sizes, options } = this.#service;
    if (offer.major < FUSE_MAJOR || (offer.major === FUSE_MAJOR && offer.minor < FUSE_MINOR_LEAST)) {
      this.#refuse(uniqueLow, uniqueHigh, -Errno.EPROTO);
      return;
    }
    const wanted = ALWAYS | (options.writebackCache ? InitFlag.WRITEBACK_CACHE : 0);
    const flags = (offer.flags & wanted) >>> 0;
    const { reply } = this.#scratch;
    const pages = sizes.slotFrames - 1;
    const grant = { minor: offer.minor, readahead: Math.min(offer.readahead, sizes.transferBytes), flags, background: BACKGROUND };
    putInit(reply.view, 16, { ...grant, writeBytes: sizes.transferBytes, pages });
    this.#service.grantedFlags = flags;
    this.#service.kernelMinor = offer.minor;
    this.#isGreeted = offer.major === FUSE_MAJOR;
    this.#channel.reply(reply.finish(uniqueLow, uniqueHigh, 0, INIT_OUT_BYTES));
  }

  /** Ends a wait of a call in progress; one that is not there has been answered. */
  interrupt(uniqueLow: number, uniqueHigh: number): void {
    this.#inProgress.get(uniqueHigh * HIGH + uniqueLow)?.abort.abort(new KernelError('EINTR', 'the program gave up'));
  }

  /** Ends every wait, and then ends itself: no more requests come. */
  async drain(): Promise<void> {
    for (const call of this.#inProgress.values()) call.abort.abort(new KernelError('ESHUTDOWN', 'the mount is over'));
    if (this.#inProgress.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    this.#slots.put(this.#current);
  }
}
