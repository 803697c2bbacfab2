/** Hosts on an in-memory network in virtual time, and ends of connections that know what they should receive. */
import { type Kernel, type KernelError, PAGE_SIZE } from '@tidemark/core';
import {
  type AcceptedConnection,
  type LineOptions,
  PACKET_TRANSPORT,
  type PacketHostOptions,
  type PacketTransport,
  ReceiveSlot,
  type ReceiveRules,
  RECEIVE_RULES,
  type Socket,
  type SocketHandler,
} from '@tidemark/net';
import { type Machine, Random, SimulatedPackets, type World } from '@tidemark/testkit';

export interface Host {
  readonly world: World;
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly transport: PacketTransport;
}

export interface HostSpec extends Partial<PacketHostOptions> {
  readonly frames?: number;
  readonly rules?: ReceiveRules;
}

/** A run's network and its hosts. */
export class Lan {
  readonly packets: SimulatedPackets;

  constructor(
    readonly world: World,
    line: Partial<LineOptions> = {},
  ) {
    this.packets = new SimulatedPackets(world, line);
  }

  async host(name: string, { frames = 512, rules, ...options }: HostSpec = {}): Promise<Host> {
    const machine = this.world.machine(name);
    const plugins = [this.packets.hostOf(machine, options)];
    if (rules !== undefined) plugins.push({ name: 'rules', register: (c) => void c.register(RECEIVE_RULES, { useValue: rules }) });
    const kernel = await this.world.boot(machine, { memory: frames * PAGE_SIZE, plugins });
    return { world: this.world, machine, kernel, transport: kernel.container.resolve(PACKET_TRANSPORT) };
  }
}

/** The bytes of a stream by its number: anybody can say what byte n is. */
export function streamByte(stream: number, offset: number): number {
  return Math.imul(offset + 1, 0x9e3779b1 + stream * 2) >>> 24;
}

/** One end: checks every byte it receives, holds and pauses at random if asked to, and sends from memory that it spoils once it is free. */
export class End implements AcceptedConnection, SocketHandler {
  readonly handler = this;
  readonly slot: ReceiveSlot;
  socket: Socket | null = null;
  nrReceived = 0;
  nrSent = 0;
  hasEnded = false;
  isClosed = false;
  isAbandoned = false;
  error: KernelError | null = null;
  /** Chance that it stops being read after some bytes; it goes on a little later. */
  pauseRate = 0;
  #onChange: () => void = () => {};
  readonly #random: Random;

  private constructor(
    readonly host: Host,
    private readonly memory: { free(): void },
    slot: ReceiveSlot,
    /** Streams: what it sends and what it expects. */
    readonly sends: number,
    readonly expects: number,
  ) {
    this.slot = slot;
    this.#random = new Random(sends * 7919 + expects);
  }

  static async create(host: Host, sends: number, expects: number, slotFrames = 2): Promise<End> {
    const memory = await host.kernel.memory.allocStanding(host.kernel.task, `end ${sends}`, slotFrames);
    return new End(host, memory, new ReceiveSlot(memory), sends, expects);
  }

  onOpen(socket: Socket): void {
    this.socket = socket;
    this.#onChange();
  }

  onAbandon(): void {
    this.isAbandoned = true;
    this.#onChange();
  }

  onReceive(socket: Socket): boolean {
    const { slot } = socket;
    const take = this.#random.chance(0.2) ? this.#random.below(slot.length + 1) : slot.length;
    for (let i = 0; i < take; i++) {
      const got = slot.bytes[slot.start + i];
      const want = streamByte(this.expects, this.nrReceived + i);
      if (got !== want) throw new Error(`byte ${this.nrReceived + i} of stream ${this.expects} is ${got}, not ${want}`);
    }
    slot.consume(take);
    this.nrReceived += take;
    if (take > 0) this.host.world.progress();
    this.#onChange();
    if (slot.length === slot.sizeBytes) throw new Error('the slot is full and nothing was taken');
    const pauses = this.#random.chance(this.pauseRate);
    if (pauses || slot.length > 0) {
      this.host.world.later(this.#random.next() * 5, () => {
        if (this.isClosed) return;
        if (slot.length === 0 || this.onReceive(socket)) socket.resume();
      });
    }
    return !pauses;
  }

  onEnd(socket: Socket): void {
    if (this.hasEnded) throw new Error('the end came twice');
    while (socket.slot.length > 0) this.onReceive(socket);
    this.hasEnded = true;
    this.#onChange();
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    if (this.isClosed) throw new Error('closed twice');
    this.isClosed = true;
    this.error = error;
    this.#onChange();
  }

  /** Sends the next bytes of its stream. Their memory is spoiled when it is said to be free. */
  send(lengthBytes: number): void {
    const bytes = new Uint8Array(lengthBytes);
    for (let i = 0; i < lengthBytes; i++) bytes[i] = streamByte(this.sends, this.nrSent + i);
    this.nrSent += lengthBytes;
    this.socket?.send(bytes, () => {
      bytes.fill(0xee);
      this.#onChange();
    });
  }

  /** Waits until something about it is so. */
  until(isTrue: (end: End) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#onChange = () => {
        if (!isTrue(this)) return;
        this.#onChange = () => {};
        resolve();
      };
      this.#onChange();
    });
  }

  free(): void {
    this.memory.free();
  }
}

/** A server that takes connections at `port`, and the ends it has made. */
export async function listenFor(host: Host, port: number, ends: End[], maxConnections = 8) {
  return host.transport.listen(
    { kind: 'tcp', host: host.machine.name, port },
    {
      maxConnections,
      accept: async () => {
        const end = await End.create(host, 2 * ends.length + 1, 2 * ends.length);
        ends.push(end);
        return end;
      },
    },
  );
}
