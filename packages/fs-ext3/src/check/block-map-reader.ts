/** From a logical block of a file to a block of the device, by reading indirect blocks; the last one of each level is kept. */
import { blockPath } from '../format/block-path.js';
import type { RawInode } from '../format/inode.js';
import { BlockBuffer, type Ext3Image } from './image.js';

export class BlockMapReader {
  readonly #image: Ext3Image;
  readonly #levels: readonly BlockBuffer[];
  readonly #loaded = [-1, -1, -1];

  constructor(image: Ext3Image) {
    this.#image = image;
    this.#levels = Array.from({ length: 3 }, () => new BlockBuffer(image.geometry.blockSize));
  }

  /** @returns the block; 0 for a hole, for what is beyond any file, and for pointers that lead outside. */
  async find(inode: RawInode, logical: number): Promise<number> {
    const { blockSize, nrBlocks } = this.#image.geometry;
    const path = blockPath(logical, blockSize / 4);
    if (path === null) return 0;
    let block = inode.block[path[0]];
    for (let step = 1; step < path.length && block !== 0; step++) {
      if (block >= nrBlocks) return 0;
      const level = step - 1;
      if (this.#loaded[level] !== block) {
        await this.#image.readBlock(block, this.#levels[level]);
        this.#loaded[level] = block;
      }
      block = this.#levels[level].view.getUint32(4 * path[step], true);
    }
    return block < nrBlocks ? block : 0;
  }
}
