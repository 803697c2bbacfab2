/**
 * The gate that keeps writes out of a range while its members are made equal there. One window at a time, first come, first served; a
 * write that meets it waits at the gate, and the window opens for its owner once the writes inside have ended.
 *
 * Nothing that a window's owner waits for waits at the gate: member I/O, superblocks and the bitmap have memory of their own.
 */
import { type NegErrno, Semaphore, type TaskContext } from '@tidemark/core';
import { type Waiter, WaiterList, waitOn } from '../waiters.js';

/** A write, as the gate sees it. */
export interface RangedWrite extends Waiter {
  readonly isInGate: boolean;
  readonly fromBytes: number;
  readonly toBytes: number;
}

export class RangeGate {
  readonly #turn: Semaphore;
  readonly #held = new WaiterList();
  readonly #drained = new WaiterList();
  #from = 0;
  #to = 0;

  /** @param writes all that there can be. */
  constructor(
    name: string,
    private readonly writes: readonly RangedWrite[],
  ) {
    this.#turn = new Semaphore(1, { kind: 'window', name: `of resync in ${name}` });
  }

  /** @returns false if the write has to wait: it is resumed, and asks again. */
  mayEnter(write: RangedWrite): boolean {
    if (!this.#meets(write)) return true;
    this.#held.push(write);
    return false;
  }

  #meets({ fromBytes, toBytes }: RangedWrite): boolean {
    return fromBytes < this.#to && this.#from < toBytes;
  }

  /** A write that was inside has ended. */
  left(): void {
    if (!this.#drained.isEmpty && !this.#isOccupied()) this.#drained.resumeAll();
  }

  #isOccupied(): boolean {
    for (const write of this.writes) if (write.isInGate && this.#meets(write)) return true;
    return false;
  }

  /** Closes the range for writes; ends when none is inside. @returns 0, or the errno of the task's signal. */
  async close(task: TaskContext, fromBytes: number, toBytes: number): Promise<0 | NegErrno> {
    const turn = await this.#turn.acquire(task);
    if (turn !== 0) return turn;
    this.#from = fromBytes;
    this.#to = toBytes;
    while (this.#isOccupied()) await waitOn(this.#drained);
    return 0;
  }

  /** Lets the writes in. */
  open(): void {
    this.#from = 0;
    this.#to = 0;
    this.#turn.release();
    this.#held.resumeAll();
  }
}
