/** What must hold of a kernel at every step. */
import { type Kernel, PG } from '@tidemark/core';

/** @throws Error naming the invariant that does not hold. */
export function checkKernel(kernel: Kernel): void {
  const info = kernel.meminfo();
  const { frames, allocator, reserve } = kernel.memory;
  const sum = info.memFree + info.cached + info.anonPages + info.slab + info.standing + info.transient;
  if (sum !== info.memTotal) throw new Error(`classes add up to ${sum} of ${info.memTotal} frames`);
  if (allocator.nrFree < reserve.emergencyFrames) throw new Error('free is below E');
  for (const [name, value] of Object.entries(info)) if (!(value >= 0)) throw new Error(`${name} is ${value}`);
  let onLists = 0;
  for (let pfn = 0; pfn < frames.nrFrames; pfn++) {
    if (frames.refs[pfn] < 0) throw new Error(`frame ${pfn} has ${frames.refs[pfn]} references`);
    if ((frames.flags[pfn] & PG.LRU) === 0) continue;
    onLists++;
    if (frames.frameClass[pfn] === 0) throw new Error(`free frame ${pfn} is on a list`);
    if ((frames.flags[pfn] & PG.LOCKED) !== 0) throw new Error(`frame ${pfn} is on a list and being read`);
  }
  const { nrActiveAnon, nrInactiveAnon, nrActiveFile, nrInactiveFile } = kernel.reclaim.levels();
  if (onLists !== nrActiveAnon + nrInactiveAnon + nrActiveFile + nrInactiveFile) throw new Error('list lengths are wrong');
  allocator.freeBlocks();
}

/** No frame in use, no reference left. */
export function checkNothingHeld(kernel: Kernel): void {
  checkKernel(kernel);
  const { frames, allocator } = kernel.memory;
  if (allocator.nrFree !== frames.nrFrames) throw new Error(`${frames.nrFrames - allocator.nrFree} frames are still out`);
  for (let pfn = 0; pfn < frames.nrFrames; pfn++) if (frames.refs[pfn] !== 0) throw new Error(`frame ${pfn} is still referenced`);
}
