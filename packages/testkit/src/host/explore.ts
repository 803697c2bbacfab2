/** Many runs of one scenario, each under a seed of its own; the first that does not end as it should stops them and says how to replay it. */
import { formatStallReport } from '@tidemark/core';
import { type Outcome, type Scenario, simulate as simulateOn, type SimulateOptions } from '../simulation/simulate.js';

/** A fresh task of Node's loop: every promise reaction has run before it. */
export function drainReactions(then: () => void): void {
  setImmediate(then);
}

/** Options of `simulate` on Node. */
export type HostOptions = Omit<SimulateOptions, 'afterReactions'>;

/** `simulate` on Node. */
export function simulate(scenario: Scenario, options: HostOptions): Promise<Outcome> {
  return simulateOn(scenario, { ...options, afterReactions: drainReactions });
}

/** How `explore` runs a scenario: how many seeds, from which on, and what counts as a good end. */
export interface ExploreOptions extends Omit<HostOptions, 'seed'> {
  /** Runs. `TIDEMARK_NR_SEEDS` in the environment takes its place; with `TIDEMARK_SEED` there is one. */
  readonly nrSeeds: number;
  /** Default 1. */
  readonly firstSeed?: number;
  /** Default: `completes`. */
  readonly expect?: (outcome: Outcome) => boolean;
  /** The command that runs this again, printed behind `TIDEMARK_SEED=…`. Default: the one that started this process. */
  readonly command?: string;
}

/** What all runs came to. */
export interface ExploreSummary {
  readonly scenario: string;
  readonly nrRuns: number;
  readonly verdicts: Readonly<Record<Outcome['verdict'], number>>;
  readonly nrEvents: number;
  /** Most events of one run. */
  readonly eventsPeak: number;
  /** Of the host's clock, booting and shutting down included. */
  readonly eventsPerSecond: number;
  /** Virtual time of all runs. */
  readonly elapsedMs: number;
}

/** A run that did not end as it should; the message says how, why, and how to replay it. */
export class SimulationFailure extends Error {
  constructor(
    readonly outcome: Outcome,
    readonly replay: string,
  ) {
    super(describe(outcome, replay), { cause: outcome.error });
    this.name = 'SimulationFailure';
  }
}

function describe(outcome: Outcome, replay: string): string {
  const { scenario, seed, schedule, verdict, error, nrEvents, elapsedMs, traceHash } = outcome;
  const lines = [
    `${scenario}: ${verdict} under seed ${seed} (${schedule}) after ${nrEvents} events and ${elapsedMs.toFixed(1)} ms, trace ${traceHash}`,
    ...(error === null ? [] : [`  ${error instanceof Error ? error.message : String(error)}`]),
    ...outcome.reports.map(({ machine, report }) => `${machine}: ${formatStallReport(report)}`),
    ...outcome.troubles,
    `replay: ${replay}`,
  ];
  return lines.join('\n');
}

/**
 * Runs a scenario under many seeds, one after the other.
 * @throws SimulationFailure for the first run that does not end as expected.
 */
export async function explore(scenario: Scenario, options: ExploreOptions): Promise<ExploreSummary> {
  const { nrSeeds, firstSeed = 1, expect = ({ verdict }) => verdict === 'completes', command = defaultCommand(), ...rest } = options;
  const asked = askedNumber('TIDEMARK_SEED');
  const nrRuns = askedNumber('TIDEMARK_NR_SEEDS') ?? nrSeeds;
  const seeds = asked === null ? Array.from({ length: nrRuns }, (_, i) => firstSeed + i) : [asked];
  const verdicts = { completes: 0, stuck: 0, failed: 0 };
  let nrEvents = 0;
  let eventsPeak = 0;
  let elapsedMs = 0;
  const began = performance.now();
  for (const seed of seeds) {
    const outcome = await simulate(scenario, { ...rest, seed });
    if (!expect(outcome)) throw new SimulationFailure(outcome, `TIDEMARK_SEED=${seed} ${command}`);
    verdicts[outcome.verdict]++;
    nrEvents += outcome.nrEvents;
    eventsPeak = Math.max(eventsPeak, outcome.nrEvents);
    elapsedMs += outcome.elapsedMs;
  }
  const eventsPerSecond = Math.round((nrEvents / (performance.now() - began)) * 1000);
  return { scenario: scenario.name, nrRuns: seeds.length, verdicts, nrEvents, eventsPeak, eventsPerSecond, elapsedMs };
}

function askedNumber(name: string): number | null {
  const text = process.env[name];
  if (text === undefined || text === '') return null;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is ${JSON.stringify(text)}: want a whole number from 0 on`);
  return value;
}

function defaultCommand(): string {
  const quote = (word: string): string => (/^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`);
  const [, script = '', ...rest] = process.argv;
  const isTestRunner = /vitest|tinypool|forks/.test(script);
  return isTestRunner ? 'npx vitest run' : ['node', script, ...rest].map(quote).join(' ');
}
