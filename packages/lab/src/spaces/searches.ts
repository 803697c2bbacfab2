/**
 * Every search of the three spaces: under each policy as core ships it, and with one rule at a time taken away. A row says what must be found
 * and why; a search that ends otherwise, or for another reason, is a defect of the rule, of the model or of the page that describes them.
 */
import { limitsPolicyByHand } from '@tidemark/core';
import type { SearchModel } from '@tidemark/testkit';
import { anonymousModel } from './anonymous.js';
import { COMPOSED_SHARES, COMPOSED_UNBOUNDED, LIMITS_AT_BEGIN, LIMITS_UNBOUNDED, shipped } from './answers.js';
import { handOffModel } from './hand-off.js';
import { localChainModel } from './local-chain.js';

export type SpaceName = 'local-chain' | 'anonymous' | 'hand-off';

/** What a search must come to. */
export type Expectation =
  /** Every state that can be reached can get to the end, and every invariant holds. */
  | { readonly verdict: 'finishes' }
  /** There are stuck states, and among their reasons is this cycle; or, without one, this thing that nobody works on. */
  | { readonly verdict: 'stuck'; readonly cycle: readonly string[] }
  | { readonly verdict: 'stuck'; readonly end: string }
  /** A state breaks this invariant. */
  | { readonly verdict: 'broken'; readonly invariant: string };

export interface SpaceSearch {
  readonly space: SpaceName;
  /** The policy, and what was made of it. */
  readonly answer: string;
  /** What was taken away, or empty. */
  readonly without: string;
  readonly expected: Expectation;
  build(): SearchModel;
}

const finishes: Expectation = { verdict: 'finishes' };
const stuck = (...cycle: string[]): Expectation => ({ verdict: 'stuck', cycle });
const broken = (invariant: string): Expectation => ({ verdict: 'broken', invariant });

const composed = shipped('composed');
const MIN = 'frames: free above min';

const localChain: readonly Omit<SpaceSearch, 'space'>[] = [
  { answer: 'none', without: '', expected: stuck(MIN, 'task: nfs-client'), build: () => localChainModel(shipped('none')) },
  {
    answer: 'memalloc',
    without: '',
    // as in 2004: the server holds the frames, ext3 waits
    expected: stuck('frames: free above 0', 'task: nfs-server', 'page: ext3 writeback', 'task: ext3'),
    build: () => localChainModel(shipped('memalloc')),
  },
  { answer: 'limits', without: '', expected: finishes, build: () => localChainModel(shipped('limits')) },
  {
    answer: 'limits',
    without: 'rule (2) by frame, only when a unit begins (M4)',
    // two units that began above the limit share the gap below it
    expected: stuck('frames: free above 1', 'task: nfs-server'),
    build: () => localChainModel(LIMITS_AT_BEGIN),
  },
  {
    answer: 'limits',
    without: 'a floor for the server above that of ext3 (M4)',
    expected: stuck('frames: free above 0', 'task: nfs-server', 'page: ext3 writeback', 'task: ext3'),
    build: () => localChainModel(limitsPolicyByHand([0, 0, 2, 3])),
  },
  {
    answer: 'limits',
    without: 'a frame of the gap (M4)',
    expected: stuck('frames: free above 1', 'task: nfs-server'),
    build: () => localChainModel(limitsPolicyByHand([0, 1, 2, 3])),
  },
  {
    answer: 'limits',
    without: 'rule (2) (M4)',
    expected: stuck('frames: free above 1', 'task: nfs-server'),
    build: () => localChainModel(LIMITS_UNBOUNDED),
  },
  {
    answer: 'limits',
    without: 'the split of COMMIT (M4)',
    expected: stuck('call: COMMIT', 'unit: nfs-server', 'task: nfs-server'),
    build: () => localChainModel(shipped('limits'), { commitIsUnit: true }),
  },
  {
    answer: 'vmio',
    without: '',
    expected: stuck('call: WRITE', 'task: nfs-server', MIN, 'task: nfs-client'),
    build: () => localChainModel(shipped('vmio')),
  },
  { answer: 'composed', without: '', expected: finishes, build: () => localChainModel(composed) },
  {
    answer: 'composed',
    without: 'page before lock (M11)',
    expected: stuck('call: WRITE', 'task: nfs-server', 'lock: inode', 'task: local writer', MIN, 'task: nfs-client'),
    build: () => localChainModel(composed, { pageBeforeLock: false }),
  },
  {
    answer: 'composed',
    without: 'rights of the server (M16)',
    expected: stuck('call: WRITE', 'task: nfs-server', MIN, 'task: nfs-client'),
    build: () => localChainModel(composed, { entitled: false }),
  },
  {
    answer: 'composed',
    without: "the server's exemption (M16)",
    expected: stuck('call: WRITE', 'task: nfs-server', 'limit: dirty', 'task: nfs-client'),
    build: () => localChainModel(composed, { exempt: false }),
  },
  {
    answer: 'composed',
    without: 'a unit for COMMIT (M16)',
    expected: stuck('call: COMMIT', 'unit: nfs-server', 'task: nfs-server'),
    build: () => localChainModel(composed, { serverUnits: 2 }),
  },
];

const anonymous: readonly Omit<SpaceSearch, 'space'>[] = [
  { answer: 'none', without: '', expected: stuck(MIN, 'task: ext3'), build: () => anonymousModel(shipped('none')) },
  {
    answer: 'memalloc',
    without: '',
    expected: stuck('frames: free above 0', 'task: ext3'),
    build: () => anonymousModel(shipped('memalloc')),
  },
  { answer: 'limits', without: '', expected: finishes, build: () => anonymousModel(shipped('limits')) },
  {
    answer: 'limits',
    without: 'rule (2) by frame, only when a unit begins (M4)',
    expected: stuck('frames: free above 3', 'task: ext3'),
    build: () => anonymousModel(LIMITS_AT_BEGIN),
  },
  {
    answer: 'limits',
    without: 'a frame of the gap (M4)',
    expected: stuck('frames: free above 3', 'task: ext3'),
    build: () => anonymousModel(limitsPolicyByHand([2, 3, 4])),
  },
  {
    answer: 'limits',
    without: 'rule (2) (M4)',
    expected: stuck('frames: free above 3', 'task: ext3'),
    build: () => anonymousModel(LIMITS_UNBOUNDED),
  },
  { answer: 'vmio', without: '', expected: stuck(MIN, 'task: ext3'), build: () => anonymousModel(shipped('vmio')) },
  { answer: 'composed', without: '', expected: finishes, build: () => anonymousModel(composed) },
  { answer: 'composed', without: 'absolute floors (M3)', expected: broken('free ≥ E'), build: () => anonymousModel(COMPOSED_SHARES) },
  {
    answer: 'composed',
    without: 'the atomic band (M3)',
    expected: stuck('completion: I/O', 'task: completion', 'frames: atomic', 'task: disk'),
    build: () => anonymousModel(composed, { atomicFrames: 0 }),
  },
  {
    answer: 'composed',
    without: 'the inequality (M10)',
    expected: broken('a writer of one page at a time is not refused'),
    build: () => anonymousModel(composed, { checksInequality: false }),
  },
];

const handOff: readonly Omit<SpaceSearch, 'space'>[] = [
  { answer: 'none', without: '', expected: stuck(MIN, 'task: reclaimer 0'), build: () => handOffModel(shipped('none')) },
  {
    answer: 'memalloc',
    without: '',
    expected: stuck('frames: free above 0', 'task: reclaimer 1'),
    build: () => handOffModel(shipped('memalloc')),
  },
  { answer: 'limits', without: '', expected: finishes, build: () => handOffModel(shipped('limits')) },
  {
    answer: 'limits',
    without: 'rule (2) by frame, only when a unit begins (M4)',
    expected: stuck('frames: free above 1', 'task: reclaimer 1'),
    build: () => handOffModel(LIMITS_AT_BEGIN),
  },
  {
    answer: 'limits',
    without: 'rule (2) (M4)',
    expected: stuck('frames: free above 1', 'task: reclaimer 1'),
    build: () => handOffModel(LIMITS_UNBOUNDED),
  },
  { answer: 'vmio', without: '', expected: finishes, build: () => handOffModel(shipped('vmio')) },
  { answer: 'composed', without: '', expected: finishes, build: () => handOffModel(composed) },
  {
    answer: 'composed',
    without: 'bounded units (M8)',
    expected: stuck('account: swap', 'task: reclaimer 1'),
    build: () => handOffModel(COMPOSED_UNBOUNDED),
  },
  {
    answer: 'composed',
    without: 'hand-off (M8)',
    expected: broken('nobody is served before the oldest waiter'),
    build: () => handOffModel(composed, { handsOn: false }),
  },
  {
    answer: 'composed',
    without: 'return to the band (M8)',
    expected: broken('free ≥ E'),
    build: () => handOffModel(composed, { returnsToBand: false }),
  },
  {
    answer: 'composed',
    without: 'leaving the queue (M8)',
    expected: broken('every frame has one owner'),
    build: () => handOffModel(composed, { leavesQueue: false }),
  },
  {
    answer: 'composed',
    without: 'the wake-up (M22)',
    expected: { verdict: 'stuck', end: 'unit: swap' },
    build: () => handOffModel(composed, { wakes: false }),
  },
  {
    answer: 'composed',
    without: 'free, then uncharge (M5)',
    expected: broken('free ≥ E'),
    build: () => handOffModel(composed, { freesFirst: false }),
  },
  { answer: 'composed', without: 'exchange (M5)', expected: broken('free ≥ E'), build: () => handOffModel(composed, { exchanges: false }) },
  {
    answer: 'composed',
    without: 'a frame of the need (M5)',
    expected: broken('no unit holds more than its node declared'),
    build: () => handOffModel(composed, { declaresAll: false }),
  },
];

/** All of them, space by space. */
export const SPACE_SEARCHES: readonly SpaceSearch[] = [
  ...localChain.map((row): SpaceSearch => ({ space: 'local-chain', ...row })),
  ...anonymous.map((row): SpaceSearch => ({ space: 'anonymous', ...row })),
  ...handOff.map((row): SpaceSearch => ({ space: 'hand-off', ...row })),
];
