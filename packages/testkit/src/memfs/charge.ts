/** Frames that pay for what memfs keeps on the JS heap: names, targets of links, extended attributes. */
import { Gfp, type Memory, type NegErrno, Errno, SlabCache, type TaskContext } from '@tidemark/core';

/** Bytes of one unit. */
const UNIT_BYTES = 128;

/** Units of memory, taken before something is kept and given back after it is gone. */
export class HeapCharge {
  readonly #memory: Memory;
  readonly #units: SlabCache<object>;
  readonly #spare: object[] = [];

  constructor(memory: Memory) {
    this.#memory = memory;
    this.#units = new SlabCache(memory.frameSource(Gfp.SLAB), { name: 'memfs', objectBytes: UNIT_BYTES, create: () => ({}) });
  }

  /** Units that `bytes` take. */
  static unitsOf(bytes: number): number {
    return Math.ceil(bytes / UNIT_BYTES);
  }

  get nrUnits(): number {
    return this.#units.nrObjects;
  }

  /** Takes units, waiting for memory if need be. @returns 0 or `-ENOSPC`, and then none. */
  take(task: TaskContext, nrUnits: number): 0 | NegErrno | Promise<0 | NegErrno> {
    return this.#tryTake(task, nrUnits) ? 0 : this.#takeSlow(task, nrUnits);
  }

  #tryTake(task: TaskContext, nrUnits: number): boolean {
    for (let i = 0; i < nrUnits; i++) {
      const unit = this.#units.alloc(task);
      if (unit === null) {
        this.give(i);
        return false;
      }
      this.#spare.push(unit);
    }
    return true;
  }

  async #takeSlow(task: TaskContext, nrUnits: number): Promise<0 | NegErrno> {
    await this.#memory.makeRoom(task, Math.ceil(nrUnits / this.#units.objectsPerFrame) + 1);
    return this.#tryTake(task, nrUnits) ? 0 : -Errno.ENOSPC;
  }

  /** Gives units back. */
  give(nrUnits: number): void {
    for (let i = 0; i < nrUnits; i++) this.#units.free(this.#spare.pop() as object);
  }

  /** Gives everything back. */
  dispose(): void {
    this.give(this.#spare.length);
    this.#units.dispose();
  }
}
