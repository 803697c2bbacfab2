/**
 * Who a server works for, and what each may use (M16): clients of this kernel, each with units and connections of its own, and strangers, who
 * share what is left. Whether somebody is a client of this kernel the transport says, from the kernel's table; here nothing is looked up.
 */
import { isPromise, type LocalClient, type LocalServer, type Memory, type TaskContext } from '@tidemark/core';
import { type ConnectionMemory, ReservedConnections, takeConnectionMemory } from './connection-memory.js';
import { ServerUnits } from './units.js';

/** What one connection may use. */
export interface Allowance {
  readonly memory: ConnectionMemory;
  readonly units: ServerUnits;
}

interface Guest {
  readonly units: ServerUnits;
  readonly connections: ReservedConnections;
}

export interface GuestsParts {
  readonly memory: Memory;
  readonly task: TaskContext;
  /** Units that strangers share. */
  readonly nrStrangerUnits: number;
  readonly server: LocalServer;
  /** Whether rights cross local edges. */
  readonly rightsCross: boolean;
}

export class Guests {
  readonly #parts: GuestsParts;
  readonly #strangers: ServerUnits;
  /** Clients of this kernel, from their first connection until they close. */
  readonly #guests = new Map<LocalClient, Guest | Promise<Guest>>();
  #nrStrangers = 0;
  #isClosed = false;

  constructor(parts: GuestsParts) {
    this.#parts = parts;
    this.#strangers = new ServerUnits(parts.nrStrangerUnits);
  }

  /** Connections whose memory is taken: those of strangers, and those set aside for clients of this kernel. */
  get nrConnections(): number {
    return this.#nrStrangers + this.#guests.size * ReservedConnections.COUNT;
  }

  get nrLocalClients(): number {
    return this.#guests.size;
  }

  /**
   * Lets a connection in.
   * @throws KernelError ENOMEM; EAGAIN for a client that has its connections; those of `LocalClient.reached`.
   */
  async admit(peer: string, client: LocalClient | null): Promise<Allowance> {
    const { task, memory, server, rightsCross } = this.#parts;
    await client?.reached(server);
    if (client === null || !rightsCross) {
      const taken = await takeConnectionMemory(task, memory, peer);
      this.#nrStrangers++;
      const free = (): void => {
        this.#nrStrangers--;
        taken.free();
      };
      return { memory: { ...taken, free }, units: this.#strangers };
    }
    const { units, connections } = await this.#guest(client);
    return { memory: connections.take(), units };
  }

  #guest(client: LocalClient): Guest | Promise<Guest> {
    const known = this.#guests.get(client);
    if (known !== undefined) return known;
    const making = this.#welcome(client);
    this.#guests.set(client, making);
    client.onClose(() => this.#farewell(client));
    return making;
  }

  async #welcome(client: LocalClient): Promise<Guest> {
    const { task, memory } = this.#parts;
    try {
      const guest = { units: new ServerUnits(client.nrUnits), connections: await ReservedConnections.create(task, memory, client.name) };
      if (this.#guests.has(client) && !this.#isClosed) this.#guests.set(client, guest);
      else guest.connections.close();
      return guest;
    } catch (error) {
      this.#guests.delete(client);
      throw error;
    }
  }

  #farewell(client: LocalClient): void {
    const guest = this.#guests.get(client);
    this.#guests.delete(client);
    if (guest !== undefined && !isPromise(guest)) guest.connections.close();
  }

  /** The server closes. */
  close(): void {
    this.#isClosed = true;
    for (const client of [...this.#guests.keys()]) this.#farewell(client);
  }
}
