/** Maps blocks to a new file: an inode's pointers, and its indirect blocks, which stand in front of what they point to. */
import { DIRECT_BLOCKS, NR_POINTERS } from '../format/inode.js';

/** Writes one indirect block. */
export type WriteIndirect = (block: number, pointers: readonly number[]) => Promise<void>;

/**
 * Maps `nrBlocks` blocks of a file, without holes.
 * @param blocks numbers to use, in order, for data and indirect blocks alike; there are enough (`indirectBlocks` says how many more).
 * @returns the inode's 15 pointers.
 */
export async function mapFile(
  blocks: Iterator<number>,
  nrBlocks: number,
  pointersPerBlock: number,
  writeIndirect: WriteIndirect,
): Promise<Uint32Array> {
  const take = (): number => blocks.next().value as number;
  let left = nrBlocks;
  /** A tree of `depth` levels over the next blocks. @returns its top. */
  const tree = async (depth: number): Promise<number> => {
    if (depth === 0) {
      left--;
      return take();
    }
    const top = take();
    const pointers: number[] = [];
    while (left > 0 && pointers.length < pointersPerBlock) pointers.push(await tree(depth - 1));
    await writeIndirect(top, pointers);
    return top;
  };
  const pointers = new Uint32Array(NR_POINTERS);
  for (let i = 0; i < NR_POINTERS && left > 0; i++) pointers[i] = await tree(Math.max(0, i - DIRECT_BLOCKS + 1));
  return pointers;
}
