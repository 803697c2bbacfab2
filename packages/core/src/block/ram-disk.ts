/**
 * RAM disk: a block device whose platter is host memory.
 *
 * It stands in for a disk, so what is stored is **outside the arena**: swapping to it frees arena frames as swapping to a real disk
 * would, and costs host memory instead. The platter is a sparse list of 1 MiB chunks, made when first written; an absent chunk reads
 * as zeroes. Discard and write-zeroes drop chunks they cover whole and clear the parts of others. The disk promises no space: it is
 * thin, and write-zeroes with `noUnmap` clears in place what is there.
 *
 * Requests end within `submit`. What was acknowledged is as safe as it will ever be, so the device is trusted and flush does nothing.
 */
import { Errno, KernelError, type NegErrno } from '../base/errno.js';
import { formatSize, PAGE_SIZE, parseSize, type Size } from '../base/size.js';
import type { Arena } from '../mm/arena.js';
import { type Bio, BioOp } from './bio.js';
import type { BlockDeviceOps, BlockDriver, Extent, OpenDeviceOptions } from './block-device.js';

const CHUNK_BYTES = 2 ** 20;
const BLOCK_BYTES = 512;
const MAX_TRANSFER_BYTES = 1024 * PAGE_SIZE;
/** Largest RAM disk in bytes. */
export const RAM_DISK_MAX_BYTES = 2 ** 40;

/** What a RAM disk is made of. */
export interface RamDiskOptions {
  /** For people. Default `ram`. */
  readonly name?: string;
  /** A multiple of 512 bytes, at most 1 TiB. */
  readonly sizeBytes: Size;
  readonly readOnly?: boolean;
}

/** Makes a RAM disk. @throws KernelError EINVAL for an impossible size. */
export function createRamDisk(arena: Arena, options: RamDiskOptions): BlockDeviceOps {
  return new RamDisk(arena, options);
}

class RamDisk implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes = BLOCK_BYTES;
  readonly maxTransferBytes = MAX_TRANSFER_BYTES;
  readonly readOnly: boolean;
  readonly trusted = true;
  readonly viaSocket = false;
  readonly can = { flush: true, fua: true, discard: true, writeZeroes: true };
  readonly #arena: Arena;
  readonly #chunks = new Map<number, Uint8Array>();

  constructor(arena: Arena, options: RamDiskOptions) {
    this.#arena = arena;
    this.name = options.name ?? 'ram';
    this.readOnly = options.readOnly ?? false;
    this.sizeBytes = parseSize(options.sizeBytes, `size of RAM disk ${this.name}`);
    if (this.sizeBytes % BLOCK_BYTES !== 0 || this.sizeBytes > RAM_DISK_MAX_BYTES) {
      throw new KernelError(
        'EINVAL',
        `RAM disk ${this.name} of ${this.sizeBytes} bytes: want a multiple of ${BLOCK_BYTES}, at most ${formatSize(RAM_DISK_MAX_BYTES)}`,
      );
    }
  }

  submit(bio: Bio): void {
    bio.end(this.#run(bio));
  }

  async close(): Promise<void> {
    this.#chunks.clear();
  }

  extents(offsetBytes: number, lengthBytes: number, nrMost: number): readonly Extent[] {
    const extents: Extent[] = [];
    const end = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < end && extents.length < nrMost; ) {
      const from = at;
      const isHole = !this.#chunks.has(Math.floor(at / CHUNK_BYTES));
      while (at < end && !this.#chunks.has(Math.floor(at / CHUNK_BYTES)) === isHole)
        at = Math.min((Math.floor(at / CHUNK_BYTES) + 1) * CHUNK_BYTES, end);
      extents.push({ lengthBytes: at - from, isHole, isZero: isHole });
    }
    return extents;
  }

  #run(bio: Bio): 0 | NegErrno {
    switch (bio.op) {
      case BioOp.READ:
      case BioOp.WRITE:
        return this.#transfer(bio);
      case BioOp.DISCARD:
      case BioOp.WRITE_ZEROES:
        this.#clear(bio.offsetBytes, bio.lengthBytes, bio.noUnmap);
        return 0;
      default:
        return 0;
    }
  }

  #transfer(bio: Bio): 0 | NegErrno {
    let index = Math.floor(bio.offsetBytes / CHUNK_BYTES);
    let inChunk = bio.offsetBytes - index * CHUNK_BYTES;
    let chunk = this.#chunks.get(index);
    for (let i = 0; i < bio.nrSegments; i++) {
      const memory = this.#arena.chunkOf(bio.addresses[i]);
      const start = this.#arena.offsetInChunk(bio.addresses[i]);
      const end = start + bio.lengths[i];
      for (let at = start; at < end; ) {
        if (inChunk === CHUNK_BYTES) {
          chunk = this.#chunks.get(++index);
          inChunk = 0;
        }
        const length = Math.min(CHUNK_BYTES - inChunk, end - at);
        if (bio.op === BioOp.READ) {
          if (chunk === undefined) memory.fill(0, at, at + length);
          else memory.set(chunk.subarray(inChunk, inChunk + length), at);
        } else {
          chunk ??= this.#addChunk(index);
          if (chunk === undefined) return -Errno.ENOSPC;
          chunk.set(memory.subarray(at, at + length), inChunk);
        }
        at += length;
        inChunk += length;
      }
    }
    return 0;
  }

  /** @returns undefined if the host has no more memory: the disk is full. */
  #addChunk(index: number): Uint8Array | undefined {
    try {
      const chunk = new Uint8Array(CHUNK_BYTES);
      this.#chunks.set(index, chunk);
      return chunk;
    } catch {
      return undefined; // the RangeError of an allocation that failed says no more than that
    }
  }

  #clear(offsetBytes: number, lengthBytes: number, inPlace: boolean): void {
    const end = offsetBytes + lengthBytes;
    for (let offset = offsetBytes; offset < end; ) {
      const index = Math.floor(offset / CHUNK_BYTES);
      const inChunk = offset % CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - inChunk, end - offset);
      if (length === CHUNK_BYTES && !inPlace) this.#chunks.delete(index);
      else this.#chunks.get(index)?.fill(0, inChunk, inChunk + length);
      offset += length;
    }
  }
}

/** Opens `mem:SIZE`. */
export class RamDiskDriver implements BlockDriver {
  readonly schemes = ['mem'];

  constructor(readonly arena: Arena) {}

  async open(url: string, options: OpenDeviceOptions): Promise<BlockDeviceOps> {
    return createRamDisk(this.arena, { name: url, sizeBytes: url.slice(url.indexOf(':') + 1), readOnly: options.readOnly });
  }
}
