/**
 * The event queue: the only source of asynchrony in a run. Timers, deferred work, completions of disks, bytes on links, and planned faults
 * are events with a due time; between two events every promise reaction that can run has run (see `simulate`).
 *
 * Time is a whole number of microseconds and moves only when nothing is due now. Events due at one moment form the *ready* set, from which
 * the schedule chooses; an event added for now joins it. An event belongs to a machine or to none: those of a machine that died never fire.
 *
 *     heap (by due time, then age)  ──all that is due──▶  ready  ──schedule──▶  fires
 */
import { KernelError } from '@tidemark/core';
import type { Schedule } from './schedule.js';

/** Where events come from: what a schedule gives priorities to. */
export interface EventSource {
  readonly id: number;
  readonly name: string;
}

/** Something that will happen. */
export interface SimulatedEvent {
  readonly source: EventSource;
  /** The machine it happens to, or null. */
  readonly owner: object | null;
  /** True for a timer of a kernel: one that may be nothing but a retry. */
  readonly isTimer: boolean;
  readonly delayUs: number;
  readonly dueUs: number;
}

class QueuedEvent implements SimulatedEvent {
  /** Index in the heap, -1 in the ready set, -2 when over. */
  at = -2;

  constructor(
    readonly source: EventSource,
    readonly owner: object | null,
    readonly isTimer: boolean,
    readonly delayUs: number,
    readonly dueUs: number,
    readonly age: number,
    readonly fire: () => void,
  ) {}
}

/** Longest delay: past it a sum of microseconds would not be exact. */
const DELAY_MAX_MS = 2 ** 42;

/** Everything that is going to happen in a run, by virtual time; a schedule chooses among what is due at one moment. */
export class EventQueue {
  readonly #schedule: Schedule;
  readonly #heap: QueuedEvent[] = [];
  readonly #ready: QueuedEvent[] = [];
  readonly #sources: EventSource[] = [];
  readonly #dead = new WeakSet<object>();
  #nowUs = 0;
  #nrAdded = 0;
  #nrTimers = 0;
  #nrPending = 0;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
  }

  get nowMs(): number {
    return this.#nowUs / 1000;
  }

  /** Events that have neither fired nor been cancelled. */
  get nrPending(): number {
    return this.#nrPending;
  }

  /** Those that are no timer: something is under way that will end by itself. */
  get nrUnderWay(): number {
    return this.#nrPending - this.#nrTimers;
  }

  /** A new source of events. */
  source(name: string): EventSource {
    const source = { id: this.#sources.length, name };
    this.#sources.push(source);
    return source;
  }

  /**
   * Has `fire` called `delayMs` from now.
   * @throws KernelError EINVAL for a delay that is no number of milliseconds.
   */
  add(source: EventSource, delayMs: number, fire: () => void, owner: object | null = null, isTimer = false): SimulatedEvent {
    if (!(delayMs <= DELAY_MAX_MS)) throw new KernelError('EINVAL', `${source.name}: ${delayMs} ms is no delay`);
    const delayUs = Math.max(0, Math.ceil(delayMs * 1000));
    const { tickUs } = this.#schedule;
    const dueUs = Math.ceil((this.#nowUs + delayUs) / tickUs) * tickUs;
    const event = new QueuedEvent(source, owner, isTimer, delayUs, dueUs, this.#nrAdded++, fire);
    if (owner !== null && this.#dead.has(owner)) return event;
    if (dueUs <= this.#nowUs) {
      event.at = -1;
      this.#ready.push(event);
    } else {
      this.#heap.push(event);
      this.#rise(event, this.#heap.length - 1);
    }
    this.#nrPending++;
    if (isTimer) this.#nrTimers++;
    return event;
  }

  /** Takes an event back. @returns false if it had fired, or was taken back before. */
  cancel(event: SimulatedEvent): boolean {
    const queued = event as QueuedEvent;
    if (queued.at === -2) return false;
    if (queued.at === -1) this.#ready.splice(this.#ready.indexOf(queued), 1);
    else this.#removeFromHeap(queued);
    this.#over(queued);
    return true;
  }

  /** Takes back everything that would happen to a machine, now and later. */
  dropOwnedBy(owner: object): void {
    this.#dead.add(owner);
    for (const event of [...this.#ready, ...this.#heap]) if (event.owner === owner) this.cancel(event);
  }

  /** Longest delay of a timer that is set, in milliseconds. */
  longestTimerMs(): number {
    let longestUs = 0;
    for (const event of this.#heap) if (event.isTimer) longestUs = Math.max(longestUs, event.delayUs);
    return longestUs / 1000;
  }

  /** Moves time on to the next event and calls it. @returns it, or null if there is none. */
  step(): SimulatedEvent | null {
    if (this.#ready.length === 0 && !this.#advance()) return null;
    const ready = this.#ready;
    const at = this.#schedule.choose(ready);
    const event = ready[at];
    ready[at] = ready[ready.length - 1]; // the choice does not depend on the order, except by the same numbers in every run
    ready.pop();
    this.#over(event);
    event.fire();
    return event;
  }

  #over(event: QueuedEvent): void {
    event.at = -2;
    this.#nrPending--;
    if (event.isTimer) this.#nrTimers--;
  }

  #advance(): boolean {
    const heap = this.#heap;
    if (heap.length === 0) return false;
    this.#nowUs = heap[0].dueUs;
    while (heap.length > 0 && heap[0].dueUs === this.#nowUs) {
      const event = heap[0];
      this.#removeFromHeap(event);
      event.at = -1;
      this.#ready.push(event);
    }
    return true;
  }

  #removeFromHeap(event: QueuedEvent): void {
    const heap = this.#heap;
    const last = heap.pop() as QueuedEvent;
    if (last === event) return;
    const { at } = event;
    if (at > 0 && isBefore(last, heap[(at - 1) >> 1])) this.#rise(last, at);
    else this.#sink(last, at);
  }

  #rise(event: QueuedEvent, from: number): void {
    const heap = this.#heap;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent])) break;
      heap[at] = heap[parent];
      heap[at].at = at;
      at = parent;
    }
    heap[at] = event;
    event.at = at;
  }

  #sink(event: QueuedEvent, from: number): void {
    const heap = this.#heap;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (!isBefore(heap[child], event)) break;
      heap[at] = heap[child];
      heap[at].at = at;
      at = child;
    }
    heap[at] = event;
    event.at = at;
  }
}

function isBefore(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.dueUs !== b.dueUs ? a.dueUs < b.dueUs : a.age < b.age;
}
