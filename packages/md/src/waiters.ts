/** Lists of things that wait to be gone on with, linked through themselves: no memory of their own. First in, first out. */

/** Something that waits on at most one list at a time. */
export interface Waiter {
  /** For the list. */
  nextWaiter: Waiter | null;
  /** What it waited for is over. May wait again at once, on the same list too. */
  resume(): void;
}

export class WaiterList {
  #head: Waiter | null = null;
  #tail: Waiter | null = null;

  get isEmpty(): boolean {
    return this.#head === null;
  }

  push(waiter: Waiter): void {
    waiter.nextWaiter = null;
    if (this.#tail === null) this.#head = waiter;
    else this.#tail.nextWaiter = waiter;
    this.#tail = waiter;
  }

  shift(): Waiter | null {
    const waiter = this.#head;
    if (waiter === null) return null;
    this.#head = waiter.nextWaiter;
    if (this.#head === null) this.#tail = null;
    waiter.nextWaiter = null;
    return waiter;
  }

  /** Moves everything to the end of `target`. */
  moveTo(target: WaiterList): void {
    for (let waiter = this.shift(); waiter !== null; waiter = this.shift()) target.push(waiter);
  }

  /** Goes on with everything that waits now. */
  resumeAll(): void {
    const now = new WaiterList();
    this.moveTo(now);
    for (let waiter = now.shift(); waiter !== null; waiter = now.shift()) waiter.resume();
  }
}

/** Waits on a list until it is resumed. */
export function waitOn(list: WaiterList): Promise<void> {
  return new Promise((resolve) => list.push({ nextWaiter: null, resume: resolve }));
}
