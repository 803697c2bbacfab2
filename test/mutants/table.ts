/** The guards that tests must hold: see `mutant.ts`. In the order of the mechanisms. */
import type { Mutant } from './mutant.js';
import { EDGE_MUTANTS } from './edges.js';
import { FILTER_MUTANTS } from './filters.js';
import { MD_MUTANTS } from './md.js';
import { RECLAIM_MUTANTS } from './reclaim.js';
import { RESERVE_MUTANTS } from './reserve.js';
import { VFS_MUTANTS } from './vfs.js';

const GRAPH = 'packages/core/src/mm/writeout-graph.ts';
const PLANNER = 'packages/core/src/mm/reserve-planner.ts';
const MEMPOOL = 'packages/core/src/mm/mempool.ts';
const SWAP_WRITER = 'packages/swap/src/swap-writer.ts';
const NBD_CLIENT = 'packages/nbd/src/client/nbd-device.ts';

export const MUTANTS: readonly Mutant[] = [
  ...RESERVE_MUTANTS,
  ...RECLAIM_MUTANTS,
  ...EDGE_MUTANTS,
  {
    name: 'm4-cycle-check',
    guard: 'an edge that would close a cycle is refused (M4)',
    file: GRAPH,
    find: 'const back = pathBetween(to, from);',
    replace: 'const back = null as Entry[] | null;',
    test: [
      'packages/core/test/writeout-graph.test.ts',
      'refuses an edge exactly if it closes a cycle, names one that is there, and stays as it was',
    ],
  },
  {
    name: 'm4-level-above-what-it-needs',
    guard: 'a node is above every node it needs (M4)',
    file: GRAPH,
    find: 'Math.max(entry.level, to.level + 1)',
    replace: 'Math.max(entry.level, to.level)',
    test: [
      'packages/core/test/writeout-graph.test.ts',
      'refuses an edge exactly if it closes a cycle, names one that is there, and stays as it was',
    ],
  },
  {
    name: 'm5-room-beside-the-floors',
    guard: 'a node is refused whose account would leave nothing above the floors (M5)',
    file: PLANNER,
    find: 'this.#checkRoom(nodes);',
    replace: '',
    test: [
      'packages/core/test/reserve-planner.test.ts',
      'refuses one frame too many with a shortfall of one, and leaves everything as it was',
    ],
  },
  {
    name: 'm5-proof',
    guard: 'the frames of a new account are held once before it is opened (M5)',
    file: PLANNER,
    find: 'this.#prove(nodes);',
    replace: '',
    test: ['packages/core/test/reserve-planner.test.ts', 'proves that the frames are there: memory that is pinned does not count'],
  },
  {
    name: 'm5-undo-in-reverse',
    guard: 'what was prepared is undone in reverse (M5)',
    file: PLANNER,
    find: 'undo.reverse()',
    replace: 'undo',
    test: ['packages/core/test/reserve-planner.test.ts', 'undoes what was prepared, in reverse, when a later node refuses'],
  },
  {
    name: 'm9-durable-before-free',
    guard: 'a page is freed when a flush has covered it, not when it was acknowledged (M9)',
    file: SWAP_WRITER,
    find: 'if (this.#area.trusted) {',
    replace: 'if (this.#area.trusted || pfn >= 0) {',
    test: [
      'packages/testkit/test/swap-on-nbd.test.ts',
      'a server that restarts and has lost what was not flushed costs time, and an error only after sixteen losses in a row',
    ],
  },
  {
    name: 'm9-loss-during-a-run',
    guard: 'a run that was under way when the server lost pages is written again (M9)',
    file: SWAP_WRITER,
    find: '} else if (nrLosses !== this.#nrLosses) {',
    replace: '} else if (nrLosses > this.#nrLosses) {',
    test: ['packages/swap/test/loss-in-run.test.ts', 'a run that was half acknowledged before a loss is written again'],
  },
  {
    name: 'm19-pool-drops-the-ticket',
    guard: 'a pool is never filled from a reserve (M19, trap 1)',
    file: MEMPOOL,
    find: 'return task.ticket === null ? task : task.withTicket(null);',
    replace: 'return task;',
    test: [
      'packages/core/test/mempool.test.ts',
      'asks the allocator, then the pool, then the allocator with full rights, and never with a ticket',
    ],
  },
  {
    name: 'm21-losses-are-told',
    guard: 'after a reconnect the next flush says that writes may be lost (M21)',
    file: NBD_CLIENT,
    find: 'this.#ledger.connectionLost();',
    replace: '',
    test: ['packages/nbd/test/reconnect.test.ts', 'a flush after it says "write again" once, if writes were acknowledged and not flushed'],
  },
  ...FILTER_MUTANTS,
  ...VFS_MUTANTS,
  ...MD_MUTANTS,
];
