/**
 * Schedules: which of the events that are due at one moment goes first.
 *
 *     random   any of them, evenly
 *     PCT      each source of events (a disk, one direction of a link, a machine's timers) has a priority drawn at its birth; the highest
 *              goes first. At depth − 1 moments, drawn beforehand among the first `stepsMax` events, the source that is about to go falls
 *              below all others. A bug that needs `depth` ordered events is found with probability ≥ 1 / (n × stepsMax^(depth − 1)) a run,
 *              n being the sources (Burckhardt and others, 2010).
 *
 * Moments are `tickUs` apart: a delay is rounded up to the next one. The coarser they are, the more events are due at once and the more
 * orders there are to choose from; a delay only ever grows, by less than a tick, so every order is one that real time could produce. And
 * since all of a tick's events run before the next tick, no source starves for ever, which verdicts about liveness need.
 */
import { KernelError } from '@tidemark/core';
import type { Random } from './random.js';

/** What a schedule knows of an event. */
export interface Schedulable {
  readonly source: { readonly id: number };
}

/** Chooses among the events that are due at one moment. */
export interface Schedule {
  /** `random`, `pct`. */
  readonly name: string;
  /** Distance of moments in microseconds. */
  readonly tickUs: number;
  /** Index of the event that goes next; `ready` is not empty. */
  choose(ready: readonly Schedulable[]): number;
}

/** Any of them, evenly. */
export function randomSchedule(random: Random, tickUs = 50): Schedule {
  checkCount(tickUs, 'tickUs');
  return { name: 'random', tickUs, choose: (ready) => (ready.length === 1 ? 0 : random.below(ready.length)) };
}

/** How `pctSchedule` chooses. */
export interface PctOptions {
  /** Ordered events that the sought bug needs. Default 3. */
  readonly depth?: number;
  /** Events among which the changes of priority lie. Default 2,000. */
  readonly stepsMax?: number;
  /** Default 500. */
  readonly tickUs?: number;
}

/** Priorities, with `depth` − 1 changes. */
export function pctSchedule(random: Random, options: PctOptions = {}): Schedule {
  const { depth = 3, stepsMax = 2_000, tickUs = 500 } = options;
  for (const [name, value] of Object.entries({ depth, stepsMax, tickUs })) checkCount(value, name);
  const changes = new Set(Array.from({ length: depth - 1 }, () => random.below(stepsMax)));
  const priorities: number[] = [];
  let step = 0;
  let lowest = 0;
  const priorityOf = (event: Schedulable): number => (priorities[event.source.id] ??= 1 + random.next());
  const highest = (ready: readonly Schedulable[]): number => {
    let best = 0;
    let nrEqual = 1;
    for (let i = 1; i < ready.length; i++) {
      const ahead = priorityOf(ready[i]) - priorityOf(ready[best]);
      if (ahead > 0) nrEqual = 1;
      if (ahead > 0 || (ahead === 0 && random.below(++nrEqual) === 0)) best = i; // of one source: any, evenly
    }
    return best;
  };
  return {
    name: 'pct',
    tickUs,
    choose(ready) {
      const first = highest(ready);
      if (!changes.has(step++)) return first;
      priorities[ready[first].source.id] = --lowest;
      return highest(ready);
    },
  };
}

function checkCount(value: number, name: string): void {
  if (!Number.isSafeInteger(value) || value < 1) throw new KernelError('EINVAL', `${name} is ${value}: want a whole number from 1 on`);
}
