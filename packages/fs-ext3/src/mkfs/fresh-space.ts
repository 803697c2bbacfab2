/**
 * Blocks of an image that is being made: everything is free but what the groups' own structures take. Blocks are given in ascending order
 * from a group on; what was given is kept as a few runs, from which the bitmaps are written.
 */
import { KernelError } from '@tidemark/core';
import { type Geometry, groupBlocks, groupStart, superblockOverhead } from '../format/geometry.js';

/** Consecutive blocks. */
export interface Run {
  readonly first: number;
  readonly count: number;
}

/** Blocks of a group for its own structures: copies of superblock and descriptors, two bitmaps, the inode table. */
export function structureBlocks(geometry: Geometry, group: number): number {
  return superblockOverhead(geometry, group) + 2 + geometry.inodeTableBlocks;
}

/** Hands out the data blocks of a fresh image. */
export class FreshSpace {
  /** Blocks given of groups that were touched, from the start of their data. */
  readonly #given = new Map<number, number>();

  constructor(
    readonly name: string,
    readonly geometry: Geometry,
  ) {}

  /**
   * Takes `count` blocks, from `group` on, going round.
   * @throws KernelError ENOSPC if there are not so many.
   */
  take(count: number, group: number): Run[] {
    const { geometry } = this;
    const runs: Run[] = [];
    let left = count;
    for (let i = 0; i < geometry.nrGroups && left > 0; i++) {
      const at = (group + i) % geometry.nrGroups;
      const given = this.given(at);
      const first = groupStart(geometry, at) + structureBlocks(geometry, at) + given;
      const taken = Math.min(left, groupStart(geometry, at) + groupBlocks(geometry, at) - first);
      if (taken <= 0) continue;
      runs.push({ first, count: taken });
      this.#given.set(at, given + taken);
      left -= taken;
    }
    if (left > 0) throw new KernelError('ENOSPC', `make ext3 on ${this.name}: ${count} blocks are wanted, and ${count - left} are left`);
    return runs;
  }

  /** Data blocks of a group that were given. */
  given(group: number): number {
    return this.#given.get(group) ?? 0;
  }

  /** Blocks of a group in use, its structures included: they are its first ones. */
  used(group: number): number {
    return structureBlocks(this.geometry, group) + this.given(group);
  }
}

/** The blocks of runs, one by one. */
export function* blocksOf(runs: readonly Run[]): Generator<number> {
  for (const { first, count } of runs) for (let i = 0; i < count; i++) yield first + i;
}
