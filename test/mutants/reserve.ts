/** Guards of the reserve: floors, accounts, units, hand-off (M2 to M8, M19, M20, M23). See `mutant.ts`. */
import type { Mutant } from './mutant.js';

const ALLOCATOR = 'packages/core/src/mm/page-allocator.ts';
const HAND_OFF = 'packages/core/src/mm/hand-off.ts';
const TICKET = 'packages/core/src/mm/ticket.ts';
const UNIT_POOL = 'packages/core/src/mm/unit-pool.ts';
const COMPOSED = 'packages/core/src/mm/policy/composed.ts';
const LIMITS = 'packages/core/src/mm/policy/limits.ts';
const MEMALLOC = 'packages/core/src/mm/policy/memalloc.ts';
const RESERVE = 'packages/core/src/mm/reserve.ts';
const SLAB = 'packages/core/src/mm/slab.ts';
const MEMPOOL = 'packages/core/src/mm/mempool.ts';

const MM_TEST = 'packages/core/test/mm.test.ts';
const UNITS_TEST = 'packages/core/test/units.test.ts';
const HAND_OFF_TEST = 'packages/core/test/hand-off.test.ts';
const POLICY_TEST = 'packages/core/test/reserve-policy.test.ts';
const PLANNER_TEST = 'packages/core/test/reserve-planner.test.ts';

export const RESERVE_MUTANTS: readonly Mutant[] = [
  {
    name: 'm2-never-from-reserves-first',
    guard: 'under memalloc "never from reserves" comes before the mark (M2)',
    file: MEMALLOC,
    find: "if ((gfp & Gfp.NO_RESERVE) !== 0) return 'ordinary';",
    replace: '',
    test: [POLICY_TEST, 'decides in order: never from reserves, then the mark, then the shares'],
  },
  {
    name: 'm2-request-forbids-reserve',
    guard: 'under composed a request that forbids the reserve gets none (M2)',
    file: COMPOSED,
    find: 'return (gfp & Gfp.NO_RESERVE) === 0 ? OnNo.ACCOUNT : OnNo.FAIL;',
    replace: 'return OnNo.ACCOUNT;',
    test: [UNITS_TEST, 'never gives a reserve to a request that forbids it'],
  },
  {
    name: 'm3-floor-stays-free',
    guard: 'a frame is taken only above the floor (M3)',
    file: ALLOCATOR,
    find: 'return this.#buddy.nrFree > this.floorOf(task, gfp);',
    replace: 'return this.#buddy.nrFree >= this.floorOf(task, gfp);',
    test: ['packages/core/test/ticket.test.ts', 'is spent only when free memory is not to be had, and never beyond its account'],
  },
  {
    name: 'm3-atomic-floor-is-e',
    guard: 'who cannot wait leaves alone what the accounts may ask for (M3)',
    file: COMPOSED,
    find: 'memory.min : reserve.emergencyFrames',
    replace: 'memory.min : 0',
    test: [PLANNER_TEST, 'keeps A free above the accounts, for those who cannot wait'],
  },
  {
    name: 'm4-one-unit-begins-below-the-neighbour',
    guard: 'below the limit of its upper neighbour a node has one unit begun (M4, rule 2)',
    file: LIMITS,
    find: 'Number.POSITIVE_INFINITY : 1)',
    replace: 'Number.POSITIVE_INFINITY : 2)',
    test: [POLICY_TEST, 'runs one unit at a time below the limit of the upper neighbour, any number above'],
  },
  {
    name: 'm4-one-unit-below-the-neighbour',
    guard: 'below the limit of its upper neighbour frames go to one unit of a node (M4, rule 2)',
    file: LIMITS,
    find: 'ticket !== null && ticket.reservedFrames !== account.reservedFrames',
    replace: 'false',
    test: [
      POLICY_TEST,
      'gives frames below the limit of the upper neighbour to one unit at a time, until it has given all of them back; above to any',
    ],
  },
  {
    name: 'm4-gap-from-the-limit-on',
    guard: 'the gap begins at the limit of the upper neighbour (M4, rule 2)',
    file: LIMITS,
    find: 'nrFree <= this.floorOfLevel(account.level + 1)',
    replace: 'nrFree < this.floorOfLevel(account.level + 1)',
    test: [
      POLICY_TEST,
      'gives frames below the limit of the upper neighbour to one unit at a time, until it has given all of them back; above to any',
    ],
  },
  {
    name: 'm4-the-gap-goes-on',
    guard: 'the unit that has the gap does not wait behind one that waits for it (M4, rule 2)',
    file: HAND_OFF,
    find: 'return this.#giver.mayTake(task, gfp) ? this.#giver.takeFree(task, gfp) : null;',
    replace: 'return task === this.#firstInAccounts()?.oldest && this.#giver.mayTake(task, gfp) ? this.#giver.takeFree(task, gfp) : null;',
    test: [POLICY_TEST, 'serves the unit that has the gap before one that waits for it, however long'],
  },
  {
    name: 'm4-exchange-wakes',
    guard: 'who waits for the gap is woken when a frame of it is exchanged (M4, rule 2)',
    file: ALLOCATOR,
    find: 'if (this.#nrWaiting > 0) this.#noteFreed(); // nothing was freed',
    replace: '// nothing was freed',
    test: [POLICY_TEST, 'has who waits for the gap go on when a unit leaves its frame as cache'],
  },
  {
    name: 'm5-free-then-uncharge',
    guard: 'a frame is free before its account is credited (M5, trap 7)',
    file: ALLOCATOR,
    find: `    this.#buddy.freeOne(pfn);
    if ((wasFlags & PG.COUNTED) !== 0) this.#uncount(pfn, wasFlags);`,
    replace: `    if ((wasFlags & PG.COUNTED) !== 0) this.#uncount(pfn, wasFlags);
    this.#buddy.freeOne(pfn);`,
    test: [MM_TEST, 'has the frame back before the account is credited, and serves who waits for room after both'],
  },
  {
    name: 'm5-check-by-use',
    guard: 'holding more than declared is noticed with plenty of memory (M5)',
    file: TICKET,
    find: 'if (wanted > this.need)',
    replace: 'if (wanted > this.need && this.account.usageFrames > 0)',
    test: [UNITS_TEST, 'counts every frame of a unit, and tells node and site of one too many although memory is ample'],
  },
  {
    name: 'm5-check-before-taking',
    guard: 'the check comes before the frame is taken, so that it may throw (M5)',
    file: ALLOCATOR,
    find: `    this.#checkWriteout(task, gfp);
    return this.takeFree(task, gfp);`,
    replace: `    const pfn = this.takeFree(task, gfp);
    ticketOf(task)?.checkNeed(0);
    return pfn;`,
    test: [UNITS_TEST, 'takes nothing when the handler throws'],
  },
  {
    name: 'm5-unit-keeps-its-place',
    guard: 'a unit that ended holding frames keeps its place until they are freed (M5, M8)',
    file: TICKET,
    find: 'if (held === 0) this.pool?.ended(this);',
    replace: 'this.pool?.ended(this); if (held === 0) return;',
    test: [UNITS_TEST, 'tells of a unit that ends while it holds frames; they stay charged, and its place taken, until they are freed'],
  },
  {
    name: 'm5-exchange-needs-a-frame',
    guard: 'an account is credited by exchange only if another frame is free above the ordinary floor (M5)',
    file: ALLOCATOR,
    find: 'if (isCharged && this.#buddy.nrFree <= this.#min) return false;',
    replace: '',
    test: [UNITS_TEST, 'of an account’s frame needs another that is free above the ordinary floor, which takes its place in the band'],
  },
  {
    name: 'm6-clean-pass-first',
    guard: 'the clean pass comes before the account (M6)',
    file: ALLOCATOR,
    find: 'this.reclaimer.cleanPass(1) > 0 &&',
    replace: 'false &&',
    test: [MM_TEST, 'takes an account frame only if the clean pass freed nothing'],
  },
  {
    name: 'm6-condition-turned-round',
    guard: 'the clean pass is for policies that have one (M6, trap 11)',
    file: ALLOCATOR,
    find: 'if (policy.hasCleanPass && this.reclaimer',
    replace: 'if (!policy.hasCleanPass && this.reclaimer',
    test: [MM_TEST, 'takes an account frame only if the clean pass freed nothing'],
  },
  {
    name: 'method-3-no-allocation-is-spared',
    guard: 'fault injection spares no way to allocate (test method 3, trap 13)',
    file: 'packages/testkit/src/faults/allocation-faults.ts',
    find: "['allocPage', 'allocPageSlow', 'allocBlock']",
    replace: "['allocBlock']",
    test: ['packages/testkit/test/memory-faults.test.ts', 'is told to the program as ENOMEM, and only while it lasts'],
  },
  {
    name: 'm7-unfunded-when-it-fails',
    guard: 'writeout without a ticket is counted when it gets nothing, too (M7)',
    file: ALLOCATOR,
    find: 'if (task.isReclaimer) this.#checkWriteout(task, gfp);',
    replace: '',
    test: [UNITS_TEST, 'counts what writeout allocates without a ticket, whether it gets it or not (M7); not what has another way'],
  },
  {
    name: 'm8-units-are-bounded',
    guard: 'no more units than were declared (M8)',
    file: COMPOSED,
    find: 'account.units.nrUnits',
    replace: 'account.units.nrUnits + 1',
    test: [UNITS_TEST, 'are as many as were declared; the next waits, in order, and nobody overtakes'],
  },
  {
    name: 'm8-nobody-overtakes',
    guard: 'nobody begins a unit while another waits for one (M8)',
    file: UNIT_POOL,
    find: 'if (this.#queue.nrWaiters > 0 || this.#nrOut >= this.#most()) return null;',
    replace: 'if (this.#nrOut >= this.#most()) return null;',
    test: [POLICY_TEST, 'lets nobody begin a unit in front of one that waits, when there is memory again'],
  },
  {
    name: 'm8-lowest-level-first',
    guard: 'the lowest level is served first (M8)',
    file: HAND_OFF,
    find: 'account.level < first.level',
    replace: 'account.level > first.level',
    test: [HAND_OFF_TEST, 'gives what is free beyond the band to the oldest of the lowest level, then upward, ordinary waiters last'],
  },
  {
    name: 'm8-oldest-first',
    guard: 'on one level the oldest is served first (M8)',
    file: HAND_OFF,
    find: 'account.room.oldestWant < first.room.oldestWant',
    replace: 'account.room.oldestWant > first.room.oldestWant',
    test: [HAND_OFF_TEST, 'on one level serves whoever came first, in whichever account'],
  },
  {
    name: 'm8-band-first',
    guard: 'an account’s frame returns to the band, and goes to no ordinary waiter (M8)',
    file: HAND_OFF,
    find: 'if (!this.#giver.mayTake(task, gfp)) return false;',
    replace: '',
    test: [HAND_OFF_TEST, 'leaves an account’s frame in the band when nobody waits in the account'],
  },
  {
    name: 'm8-aborted-passes-on',
    guard: 'a waiter that was aborted after it was handed a frame passes it on (M8)',
    file: ALLOCATOR,
    find: `      this.freePage(handed);
      return ended;`,
    replace: '      return ended;',
    test: [HAND_OFF_TEST, 'passes the frame of a waiter on that was aborted after it was handed one'],
  },
  {
    name: 'm19-second-element',
    guard: 'a second element of a pool under one ticket is noticed (M19)',
    file: MEMPOOL,
    find: 'if (ticket !== null && this.#tickets.has(ticket))',
    replace: 'if (ticket === null)',
    test: [
      'packages/core/test/mempool.test.ts',
      'tells of a second element under one ticket, until the first is back; not of one under another or under none',
    ],
  },
  {
    name: 'm20-own-account-only',
    guard: 'objects of an account’s slab frame go to tickets of that account only (M20)',
    file: SLAB,
    find: 'ticket === null ? undefined : this.#reserved.get(ticket.account)',
    replace: '[...this.#reserved.values()][0]',
    test: ['packages/core/test/slab.test.ts', 'gives objects of an account’s frame to tickets of that account only, and says who paid'],
  },
  {
    name: 'm23-throttle-ends',
    guard: 'who is held up by the half throttle goes on when memory is free again (trap 15)',
    file: MEMALLOC,
    find: 'if (this.#isOpen) this.#queue.wakeAll();',
    replace: '',
    test: [
      POLICY_TEST,
      'with halfThrottle holds ordinary callers up while no more than half of min is free, a lock holder for a second at most',
    ],
  },
  {
    name: 'm2-no-right-without-an-account',
    guard: 'an account is spent by its tickets only, each up to its limit (M2, trap 3)',
    file: RESERVE,
    find: 'if (at.#usageFrames + frames > at.#limitFrames) return false;',
    replace: 'if (frames > at.#limitFrames) return false;',
    test: ['packages/core/test/ticket.test.ts', 'is spent only when free memory is not to be had, and never beyond its account'],
  },
  {
    name: 'm3-min-has-room-for-a',
    guard: 'the ordinary floor leaves A above the accounts (M3)',
    file: COMPOSED,
    find: ' + addedFrames + reserve.atomicFrames)',
    replace: ' + addedFrames)',
    test: [PLANNER_TEST, 'keeps A free above the accounts, for those who cannot wait'],
  },
  {
    name: 'm5-room-wakes',
    guard: 'room that comes back to an account serves who waits for it (M5, M8)',
    file: RESERVE,
    find: 'if (this.room.nrWaiters > 0) this.tree.serveRoom(this);',
    replace: '',
    test: [MM_TEST, 'has the frame back before the account is credited, and serves who waits for room after both'],
  },
  {
    name: 'm5-usage-zero-at-the-end',
    guard: 'an account in use is not closed (M5)',
    file: RESERVE,
    find: 'if (account.usageFrames !== 0) throw',
    replace: 'if (account.usageFrames < 0) throw',
    test: [MM_TEST, 'refuses to close an account in use, and one of no size'],
  },
  {
    name: 'm8-nobody-steals',
    guard: 'a freed frame is a waiter’s before the waiter is woken (M8)',
    file: HAND_OFF,
    find: 'queue.wakeOne(this.#giver.takeFree(task, gfp));',
    replace: 'queue.wakeOne(RETRY);',
    test: [MM_TEST, 'are served first come, first served, each with the frame that was freed, and nobody steals it'],
  },
  {
    name: 'm8-charged-before-woken',
    guard: 'a handed frame is counted before its waiter is woken (M8)',
    file: HAND_OFF,
    find: '? this.#giver.takeFree(task, gfp) : null;',
    replace: '? RETRY : null;',
    test: [HAND_OFF_TEST, 'tries nobody else when the first would go below its floor, and charges and counts before it wakes'],
  },
  {
    name: 'm8-who-grows-is-last',
    guard: 'who grows is served after every other ordinary waiter (M8)',
    file: HAND_OFF,
    find: 'for (const queue of [this.#ordinary, this.#growing]) {',
    replace: 'for (const queue of [this.#growing, this.#ordinary]) {',
    test: [HAND_OFF_TEST, 'serves those who grow after all other ordinary waiters, and leaves low free'],
  },
  {
    name: 'm8-end-begins-the-next',
    guard: 'the end of a unit begins the unit of who waits for one (M8)',
    file: UNIT_POOL,
    find: 'while (this.#queue.nrWaiters > 0 && this.#nrOut < this.#most()) {',
    replace: 'while (this.#queue.nrWaiters > this.nrUnits && this.#nrOut < this.#most()) {',
    test: [UNITS_TEST, 'are as many as were declared; the next waits, in order, and nobody overtakes'],
  },
  {
    name: 'm19-put-serves-a-waiter',
    guard: 'an element put back is the oldest waiter’s (M19)',
    file: MEMPOOL,
    find: 'if (this.#queue.nrWaiters > 0) this.#hand(element);\n    else if',
    replace: 'if',
    test: ['packages/core/test/mempool.test.ts', 'serves n requests at a time to the end with no memory at all, in order, whatever aborts'],
  },
  {
    name: 'm20-exchange-before-it-serves-all',
    guard: 'an account’s slab frame serves everyone only when it was exchanged (M20)',
    file: SLAB,
    find: 'while (frames.length > 0 && this.#source.exchange?.(frames[frames.length - 1])) this.#moveOne(room);',
    replace: 'while (frames.length > 0) this.#moveOne(room);',
    test: ['packages/core/test/slab.test.ts', 'gives objects of an account’s frame to tickets of that account only, and says who paid'],
  },
];
