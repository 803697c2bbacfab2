/** Guards of filters over block devices. See `mutant.ts`. */
import type { Mutant } from './mutant.js';

const FILTER = 'packages/core/src/block/filters/filter.ts';
const REQUEST = 'packages/core/src/block/filters/filter-request.ts';
const DELAY = 'packages/core/src/block/filters/delay.ts';
const OVERLAY = 'packages/core/src/block/filters/overlay.ts';
const KERNEL_FILTERS = 'packages/core/src/kernel/filters.ts';

const FILTERS_TEST = 'packages/core/test/filters.test.ts';
const OVERLAY_TEST = 'packages/core/test/overlay.test.ts';
const OVERLAY_MODEL = 'shows what was written over what was there; below nothing changes until it is committed, and the bound holds';

export const FILTER_MUTANTS: readonly Mutant[] = [
  {
    name: 'filter-line-moves-on',
    guard: 'a request that ends lets the next bio in line begin',
    file: FILTER,
    find: '    parent.end(status);\n    this.#pump();',
    replace: '    parent.end(status);',
    test: [FILTERS_TEST, 'holds no more requests than it has units; the others wait in line'],
  },
  {
    name: 'filter-piece-is-whole-blocks',
    guard: 'a bio in many pieces of memory is cut at whole blocks',
    file: REQUEST,
    find: 'if (whole === child.lengthBytes) break;',
    replace: 'if (whole <= child.lengthBytes) break;',
    test: [FILTERS_TEST, 'passes force unit access, no-unmap and discard on'],
  },
  {
    name: 'filter-forced-stays-forced',
    guard: 'a write that must be stable is one below, too',
    file: REQUEST,
    find: 'child.fua = parent.fua;',
    replace: 'child.fua = false;',
    test: [FILTERS_TEST, 'passes force unit access, no-unmap and discard on'],
  },
  {
    name: 'filter-closing-waits',
    guard: 'closing waits until the device below has ended what it has',
    file: FILTER,
    find: '    await this.#untilIdle();\n    clock.clearTimer(patience);',
    replace: '    clock.clearTimer(patience);',
    test: [FILTERS_TEST, 'closed at any time ends every request once, and leaves nothing'],
  },
  {
    name: 'filter-closing-ends',
    guard: 'closing ends over a device that answers nothing',
    file: FILTER,
    find: '() => void abortAll(below)',
    replace: '() => {}',
    test: [FILTERS_TEST, 'over a device that answers nothing ends all the same: that is aborted in the end, whoever has opened it'],
  },
  {
    name: 'filter-needs-what-is-below',
    guard: 'the node of a filter needs those of the devices below (M4)',
    file: FILTER,
    find: 'this.needs = parts.needs;',
    replace: 'this.needs = [];',
    test: [
      'packages/testkit/test/swap-on-filters.test.ts',
      'on stats over delay: every byte reads back; the plan has every device, each above what it needs',
    ],
  },
  {
    name: 'filter-pin-goes-through',
    guard: 'a pin of a filter pins what it writes to (M14)',
    file: KERNEL_FILTERS,
    find: '{ ...spec, isHeld: true });\n    return () => pinned.release();',
    replace: '{ ...spec, isHeld: true });\n    await pinned.release();\n    return async () => {};',
    test: [
      'packages/testkit/test/swap-on-filters.test.ts',
      'over NBD to a server of the same kernel: the pin goes through the filter to what the server has',
    ],
  },
  {
    name: 'filter-due-first-goes-first',
    guard: 'held requests are passed on in the order in which they are due',
    file: DELAY,
    find: 'after.timeMs <= request.timeMs',
    replace: 'after.timeMs <= Infinity',
    test: [FILTERS_TEST, 'ends a request neither before its time nor after'],
  },
  {
    name: 'overlay-map-after-the-write',
    guard: 'a block is in the map only when its write has ended well',
    file: OVERLAY,
    find: 'if (status !== 0 || (op',
    replace: 'if ((op',
    test: [OVERLAY_TEST, 'a write that fails leaves what was there, and takes nothing of the bound'],
  },
  {
    name: 'overlay-bound',
    guard: 'no more blocks differ than the bound says',
    file: OVERLAY,
    find: 'nrNew > 0 && this.#map.nrSet + this.#nrPending + nrNew > this.#limitBlocks',
    replace: 'nrNew > 0 && this.#map.nrSet > this.#limitBlocks',
    test: [OVERLAY_TEST, OVERLAY_MODEL],
  },
  {
    name: 'overlay-commit-flushes',
    guard: 'the map is emptied when the lower device has flushed what was copied',
    file: OVERLAY,
    find: '      await this.#must(this.#lower, this.#bio.start(BioOp.FLUSH, 0, this.parts.task));\n',
    replace: '',
    test: [OVERLAY_TEST, 'a commit that fails at any request loses nothing, and the next one brings all of it'],
  },
  {
    name: 'overlay-commit-is-alone',
    guard: 'requests wait in line during a commit',
    file: FILTER,
    find: 'while (!this.#isPaused && this.#free !== null)',
    replace: 'while (this.#free !== null)',
    test: [OVERLAY_TEST, 'requests wait while it commits; a second commit, a discard in use and a read-only device are refused'],
  },
];
