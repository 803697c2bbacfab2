/**
 * Violations: what a node did against its own declaration (M5, M7, M19). They are counted always, whatever else happens, and told to one
 * handler: by default a trace point, in tests an error. The handler is called where it happened, before anything was taken, so it may throw.
 */
import type { TracePoints } from '../base/trace.js';
import type { Counters, CounterName } from './counters.js';

/** What was done, by the counter of vmstat that counts it. */
const COUNTED_AS = {
  /** A unit holds more frames than its node declared, whatever memory they came from. */
  overspent: 'reserve_overspent',
  /** Writeout allocated without a ticket. */
  unfunded: 'reserve_unfunded',
  /** A unit ended while it held frames. */
  leaked: 'reserve_leaked',
  /** A lock was taken without a ticket of its node (M11). */
  'unticketed-lock': 'lock_unticketed',
  /** A task that holds a lock of a node was about to wait for ordinary memory (M11). */
  'wait-under-lock': 'lock_waits',
  /** A second element of a pool was taken while the first was held (M19). */
  'second-element': 'pool_second_element',
} as const satisfies Record<string, CounterName>;

export type ViolationKind = keyof typeof COUNTED_AS;

/** One violation. */
export class Violation {
  constructor(
    readonly kind: ViolationKind,
    /** The node of the writeout graph, the pool or the task that did it. */
    readonly node: string,
    /** A sentence for people. */
    readonly message: string,
  ) {}

  /** Where it happened: the stack. To be read within the handler. */
  get site(): string {
    return (new Error(this.message).stack ?? '').split('\n').slice(2).join('\n');
  }
}

/** The violations of one kernel. */
export class Violations {
  handler: (violation: Violation) => void = ({ kind, node, message }) => {
    if (this.trace.enabled) this.trace.emit('violation', { kind, node, message });
  };

  constructor(
    readonly counters: Counters,
    readonly trace: TracePoints,
  ) {}

  /** Counts it and tells the handler. Throws what the handler throws. */
  report(kind: ViolationKind, node: string, message: string): void {
    this.counters[COUNTED_AS[kind]]++;
    this.handler(new Violation(kind, node, message));
  }
}
