/**
 * Pinned files (M14): a file, or a whole device, that can be written when memory is gone.
 *
 * After `swapActivate` returns, `swapOut`, `swapIn` and `flush` complete inside the memory that was set aside by it: no allocation,
 * no block map read from disk, no connection made in ordinary memory. While pinned the backing keeps its size and place (trap 9). Swap areas
 * are one user, md's write-intent bitmap another; neither knows what lies underneath.
 */
import type { NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { NodeFootprint } from '../mm/footprint.js';
import type { TaskContext } from '../task/task-context.js';

/** What `flush` ends with when the server restarted: pages written since the last flush may be lost and must be written again. */
export const WRITE_AGAIN: NegErrno = -116; // -ESTALE

/** A backing that can be written whatever the load. Calls may overlap. */
export interface PinnedFile {
  /** Name of what is underneath, for people and for the writeout graph. */
  readonly name: string;
  readonly sizePages: number;
  /** True if a page acknowledged by `swapOut` is as safe as a flushed one (M9). */
  readonly trusted: boolean;
  /** Frames that were taken to pin it, and stand until `release`. */
  readonly standingFrames: number;
  /** Most pages that may be in flight at once; a longer call is cut and takes its turn. At least 1. */
  readonly nrUnits: number;
  /**
   * Writes `count` frames, `pfns[from]` onwards, to consecutive pages from `index` on.
   * The frames stay untouched by others and in place until it ends.
   * @returns 0 or a negative errno; a value, not a promise, if it could be done at once.
   */
  swapOut(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno>;
  /** Reads `count` consecutive pages from `index` on into frames. As `swapOut`. */
  swapIn(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno>;
  /**
   * Makes every page whose `swapOut` ended before this call durable on the lowest device.
   * @returns 0; `WRITE_AGAIN` if pages acknowledged since the last good flush may be lost; another negative errno.
   */
  flush(task: TaskContext): MaybePromise<0 | NegErrno>;
  /** Hint that pages need not be kept. Never waits. */
  discard?(index: number, count: number): void;
  /**
   * Reads (`isWrite` false) or writes bytes from `offsetBytes` on: `nrPieces` pieces of arena memory, one behind the other, by address and length, each
   * a multiple of `granularityBytes` long. The arrays stay as they are until it ends. As `swapOut`. Absent: whole pages only.
   */
  transfer?(
    task: TaskContext,
    isWrite: boolean,
    offsetBytes: number,
    addresses: Float64Array,
    lengths: Uint32Array,
    nrPieces: number,
  ): MaybePromise<0 | NegErrno>;
  /** Smallest piece of `transfer`, and what its offset is a multiple of. Absent: 4096. */
  readonly granularityBytes?: number;
  /** Ends what is in flight, with -EIO, and refuses what comes after: the last resort of a shutdown. What is underneath may be of no more use. */
  cutOff?(): Promise<void>;
  /** Undoes the activation. @throws KernelError EBUSY while calls are in flight. */
  release(): Promise<void>;
}

/** What the user of a pin asks for. */
export interface PinSpec {
  /** Who pins: shown as the holder (`swap`, `md-bitmap`). */
  readonly user: string;
  /** Pages the user wants in flight at once; the backing may give fewer. */
  readonly nrUnits: number;
  /** The user has the backing to itself already, as a server has what it exports: the pin does not take it. Default false. */
  readonly isHeld?: boolean;
  /** For a server of this kernel (M16): which file of the client's resource is pinned, as the server names it. Absent: the resource itself. */
  readonly handle?: Uint8Array;
}

/** The two hooks a device or filesystem package registers under `SWAP_HOOKS`. */
export interface SwapHooks {
  /** Name of the package, for messages. */
  readonly name: string;
  /** True if `backing` (a `BlockDevice`, an `OpenFile`) is one of this package's. The first hook that claims it serves it. */
  claims(backing: object): boolean;
  /** Pins `backing`. @throws KernelError (ENOMEM with the shortfall, EINVAL for a hole, EBUSY, EOPNOTSUPP). */
  swapActivate(task: TaskContext, backing: object, spec: PinSpec): Promise<PinnedFile>;
}

/** The hook a device or filesystem package registers under `WRITEOUT_HOOK`: how a page of it gets written out, and at what cost. */
export interface WriteoutHook {
  readonly name: string;
  /** As `SwapHooks.claims`. */
  claims(backing: object): boolean;
  /** What writing out to `backing` takes. Pure; nothing is started. */
  footprint(backing: object): NodeFootprint;
  /**
   * Sets aside what `writeout` and `sync` take, before the first page of `backing` becomes dirty. Again is nothing.
   * @throws KernelError ENOMEM with the shortfall.
   */
  prepare?(backing: object): void;
  /**
   * Writes `count` dirty frames to consecutive pages of `backing` from byte `offsetBytes` on (a multiple of 4096).
   * @returns 0 or a negative errno, as `PinnedFile.swapOut`.
   */
  writeout(
    task: TaskContext,
    backing: object,
    offsetBytes: number,
    pfns: Uint32Array,
    from: number,
    count: number,
  ): MaybePromise<0 | NegErrno>;
  /** Makes what was written durable. */
  sync(task: TaskContext, backing: object): MaybePromise<0 | NegErrno>;
}
