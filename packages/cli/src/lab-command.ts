/**
 * `tidemark lab`: the topologies in which writeout deadlocks, in virtual time: the whole matrix, or one run with its timeline.
 */
import { type StallReport, stallReportToDot } from '@tidemark/core';
import {
  formatDifferences,
  formatMatrix,
  formatVerdict,
  type MatrixCell,
  policyNamed,
  POLICY_NAMES,
  type RunResult,
  runMatrix,
  Timeline,
  TOPOLOGIES,
  topologyNamed,
  formatScopes,
  formatSpaces,
  runSpaces,
  type ScopeResult,
  type SpaceOutcome,
} from '@tidemark/lab';
import { runOnNode, runScopesOnNode } from '@tidemark/lab/host';
import type { Command } from 'commander';
import { countOption } from './grammar.js';
import { JobFailed, Stalled, UsageError } from './outcome.js';

const EXAMPLES = `
Examples:
  tidemark lab --matrix
  tidemark lab --matrix --seeds 100 --json
  tidemark lab --topology T6 --policy memalloc --seed 1
  tidemark lab --topology T6 --policy memalloc --seed 1 --dot | dot -Tsvg -o t6.svg

Topologies: ${TOPOLOGIES.map(({ name }) => name).join(', ')}. Policies: ${POLICY_NAMES.join(', ')}.

--matrix exits with 1 if a cell of composed is not what the design says. A single run exits with 0 if it completes or is refused, 1 if it
runs out of memory, 3 if it hangs. --matrix --json prints { cells: [{ topology, policy, verdict, predicted, isAsDesigned, seeds, counts,
seed?, cycle?, error?, transport, nodes: [{ name, kind }], eventsPeak }], scopes: [{ case, rule,
verdict, predicted }], spaces: [{ space, answer, without, states, transitions, stuck,
isExpected }] }; a single run { topology, policy, seed, verdict, error, cycle, nodes, events,
elapsedMs, traceHash, timeline: [{ atMs, untilMs, kernel, who, what, nrFree, count }], stall: [report of each machine] }.`;

const LINE = 60;

interface Words {
  matrix?: true;
  seeds: number;
  topology?: string;
  policy?: string;
  seed: number;
  json?: true;
  dot?: true;
}

/** Makes the verb. */
export function labCommand(lab: Command): void {
  lab
    .option('--matrix', 'every topology under every policy')
    .option('--seeds <n>', 'runs of each cell', countOption('--seeds', 1_000_000), 20)
    .option('--topology <name>', 'one topology')
    .option('--policy <name>', 'the policy it runs under (default: composed)')
    .option('--seed <n>', 'the seed of the run', countOption('--seed', 2 ** 32 - 1), 1)
    .option('--json', 'print the results as one JSON object')
    .option('--dot', 'print the wait-for graph of a run that hangs, in Graphviz’ DOT')
    .addHelpText('after', EXAMPLES)
    .action(async (words: Words) => {
      if ((words.matrix ?? false) === (words.topology !== undefined)) throw new UsageError('lab wants --matrix, or --topology NAME');
      if (words.topology === undefined) await matrix(words);
      else await singleRun(words, words.topology);
    });
}

async function matrix({ seeds, json, policy, dot }: Words): Promise<void> {
  if (policy !== undefined || dot) throw new UsageError('--policy and --dot are for a single run: name its --topology');
  if (seeds === 0) throw new UsageError('--seeds 0 runs nothing; want 1 or more');
  const progress = matrixProgress(json ?? false);
  const cells = await runMatrix(TOPOLOGIES, seeds, runOnNode, progress);
  const scopes = await runScopesOnNode(1);
  const spaces = [...runSpaces(() => performance.now())];
  const differences = formatDifferences(cells);
  if (json) process.stdout.write(`${JSON.stringify({ cells, scopes: scopes.map(scopeAsJson), spaces: spaces.map(spaceAsJson) })}\n`);
  else {
    process.stdout.write(`${formatMatrix(cells, TOPOLOGIES)}\n\n`);
    process.stdout.write(
      `${seeds} seeds a cell; ${differences.length === 0 ? 'every cell is as the design says' : 'not as the design says:'}\n`,
    );
    for (const line of differences) process.stdout.write(`  ${line}\n`);
    process.stdout.write(
      `\nT12 by reclaim rule (a unrelated, b loop file, c local server, d unrelated at another depth):\n${formatScopes(scopes)}\n`,
    );
    process.stdout.write(`\nSearched whole, as models with declared state:\n${formatSpaces(spaces)}\n`);
  }
  const wrong = cells.filter(({ policy: under, isAsDesigned }) => under === 'composed' && !isAsDesigned);
  const unexpected = spaces.filter(({ isExpected }) => !isExpected);
  if (unexpected.length > 0) throw new JobFailed(`a search of ${unexpected[0].search.space} did not end as expected`);
  if (wrong.length > 0) throw new JobFailed(`composed is not what the design says on ${wrong.map(({ topology }) => topology).join(', ')}`);
}

/** How far it is, on stderr: one line that changes on a terminal, a line for each topology when piped, nothing with --json. */
function matrixProgress(json: boolean): (cell: MatrixCell, done: number, all: number) => void {
  if (json) return () => {};
  if (!process.stderr.isTTY) {
    return ({ topology, policy, verdict }) => void (policy === 'composed' && process.stderr.write(`${topology}: composed ${verdict}\n`));
  }
  return ({ topology, policy }, done, all) => {
    process.stderr.write(
      `\r${done < all ? `${done} of ${all} cells: ${topology} under ${policy}` : ''}`.padEnd(LINE) + (done < all ? '' : '\r'),
    );
  };
}

function scopeAsJson({ scope, rule, verdict, predicted }: ScopeResult) {
  return { case: scope, rule, verdict, predicted };
}

function spaceAsJson({ search, result, isExpected }: SpaceOutcome) {
  const { space, answer, without } = search;
  const { nrStates: states, nrTransitions: transitions, stuck } = result;
  return { space, answer, without, states, transitions, stuck: stuck.nrStates, isExpected };
}

async function singleRun(words: Words, name: string): Promise<void> {
  const topology = topologyNamed(name);
  const policy = policyNamed(words.policy ?? 'composed');
  const timeline = new Timeline();
  const result = await runOnNode(topology, policy, words.seed, timeline.note);
  const reports = result.outcome.reports.map(({ report }) => report);
  if (words.json) process.stdout.write(`${JSON.stringify(asJson(result, timeline))}\n`);
  else if (words.dot) for (const report of reports) process.stdout.write(`${stallReportToDot(report)}\n`);
  else {
    const kinds = result.nodes.map(({ name: node, kind }) => `${node} (${kind})`).join(', ');
    process.stdout.write(
      `${topology.name}: ${topology.title}\n  ${topology.preconditions}\n  nodes: ${kinds}\n\n${timeline.format()}\n\n${formatVerdict(result)}\n`,
    );
  }
  if (result.verdict === 'hangs') throw new Stalled(stalledReport(reports));
  if (result.verdict === 'out-of-memory') throw new JobFailed(`${name} under ${policy} ran out of memory`);
}

/** The report that explains most: of the machine with the most waiters. */
function stalledReport(reports: readonly StallReport[]): StallReport {
  return reports.reduce((most, report) => (report.waiters.length > most.waiters.length ? report : most));
}

function asJson({ topology, policy, seed, verdict, error, cycle, nodes, outcome }: RunResult, timeline: Timeline) {
  const { nrEvents: events, elapsedMs, traceHash, reports } = outcome;
  const why = error === null ? null : { code: error.code, message: error.message };
  return {
    topology,
    policy,
    seed,
    verdict,
    error: why,
    cycle,
    nodes,
    events,
    elapsedMs,
    traceHash,
    timeline: timeline.entries,
    stall: reports,
  };
}
