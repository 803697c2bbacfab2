/**
 * Address spaces: whoever has pages. A page in memory is (space, index); the frame table holds both, so that reclaim finds the owner of
 * any frame it comes across.
 *
 * | who | owns |
 * |---|---|
 * | the space | its index (cell → frame, slot or shadow), what its pages mean, their backing |
 * | the replacement policy | the order in which pages go |
 * | reclaim | the verdict on one page, and the frame once `evict` has returned |
 */
import { KernelError } from '../base/errno.js';
import type { Pfn } from '../mm/arena.js';
import type { Cell } from '../mm/cell.js';

/** Most spaces at once: files with pages, and swapped memory. What they take is bounded by who makes them. */
const MAX_SPACES = 2 ** 24;

/** Says whether a dirty page may be written out now. */
export type MayWrite = (pfn: Pfn) => boolean;
/** Every page may. */
export const anyPage: MayWrite = () => true;

/** One owner of pages. */
export interface AddressSpace {
  /** Set by the table of spaces; the frame table names spaces by it. */
  id: number;
  readonly name: string;
  readonly isAnonymous: boolean;
  /**
   * Lets go of a clean page without users: the index gets `shadow` in its place (or the page's slot, for anonymous pages that have
   * one; the shadow then goes into the slot's cell). Must not allocate, wait or fail. The caller frees the frame.
   */
  evict(pfn: Pfn, shadow: Cell): void;
  /** Asked before a clean page flagged `PG.PRIVATE` is evicted (M18, row 9). Must not allocate, wait or throw. Absent: it may be. */
  mayEvict?(pfn: Pfn): boolean;
}

/** The spaces of one kernel, by id. Id 0 is nobody. */
export class AddressSpaceTable {
  readonly #spaces: (AddressSpace | null)[] = [null];
  readonly #freeIds: number[] = [];

  /** Gives a space its id. @throws KernelError ENFILE beyond 2^24 spaces. */
  add(space: AddressSpace): void {
    const id = this.#freeIds.pop() ?? this.#spaces.length;
    if (id >= MAX_SPACES) throw new KernelError('ENFILE', `there are ${MAX_SPACES} address spaces already; ${space.name} is one too many`);
    this.#spaces[id] = space;
    space.id = id;
  }

  remove(space: AddressSpace): void {
    if (this.#spaces[space.id] !== space) return;
    this.#spaces[space.id] = null;
    this.#freeIds.push(space.id);
    space.id = 0;
  }

  /** The owner of a frame whose `space` is `id`, or null. */
  get(id: number): AddressSpace | null {
    return this.#spaces[id] ?? null;
  }

  /** Every space, for those who look for pages by owner. */
  *all(): Generator<AddressSpace> {
    for (const space of this.#spaces) if (space !== null) yield space;
  }
}
