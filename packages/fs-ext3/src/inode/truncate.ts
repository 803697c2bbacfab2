/**
 * Cutting a file: its size first, in a handle that puts it on the orphan list; then its blocks, from the first to the last, in as many handles as it
 * takes; the last one takes it off the list. A crash in between is finished at the next mount.
 */
import { PAGE_SIZE, type NegErrno, type Steps, settle, type TaskContext } from '@tidemark/core';
import type { Handle } from '../journal/handle.js';
import type { Parts } from '../volume/parts.js';
import { RangeFreer } from './free-range.js';
import type { Node } from './node.js';

/** One handle more: `last` is what is done in the handle that frees the last block. */
type Last = (handle: Handle) => Steps<void>;

function* freeSteps(parts: Parts, task: TaskContext, node: Node, first: number, end: number, last: Last): Steps<0 | NegErrno> {
  const { journal, credits, blocks, table } = parts;
  for (let isOver = false; !isOver; ) {
    const status = yield* journal.do(task, credits.step, function* (handle) {
      yield* settle(node.mapTurn.acquire(handle.task));
      try {
        yield* table.write(handle, node); // its block is counted before the rest is spent
        isOver = yield* new RangeFreer(blocks, handle, node, !node.isRegular).free(first, end);
        if (isOver) yield* last(handle);
        yield* table.write(handle, node);
        node.dataTransaction = handle.transaction.id;
      } finally {
        node.mapTurn.release();
      }
      return 0;
    });
    if (status < 0) return status;
  }
  return 0;
}

/** Pages behind the new end are gone; the last page keeps no block behind it, and what is being written now may still be. */
function* letGo(parts: Parts, task: TaskContext, node: Node, firstBlock: number): Steps<void> {
  const perPage = PAGE_SIZE / parts.geometry.blockSize;
  const page = Math.floor(firstBlock / perPage);
  node.mappings.get(page)?.blocks.fill(0, firstBlock - page * perPage);
  while (node.nrWriting > 0) yield* settle(node.written.wait(task.withSignal(null)));
}

/** Frees the blocks behind a file's size; `node.raw.size` is the new one. */
export function* truncate(parts: Parts, task: TaskContext, node: Node): Steps<0 | NegErrno> {
  const { journal, credits, orphans, geometry } = parts;
  const first = Math.ceil(node.raw.size / geometry.blockSize);
  yield* letGo(parts, task, node, first);
  const status = yield* journal.do(task, credits.inode, function* (handle) {
    yield* orphans.add(handle, node);
    node.dataTransaction = handle.transaction.id;
    return 0;
  });
  if (status < 0) return status;
  return yield* freeSteps(parts, task, node, first, Number.POSITIVE_INFINITY, (handle) => {
    node.highWaterBytes = node.raw.size;
    return orphans.remove(handle, node);
  });
}

/** Frees whole blocks of a range; the size stays. Its pages are gone. */
export function* punch(parts: Parts, task: TaskContext, node: Node, first: number, end: number): Steps<0 | NegErrno> {
  return yield* freeSteps(parts, task, node, first, end, () => settle(undefined));
}

/** Frees every block of an inode without a name, then the inode. It is on the orphan list. */
export function* deleteNode(parts: Parts, task: TaskContext, node: Node, nowMs: number): Steps<0 | NegErrno> {
  const { journal, credits, orphans, inodes, table, geometry } = parts;
  if (node.hasBlocks(geometry.blockSize)) {
    while (node.nrWriting > 0) yield* settle(node.written.wait(task.withSignal(null)));
    const freed = yield* freeSteps(parts, task, node, 0, Number.POSITIVE_INFINITY, () => {
      node.raw.size = 0;
      return settle(undefined);
    });
    if (freed < 0) return freed;
  }
  return yield* journal.do(task, credits.step, function* (handle) {
    yield* orphans.remove(handle, node);
    yield* parts.attributes.release(handle, node);
    node.raw.dtime = Math.max(Math.floor(nowMs / 1000) % 2 ** 32, table.inodesCount); // less would look like the next of an orphan
    node.raw.linksCount = 0;
    yield* table.write(handle, node);
    yield* inodes.free(handle, node.ino, node.isDirectory);
    return 0;
  });
}
