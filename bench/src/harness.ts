/**
 * How things are measured here. Absolute times vary with the machine and the minute, so what counts is a ratio: ours and a peer's,
 * measured in turn in one run, at least seven times after a warm-up; the row shows the median ratio with its least and largest.
 */

/** Bounds of a ratio or an amount. */
export interface Target {
  readonly relation: '≤' | '≥' | '<';
  readonly limit: number;
}

/** One line of the table. */
export interface Row {
  /** Benchmark the row belongs to. */
  readonly bench: string;
  readonly what: string;
  readonly unit: '×' | 'B' | 'MiB' | 'frames' | '%' | 'points';
  /** Absent where none is set. */
  readonly target?: Target;
  /** Absent if the benchmark was skipped. */
  readonly value?: number;
  readonly least?: number;
  readonly largest?: number;
  /** What was measured of us and of the peer, medians, with units. */
  readonly ours?: string;
  readonly peer?: string;
  /** Why it was skipped, or what else is worth saying. */
  readonly note?: string;
}

/** A table of its own: printed after the rows. */
export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A benchmark: rows, printed as they come. */
export interface Bench {
  readonly name: string;
  /** What does not fit into rows; there once `run` has ended. */
  readonly tables?: readonly Table[];
  run(): AsyncGenerator<Row>;
}

/** Fewest pairs of a comparison. */
export const NR_PAIRS = 9;
const NR_WARM_UPS = 2;

/** Medians of the two sides, and the ratio ours ÷ peer over the pairs. */
export interface Comparison {
  readonly ours: number;
  readonly peer: number;
  readonly value: number;
  readonly least: number;
  readonly largest: number;
}

/** Runs two sides in turn, each first every other time. Each returns its cost, or its speed, in any unit. */
export async function compare(
  ours: () => number | Promise<number>,
  peer: () => number | Promise<number>,
  nrPairs = NR_PAIRS,
): Promise<Comparison> {
  const seen: { ours: number; peer: number }[] = [];
  for (let i = -NR_WARM_UPS; i < nrPairs; i++) {
    globalThis.gc?.();
    const isOursFirst = (i & 1) === 0;
    const first = await (isOursFirst ? ours() : peer());
    const second = await (isOursFirst ? peer() : ours());
    if (i >= 0) seen.push(isOursFirst ? { ours: first, peer: second } : { ours: second, peer: first });
  }
  const ratios = seen.map((pair) => pair.ours / pair.peer).sort((a, b) => a - b);
  return {
    ours: median(seen.map((pair) => pair.ours)),
    peer: median(seen.map((pair) => pair.peer)),
    value: median(ratios),
    least: ratios[0],
    largest: ratios[ratios.length - 1],
  };
}

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Nanoseconds that `work` takes for each of `count` steps. */
export function timePer(count: number, work: () => unknown): number {
  const start = performance.now();
  keep = work();
  return ((performance.now() - start) * 1e6) / count;
}

/** Where results go that nobody reads, so that no compiler leaves their making out. */
export let keep: unknown;

/** True or false; null for a row that was skipped, or that has no target. */
export function passes({ value, target }: Row): boolean | null {
  if (value === undefined || target === undefined) return null;
  if (target.relation === '≥') return value >= target.limit;
  return target.relation === '<' ? value < target.limit : value <= target.limit;
}

const COLUMNS = ['benchmark', 'measured', 'target', '', 'least … largest', 'Tidemark', 'peer'];

/** Head of the table, in Markdown. */
export function tableHead(): string {
  return `${line(COLUMNS)}\n${line(COLUMNS.map(() => '---'))}`;
}

/** A table of its own, in Markdown. */
export function formatTable({ title, head, rows }: Table): string {
  return [`${title}:`, '', line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** A row of it. */
export function tableRow(row: Row): string {
  const { value, least, largest, target, unit } = row;
  const verdict = passes(row);
  return line([
    row.what,
    value === undefined ? 'skipped' : `${round(value)} ${unit}`,
    target === undefined ? '–' : `${target.relation} ${target.limit} ${unit}`,
    verdict === null ? '' : verdict ? 'pass' : '**misses**',
    least === undefined || largest === undefined ? '' : `${round(least)} … ${round(largest)}`,
    row.ours ?? '',
    [row.peer, row.note].filter((text) => text !== undefined).join('; '),
  ]);
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

/** Three digits that count. */
export function round(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Numbers 0 … n − 1 in an order that is the same in every run. */
export function shuffled(n: number, seed = 1): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let state = seed >>> 0 || 1;
  for (let i = n - 1; i > 0; i--) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    const was = order[i];
    order[i] = order[j];
    order[j] = was;
  }
  return order;
}
