/**
 * What a scenario has in its hands: machines and their kernels, tasks, time, randomness from the seed, and a say in what counts as
 * progress.
 *
 * A scenario is an async function. It may await promises of kernels, tasks of the world and `sleep`, and nothing else: what the host would
 * do later (a real timer, a file) is no event of the run, and the run would be called stuck.
 */
import { type BootOptions, Kernel, type Plugin, sleep } from '@tidemark/core';
import type { EventQueue, EventSource } from '../time/event-queue.js';
import type { Random } from '../time/random.js';
import type { TraceHash } from '../time/trace-hash.js';
import { throwViolations } from './strict.js';
import { Machine } from './machine.js';

/** What a kernel of a simulation is booted with; its host comes from its machine. */
export interface BootSpec extends Omit<BootOptions, 'plugins'> {
  readonly plugins?: readonly Plugin[];
  /** Violations of what nodes declared (M5, M7, M19) fail the run, at their site. Default true. */
  readonly strict?: boolean;
}

/** Lets others that have something due now go first, or after, as the schedule likes. */
export type Step = () => Promise<void>;

/** What a scenario has in its hands: machines, time, tasks, randomness. */
export class World {
  readonly machines: Machine[] = [];
  /** Randomness for the scenario's own use. */
  readonly random: Random;
  readonly #seedRandom: Random;
  readonly #clock: Machine;
  /** What the scenario itself has planned. */
  readonly #plans: EventSource;
  readonly #checks: (() => void)[] = [];
  readonly #lenient = new WeakSet<Kernel>();
  readonly #troubles: (() => string | null)[] = [];
  /** For the simulator: where an error goes that nobody awaits. */
  onFailure: (error: unknown) => void = () => {};
  #nrProgress = 0;
  #nrTasks = 0;

  constructor(
    readonly seed: number,
    readonly events: EventQueue,
    readonly trace: TraceHash,
    random: Random,
  ) {
    this.#seedRandom = random;
    this.random = random.fork('scenario');
    this.#plans = events.source('plans of the scenario');
    this.#clock = new Machine('scenario', events, random);
  }

  get nowMs(): number {
    return this.events.nowMs;
  }

  /** A stream of random numbers of its own, for a part. */
  randomOf(name: string): Random {
    return this.#seedRandom.fork(name);
  }

  /** A fresh machine. A restarted one is another machine of the same name. */
  machine(name: string): Machine {
    const machine = new Machine(name, this.events, this.#seedRandom);
    this.machines.push(machine);
    return machine;
  }

  /**
   * Boots a kernel on a machine. It is watched: its invariants hold after every event, its stall report is part of a verdict. Unless told
   * otherwise it is strict.
   * @throws KernelError as `Kernel.boot`.
   */
  async boot(machine: Machine, spec: BootSpec): Promise<Kernel> {
    const { strict = true, ...options } = spec;
    const kernel = await Kernel.boot({ name: machine.name, ...options, plugins: [machine.host, ...(spec.plugins ?? [])] });
    machine.kernel = kernel;
    if (strict) throwViolations(kernel, this.onFailure);
    else this.#lenient.add(kernel);
    return kernel;
  }

  /** False for a kernel that was booted so. */
  isStrict(kernel: Kernel): boolean {
    return !this.#lenient.has(kernel);
  }

  /** Kernels of the machines that live. */
  get kernels(): Kernel[] {
    return this.machines.filter(({ isAlive, kernel }) => isAlive && kernel !== null).map(({ kernel }) => kernel as Kernel);
  }

  /**
   * Runs tasks side by side; each is a source of events of its own. Ends when all have; the first error is the run's. A task that ends is
   * progress.
   * @param tasks what to run; each is given its `step`.
   */
  async together(...tasks: ((step: Step) => Promise<void>)[]): Promise<void> {
    await Promise.all(
      tasks.map(async (task) => {
        const source = this.events.source(`task ${this.#nrTasks++}`);
        const step: Step = () => new Promise((resolve) => this.events.add(source, 0, resolve));
        await step();
        await task(step);
        this.progress();
      }),
    );
  }

  /** Lets time pass. */
  sleep(delayMs: number): Promise<void> {
    return sleep(this.#clock.clock, delayMs);
  }

  /**
   * Has something happen at a time of its own: a fault, a cut, a death, a restart. It is no timer: the run is not stuck while it is due.
   * What it throws is the run's failure.
   */
  later(delayMs: number, what: () => void | Promise<void>): void {
    this.events.add(this.#plans, delayMs, () => void Promise.resolve(what()).catch(this.onFailure));
  }

  /** Says that an operation has ended that had not ended before: the run is not stuck. */
  progress(): void {
    this.#nrProgress++;
  }

  /** Operations that ended. */
  get nrProgress(): number {
    return this.#nrProgress;
  }

  /** Has `tell` asked when a run has gone wrong: what a simulated part keeps from ending, or null. */
  onTrouble(tell: () => string | null): void {
    this.#troubles.push(tell);
  }

  /** For the simulator. */
  troubles(): string[] {
    return this.#troubles.map((tell) => tell()).filter((text) => text !== null);
  }

  /** Has `check` called after every event; what it throws is the run's failure. */
  afterEachEvent(check: () => void): void {
    this.#checks.push(check);
  }

  /** For the simulator. */
  runChecks(): void {
    for (const check of this.#checks) check();
  }
}
