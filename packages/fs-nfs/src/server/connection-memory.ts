/** The memory of one connection: a receive slot, a reply ring, its calls. A stranger's is taken when it is accepted; see guests.ts for others. */
import type { Memory, StandingCharge, StandingMemory, TaskContext } from '@tidemark/core';
import { callFrames, type NfsServerSizes } from './sizes.js';

/** The memory of one connection. */
export interface ConnectionMemory {
  readonly receive: StandingMemory;
  readonly transmit: StandingMemory;
  /** The connection is over, and nobody points into it. */
  free(): void;
}

/** Takes a connection's memory. @throws KernelError ENOMEM. */
export async function takeConnectionMemory(
  task: TaskContext,
  memory: Memory,
  sizes: NfsServerSizes,
  peer: string,
): Promise<ConnectionMemory> {
  const taken: (StandingMemory | StandingCharge)[] = [];
  const free = (): void => {
    for (const each of taken.splice(0)) each.free();
  };
  try {
    taken.push(memory.chargeStanding(`nfs server, calls of ${peer}`, callFrames(sizes)));
    const receive = await memory.allocStanding(task, `nfs server, receive slot for ${peer}`, sizes.slotFrames);
    taken.push(receive);
    const transmit = await memory.allocStanding(task, `nfs server, reply ring for ${peer}`, sizes.slotFrames);
    taken.push(transmit);
    return { receive, transmit, free };
  } catch (error) {
    free();
    throw error;
  }
}
