/**
 * A model of an NFS server on another machine, over UDP of the in-memory network: its memory is nobody's concern, and every reply needs a
 * buffer here. A call that is not answered is sent again; its transaction id and its units stay the same.
 *
 *     call    transaction id u32 | operation u8 | page u32 | data of a WRITE
 *     reply   transaction id u32 | data of a READ
 */
import { PAGE_SIZE, type Pfn, type TimerHandle } from '@tidemark/core';
import { bareHost, type Ipv4Address, PACKET_TRANSPORT, type PacketTransport, type UdpMessage, type UdpSocket } from '@tidemark/net';
import type { SimulatedPackets } from '@tidemark/testkit';
import type { LabKernel } from './lab-kernel.js';
import type { NfsService } from './nfs-client.js';

const Operation = { WRITE: 0, READ: 1, COMMIT: 2 } as const;
type Operation = (typeof Operation)[keyof typeof Operation];

const SERVER_PORT = 2049;
const CLIENT_PORT = 700;
const CALL_BYTES = 9;
const REPLY_BYTES = 4;
/** Milliseconds after which a call is sent again. */
const RETRANSMIT_MS = 1_000;

interface Pending {
  timer: TimerHandle | null;
  readonly call: Uint8Array;
  readonly answered: (data: Uint8Array) => void;
}

export class RemoteNfs implements NfsService {
  readonly writeNode = null;
  readonly commitNode = null;
  /** Of this kernel: what replies come in by. */
  readonly transport: PacketTransport;
  readonly #lab: LabKernel;
  readonly #server: Ipv4Address;
  readonly #pending = new Map<number, Pending>();
  #socket!: UdpSocket;
  #nrCalls = 0;

  private constructor(lab: LabKernel, server: Ipv4Address) {
    this.#lab = lab;
    this.#server = server;
    this.transport = lab.kernel.container.resolve(PACKET_TRANSPORT);
  }

  /** Starts the server, and opens a marked socket to it. @throws KernelError ENOMEM if the transport has no room. */
  static async open(lab: LabKernel, packets: SimulatedPackets): Promise<RemoteNfs> {
    const { world } = lab;
    const clock = world.machine('nfs-server').clock;
    const host = bareHost(packets.network, { name: 'nfs-server', clock, random: world.randomOf('nfs-server'), memory: '1MiB' });
    const pages = new Map<number, Uint8Array>();
    const socket = await host.openUdp({
      port: SERVER_PORT,
      onMessage: (message) => socket.send(packets.network.addressOf(lab.machine.name), CLIENT_PORT, serve(pages, message)),
    });
    const nfs = new RemoteNfs(lab, packets.network.addressOf('nfs-server'));
    nfs.#socket = await nfs.transport.openUdp({ port: CLIENT_PORT, memalloc: true, onMessage: (message) => nfs.#heard(message) });
    lab.kernel.onShutdown('the other machine', () => host.close());
    return nfs;
  }

  async write(index: number, pfns: readonly Pfn[]): Promise<void> {
    const { arena } = this.#lab.kernel.memory;
    for (const [i, pfn] of pfns.entries()) await this.#call(Operation.WRITE, index + i, arena.view(pfn * PAGE_SIZE, PAGE_SIZE));
  }

  async read(index: number, pfn: Pfn): Promise<void> {
    this.#lab.kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE).set(await this.#call(Operation.READ, index));
  }

  async commit(): Promise<void> {
    await this.#call(Operation.COMMIT, 0);
  }

  #call(operation: Operation, index: number, data: Uint8Array = new Uint8Array(0)): Promise<Uint8Array> {
    const id = this.#nrCalls++;
    const call = new Uint8Array(CALL_BYTES + data.length);
    const head = new DataView(call.buffer);
    head.setUint32(0, id);
    head.setUint8(4, operation);
    head.setUint32(5, index);
    call.set(data, CALL_BYTES);
    return new Promise((answered) => {
      this.#pending.set(id, { call, answered, timer: null });
      this.#send(id);
    });
  }

  #send(id: number): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#socket.send(this.#server, SERVER_PORT, pending.call);
    pending.timer = this.#lab.kernel.clock.setTimer(RETRANSMIT_MS, () => this.#send(id));
  }

  #heard({ bytes }: UdpMessage): void {
    const id = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0);
    const pending = this.#pending.get(id);
    if (pending === undefined) return; // a second answer to one call says nothing new
    this.#pending.delete(id);
    if (pending.timer !== null) this.#lab.kernel.clock.clearTimer(pending.timer);
    pending.answered(bytes.subarray(REPLY_BYTES));
  }
}

/** What the server answers. */
function serve(pages: Map<number, Uint8Array>, { bytes }: UdpMessage): Uint8Array {
  const head = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const index = head.getUint32(5);
  if (head.getUint8(4) === Operation.WRITE) pages.set(index, bytes.slice(CALL_BYTES));
  const data = head.getUint8(4) === Operation.READ ? (pages.get(index) ?? new Uint8Array(PAGE_SIZE)) : new Uint8Array(0);
  const reply = new Uint8Array(REPLY_BYTES + data.length);
  new DataView(reply.buffer).setUint32(0, head.getUint32(0));
  reply.set(data, REPLY_BYTES);
  return reply;
}
