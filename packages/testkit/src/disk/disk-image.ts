/**
 * What is on a disk: a sparse map of 4 KiB blocks that are never changed in place, so that a copy of an image costs a copy of the map
 * and a whole-block write no copy at all. What was never written reads as zeroes.
 */

/** Bytes that a disk writes in one piece, or not at all. */
export const SECTOR_BYTES = 512;
const BLOCK_BYTES = 4096;

/** What is on a disk, sparse; offsets in bytes. A copy costs a copy of the map of its blocks. */
export class DiskImage {
  readonly #blocks: Map<number, Uint8Array>;

  private constructor(blocks: Map<number, Uint8Array>) {
    this.#blocks = blocks;
  }

  static empty(): DiskImage {
    return new DiskImage(new Map());
  }

  clone(): DiskImage {
    return new DiskImage(new Map(this.#blocks));
  }

  /** Copies out. */
  read(offsetBytes: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const index = Math.floor((offsetBytes + done) / BLOCK_BYTES);
      const inBlock = offsetBytes + done - index * BLOCK_BYTES;
      const count = Math.min(BLOCK_BYTES - inBlock, target.length - done);
      const block = this.#blocks.get(index);
      if (block === undefined) target.fill(0, done, done + count);
      else target.set(count === BLOCK_BYTES ? block : block.subarray(inBlock, inBlock + count), done);
      done += count;
    }
  }

  /** Copies in; `bytes` must never change from then on. */
  write(offsetBytes: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const index = Math.floor((offsetBytes + done) / BLOCK_BYTES);
      const inBlock = offsetBytes + done - index * BLOCK_BYTES;
      const count = Math.min(BLOCK_BYTES - inBlock, bytes.length - done);
      const piece = bytes.subarray(done, done + count);
      if (count === BLOCK_BYTES) this.#blocks.set(index, piece);
      else {
        const block = new Uint8Array(BLOCK_BYTES);
        const before = this.#blocks.get(index);
        if (before !== undefined) block.set(before);
        block.set(piece, inBlock);
        this.#blocks.set(index, block);
      }
      done += count;
    }
  }

  /** True if every byte below `sizeBytes` is the same. */
  equals(other: DiskImage, sizeBytes: number): boolean {
    const mine = new Uint8Array(BLOCK_BYTES);
    const theirs = new Uint8Array(BLOCK_BYTES);
    for (const index of new Set([...this.#blocks.keys(), ...other.#blocks.keys()])) {
      if (index * BLOCK_BYTES >= sizeBytes) continue;
      this.read(index * BLOCK_BYTES, mine);
      other.read(index * BLOCK_BYTES, theirs);
      const end = Math.min(BLOCK_BYTES, sizeBytes - index * BLOCK_BYTES);
      for (let i = 0; i < end; i++) if (mine[i] !== theirs[i]) return false;
    }
    return true;
  }
}
