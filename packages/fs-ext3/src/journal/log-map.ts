/**
 * Where the blocks of the log are on the device: runs of consecutive ones, read at mount and kept, because a commit must not look anything up.
 */
import { KernelError, type Memory, PAGE_SIZE, type StandingCharge } from '@tidemark/core';

/** What one run takes. */
export const LOG_RUN_BYTES = 24;

export class LogMap {
  /** First log block and first device block of each run, ascending. */
  readonly #logs: number[] = [];
  readonly #blocks: number[] = [];
  #charge: StandingCharge | null = null;
  #end = 0;

  /** Blocks that are mapped. */
  get nrBlocks(): number {
    return this.#end;
  }

  /** Says where the next log block is. */
  push(block: number): void {
    const last = this.#logs.length - 1;
    if (last < 0 || this.#blocks[last] + (this.#end - this.#logs[last]) !== block) {
      this.#logs.push(this.#end);
      this.#blocks.push(block);
    }
    this.#end++;
  }

  /** Device block of a log block. @throws KernelError EUCLEAN beyond the end. */
  blockOf(logBlock: number): number {
    if (logBlock >= this.#end) throw new KernelError('EUCLEAN', `the journal has ${this.#end} blocks, none with number ${logBlock}`);
    let low = 0;
    let high = this.#logs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#logs[middle] <= logBlock) low = middle;
      else high = middle - 1;
    }
    return this.#blocks[low] + (logBlock - this.#logs[low]);
  }

  /** Pieces it lies in. */
  get nrRuns(): number {
    return this.#logs.length;
  }

  /** Pays for what it takes. @throws KernelError ENOMEM. */
  charge(memory: Memory, name: string): void {
    this.#charge = memory.chargeStanding(`map of the journal of ${name}`, Math.ceil((this.#logs.length * LOG_RUN_BYTES) / PAGE_SIZE));
  }

  dispose(): void {
    this.#charge?.free();
    this.#charge = null;
  }
}
