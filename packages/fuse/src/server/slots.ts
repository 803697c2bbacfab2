/** Buffers of one size, from standing memory: taken and given back, never made. */
import type { Memory, StandingMemory, TaskContext } from '@tidemark/core';
import { Reply } from '../protocol/replies.js';

/** One buffer. */
export class Slot {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same as a place for a reply. */
  readonly reply: Reply;

  constructor(readonly memory: StandingMemory) {
    this.bytes = memory.bytes;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.reply = new Reply(this.bytes);
  }
}

export class Slots {
  readonly #all: Slot[] = [];
  readonly #free: Slot[] = [];
  readonly #waiting: ((slot: Slot) => void)[] = [];

  /** @throws KernelError ENOMEM; then nothing was taken. */
  static async take(memory: Memory, task: TaskContext, owner: string, nrSlots: number, slotFrames: number): Promise<Slots> {
    const slots = new Slots();
    try {
      for (let i = 0; i < nrSlots; i++) slots.#all.push(new Slot(await memory.allocStanding(task, owner, slotFrames)));
    } catch (error) {
      slots.dispose();
      throw error;
    }
    slots.#free.push(...slots.#all);
    return slots;
  }

  get nrFree(): number {
    return this.#free.length;
  }

  /** One that is free, or null. */
  get(): Slot | null {
    return this.#free.pop() ?? null;
  }

  /** One that is free, waited for if there is none: first come, first served. Whoever has one gives it back without waiting for another. */
  getSlow(): Slot | Promise<Slot> {
    return this.get() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  put(slot: Slot): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slot);
    else next(slot);
  }

  /** Gives the memory back; nobody uses one any more. */
  dispose(): void {
    for (const { memory } of this.#all.splice(0)) memory.free();
    this.#free.length = 0;
  }
}
