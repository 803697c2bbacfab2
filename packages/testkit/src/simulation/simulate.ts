/**
 * One run: a scenario under a seed.
 *
 *     fire an event → every promise reaction that can run runs → check → fire the next …
 *
 * The middle step is the host's, because JavaScript cannot see its own queue of reactions: a bounded number of awaits is too few for a
 * chain one longer. `afterReactions(then)` must call `then` from a fresh task of the host's loop, since a loop runs every reaction before it
 * takes the next task: `setImmediate` on Node, a `MessageChannel` in a page. Nothing else of the host takes part, so a run is a function of
 * (scenario, seed) alone, and equal runs have equal hashes.
 */
import { isKernelError, type Kernel, type StallReport } from '@tidemark/core';
import { checkInvariants } from '../invariants.js';
import { EventQueue, type SimulatedEvent } from '../time/event-queue.js';
import { Random } from '../time/random.js';
import { pctSchedule, randomSchedule, type Schedule } from '../time/schedule.js';
import { TraceHash } from '../time/trace-hash.js';
import type { Machine } from './machine.js';
import { ProgressWatch } from './progress.js';
import { World } from './world.js';

/** Something to run. */
export interface Scenario {
  readonly name: string;
  /** Throws if something is wrong. Kernels that live at its end are shut down, and must leave no frame and no timer. */
  run(world: World): Promise<void>;
}

/** Under which seed and schedule a scenario is run, and for how long. */
export interface SimulateOptions {
  /** 0 … 2^32 − 1. */
  readonly seed: number;
  /** Calls its argument from a fresh task of the host's loop. */
  readonly afterReactions: (then: () => void) => void;
  /** Default: `random` for even seeds, `pct` for odd ones. */
  readonly schedule?: 'random' | 'pct' | ((random: Random) => Schedule);
  /** Most events of a run. Default 100,000. */
  readonly eventsMax?: number;
  /** See `ProgressWatch`. Default 120,000. */
  readonly patienceMs?: number;
  /** Told of every event when it has fired: for a timeline. */
  readonly onEvent?: (event: SimulatedEvent, nowMs: number) => void;
}

/** What a machine's kernel had to say when a run was stuck or failed. */
export interface MachineReport {
  readonly machine: string;
  readonly report: StallReport;
}

/** How a run ended. */
export interface Outcome {
  readonly scenario: string;
  readonly seed: number;
  readonly schedule: string;
  /** `failed` with `error`: the scenario threw, an invariant did not hold, or the end left something behind. */
  readonly verdict: 'completes' | 'stuck' | 'failed';
  readonly error: unknown;
  readonly nrEvents: number;
  /** Virtual time. */
  readonly elapsedMs: number;
  readonly traceHash: string;
  /** Of every machine on which somebody waits; empty when it completes. */
  readonly reports: readonly MachineReport[];
  /** What simulated parts kept from ending: silent disks, partitioned links. Empty when it completes. */
  readonly troubles: readonly string[];
}

const EVENTS_MAX = 100_000;
const SHUTDOWN_TIMEOUT_MS = 60_000;

/** Runs `scenario` under a seed. Never rejects: what goes wrong is in the outcome. */
export function simulate(scenario: Scenario, options: SimulateOptions): Promise<Outcome> {
  return new Promise((resolve) => new Run(scenario, options, resolve).start());
}

class Run {
  readonly #random: Random;
  readonly #schedule: Schedule;
  readonly #events: EventQueue;
  readonly #trace = new TraceHash();
  readonly #world: World;
  readonly #watch: ProgressWatch;
  readonly #eventsMax: number;
  #nrEvents = 0;
  #end: { readonly verdict: Outcome['verdict']; readonly error: unknown } | null = null;
  readonly #step = (): void => this.#next();

  constructor(
    private readonly scenario: Scenario,
    private readonly options: SimulateOptions,
    private readonly resolve: (outcome: Outcome) => void,
  ) {
    const { seed, schedule = seed % 2 === 0 ? 'random' : 'pct' } = options;
    this.#random = new Random(seed);
    const chance = this.#random.fork('schedule');
    this.#schedule = schedule === 'random' ? randomSchedule(chance) : schedule === 'pct' ? pctSchedule(chance) : schedule(chance);
    this.#events = new EventQueue(this.#schedule);
    this.#world = new World(seed, this.#events, this.#trace, this.#random);
    this.#watch = new ProgressWatch(this.#world, options.patienceMs);
    this.#eventsMax = options.eventsMax ?? EVENTS_MAX;
  }

  start(): void {
    this.#world.onFailure = (error) => this.#over('failed', error);
    this.#main().then(
      () => this.#over('completes', null),
      (error: unknown) => this.#over('failed', error),
    );
    this.options.afterReactions(this.#step);
  }

  async #main(): Promise<void> {
    await this.scenario.run(this.#world);
    this.#world.progress();
    for (let machine = this.#lastMachine(); machine !== null; machine = this.#lastMachine()) {
      const shutdown = (machine.kernel as Kernel).shutdown({ timeoutMs: SHUTDOWN_TIMEOUT_MS });
      const died = new Promise<null>((resolve) => (machine as Machine).onKill(() => resolve(null)));
      const report = await Promise.race([shutdown, died]);
      if (report === null) continue; // a planned death came first
      const { leakedFrames, leakedTimers, problems } = report;
      if (leakedFrames > 0 || leakedTimers > 0)
        throw new Error(`${machine.name} leaves ${leakedFrames} frames and ${leakedTimers} timers behind: ${problems.join('; ')}`);
      machine.kill();
    }
  }

  /** The machine that goes down next: of those that live, the one whose name came up last; servers are mostly there before clients. */
  #lastMachine(): Machine | null {
    const { machines } = this.#world;
    const names = machines.map(({ name }) => name);
    const alive = machines.filter(({ isAlive, kernel }) => isAlive && kernel !== null);
    return alive.sort((a, b) => names.indexOf(b.name) - names.indexOf(a.name))[0] ?? null;
  }

  #over(verdict: Outcome['verdict'], error: unknown): void {
    this.#end ??= { verdict, error };
  }

  #next(): void {
    const world = this.#world;
    try {
      for (const kernel of world.kernels) checkInvariants(kernel, world.isStrict(kernel));
      world.runChecks();
      this.#watch.look(this.#nrEvents);
      if (this.#end === null) this.#fire();
    } catch (error) {
      this.#over('failed', error);
    }
    if (this.#end === null) this.options.afterReactions(this.#step);
    else this.#finish();
  }

  #fire(): void {
    if (this.#watch.isStuck) {
      this.#over('stuck', null);
      return;
    }
    if (this.#nrEvents === this.#eventsMax) {
      const since = this.#nrEvents - this.#watch.lastEvent;
      if (since * 2 > this.#eventsMax) this.#over('stuck', null);
      else this.#over('failed', new Error(`${this.#eventsMax} events are not enough; the last progress was ${since} events ago`));
      return;
    }
    this.#nrEvents++;
    const event = this.#events.step() as SimulatedEvent;
    this.#trace.add(event.source.id);
    this.#trace.add(event.dueUs);
    this.options.onEvent?.(event, this.#world.nowMs);
  }

  #finish(): void {
    const { verdict, error } = this.#end as { verdict: Outcome['verdict']; error: unknown };
    const world = this.#world;
    const reports =
      verdict === 'completes'
        ? []
        : world.kernels.filter(({ waits }) => waits.size > 0).map((kernel) => ({ machine: kernel.name, report: kernel.stallReport() }));
    const troubles = verdict === 'completes' ? [] : world.troubles();
    this.#trace.addText(isKernelError(error) ? error.code : verdict);
    for (const machine of world.machines) machine.kill();
    this.resolve({
      scenario: this.scenario.name,
      seed: this.options.seed,
      schedule: this.#schedule.name,
      verdict,
      error,
      nrEvents: this.#nrEvents,
      elapsedMs: world.nowMs,
      traceHash: this.#trace.toString(),
      reports,
      troubles,
    });
  }
}
