/**
 * Runs the searches of the spaces and says what they came to, with their sizes: "proved" is said of these models, with these bounds and this
 * number of states, and of nothing else.
 */
import { type FoundState, search, type SearchResult } from '@tidemark/testkit';
import { SPACE_SEARCHES, type SpaceSearch } from './searches.js';

/** One search that was run. */
export interface SpaceOutcome {
  readonly search: SpaceSearch;
  readonly result: SearchResult;
  readonly elapsedMs: number;
  /** It ended as expected, for the expected reason. */
  readonly isExpected: boolean;
  /** The nearest state of the verdict, with the path that leads there; null if every state can get to the end. */
  readonly found: FoundState | null;
}

/**
 * Runs searches one after the other, and gives each outcome when it is there.
 * @param nowMs the host's clock, for states a second.
 * @throws KernelError as `search`: a model that is wrong or too large.
 */
export function* runSpaces(nowMs: () => number, searches: Iterable<SpaceSearch> = SPACE_SEARCHES): Generator<SpaceOutcome> {
  for (const row of searches) {
    const beganMs = nowMs();
    const result = search(row.build());
    yield {
      search: row,
      result,
      elapsedMs: nowMs() - beganMs,
      isExpected: isAsExpected(row, result),
      found: result.broken[0] ?? result.stuck.reasons[0] ?? result.cannotFinish.reasons[0] ?? null,
    };
  }
}

function isAsExpected({ expected }: SpaceSearch, { broken, stuck, cannotFinish }: SearchResult): boolean {
  switch (expected.verdict) {
    case 'finishes':
      return cannotFinish.nrStates === 0 && broken.length === 0;
    case 'broken':
      return broken.length === 1 && broken[0].invariant === expected.invariant;
    case 'stuck':
      return (
        broken.length === 0 &&
        stuck.reasons.some(({ report }) =>
          'cycle' in expected
            ? report.cycles.some(({ nodes }) => nodes.join() === expected.cycle.join())
            : report.cycles.length === 0 && report.ends.includes(expected.end),
        )
      );
  }
}

/** What was found, in a few words. */
export function describeVerdict({ broken, stuck, cannotFinish }: SearchResult): string {
  if (broken.length > 0) return broken.map(({ invariant, nrStates }) => `${nrStates} break "${invariant}"`).join(', ');
  if (cannotFinish.nrStates === 0) return 'every state can finish';
  return `${stuck.nrStates} stuck, ${cannotFinish.nrStates} cannot finish`;
}

const HEADINGS = ['space', 'policy', 'without', 'pages', 'tasks', 'layers', 'need', 'states', 'transitions', 'states/s', 'verdict'];
const NR_TEXTS = 3;

/** A table of outcomes, for people. */
export function formatSpaces(outcomes: readonly SpaceOutcome[]): string {
  const rows = outcomes.map(({ search: { space, answer, without }, result, elapsedMs, isExpected }) => {
    const { pages, tasks, layers, needFrames } = result.model.bounds;
    const rate = Math.round((result.nrStates / Math.max(elapsedMs, 0.001)) * 1000);
    const numbers = [pages, tasks, layers, needFrames, result.nrStates, result.nrTransitions, rate];
    return [space, answer, without, ...numbers.map(String), describeVerdict(result) + (isExpected ? '' : ' (NOT AS EXPECTED)')];
  });
  const widths = HEADINGS.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i].length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i < NR_TEXTS || i === row.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  return [HEADINGS, ...rows].map(line).join('\n');
}
