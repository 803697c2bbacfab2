/**
 * Who a server works for, and what each may use (M16): clients of this kernel, each with units and connections of its own, and strangers, who have
 * ordinary memory and the places that are left. Whether somebody is a client of this kernel the transport says, from the kernel's table; here
 * nothing is looked up.
 */
import { isPromise, KernelError, type LocalClient, type LocalServer, type Memory, type TaskContext } from '@tidemark/core';
import { type ConnectionMemory, takeConnectionMemory } from './connection-memory.js';
import type { Entitlement } from './entitlement.js';
import { GUEST_CONNECTIONS, type NfsServerSizes } from './sizes.js';

/** What one connection may use. */
export interface Allowance {
  readonly memory: ConnectionMemory;
  /** Null for a stranger. */
  readonly entitled: Entitlement | null;
}

/** The memory of the connections of one client of this kernel, and its units. */
class Guest {
  readonly #free: ConnectionMemory[] = [];
  #isClosed = false;

  constructor(
    private readonly name: string,
    readonly entitled: Entitlement,
  ) {}

  /** @throws KernelError ENOMEM. */
  async prepare(task: TaskContext, memory: Memory, sizes: NfsServerSizes): Promise<this> {
    try {
      for (let i = 0; i < GUEST_CONNECTIONS; i++) this.#free.push(await takeConnectionMemory(task, memory, sizes, this.name));
    } catch (error) {
      await this.close();
      throw error;
    }
    return this;
  }

  /** @throws KernelError EAGAIN if all are in use: the client tries again. */
  admit(): Allowance {
    const memory = this.#free.pop();
    if (memory === undefined) throw new KernelError('EAGAIN', `${this.name} has its ${GUEST_CONNECTIONS} connections`);
    const free = (): void => {
      if (this.#isClosed) memory.free();
      else this.#free.push(memory);
    };
    return { memory: { ...memory, free }, entitled: this.entitled };
  }

  /** Gives the memory back, that of connections which are not over when they are; and ends the units. */
  close(): Promise<void> {
    this.#isClosed = true;
    for (const memory of this.#free.splice(0)) memory.free();
    return this.entitled.close();
  }
}

export interface GuestsParts {
  readonly memory: Memory;
  readonly task: TaskContext;
  readonly sizes: NfsServerSizes;
  readonly server: LocalServer;
  /** Whether rights cross local edges. */
  readonly rightsCross: boolean;
  entitle(client: LocalClient): Entitlement;
}

export class Guests {
  readonly #parts: GuestsParts;
  /** Clients of this kernel, from their first connection until they close. */
  readonly #guests = new Map<LocalClient, Guest | Promise<Guest>>();
  readonly #leaving = new Set<Promise<void>>();
  #nrStrangers = 0;
  #isClosed = false;

  constructor(parts: GuestsParts) {
    this.#parts = parts;
  }

  /** Connections whose memory is taken: those of strangers, and those set aside for clients of this kernel. */
  get nrConnections(): number {
    return this.#nrStrangers + this.#guests.size * GUEST_CONNECTIONS;
  }

  get nrLocalClients(): number {
    return this.#guests.size;
  }

  /**
   * Lets a connection in.
   * @throws KernelError ENOMEM; EAGAIN for a client that has its connections; those of `LocalClient.reached`.
   */
  async admit(task: TaskContext, peer: string, client: LocalClient | null): Promise<Allowance> {
    const { memory, sizes, server, rightsCross } = this.#parts;
    await client?.reached(server);
    if (client !== null && rightsCross) return (await this.#guest(client)).admit();
    const taken = await takeConnectionMemory(task, memory, sizes, peer);
    this.#nrStrangers++;
    const free = (): void => {
      this.#nrStrangers--;
      taken.free();
    };
    return { memory: { ...taken, free }, entitled: null };
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
    const { task, memory, sizes, entitle } = this.#parts;
    try {
      const guest = await new Guest(client.name, entitle(client)).prepare(task, memory, sizes);
      if (this.#guests.has(client) && !this.#isClosed) this.#guests.set(client, guest);
      else await guest.close();
      return guest;
    } catch (error) {
      this.#guests.delete(client);
      throw error;
    }
  }

  #farewell(client: LocalClient): void {
    const guest = this.#guests.get(client);
    this.#guests.delete(client);
    if (guest === undefined || isPromise(guest)) return;
    const leaving = guest.close().finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  /** The server closes; ends when every unit has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const client of [...this.#guests.keys()]) this.#farewell(client);
    await Promise.all([...this.#leaving]);
  }
}
