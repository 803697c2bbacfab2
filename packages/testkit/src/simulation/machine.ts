/**
 * A machine: what one kernel runs on, and what can die. Its clock, scheduler and randomness belong to it, and so does every event that
 * would happen to it; when it is killed none of them fires any more, its tasks stay where they wait for ever, and its memory is gone.
 * Nothing is flushed and nobody is told: what its disks hold then is asked of them (`SimulatedDisk.crash`), what its peers see is the
 * network's affair.
 */
import { CLOCK, definePlugin, type Kernel, type Plugin, RANDOM, SCHEDULER } from '@tidemark/core';
import type { EventQueue } from '../time/event-queue.js';
import type { Random } from '../time/random.js';
import { VirtualClock, VirtualScheduler } from '../time/virtual-clock.js';

/** What one kernel runs on: its clock, scheduler and randomness. It can die. */
export class Machine {
  readonly clock: VirtualClock;
  readonly scheduler: VirtualScheduler;
  readonly random: Random;
  /** Brings a kernel its host: time, deferred work, randomness. */
  readonly host: Plugin;
  /** Its kernel, once it is booted. */
  kernel: Kernel | null = null;
  #isAlive = true;
  readonly #events: EventQueue;
  readonly #onKill: (() => void)[] = [];

  constructor(
    readonly name: string,
    events: EventQueue,
    random: Random,
  ) {
    this.#events = events;
    this.random = random.fork(name);
    this.clock = new VirtualClock(events, name, this);
    this.scheduler = new VirtualScheduler(events, name, this);
    this.host = definePlugin({
      name: 'simulated-host',
      register: (container) => {
        container.register(CLOCK, { useValue: this.clock });
        container.register(SCHEDULER, { useValue: this.scheduler });
        container.register(RANDOM, { useValue: this.random });
      },
    });
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Has `hook` called when the machine dies. */
  onKill(hook: () => void): void {
    this.#onKill.push(hook);
  }

  /** Ends it between two steps. Twice is fine. */
  kill(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    this.#events.dropOwnedBy(this);
    for (const hook of this.#onKill) hook();
  }
}
