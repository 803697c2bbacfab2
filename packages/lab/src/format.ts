/** The lab's results as text. */
import type { MatrixCell } from './matrix.js';
import { SCOPE_CASES, SCOPE_RULES, type ScopeResult } from './scopes.js';
import { POLICY_NAMES } from './policies.js';
import { type RunResult, VERDICT_LETTERS, type Verdict } from './result.js';
import type { Topology } from './topology.js';

const COLUMN = 10;
const NAME = 6;

/** Letters of the matrix; a `*` marks what is not as the design says. */
function letterOf({ verdict, isAsDesigned }: MatrixCell): string {
  return VERDICT_LETTERS[verdict] + (isAsDesigned ? '' : '*');
}

/** The matrix, policy × topology. */
export function formatMatrix(cells: readonly MatrixCell[], topologies: readonly Topology[]): string {
  const heads = topologies.map(({ name, title }) => `${name.padEnd(NAME)}${title}`);
  const width = Math.max(...heads.map(({ length }) => length)) + 2;
  const lines = [`${' '.repeat(width)}${POLICY_NAMES.map((name) => name.padEnd(COLUMN)).join('')}nodes`];
  for (const [i, { name, transport }] of topologies.entries()) {
    const row = cells.filter(({ topology }) => topology === name);
    const letters = row.map((cell) => letterOf(cell).padEnd(COLUMN)).join('');
    const nodes = row.at(-1)?.nodes ?? [];
    const nrModels = nodes.filter(({ kind }) => kind === 'model').length;
    const kinds = `${nrModels} model, ${nodes.length - nrModels} real${transport === null ? '' : `; ${transport}`}`;
    lines.push(heads[i].padEnd(width) + letters + kinds);
  }
  lines.push('C completes, R refused, H hangs, O out of memory; * not as the design says');
  return lines.join('\n');
}

/** T12 by reclaim rule, case × rule. */
export function formatScopes(results: readonly ScopeResult[]): string {
  const cell = ({ verdict, predicted }: ScopeResult): string => `${verdict}${verdict === predicted ? '' : '*'}`.padEnd(COLUMN);
  const rows = SCOPE_CASES.map(
    (scope) =>
      `${scope}   ${results
        .filter((result) => result.scope === scope)
        .map(cell)
        .join('')}`,
  );
  return [`    ${SCOPE_RULES.map((rule) => rule.padEnd(COLUMN)).join('')}`, ...rows].join('\n');
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
