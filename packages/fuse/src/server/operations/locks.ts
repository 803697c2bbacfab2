/** GETLK, SETLK, SETLKW: advisory locks. */
import { Errno, type NegErrno, type Steps } from '@tidemark/core';
import { LOCK_FLOCK, LockType, OFFSET_MAX, Opcode } from '../../protocol/constants.js';
import { LOCK_BYTES } from '../../protocol/replies.js';
import type { Request } from '../../protocol/request.js';
import type { FuseService, Operation } from '../call.js';
import { conflictOf, holderOf, lock, type LockRequest } from '../locks.js';
import { handleOf } from './files.js';

function readLock(request: Request): LockRequest {
  return {
    owner: request.key(8),
    first: request.u64(16),
    last: Math.min(request.u64(24), OFFSET_MAX),
    type: request.u32(32),
    pid: request.u32(36),
    isWhole: (request.u32(40) & LOCK_FLOCK) !== 0,
  };
}

const getlk: Operation = {
  // biome-ignore lint/correctness/useYield: nothing is waited for
  *run(call, request) {
    const wanted = readLock(request);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    if (wanted.last < wanted.first) return -Errno.EINVAL;
    const { node, file } = handle;
    const there = conflictOf(node, file.inode, wanted);
    const { out } = call;
    out.u64(0, there?.from ?? 0);
    if (there === null || there.to !== Number.POSITIVE_INFINITY) out.u64(8, there === null ? 0 : there.to - 1);
    else {
      out.u32(8, 0xffff_ffff); // the end of every file: 2^63 − 1
      out.u32(12, 0x7fff_ffff);
    }
    out.u32(16, there === null ? LockType.NONE : there.isExclusive ? LockType.WRITE : LockType.READ);
    out.u32(20, there === null ? 0 : holderOf(node, there));
    return LOCK_BYTES;
  },
};

const setlk: Operation = {
  *run(call, request) {
    const wanted = readLock(request);
    const handle = handleOf(call, request.u64(0));
    return typeof handle === 'number' ? handle : yield* lock(call.task, handle.node, handle.file.inode, wanted, false);
  },
};

const setlkw: Operation = {
  *run(call, request, service) {
    const wanted = readLock(request);
    const handle = handleOf(call, request.u64(0));
    if (typeof handle === 'number') return handle;
    const { node, file } = handle;
    const atOnce = yield* lock(call.task, node, file.inode, wanted, false);
    return atOnce === -Errno.EAGAIN ? yield* waiting(service, lock(call.task, node, file.inode, wanted, true)) : atOnce;
  },
};

/** Those who wait for a lock may wait for ever: they must not take the places of calls that are not. */
function* waiting(service: FuseService, taking: Steps<NegErrno>): Steps<NegErrno> {
  if (service.nrLockWaits >= service.sizes.lockWaits) return -Errno.ENOLCK;
  service.nrLockWaits++;
  try {
    return yield* taking;
  } finally {
    service.nrLockWaits--;
  }
}

export const LOCK_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.GETLK, getlk],
  [Opcode.SETLK, setlk],
  [Opcode.SETLKW, setlkw],
];
