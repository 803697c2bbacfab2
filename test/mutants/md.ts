/** Guards of RAID1 and its write-intent bitmap (M17, trap 14). See `mutant.ts`. */
import type { Mutant } from './mutant.js';

const BITMAP = 'packages/md/src/bitmap/write-intent-bitmap.ts';
const FILE_STORE = 'packages/md/src/bitmap/file-store.ts';
const LOG = 'packages/md/src/bitmap/intent-log.ts';
const CORE = 'packages/md/src/array/array-core.ts';
const WRITE_PATH = 'packages/md/src/array/write-path.ts';
const INTERNAL_STORE = 'packages/md/src/array/internal-store.ts';

const CRASH = 'packages/md/test/crash.test.ts';
const RAID1 = 'packages/md/test/raid1.test.ts';

export const MD_MUTANTS: readonly Mutant[] = [
  {
    name: 'm17-bits-before-data',
    guard: 'data go to members once the bits of their chunks are durable (M17)',
    file: WRITE_PATH,
    find: 'bitmap.waitStored(request);\n    return false;',
    replace: 'bitmap.waitStored({ nextWaiter: null, resume() {} });\n    return true;',
    test: [CRASH, 'internal bitmap, FUA: members differ only where the bit is set, resync makes them equal, flushed data are there'],
  },
  {
    name: 'm17-file-bitmap-is-flushed',
    guard: 'a bitmap in a file is flushed before data go to members (M17)',
    file: FILE_STORE,
    find: 'const status = await this.file.flush(this.task);',
    replace: 'const status: NegErrno = 0;',
    test: [CRASH, 'bitmap in a file: members differ only where the bit is set, resync makes them equal, flushed data are there'],
  },
  {
    name: 'm17-internal-bitmap-is-flushed',
    guard: 'a bitmap on members without FUA is flushed before data go to them (M17)',
    file: INTERNAL_STORE,
    find: 'return can.fua ? 0 : member.bitmapIo.flush();',
    replace: 'return 0;',
    test: [
      CRASH,
      'internal bitmap, flushes only: members differ only where the bit is set, resync makes them equal, flushed data are there',
    ],
  },
  {
    name: 'm17-flush-before-clear',
    guard: 'bits are cleared once what members acknowledged is durable (trap 14)',
    file: BITMAP,
    find: 'if (log.hasIdle && !(await user.flushMembers())) return;',
    replace: '',
    test: [
      CRASH,
      'never idle, bitmap in a file: members differ only where the bit is set, resync makes them equal, flushed data are there',
    ],
  },
  {
    name: 'm17-flush-before-clean',
    guard: 'an array is clean once what members acknowledged is durable (M17)',
    file: CORE,
    find: '!(await this.flushMembers()) || this.#isStopping',
    replace: 'this.#isStopping',
    test: [CRASH, 'bitmap in a file: members differ only where the bit is set, resync makes them equal, flushed data are there'],
  },
  {
    name: 'm17-flushed-is-not-written-since',
    guard: 'an array does not become clean over a write that came and went during the flush (M17)',
    file: CORE,
    find: 'if (this.#hasWritten) return;',
    replace: 'if (this.#nrWrites > 0) return;',
    test: [
      CRASH,
      'written again while it becomes clean: members differ only where the bit is set, resync makes them equal, flushed data are there',
    ],
  },
  {
    name: 'm17-active-before-data',
    guard: 'data go to members once their superblocks say so (M17)',
    file: WRITE_PATH,
    find: 'superblocks.wantFor(request);\n        return;',
    replace: 'superblocks.want();',
    test: [CRASH, 'internal bitmap, FUA: members differ only where the bit is set, resync makes them equal, flushed data are there'],
  },
  {
    name: 'm17-recovered-is-durable',
    guard: 'a superblock says of a recovery only what is durable (M17)',
    file: 'packages/md/src/array/array-state.ts',
    find: 'isRecovering ? member.storedOffset : null',
    replace: 'isRecovering ? member.recoveryOffset : null',
    test: [RAID1, 'says of a recovery only what is durable, whatever its superblock is written for'],
  },
  {
    name: 'm17-needed-stays',
    guard: 'a chunk that a slot has missed is not cleared (M17)',
    file: LOG,
    find: '(isEverywhere ? 0 : NEEDED)',
    replace: '0',
    test: [RAID1, 'goes on without a member that fails, and the other says so before the write ends'],
  },
  {
    name: 'm17-no-clear-while-degraded',
    guard: 'no bit is cleared while a slot has no member in sync (M17)',
    file: CORE,
    find: 'return !this.state.isDegraded && !this.state.isBroken;',
    replace: 'return !this.state.isBroken;',
    test: [RAID1, 'goes on without a member that fails, and the other says so before the write ends'],
  },
  {
    name: 'm17-faulty-on-disk-before-done',
    guard: 'a write that a member missed ends once the others say that it is faulty (M17)',
    file: WRITE_PATH,
    find: 'state.isDegraded && !superblocks.isStored && !state.isBroken',
    replace: 'state.isBroken && !superblocks.isStored',
    test: [RAID1, 'goes on without a member that fails, and the other says so before the write ends'],
  },
  {
    name: 'm17-no-stale-member',
    guard: 'a member that is two events behind is not used (M17)',
    file: 'packages/md/src/array/select.ts',
    find: 'superblock.events + 1n < events',
    replace: 'superblock.events + 2n < events',
    test: ['packages/md/test/assemble.test.ts', 'those are taken that the freshest knows, and that are one event behind at most'],
  },
  {
    name: 'm17-pass-knows-its-members',
    guard: 'a pass begins anew when a member comes that it does not know (M17)',
    file: 'packages/md/src/array/sync-runner.ts',
    find: 'this.#nrActivated === nrActivated ? 0 : -Errno.EAGAIN',
    replace: 'nrActivated >= 0 ? 0 : -Errno.EAGAIN',
    test: [RAID1, 'leaves nothing behind, under random schedules'],
  },
  {
    name: 'm17-gate-keeps-writes-out',
    guard: 'writes stay out of the range in which members are made equal (M17)',
    file: 'packages/md/src/array/range-gate.ts',
    find: 'if (!this.#meets(write)) return true;',
    replace: 'if (this.#to >= 0) return true;',
    test: [RAID1, 'is written to where it is being resynced, and its members are equal afterwards'],
  },
];
