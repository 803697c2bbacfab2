/**
 * kswapd: the task that keeps memory free, so that allocations rarely reclaim themselves (M1).
 *
 *     asleep ──free ≤ low──► running ──free > high──► napping (100 ms) ──still so──► asleep
 *                             │  ▲                        └──woken──► running
 *                 nothing to do; writeout in flight: waits for progress
 *                 16 fruitless rounds: asleep, hopeless, until a direct reclaim succeeds
 *
 * It owns no memory right and never waits for a unit: what it cannot start now is left for the next round.
 */
import { AbortSource } from '../task/abort.js';
import type { TimerHandle } from '../task/clock.js';
import { TaskContext } from '../task/task-context.js';
import type { Reclaim, ReclaimParts } from './reclaim.js';

const NAP_MS = 100;
const HOPELESS_ROUNDS = 16;
const LEAST_ROUND_FRAMES = 32;

export class Kswapd {
  readonly #reclaim: Reclaim;
  readonly #parts: ReclaimParts;
  readonly #end = new AbortSource();
  readonly #task: TaskContext;
  #state: 'asleep' | 'running' | 'napping' | 'stopped' = 'asleep';
  #fruitless = 0;
  #nap: TimerHandle | null = null;
  #run: Promise<void> = Promise.resolve();

  constructor(reclaim: Reclaim, parts: ReclaimParts) {
    this.#reclaim = reclaim;
    this.#parts = parts;
    this.#task = TaskContext.root('kswapd', this.#end.signal, parts.waits).asReclaimer();
  }

  get state(): string {
    return this.#state;
  }

  /** True from its 16th fruitless round until somebody frees something. */
  get isHopeless(): boolean {
    return this.#fruitless >= HOPELESS_ROUNDS;
  }

  /** Free memory is at `low` or below. */
  wake(): void {
    if (this.#state === 'running' || this.#state === 'stopped') return;
    if (this.#fruitless >= HOPELESS_ROUNDS) return;
    if (this.#nap !== null) this.#parts.clock.clearTimer(this.#nap);
    this.#nap = null;
    this.#state = 'running';
    this.#parts.memory.counters.kswapd_wake++;
    this.#note('wake');
    // At the next step of anybody, not after the next I/O: tasks that only ever hit would hold it off for ever.
    this.#run = Promise.resolve().then(() => this.#balance());
  }

  /** Somebody freed something: there is hope again. */
  hope(): void {
    this.#fruitless = 0;
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    if (this.#nap !== null) this.#parts.clock.clearTimer(this.#nap);
    this.#nap = null;
    this.#state = 'stopped';
    this.#end.abort();
    await this.#run;
  }

  async #balance(): Promise<void> {
    const { allocator, counters } = this.#parts.memory;
    while (this.#state === 'running' && allocator.nrFree <= allocator.high) {
      counters.pageoutrun++;
      const nrFreedBefore = allocator.nrFreed;
      const target = Math.max(allocator.high, LEAST_ROUND_FRAMES) - this.#reclaim.nrInFlight;
      if (target > 0) this.#reclaim.shrink(target, true, true);
      else this.#reclaim.cleanPass(allocator.high - allocator.nrFree); // enough is on its way out, but may take long
      if (this.#reclaim.isWorkInFlight) await this.#reclaim.progress.wait(this.#task);
      // A write that was begun is no fruit: a device may fail every one.
      if (allocator.nrFreed > nrFreedBefore || this.#reclaim.isWorkInFlight) {
        this.#fruitless = 0;
        if (allocator.nrFreed === nrFreedBefore) await this.#yield(); // what goes round without freeing must not hold off the host
      } else if (++this.#fruitless >= HOPELESS_ROUNDS) {
        this.#sleep('hopeless');
        return;
      }
    }
    if (this.#state === 'running') this.#takeNap();
  }

  #yield(): Promise<void> {
    return new Promise((resolve) => this.#parts.scheduler.defer(resolve));
  }

  #takeNap(): void {
    this.#state = 'napping';
    this.#note('nap');
    this.#nap = this.#parts.clock.setTimer(NAP_MS, () => {
      this.#nap = null;
      if (this.#parts.memory.allocator.nrFree <= this.#parts.memory.allocator.low) this.wake();
      else this.#sleep('sleep');
    });
  }

  #sleep(state: 'sleep' | 'hopeless'): void {
    if (this.#state === 'stopped') return;
    this.#state = 'asleep';
    this.#note(state);
    this.#parts.memory.reserve.policy.onFreed?.(); // who was held up for its sake is not any more (trap 15)
  }

  #note(state: 'wake' | 'nap' | 'sleep' | 'hopeless'): void {
    if (this.#parts.trace.enabled) this.#parts.trace.emit('kswapd', { state, nrFree: this.#parts.memory.allocator.nrFree });
  }
}
