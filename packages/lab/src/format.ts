/** The lab's results as text. */
import type { MatrixCell } from './matrix.js';
import { POLICY_NAMES } from './policies.js';
import { type RunResult, VERDICT_LETTERS, type Verdict } from './result.js';
import type { Topology } from './topology.js';

const COLUMN = 10;

/** Letters of the matrix; a `*` marks what is not as the design says. */
function letterOf({ verdict, isAsDesigned }: MatrixCell): string {
  return VERDICT_LETTERS[verdict] + (isAsDesigned ? '' : '*');
}

/** The matrix, policy × topology. */
export function formatMatrix(cells: readonly MatrixCell[], topologies: readonly Topology[]): string {
  const width = Math.max(...topologies.map(({ name, title }) => name.length + title.length + 2));
  const lines = [`${' '.repeat(width)}  ${POLICY_NAMES.map((name) => name.padEnd(COLUMN)).join('')}nodes`];
  for (const { name, title, transport } of topologies) {
    const row = cells.filter(({ topology }) => topology === name);
    const letters = POLICY_NAMES.map((policy) =>
      (row.find((cell) => cell.policy === policy)?.verdict === undefined
        ? ''
        : letterOf(row.find((cell) => cell.policy === policy) as MatrixCell)
      ).padEnd(COLUMN),
    );
    const { nodes = [] } = row.find(({ policy }) => policy === 'composed') ?? {};
    const nrModels = nodes.filter(({ kind }) => kind === 'model').length;
    const kinds = `${nrModels} model, ${nodes.length - nrModels} real${transport === null ? '' : `; ${transport}`}`;
    lines.push(`${`${name}  ${title}`.padEnd(width)}  ${letters.join('')}${kinds}`);
  }
  lines.push('C completes, R refused, H hangs, O out of memory; * not as the design says');
  return lines.join('\n');
}

/** What differs from the design, a line each, with the seed that replays it. */
export function formatDifferences(cells: readonly MatrixCell[]): string[] {
  return cells
    .filter(({ isAsDesigned }) => !isAsDesigned)
    .map(({ topology, policy, predicted, verdict, seed, counts }) => {
      const found = Object.entries(counts).flatMap(([name, count]) => (count === 0 ? [] : [`${count} ${name}`]));
      const replay = seed === undefined ? '' : `; tidemark lab --topology ${topology} --policy ${policy} --seed ${seed}`;
      return `${topology} under ${policy}: the design says ${predicted}, found ${VERDICT_LETTERS[verdict]} (${found.join(', ')})${replay}`;
    });
}

const SENTENCES: Readonly<Record<Verdict, string>> = {
  completes: 'completes',
  refused: 'is refused',
  hangs: 'hangs',
  'out-of-memory': 'runs out of memory',
};

/** How one run ended, in a line or two. */
export function formatVerdict({ topology, policy, seed, verdict, error, outcome }: RunResult): string {
  const { nrEvents, elapsedMs, traceHash } = outcome;
  const lines = [
    `${topology} under ${policy}, seed ${seed}: ${SENTENCES[verdict]} after ${nrEvents} events and ${elapsedMs.toFixed(1)} ms (trace ${traceHash})`,
  ];
  if (error !== null) lines.push(`  ${error.code}: ${error.message}`);
  return lines.join('\n');
}
