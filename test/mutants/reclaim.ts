/** Guards of reclaim and of what is on its way out: kswapd, clean pass, swap, dirty limits, scopes, reports (M1, M6, M9 to M11, M18, M22). */
import type { Mutant } from './mutant.js';

const ALLOCATOR = 'packages/core/src/mm/page-allocator.ts';
const RECLAIM = 'packages/core/src/reclaim/reclaim.ts';
const KSWAPD = 'packages/core/src/reclaim/kswapd.ts';
const VERDICT = 'packages/core/src/reclaim/verdict.ts';
const RULE = 'packages/core/src/reclaim/reclaim-rule.ts';
const LOCK = 'packages/core/src/task/lock.ts';
const LOCK_RULE = 'packages/core/src/mm/lock-rule.ts';
const THROTTLE = 'packages/core/src/cache/dirty-throttle.ts';
const DIRTY_LIMITS = 'packages/core/src/cache/dirty-limits.ts';
const DIRTY_PAGES = 'packages/core/src/cache/dirty-pages.ts';
const SWAP_WRITER = 'packages/swap/src/swap-writer.ts';
const ANONYMOUS = 'packages/swap/src/anonymous-space.ts';
const SEMAPHORE = 'packages/core/src/task/semaphore.ts';
const WATCHED = 'packages/testkit/src/simulation/progress.ts';
const WATCHDOG = 'packages/core/src/kernel/watchdog.ts';
const PROGRESS = 'packages/core/src/kernel/progress.ts';

const RECLAIM_TEST = 'packages/core/test/reclaim.test.ts';
const KSWAPD_TEST = 'packages/core/test/kswapd.test.ts';
const CLEAN_PASS_TEST = 'packages/core/test/clean-pass.test.ts';
const MM_TEST = 'packages/core/test/mm.test.ts';
const RULE_TEST = 'packages/core/test/reclaim-rule.test.ts';
const LOCK_TEST = 'packages/core/test/lock.test.ts';
const WRITEBACK_TEST = 'packages/core/test/writeback.test.ts';
const AREAS_TEST = 'packages/swap/test/areas.test.ts';
const ON_DISK_TEST = 'packages/testkit/test/swap-on-disk.test.ts';
const WATCHDOG_TEST = 'packages/core/test/watchdog.test.ts';

const TASK_TEST = 'packages/core/test/task.test.ts';
const RUN_TEST = 'packages/testkit/test/simulated-disk.test.ts';

export const RECLAIM_MUTANTS: readonly Mutant[] = [
  {
    name: 'm1-second-wake-up',
    guard: 'the frame that reaches low wakes kswapd: nobody may come after it (M1)',
    file: ALLOCATOR,
    find: 'if (nrFree > this.#low + 1) return',
    replace: 'if (nrFree > this.#low) return',
    test: [KSWAPD_TEST, 'is woken by the frame that reaches low, though nobody comes after it'],
  },
  {
    name: 'm1-looks-again-after-its-nap',
    guard: 'kswapd sleeps only if memory is still balanced after its nap (M1)',
    file: KSWAPD,
    find: 'if (this.#parts.memory.allocator.nrFree <= this.#parts.memory.allocator.low) this.wake();\n      else ',
    replace: '',
    test: [KSWAPD_TEST, 'looks again after its nap: the marks may have risen'],
  },
  {
    name: 'm1-stops-above-high',
    guard: 'kswapd goes on until free memory is above high (M1)',
    file: KSWAPD,
    find: "while (this.#state === 'running' && allocator.nrFree <= allocator.high)",
    replace: "while (this.#state === 'running' && allocator.nrFree < allocator.high)",
    test: [KSWAPD_TEST, 'goes on until free memory is above high, not at it'],
  },
  {
    name: 'm1-no-enomem-in-flight',
    guard: 'ENOMEM comes only if no writeout is in flight (M1)',
    file: ALLOCATOR,
    find: 'else if (reclaimer.isWorkInFlight) {',
    replace: 'else if (reclaimer.isWorkInFlight && fruitless > FRUITLESS_MAX) {',
    test: [MM_TEST, 'wait as long as a writeout is in flight, and get ENOMEM when none is and nothing can be freed'],
  },
  {
    name: 'm1-hope-again',
    guard: 'a kswapd that gave up hopes again when a direct reclaim succeeds (M1)',
    file: RECLAIM,
    find: 'if (freed > 0) this.kswapd.hope();',
    replace: '',
    test: [RECLAIM_TEST, 'gives up on a device that fails every write, at once or later, and hopes again when memory comes free'],
  },
  {
    name: 'm1-wake-then-sleep',
    guard: 'kswapd wakes those held up for its sake before it sleeps (M1, trap 15)',
    file: KSWAPD,
    find: 'this.#parts.memory.reserve.policy.onFreed?.();',
    replace: '',
    test: [KSWAPD_TEST, 'that gives up lets those go on who are held up for its sake'],
  },
  {
    name: 'm1-last-write-wakes',
    guard: 'when nothing is in flight any more, who waits for memory looks again (M1)',
    file: RECLAIM,
    find: 'if (!this.isWorkInFlight) this.#parts.memory.allocator.retryWaiters();',
    replace: '',
    test: [KSWAPD_TEST, 'tells who waits for memory that the last write has ended and freed nothing'],
  },
  {
    name: 'm3-lower-floor-wakes',
    guard: 'who waits for a frame is served when the floor comes down (M3, M8)',
    file: ALLOCATOR,
    find: 'this.#handOff.serve(); // a lower floor',
    replace: '// a lower floor',
    test: [MM_TEST, 'get what an account leaves when it is closed'],
  },
  {
    name: 'm6-no-recursion',
    guard: 'the clean pass is not entered from within itself (M6)',
    file: RECLAIM,
    find: "if (this.#inCleanPass) throw new Error('the clean pass was entered from within itself');",
    replace: 'if (this.#inCleanPass) return 0;',
    test: [CLEAN_PASS_TEST, 'is not entered from within itself'],
  },
  {
    name: 'm6-allocation-free-only',
    guard: 'the clean pass asks only shrinkers that allocate nothing (M6)',
    file: RECLAIM,
    find: 'shrinker.isAllocationFree === true && ',
    replace: '',
    test: [CLEAN_PASS_TEST, 'asks shrinkers that say they allocate nothing, and spends the account only when they have nothing left'],
  },
  {
    name: 'm6-reclaim-does-not-enter-itself',
    guard: 'a reclaimer does not reclaim for itself (M6, M11)',
    file: RECLAIM,
    find: 'if (task.isReclaimer) return 0;',
    replace: '',
    test: [CLEAN_PASS_TEST, 'does nothing for one who is reclaiming already'],
  },
  {
    name: 'm7-writeout-has-its-ticket',
    guard: 'a run of file pages is written with the ticket of its unit (M7)',
    file: DIRTY_PAGES,
    find: 'const task = ticket === null ? this.#task : this.#task.withTicket(ticket);',
    replace: 'const task = this.#task;',
    test: [WRITEBACK_TEST, 'pay for what writepages allocates: nothing is unfunded, and without a node everything would be'],
  },
  {
    name: 'm9-pages-of-zeroes',
    guard: 'a page of zeroes gets a bit and no I/O (M9)',
    file: SWAP_WRITER,
    find: 'if (arena.isZero(pfn)) {',
    replace: 'if (arena.isZero(pfn) && pfn < 0) {',
    test: [AREAS_TEST, 'are those of zeroes'],
  },
  {
    name: 'm9-clean-before-the-write',
    guard: 'a page is clean before its write begins, not when it ends (M9)',
    file: SWAP_WRITER,
    find: 'flags[pfn] &= ~(PG.WRITEBACK | PG.RECLAIM);',
    replace: 'flags[pfn] &= ~(PG.WRITEBACK | PG.RECLAIM | PG.DIRTY);',
    test: [AREAS_TEST, 'keeps its slot until then, and is written again'],
  },
  {
    name: 'm9-dirty-on-loss',
    guard: 'pages that a flush has lost are dirty again (M9)',
    file: SWAP_WRITER,
    find: '      this.#markDirty(this.#flushing);\n',
    replace: '',
    test: [ON_DISK_TEST, 'a disk that loses what it acknowledged, and says so, costs nothing but time'],
  },
  {
    name: 'm9-slot-in-writeback-stays',
    guard: 'a slot that is being written is given to no other page (M9)',
    file: ANONYMOUS,
    find: 'if ((flags[pfn] & (PG.SWAPCACHE | PG.WRITEBACK)) === PG.SWAPCACHE) this',
    replace: 'if ((flags[pfn] & PG.SWAPCACHE) !== 0) this',
    test: [AREAS_TEST, 'keeps its slot until then, and is written again'],
  },
  {
    name: 'm9-changed-page-is-dirty',
    guard: 'a page that changes while it is written out is written again (M9)',
    file: ANONYMOUS,
    find: 'flags[pfn] |= PG.DIRTY | PG.YOUNG;',
    replace: 'flags[pfn] |= PG.YOUNG;',
    test: [AREAS_TEST, 'keeps its slot until then, and is written again'],
  },
  {
    name: 'm10-anonymous-is-not-dirtyable',
    guard: 'dirtyable memory contains no anonymous pages (M10)',
    file: THROTTLE,
    find: 'Math.max(allocator.classCount(FrameClass.FILE) - fileCounts.nrKept, 0)',
    replace: 'Math.max(allocator.classCount(FrameClass.FILE) + allocator.classCount(FrameClass.ANON) - fileCounts.nrKept, 0)',
    test: [WRITEBACK_TEST, 'is no larger for anonymous memory'],
  },
  {
    name: 'm10-unit-for-each-device',
    guard: 'every device may have a unit dirty and in its pipe (M10)',
    file: THROTTLE,
    find: 'if (backing.nrDirty + backing.nrClaimed === 0 && backing.nrWriteback <= 1) return true;',
    replace: '',
    test: [WRITEBACK_TEST, 'lets every device have a page dirty and one in flight, beside one that never answers'],
  },
  {
    name: 'm10-inequality',
    guard: 'what reclaim can neither drop nor swap out is bounded at dirty time (M10)',
    file: THROTTLE,
    find: 'if (!this.#hasRoom()) return false;',
    replace: '',
    test: [WRITEBACK_TEST, 'is ENOMEM, or a wait, where what cannot be reclaimed has no room (M10)'],
  },
  {
    name: 'm10-claims-count',
    guard: 'a page that is about to be dirty counts as dirty (M10)',
    file: THROTTLE,
    find: 'fileCounts.nrWriteback + this.#nrClaimed;',
    replace: 'fileCounts.nrWriteback;',
    test: [WRITEBACK_TEST, 'counts what writers have the word for and have not made dirty yet'],
  },
  {
    name: 'm10-ceiling-lags',
    guard: 'the limit comes down step by step (M10)',
    file: DIRTY_LIMITS,
    find: 'if (threshold > this.#ceiling) this.#ceiling = threshold;',
    replace: 'this.#ceiling = threshold;',
    test: [WRITEBACK_TEST, 'is what the arithmetic of M10 says: up at once, down by a 32nd of the way every 200 ms'],
  },
  {
    name: 'm10-strict-share',
    guard: 'a strict device is held to its share under the freerun, too (M10)',
    file: THROTTLE,
    find: '!backing.share.isStrict && ',
    replace: '',
    test: [WRITEBACK_TEST, 'holds a strict device to its share even if nothing else is dirty'],
  },
  {
    name: 'm11-reach',
    guard: 'reclaim enters no node that can come to need one the task is inside of (M11)',
    file: RULE,
    find: ': !graph.reaches(node, inside))),',
    replace: ': true)),',
    test: [RULE_TEST, 'never enters what can come to need a node the task is inside of, and everything else'],
  },
  {
    name: 'm11-owner-decides',
    guard: 'on the node a task is inside of the default is no (M11)',
    file: RULE,
    find: 'return pfn !== undefined && node.mayReclaim?.(pfn, data) === true;',
    replace: 'return pfn !== undefined && node.mayReclaim?.(pfn, data) !== false;',
    test: [
      'packages/core/test/may-reclaim.test.ts',
      'with the page and exactly what it put in, once for each time the task has entered; without an owner’s word the answer is no',
    ],
  },
  {
    name: 'm11-nobody-waits-for-a-unit',
    guard: 'kswapd and flushers skip a node whose units are out (M11)',
    file: DIRTY_PAGES,
    find: 'return units.tryBegin(this.#task) ?? undefined;',
    replace: 'return units.tryBegin(this.#task);',
    test: [WRITEBACK_TEST, 'are taken for every write, one each; who may not wait skips the node, a sync waits'],
  },
  {
    name: 'm11-lock-with-ticket',
    guard: 'a lock is taken with a ticket of the node it belongs to (M11)',
    file: LOCK_RULE,
    find: 'ticketOf(task)?.account.node === lock.node',
    replace: 'ticketOf(task) !== null',
    test: [LOCK_TEST, 'wants a ticket of the node the lock belongs to'],
  },
  {
    name: 'm11-no-wait-under-lock',
    guard: 'who holds a lock never waits for ordinary memory (M11)',
    file: ALLOCATOR,
    find: "this.lockRule.checkWait(task, 'free memory');",
    replace: '',
    test: [LOCK_TEST, 'wants the holder to spend its account, and never to wait for ordinary memory'],
  },
  {
    name: 'm11-lock-passed-on',
    guard: 'a waiter that gives up lets those in that stood behind it (M11)',
    file: LOCK,
    find: 'this.#letIn(); // a writer',
    replace: '// a writer',
    test: [LOCK_TEST, 'lets in one writer or any number of readers, first come first served, whoever gives up'],
  },
  {
    name: 'm18-in-use-stays',
    guard: 'a page that somebody uses across a wait is kept (M18, row 1)',
    file: VERDICT,
    find: '(flags & PG.LOCKED) !== 0 || refs > 0',
    replace: '(flags & PG.LOCKED) !== 0',
    test: [RECLAIM_TEST, 'is what the table says, for every combination of flags'],
  },
  {
    name: 'm18-never-waits-for-writeback',
    guard: 'a page under writeback is marked, and nothing waits for it (M18, row 3, trap 6)',
    file: VERDICT,
    find: 'if ((flags & PG.WRITEBACK) !== 0) return Verdict.IN_WRITEBACK;',
    replace: '',
    test: [RECLAIM_TEST, 'is what the table says, for every combination of flags'],
  },
  {
    name: 'm18-dirty-seen-last',
    guard: 'a page is looked at for dirt in the step that frees it (M18, row 10, trap 8)',
    file: RECLAIM,
    find: 'if (judge(frames.flags[pfn], frames.refs[pfn], true, false) === Verdict.FREE) {',
    replace: 'if (frames.refs[pfn] === 0) {',
    test: [ON_DISK_TEST, 'every byte reads back, under random and PCT schedules'],
  },
  {
    name: 'm22-progress-once',
    guard: 'progress is what has happened for the first time (M22)',
    file: WATCHDOG,
    find: 'if (progress <= this.#progress) return false;',
    replace: 'if (progress === this.#progress) return false;',
    test: [WATCHDOG_TEST, 'takes a loss for no sign of life, nor what only makes up for it'],
  },
  {
    name: 'm22-retries-are-none',
    guard: 'a page that is written again is no progress (M22)',
    file: PROGRESS,
    find: ' - counters.swpout_again - counters.swpout_error',
    replace: '',
    test: [WATCHDOG_TEST, 'takes a loss for no sign of life, nor what only makes up for it'],
  },
  {
    name: 'm22-a-wake-up-is-none',
    guard: 'a task that is woken and waits again has not moved (M22)',
    file: WATCHDOG,
    find: 'if (this.#hasMoved()) this.#waitedMs = 0;',
    replace: 'this.#hasMoved();\n    this.#waitedMs = 0;',
    test: [WATCHDOG_TEST, 'is not misled by a task that is woken, finds nothing and waits again'],
  },
  {
    name: 'm22-aborted-waiter-lets-others-by',
    guard: 'a waiter that gives up lets those by whom its want held up (M22)',
    file: SEMAPHORE,
    find: 'this.#grant(); // we may',
    replace: '// we may',
    test: [TASK_TEST, 'lets nobody overtake a waiter that wants much'],
  },
  {
    name: 'm22-nobody-overtakes',
    guard: 'nobody takes units in front of one that waits (M22)',
    file: SEMAPHORE,
    find: 'this.#queue.nrWaiters > 0 || ',
    replace: '',
    test: [TASK_TEST, 'lets nobody overtake a waiter that wants much'],
  },
  {
    name: 'm22-oracle-lets-timers-fire-twice',
    guard: 'a run is stuck only when every timer has had its turns (M22, the oracle)',
    file: WATCHED,
    find: ' && elapsedMs > TIMER_ROUNDS * events.longestTimerMs()',
    replace: '',
    test: [RUN_TEST, 'with one long timer, or with progress now and then, is not'],
  },
  {
    name: 'm22-oracle-waits-for-devices',
    guard: 'a run is not stuck while a device works (M22, the oracle)',
    file: WATCHED,
    find: 'if (events.nrUnderWay > 0) return false;',
    replace: '',
    test: [RUN_TEST, 'goes on while a device takes its time'],
  },
];
