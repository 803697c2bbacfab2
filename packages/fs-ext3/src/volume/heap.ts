/** Objects of slab caches, for those who can wait for the memory. */
import { Errno, type Memory, type NegErrno, settle, type SlabCache, type Steps, type TaskContext } from '@tidemark/core';

const ATTEMPTS = 8;

/** An object, waiting for memory if need be. @returns it; `-ENOMEM`; the errno of the task's signal. */
export function* allocObject<T extends object>(task: TaskContext, memory: Memory, slab: SlabCache<T>): Steps<T | NegErrno> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const object = slab.alloc();
    if (object !== null) return object;
    const ended = task.checkSignal();
    if (ended !== 0) return ended;
    yield* settle(memory.makeRoom(task, 1));
  }
  return -Errno.ENOMEM;
}
