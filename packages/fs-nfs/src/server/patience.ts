/** How long a WRITE may wait for memory, or for less to be dirty, before its client is sent away with JUKEBOX. One WRITE of a connection at a time. */
import { AbortSource, type Clock, KernelError, type TaskContext, type TimerHandle } from '@tidemark/core';

const PATIENCE_MS = 5_000;

export class Patience {
  readonly #clock: Clock;
  readonly #patient: TaskContext;
  #source!: AbortSource;
  #task!: TaskContext;
  #timer: TimerHandle | null = null;

  /** @param task without a limit. */
  constructor(task: TaskContext, clock: Clock) {
    this.#clock = clock;
    this.#patient = task;
    this.#renew();
  }

  #renew(): void {
    this.#source = new AbortSource();
    this.#task = this.#patient.withSignal(this.#source.signal);
  }

  /** The task whose waits end with `-ETIMEDOUT` when patience does. */
  get task(): TaskContext {
    return this.#task;
  }

  /** A wait begins. */
  start(): void {
    this.#timer = this.#clock.setTimer(PATIENCE_MS, () => {
      this.#timer = null;
      const source = this.#source;
      this.#renew();
      source.abort(new KernelError('ETIMEDOUT', 'there was no memory for a write in time'));
    });
  }

  /** It is over. */
  stop(): void {
    if (this.#timer !== null) this.#clock.clearTimer(this.#timer);
    this.#timer = null;
  }
}
