/** Where a file's data are, and where its holes. Blocks are taken when a page becomes dirty, so the block map knows. */
import { Errno, type Inode, type NegErrno, type Steps } from '@tidemark/core';
import type { BlockReader } from '../metadata/block-reader.js';
import type { Parts } from '../volume/parts.js';
import { nodeOf } from './node.js';

/** The first offset from `offsetBytes` on that holds data, or is in a hole. The end of the file counts as a hole. `-ENXIO` if there is none. */
export function* seek(
  { map, geometry }: Parts,
  reader: BlockReader,
  inode: Inode,
  offsetBytes: number,
  forData: boolean,
): Steps<number | NegErrno> {
  const { blockSize } = geometry;
  const nrBlocks = Math.ceil(inode.sizeBytes / blockSize);
  for (let logical = Math.floor(offsetBytes / blockSize); logical < nrBlocks; ) {
    const block = yield* map.find(reader, nodeOf(inode), logical);
    if ((block !== 0) === forData) return Math.max(offsetBytes, logical * blockSize);
    logical = block !== 0 ? logical + 1 : map.holeFirst + map.holeBlocks;
  }
  return forData ? -Errno.ENXIO : Math.max(offsetBytes, inode.sizeBytes);
}
