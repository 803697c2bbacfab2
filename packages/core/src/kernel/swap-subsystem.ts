/**
 * What the swap plugin registers under `SWAP_SUBSYSTEM`. Core knows no plugin: without one, anonymous pages stay in memory and
 * `kernel.swapOn` fails with ENOSYS.
 */
import type { BlockDevice } from '../block/block-device.js';
import type { OpenFile } from '../vfs/open-file.js';
import type { SwapWriteout } from '../reclaim/swap-writeout.js';

/** Options of `kernel.swapOn`. */
export interface SwapOnOptions {
  /** Areas of higher priority fill first; equal ones take turns. A whole number from -32,767 to 32,767; default 0. */
  readonly priority?: number;
  /** Writes a fresh header first: whatever the device held is lost. */
  readonly format?: boolean;
  /** With `format`: up to 15 bytes of UTF-8. */
  readonly label?: string;
  /** Declares that a page the backing acknowledged is as safe as a flushed one. Default: what the backing says. */
  readonly trusted?: boolean;
  /** Keeps a checksum of every page in memory, 4 bytes a slot; a lost or stale slot then reads as EIO, never as wrong data. */
  readonly checksum?: boolean;
}

/** One area as seen from outside. */
export interface SwapAreaInfo {
  readonly name: string;
  readonly priority: number;
  readonly label: string;
  readonly uuid: string;
  /** Usable slots: header and bad ones excluded. */
  readonly nrSlots: number;
  readonly nrFree: number;
  readonly nrBad: number;
  /** Standing frames of its tables. */
  readonly metadataFrames: number;
}

/** The swap plugin, as core sees it. */
export interface SwapSubsystem extends SwapWriteout {
  /**
   * Takes a device, or a file, which is pinned and may be closed afterwards.
   * @param name of the area: what `swapOff` takes.
   * @throws KernelError EINVAL (no valid header, a hole), EBUSY (in use), ENOMEM (its tables do not fit; names the smallest budget), EIO.
   */
  swapOn(backing: BlockDevice | OpenFile, options: SwapOnOptions, name: string): Promise<SwapAreaInfo>;
  /** Brings every page back. @throws KernelError; then the area is on as before and nothing is lost. */
  swapOff(name: string): Promise<void>;
  areas(): SwapAreaInfo[];
}
