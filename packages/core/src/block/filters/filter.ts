/**
 * Filters: block devices over block devices. Each is a device like any other, with a node of its own in the writeout graph that needs those of
 * the devices below, so that a filter can lie under a filesystem, a swap area or another filter.
 *
 *     submit → in line until a request is free → `admitted`: the filter passes it, holds it back, or ends it
 *            → piece after piece to where `route` says → `pieceEnded` → … → `finished` → the bio ends
 *
 * Nothing is allocated in flight: the requests stand, and bios that find none free wait in line, linked through themselves. An error from below
 * ends the bio with it; what was passed on before that has happened. A filter has the devices below to itself.
 *
 * Closing ends what waits with EIO, aborts those devices below that are the filter's own, and waits until they have ended what they have. A
 * device that is the caller's is only waited for, and stays open; one that answers nothing is aborted, too, when 2 s are over: the memory of a
 * request is the device's until it has ended it, and closing must end.
 */
import { Errno, KernelError, type NegErrno } from '../../base/errno.js';
import type { NodeFootprint } from '../../mm/footprint.js';
import type { Memory, StandingCharge } from '../../mm/memory.js';
import type { NodeDescription } from '../../mm/plan.js';
import { planSizes } from '../../mm/plan-sizes.js';
import type { WriteoutNode } from '../../mm/writeout-graph.js';
import type { Clock, RandomSource } from '../../task/clock.js';
import { Completion } from '../../task/completion.js';
import type { TaskContext } from '../../task/task-context.js';
import type { Bio } from '../bio.js';
import { BioFifo } from '../bio-fifo.js';
import { bioPoolFrames } from '../bio-pool.js';
import type { BlockDevice, BlockDeviceOps } from '../block-device.js';
import { FILTER_SEGMENTS, FilterRequest } from './filter-request.js';

/** Time that a device which is the caller's has to end what it has, when the filter is closed. */
const CLOSE_PATIENCE_MS = 2_000;

/** What a filter is made of. */
export interface FilterParts {
  readonly name: string;
  /** True if it is to be read-only whatever is below. */
  readonly readOnly: boolean;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** For what the filter does by itself. */
  readonly task: TaskContext;
  /** The devices below, held for it. */
  readonly below: readonly BlockDevice[];
  /** Their nodes. */
  readonly needs: readonly WriteoutNode[];
  /** Those of the devices below that go with the filter. */
  readonly owned: readonly BlockDevice[];
  /** Gives the devices below back; nothing of the filter's is under way on them. */
  letGo(): Promise<void>;
}

/** What a filter declares: its requests, and what else of it stands. A unit is one bio; its pages go by reference. */
export function filterFootprint(nrFrames: number, ownFrames = 0): NodeFootprint {
  const standing = [
    { what: 'requests and their bios', frames: requestFrames(nrFrames) },
    { what: 'map of blocks and buffer', frames: ownFrames },
  ].filter(({ frames }) => frames > 0);
  return { standing, unit: [], nrUnits: planSizes(nrFrames).clientUnits };
}

/** A filter that is not there, for a dry run. @param below names of the nodes below. @param ownFrames as it will declare. */
export function describeFilter(name: string, below: readonly string[], ownFrames = 0): NodeDescription {
  return { name, kind: 'block-device', needs: below, footprint: (nrFrames) => filterFootprint(nrFrames, ownFrames) };
}

/** The filter of a device. @throws KernelError EINVAL if the device is none of that sort. */
export function filterOf<F extends Filter>(device: BlockDevice, kind: { readonly name: string; readonly prototype: F }): F {
  const { ops } = device;
  if (!(ops instanceof Filter) || !Object.prototype.isPrototypeOf.call(kind.prototype, ops))
    throw new KernelError('EINVAL', `${device.name} is no ${kind.name}`);
  return ops as Filter as F;
}

function requestFrames(nrFrames: number): number {
  return bioPoolFrames(planSizes(nrFrames).clientUnits, FILTER_SEGMENTS);
}

/** What every filter does; one that overrides nothing passes everything to the first device below. */
export abstract class Filter implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly maxTransferBytes: number;
  readonly readOnly: boolean;
  readonly trusted: boolean;
  readonly viaSocket: boolean;
  readonly can: BlockDeviceOps['can'];
  readonly needs: readonly WriteoutNode[];
  readonly footprint: NodeFootprint;
  /** The device that writes go to: what it can do, the filter can. */
  readonly written: BlockDevice;
  protected readonly parts: FilterParts;
  readonly #charge: StandingCharge;
  readonly #onEnd: (bio: Bio) => void;
  #free: FilterRequest | null = null;
  #nrBusy = 0;
  readonly #waiting = new BioFifo();
  #isPumping = false;
  #isPaused = false;
  #isClosing = false;
  #idle: Completion | null = null;
  #closing: Promise<void> | null = null;

  /** @throws KernelError ENOMEM naming the filter if its requests do not fit. */
  constructor(parts: FilterParts, written: BlockDevice, ownFrames = 0) {
    const { memory, below } = parts;
    this.parts = parts;
    this.written = written;
    this.name = parts.name;
    this.blockSizeBytes = Math.max(...below.map((device) => device.blockSizeBytes));
    this.sizeBytes = Math.floor(below[0].sizeBytes / this.blockSizeBytes) * this.blockSizeBytes;
    this.maxTransferBytes = Math.min(...below.map((device) => device.maxTransferBytes));
    this.readOnly = parts.readOnly || written.readOnly;
    this.trusted = written.trusted;
    this.viaSocket = below.some((device) => device.viaSocket);
    this.can = written.can;
    this.needs = parts.needs;
    this.footprint = filterFootprint(memory.nrFrames, ownFrames);
    this.#charge = memory.chargeStanding(`requests of ${parts.name}`, requestFrames(memory.nrFrames));
    this.#onEnd = (bio) => this.#childEnded(bio);
    for (let i = 0; i < memory.sizes.clientUnits; i++) this.#put(new FilterRequest());
  }

  /** Requests under way; at most as many as the node has units. */
  get nrBusy(): number {
    return this.#nrBusy;
  }

  /** For filters: a bio has a request. Passes it on, now or later, by `pass`; or ends it by `end`. */
  protected admitted(request: FilterRequest): void {
    this.pass(request);
  }

  /**
   * For filters: where the next piece of a request goes. May set `request.pieceBytes` lower than it is: the most that goes there.
   * @returns null if the piece needs nothing done.
   */
  protected route(_request: FilterRequest): BlockDevice | null {
    return this.written;
  }

  /** For filters: the child of a request has ended, well or not. */
  protected pieceEnded(_request: FilterRequest, _status: 0 | NegErrno): void {}

  /** For filters: a request ends with `status`. */
  protected finished(_request: FilterRequest, _status: 0 | NegErrno): void {}

  /** For filters: the device closes; ends with EIO what is held back. */
  protected dropHeld(): void {}

  /** For filters: everything is over; gives back what else was taken. */
  protected release(): void {}

  submit(bio: Bio): void {
    if (this.#isClosing) {
      bio.end(-Errno.EIO);
      return;
    }
    this.#waiting.push(bio);
    this.#pump();
  }

  #put(request: FilterRequest): void {
    request.isOver = false;
    request.next = this.#free;
    this.#free = request;
  }

  /** Gives bios requests, as far as there are any. What ends at once is followed here, not down the stack. */
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    while (!this.#isPaused && this.#free !== null) {
      const bio = this.#waiting.shift();
      if (bio === null) break;
      const request = this.#free;
      this.#free = request.next;
      request.next = null;
      this.#nrBusy++;
      request.begin(bio);
      this.admitted(request);
    }
    this.#isPumping = false;
  }

  /** For filters: passes what is left of a request on. What ends at once below is followed by one loop, not down the stack. */
  protected pass(request: FilterRequest): void {
    request.goesOn = true;
    if (request.isRunning) return;
    request.isRunning = true;
    while (request.goesOn) {
      request.goesOn = false;
      this.#step(request);
    }
    request.isRunning = false;
    if (request.isOver) this.#finish(request);
  }

  #step(request: FilterRequest): void {
    request.pieceBytes = request.leftBytes;
    const target = this.route(request);
    if (target === null) this.#pieceOver(request, 0);
    else if (!request.fill(target, this.blockSizeBytes)) this.end(request, -Errno.EINVAL);
    else {
      request.child.owner = request;
      request.child.onEnd = this.#onEnd;
      target.submit(request.child);
    }
  }

  #childEnded(child: Bio): void {
    const request = child.owner as FilterRequest;
    const { status } = child;
    this.pieceEnded(request, status);
    this.#pieceOver(request, status);
  }

  #pieceOver(request: FilterRequest, status: 0 | NegErrno): void {
    request.pieceDone();
    if (status !== 0) this.end(request, status);
    else if (request.isDone) this.end(request, request.verdict);
    else this.pass(request);
  }

  /** For filters: ends a request, and its bio. */
  protected end(request: FilterRequest, status: 0 | NegErrno): void {
    request.status = status;
    request.isOver = true;
    if (!request.isRunning) this.#finish(request);
  }

  #finish(request: FilterRequest): void {
    const { parent, status } = request;
    this.finished(request, status);
    request.forget();
    this.#put(request);
    this.#nrBusy--;
    parent.end(status);
    this.#pump();
    this.#tellIfIdle();
  }

  /**
   * Runs `work` while no request is under way: what comes meanwhile waits in line.
   * @throws KernelError EBUSY while another such work is under way, EIO if the device is closing; what `work` throws.
   */
  protected async alone(doing: string, work: () => Promise<void>): Promise<void> {
    if (this.#isPaused) throw new KernelError('EBUSY', `${doing} ${this.name}: the last one is under way`);
    this.#isPaused = true;
    try {
      await this.#untilIdle();
      if (this.#isClosing) throw new KernelError('EIO', `${doing} ${this.name}: it is closed`);
      this.#nrBusy++; // closing waits for it as for a request
      await work().finally(() => this.#nrBusy--);
    } finally {
      this.#isPaused = false;
      this.#tellIfIdle();
      this.#pump();
    }
  }

  /** True once the device is being closed. */
  protected get isClosing(): boolean {
    return this.#isClosing;
  }

  #tellIfIdle(): void {
    if (this.#nrBusy > 0) return;
    const idle = this.#idle;
    this.#idle = null;
    idle?.complete();
  }

  async #untilIdle(): Promise<void> {
    const { below, task, name } = this.parts;
    while (this.#nrBusy > 0) {
      this.#idle ??= new Completion({ kind: 'requests', name: `of ${name}`, heldBy: () => below });
      await this.#idle.wait(task.withSignal(null));
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#isClosing = true;
    this.#waiting.endAll(-Errno.EIO);
    this.dropHeld();
    const { clock, owned, below } = this.parts;
    await abortAll(owned);
    const patience = clock.setTimer(CLOSE_PATIENCE_MS, () => void abortAll(below));
    await this.#untilIdle();
    clock.clearTimer(patience);
    this.release();
    this.#charge.free();
    await this.parts.letGo();
  }
}

/** What aborting a device throws, closing it throws again, to whoever's it is. */
async function abortAll(devices: readonly BlockDevice[]): Promise<void> {
  await Promise.allSettled(devices.map((device) => device.abort()));
}
