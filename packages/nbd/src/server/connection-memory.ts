/**
 * The memory of one connection: a receive slot and a reply ring of the same size, standing. A stranger's is taken when it is accepted and
 * given back when it is gone. A client of this kernel keeps that of two connections from its first one on, because it may reconnect at a
 * time when there is no memory, and the connection that it has lost may not be over yet (M12).
 */
import { KernelError, type Memory, type StandingMemory, type TaskContext } from '@tidemark/core';

export interface ConnectionMemory {
  readonly receive: StandingMemory;
  readonly transmit: StandingMemory;
  /** The connection is over, and nobody points into it. */
  free(): void;
}

/** Takes a connection's memory. @throws KernelError ENOMEM. */
export async function takeConnectionMemory(task: TaskContext, memory: Memory, peer: string): Promise<ConnectionMemory> {
  const receive = await memory.allocStanding(task, `nbd server, receive slot for ${peer}`, memory.sizes.slotFrames);
  try {
    const transmit = await memory.allocStanding(task, `nbd server, reply ring for ${peer}`, memory.sizes.slotFrames);
    const free = (): void => {
      receive.free();
      transmit.free();
    };
    return { receive, transmit, free };
  } catch (error) {
    receive.free();
    throw error;
  }
}

/** The memory of the connections of one client of this kernel. */
export class ReservedConnections {
  /** Connections a client may have at once: the present one, and one that it has lost. */
  static readonly COUNT = 2;
  readonly #free: ConnectionMemory[] = [];
  #isClosed = false;

  private constructor(private readonly name: string) {}

  /** @throws KernelError ENOMEM. */
  static async create(task: TaskContext, memory: Memory, name: string): Promise<ReservedConnections> {
    const reserved = new ReservedConnections(name);
    try {
      for (let i = 0; i < ReservedConnections.COUNT; i++) reserved.#free.push(await takeConnectionMemory(task, memory, name));
    } catch (error) {
      reserved.close();
      throw error;
    }
    return reserved;
  }

  /** @throws KernelError EAGAIN if both are in use: the client tries again. */
  take(): ConnectionMemory {
    const memory = this.#free.pop();
    if (memory === undefined) throw new KernelError('EAGAIN', `${this.name} has its ${ReservedConnections.COUNT} connections`);
    const free = (): void => {
      if (this.#isClosed) memory.free();
      else this.#free.push(memory);
    };
    return { receive: memory.receive, transmit: memory.transmit, free };
  }

  /** Gives the memory back; that of connections which are not over follows when they are. */
  close(): void {
    this.#isClosed = true;
    for (const memory of this.#free.splice(0)) memory.free();
  }
}
