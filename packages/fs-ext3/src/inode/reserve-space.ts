/**
 * Space set aside (`AllocateMode.RESERVE`): ext3 knows no blocks that read as zeroes without being so, and no blocks behind the end of a file. So
 * holes are filled with zeroes, and what is behind the end is written, which makes the file longer: at each step it is a file like any other.
 */
import { Errno, type Inode, type NegErrno, type PageCache, PAGE_SIZE, type Steps, settle, type TaskContext } from '@tidemark/core';
import { looking } from '../metadata/block-reader.js';
import type { Parts } from '../volume/parts.js';
import { nodeOf } from './node.js';

/** Most bytes looked at, and written, at once. */
const STEP_BYTES = 32 * PAGE_SIZE;
const ZEROES = new Uint8Array(STEP_BYTES);

/**
 * Gives every byte of a range a block. What was taken stays if there is no room for all.
 * @returns 0, `-ENOSPC`, `-EIO`, or the errno of the task's signal.
 */
export function* reserveSpace(parts: Parts, task: TaskContext, inode: Inode, fromBytes: number, toBytes: number): Steps<0 | NegErrno> {
  for (let at = fromBytes; at < toBytes; ) {
    const end = Math.min(toBytes, (Math.floor(at / STEP_BYTES) + 1) * STEP_BYTES);
    const status = yield* fill(parts, task, inode, at, end);
    if (status < 0) return status;
    at = end;
  }
  return 0;
}

function* fill(parts: Parts, task: TaskContext, inode: Inode, fromBytes: number, toBytes: number): Steps<0 | NegErrno> {
  const { blockSize } = parts.geometry;
  for (let at = fromBytes; at < toBytes; ) {
    const isHole = at >= inode.sizeBytes || (yield* isHoleAt(parts, task, inode, Math.floor(at / blockSize)));
    let end = Math.min((Math.floor(at / blockSize) + 1) * blockSize, toBytes);
    if (isHole && at >= inode.sizeBytes) end = toBytes;
    if (isHole) {
      const status = yield* writeZeroes(task, inode, at, end);
      if (status < 0) return status;
    }
    at = end;
  }
  return 0;
}

function isHoleAt(parts: Parts, task: TaskContext, inode: Inode, logical: number): Steps<boolean> {
  return looking(task, parts.cache, function* (look) {
    return (yield* parts.map.find(look, nodeOf(inode), logical)) === 0;
  });
}

function* writeZeroes(task: TaskContext, inode: Inode, fromBytes: number, toBytes: number): Steps<0 | NegErrno> {
  for (let at = fromBytes; at < toBytes; ) {
    const written = yield* settle((inode.pages as PageCache).write(task, at, ZEROES.subarray(0, toBytes - at)));
    if (written < 0) return written;
    if (written === 0) return -Errno.EIO;
    at += written;
  }
  return 0;
}
