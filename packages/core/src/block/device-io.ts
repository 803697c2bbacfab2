/**
 * Page I/O on a block device with everything pre-attached: what pinned files and page writeout on raw devices are made of.
 *
 * A call of k pages is cut into bios of at most `maxTransferBytes`, taken from a pool that was filled when this was made; no frame is
 * allocated. If every bio ended within `submit` (a RAM disk, a file read synchronously) the call returns its status as a value.
 */
import { KernelError, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { Memory } from '../mm/memory.js';
import { Semaphore } from '../task/semaphore.js';
import { TaskContext } from '../task/task-context.js';
import type { WaitTarget } from '../task/wait-queue.js';
import { Bio, BioOp } from './bio.js';
import { BioPool, bioPoolFrames } from './bio-pool.js';
import type { BlockDevice } from './block-device.js';

/** Most bios pre-attached, whatever the units. */
const BIOS_MAX = 32;
/** Most segments of a bio; longer runs are cut. */
const SEGMENTS_MAX = 64;

const NO_PFNS: Uint32Array = new Uint32Array(0);
const NO_TASK = TaskContext.root('idle');

/** One call in progress: `count` pages from `pfns[from]` on, of which `at` have been submitted. */
class Transfer {
  task = NO_TASK;
  op: BioOp = BioOp.READ;
  offsetBytes = 0;
  pfns: Uint32Array = NO_PFNS;
  from = 0;
  count = 0;
  at = 0;
  /** Bios submitted and not ended. */
  nrPending = 0;
  status: 0 | NegErrno = 0;
  isSubmitted = false;
  finish: ((status: 0 | NegErrno) => void) | null = null;

  begin(task: TaskContext, op: BioOp, offsetBytes: number, pfns: Uint32Array, from: number, count: number): void {
    this.task = task;
    this.op = op;
    this.offsetBytes = offsetBytes;
    this.pfns = pfns;
    this.from = from;
    this.count = count;
    this.at = 0;
    this.nrPending = 0;
    this.status = 0;
    this.isSubmitted = false;
    this.finish = null;
  }

  get hasMore(): boolean {
    return this.at < this.count && this.status === 0;
  }
}

/** Pages that a bio to a device carries at most. */
function pagesPerBio(maxTransferBytes: number): number {
  return Math.max(1, Math.min(SEGMENTS_MAX, maxTransferBytes / PAGE_SIZE));
}

function nrBiosFor(nrUnits: number): number {
  return Math.max(1, Math.min(BIOS_MAX, nrUnits));
}

/** Frames that the bios of a `DeviceIo` are charged. Pure: the plan of a device that is not there yet asks, too. */
export function deviceIoFrames(nrUnits: number, maxTransferBytes: number): number {
  return bioPoolFrames(nrBiosFor(nrUnits), pagesPerBio(maxTransferBytes));
}

export class DeviceIo {
  readonly device: BlockDevice;
  /** Frames that the bios are charged. */
  readonly standingFrames: number;
  readonly #pool: BioPool;
  readonly #flushBio = new Bio(0);
  readonly #flushTurn: Semaphore;
  /** Pages a bio carries at most. */
  readonly #pagesPerBio: number;
  #nrCalls = 0;
  #spare: Transfer | null = new Transfer();
  readonly #onEnd = (bio: Bio): void => this.#bioEnded(bio);
  /** What a task waits for whose call is in flight. */
  readonly #inFlight: WaitTarget;

  /** @throws KernelError ENOMEM if the bios do not fit. */
  constructor(memory: Memory, device: BlockDevice, nrUnits: number) {
    this.device = device;
    this.#pagesPerBio = pagesPerBio(device.maxTransferBytes);
    this.standingFrames = deviceIoFrames(nrUnits, device.maxTransferBytes);
    this.#pool = new BioPool(memory, `bios of ${device.name}`, nrBiosFor(nrUnits), this.#pagesPerBio, device);
    this.#flushTurn = new Semaphore(1, { kind: 'flush', name: device.name, heldBy: () => [device] });
    this.#inFlight = { kind: 'bio', name: `I/O on ${device.name}`, heldBy: () => [device] };
  }

  /** Calls that have not ended. */
  get nrCalls(): number {
    return this.#nrCalls;
  }

  read(task: TaskContext, offsetBytes: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.#transfer(task, BioOp.READ, offsetBytes, pfns, from, count);
  }

  write(task: TaskContext, offsetBytes: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.#transfer(task, BioOp.WRITE, offsetBytes, pfns, from, count);
  }

  /** Makes acknowledged writes durable. One flush at a time; a second one waits, since it may cover more. */
  flush(task: TaskContext): MaybePromise<0 | NegErrno> {
    if (!this.device.can.flush) return 0;
    const turn = this.#flushTurn.acquire(task);
    return isPromise(turn) ? turn.then((got) => (got === 0 ? this.#flushNow(task) : got)) : this.#flushNow(task);
  }

  #flushNow(task: TaskContext): MaybePromise<0 | NegErrno> {
    this.#nrCalls++;
    const bio = this.#flushBio.start(BioOp.FLUSH, 0, task);
    let finish: ((status: 0 | NegErrno) => void) | null = null;
    let isEnded = false;
    bio.onEnd = (ended) => {
      isEnded = true;
      this.#nrCalls--;
      this.#flushTurn.release();
      finish?.(ended.status);
    };
    this.device.submit(bio);
    return isEnded ? bio.status : this.#promise(task, (resolve) => (finish = resolve));
  }

  /** The end of a call, as a wait of its task. What reclaim has started is in flight and waited for by others, if by anybody. */
  #promise(task: TaskContext, begin: (resolve: (status: 0 | NegErrno) => void) => void): Promise<0 | NegErrno> {
    const waits = task.isReclaimer ? null : task.waits;
    return new Promise((resolve) => {
      const wait = waits?.enter(task, this.#inFlight);
      begin((status) => {
        if (wait !== undefined) waits?.leave(wait);
        resolve(status);
      });
    });
  }

  #transfer(task: TaskContext, op: BioOp, offsetBytes: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    const transfer = this.#spare ?? new Transfer();
    this.#spare = null;
    transfer.begin(task, op, offsetBytes, pfns, from, count);
    this.#nrCalls++;
    while (transfer.hasMore) {
      const bio = this.#pool.tryGet();
      if (bio === null) return this.#submitRest(transfer);
      this.#submitNext(transfer, bio);
    }
    return this.#wait(transfer);
  }

  /** Submits as many of the remaining pages as one bio takes. */
  #submitNext(transfer: Transfer, bio: Bio): void {
    const { at, from, pfns } = transfer;
    const end = Math.min(at + this.#pagesPerBio, transfer.count);
    bio.start(transfer.op, transfer.offsetBytes + at * PAGE_SIZE, transfer.task);
    for (let i = at; i < end; i++) bio.addSegment(pfns[from + i] * PAGE_SIZE, PAGE_SIZE);
    bio.owner = transfer;
    bio.onEnd = this.#onEnd;
    transfer.at = end;
    transfer.nrPending++;
    this.device.submit(bio);
  }

  async #submitRest(transfer: Transfer): Promise<0 | NegErrno> {
    while (transfer.hasMore) {
      // Without its ticket: this one may be its second, but those under way come back whether it gets another or not.
      const bio = await this.#pool.get(transfer.task.withTicket(null));
      if (typeof bio === 'number') {
        transfer.status = bio;
        break;
      }
      this.#submitNext(transfer, bio);
    }
    return this.#wait(transfer);
  }

  #wait(transfer: Transfer): MaybePromise<0 | NegErrno> {
    transfer.isSubmitted = true;
    if (transfer.nrPending > 0) return this.#promise(transfer.task, (resolve) => (transfer.finish = resolve));
    return this.#finished(transfer);
  }

  #finished(transfer: Transfer): 0 | NegErrno {
    this.#nrCalls--;
    this.#spare = transfer;
    return transfer.status;
  }

  #bioEnded(bio: Bio): void {
    const transfer = bio.owner as Transfer;
    if (bio.status !== 0 && transfer.status === 0) transfer.status = bio.status;
    bio.owner = null;
    this.#pool.put(bio);
    if (--transfer.nrPending > 0 || !transfer.isSubmitted) return;
    const finish = transfer.finish;
    const status = this.#finished(transfer);
    finish?.(status);
  }

  /** Gives the bios back. @throws KernelError EBUSY while calls are in flight. */
  release(): void {
    if (this.#nrCalls > 0) throw new KernelError('EBUSY', `${this.device.name} has ${this.#nrCalls} calls in flight`);
    this.#pool.dispose();
  }
}
