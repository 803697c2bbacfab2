/**
 * The pages of a file. All that may fail or wait is done when a page becomes dirty: a block is promised to it, and room for its map. Writing it out
 * takes the block, writes, and leaves its MAP record due: it begins no transaction and allocates nothing.
 */
import {
  type AddressSpaceOperations,
  Errno,
  type Inode,
  type NegErrno,
  type PageChange,
  type Pfn,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { BLOCK } from './format.js';
import { type LogNode, MAP_BYTES, nodeOf } from './node.js';
import type { Volume } from './volume.js';

export class LogPages implements AddressSpaceOperations {
  readonly device: object;
  readonly #node: LogNode;

  constructor(
    readonly volume: Volume,
    readonly inode: Inode,
  ) {
    this.device = volume.device;
    this.#node = nodeOf(inode);
  }

  get sizeBytes(): number {
    return this.inode.sizeBytes;
  }

  setSize(sizeBytes: number): void {
    const isGrowing = sizeBytes > this.inode.sizeBytes;
    this.inode.sizeBytes = sizeBytes;
    if (isGrowing) this.#touch(); // what a file loses is said together with its size, by `setAttributes`
  }

  #touch(): void {
    this.#node.takeFrom(this.inode);
    this.volume.log.dirty.add(this.#node);
  }

  writesThrough(): WriteoutNode {
    return this.volume.dataNode;
  }

  readFolio(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.readahead(task, index, Uint32Array.of(pfn), 0, 1);
  }

  async readahead(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    const { io, memory } = this.volume;
    const { map } = this.#node;
    for (let i = 0; i < count; ) {
      const block = map.get(index + i) ?? 0;
      const run = block === 0 ? 1 : runFrom((k) => map.get(index + k) ?? 0, i, count);
      if (block === 0) memory.arena.zero(pfns[from + i]);
      else {
        const status = await io.read(task, block * BLOCK, pfns, from + i, run);
        if (status < 0) return status;
        if (runFrom((k) => map.get(index + k) ?? 0, i, i + run) < run || map.get(index + i) !== block) continue; // cleaned meanwhile: again
      }
      i += run;
    }
    return 0;
  }

  dirtyPage(task: TaskContext, change: PageChange): 0 | NegErrno | Promise<0 | NegErrno> {
    const { space, log } = this.volume;
    if (log.failure !== 0) return -Errno.EROFS;
    if (this.#node.promised.has(change.index)) return this.#bringIn(change, false);
    return space.nrSpare > 0 && !space.wantsCleaning ? this.#promise(change) : this.#dirtySlow(task, change);
  }

  async #dirtySlow(task: TaskContext, change: PageChange): Promise<0 | NegErrno> {
    const { space, log } = this.volume;
    if (space.wantsCleaning) await this.volume.clean(task);
    if (space.nrSpare <= 0) {
      const status = await log.sync(task); // what was freed of late is free then
      if (status < 0) return status;
    }
    if (space.nrSpare <= 0) return -Errno.ENOSPC;
    return this.#node.promised.has(change.index) ? this.#bringIn(change, false) : this.#promise(change);
  }

  #promise(change: PageChange): 0 | NegErrno {
    const { space, room } = this.volume;
    const taken = room.take(MAP_BYTES);
    if (taken < 0) return taken;
    this.#node.promised.add(change.index);
    space.nrPromised++;
    return this.#bringIn(change, true);
  }

  #bringIn(change: PageChange, isNew: boolean): 0 | NegErrno {
    const status = change.bringIn();
    if (status === 0) this.#touch();
    else if (isNew) this.invalidate(change.index);
    return status;
  }

  async writepages(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    const { space, io, log, room } = this.volume;
    const { promised, map, ino } = this.#node;
    const blocks: number[] = [];
    for (let i = 0; i < count; i++) {
      if (promised.delete(index + i)) space.nrPromised--;
      blocks.push(space.take(ino, index + i));
    }
    let status: 0 | NegErrno = 0;
    for (let i = 0; i < count && status === 0; ) {
      const run = runFrom((k) => blocks[k], i, count);
      status = await io.write(task, blocks[i] * BLOCK, pfns, from + i, run);
      i += run;
    }
    for (const [i, block] of blocks.entries()) {
      if (status === 0) {
        if (map.has(index + i)) room.take(-MAP_BYTES);
        log.remap(this.#node, index + i, block);
        continue;
      }
      space.release(block);
      if (promised.has(index + i))
        room.take(-MAP_BYTES); // it became dirty again meanwhile
      else space.nrPromised++;
      promised.add(index + i);
    }
    this.inode.blocksBytes = map.size * BLOCK;
    return status;
  }

  invalidate(index: number): void {
    const { space, room } = this.volume;
    if (!this.#node.promised.delete(index)) return;
    space.nrPromised--;
    room.take(-MAP_BYTES);
  }
}

/** How many from `i` on, below `end`, lie one behind the other. */
export function runFrom(blockAt: (i: number) => number, i: number, end: number): number {
  let run = 1;
  while (i + run < end && blockAt(i + run) === blockAt(i) + run) run++;
  return run;
}
