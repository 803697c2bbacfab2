/**
 * A block of metadata in memory: bitmap, inode table, directory, indirect block. Each has a frame to itself, whatever the block size: with
 * blocks of 1 KiB three quarters of it lie idle, which buys that a block is one thing with one owner.
 */
import type { Pfn } from '@tidemark/core';

const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);

/** What one takes on the JS heap. */
export const METADATA_BLOCK_BYTES = 384;

export class MetadataBlock {
  /** Number of the block on the device. */
  block = 0;
  pfn: Pfn = -1;
  bytes: Uint8Array = NO_BYTES;
  view: DataView = NO_VIEW;
  /** Users; a block without any, which no transaction has, may leave memory. */
  nrPins = 0;
  /** Used since the cache was last looked through. */
  isYoung = false;
  /** The content is there. */
  isValid = false;
  /** While it is being read; never rejects. */
  reading: Promise<unknown> | null = null;
  /** It was dropped while somebody used it: it goes with its last user. */
  isOrphan = false;
  /** Paid for by what was set aside at mount. */
  isSpare = false;

  /** Makes a used object as new. */
  reset(): void {
    this.block = 0;
    this.pfn = -1;
    this.bytes = NO_BYTES;
    this.view = NO_VIEW;
    this.nrPins = 0;
    this.isYoung = this.isValid = this.isOrphan = this.isSpare = false;
    this.reading = null;
  }
}
