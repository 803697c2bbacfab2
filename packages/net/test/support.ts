/** A kernel with the host's transports, and socket handlers that remember what they were told. */
import { Kernel, type KernelError, type StandingMemory } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import {
  type AcceptedConnection,
  findTransport,
  parseAddress,
  ReceiveSlot,
  type Socket,
  type SocketHandler,
  type Transport,
} from '@tidemark/net';
import { hostTransports } from '@tidemark/net/host';
import { expect } from 'vitest';

export interface Net {
  readonly kernel: Kernel;
  readonly transport: Transport;
  readonly nrHandlesBefore: number;
}

export async function bootNet(memory = '8MiB'): Promise<Net> {
  const nrHandlesBefore = nrHandles();
  const kernel = await Kernel.boot({ memory, plugins: [host, hostTransports] });
  return { kernel, transport: findTransport(kernel.container, parseAddress('127.0.0.1:0')), nrHandlesBefore };
}

/** Shuts down and asserts that nothing is left of the kernel, and nothing of the host's sockets. */
export async function expectClean(net: Net): Promise<void> {
  expect(await net.kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  await settled(net.nrHandlesBefore);
}

/** Handles of sockets and servers that the process has now; the runner's own pipes are among them. */
export function nrHandles(): number {
  return process.getActiveResourcesInfo().filter((name) => /TCP|Pipe|GetAddrInfo/.test(name)).length;
}

/** Waits until the process has no more handles than `before`. */
export async function settled(before: number): Promise<void> {
  for (let i = 0; i < 200 && nrHandles() > before; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(nrHandles()).toBe(before);
}

export async function waitFor(what: string, isTrue: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`waited in vain for: ${what}`);
}

/** One end of a connection, with its own slot; collects what it receives unless told otherwise. */
export class TestEnd implements AcceptedConnection, SocketHandler {
  readonly handler = this;
  readonly slot: ReceiveSlot;
  socket: Socket | null = null;
  readonly received: number[] = [];
  nrReceives = 0;
  ended = false;
  closed = false;
  abandoned = false;
  error: KernelError | null = null;
  /** Exchangeable: what to do with new bytes. */
  take: (socket: Socket) => boolean = (socket) => {
    this.received.push(...socket.slot.bytes.subarray(socket.slot.start, socket.slot.end));
    socket.slot.consume(socket.slot.length);
    return true;
  };

  private constructor(private readonly memory: StandingMemory) {
    this.slot = new ReceiveSlot(memory);
  }

  static async create(net: Net, nrFrames = net.kernel.memory.sizes.slotFrames): Promise<TestEnd> {
    return new TestEnd(await net.kernel.memory.allocStanding(net.kernel.task, 'test slot', nrFrames));
  }

  onOpen(socket: Socket): void {
    this.socket = socket;
  }

  onAbandon(): void {
    this.abandoned = true;
  }

  onReceive(socket: Socket): boolean {
    this.nrReceives++;
    return this.take(socket);
  }

  onEnd(): void {
    this.ended = true;
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    expect(this.closed).toBe(false);
    this.closed = true;
    this.error = error;
  }

  free(): void {
    this.memory.free();
  }
}
