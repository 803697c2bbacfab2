/**
 * Packets in virtual time: an in-memory IPv4 network whose links are events of a run, between the machines of that run, and traffic that
 * belongs to none of them.
 *
 *     const packets = new SimulatedPackets(world, { lossRate: 0.01 });
 *     await world.boot(client, { memory: '1MiB', plugins: [swap, nbd, packets.hostOf(client)] });
 *     packets.flood({ to: 'client', port: 9, ratio: 100 });
 *
 * The protocols are `@tidemark/net`'s; here is only the physics: when a frame arrives, and whether. A machine that is killed is pulled off the
 * network; its peers see nothing until another machine of its name answers with a reset.
 */
import { KernelError, type Plugin } from '@tidemark/core';
import {
  ETHERNET_HEADER_BYTES,
  EtherType,
  getIpv4,
  IPV4_HEADER_BYTES,
  type LineOptions,
  linkAddressOf,
  PacketNetwork,
  packetTransport,
  type PacketHostOptions,
  type Physics,
  type Port,
  Protocol,
  putEthernet,
  putIpv4,
  putUdp,
  UDP_HEADER_BYTES,
} from '@tidemark/net';
import type { Machine } from '../simulation/machine.js';
import type { World } from '../simulation/world.js';

/** The physics of a run: events of its queue, chance from its seed. */
export function simulatedPhysics(world: World): Physics {
  const source = world.events.source('packets on the way');
  const random = world.randomOf('packets');
  return {
    nowMs: () => world.nowMs,
    after: (delayMs, fire) => void world.events.add(source, delayMs, fire),
    chance: () => random.next(),
  };
}

/** Traffic that is nobody's writeout. */
export interface FloodOptions {
  /** Name of the host that is flooded. */
  readonly to: string;
  /** UDP port the packets are for. */
  readonly port: number;
  /** Packets for every IPv4 packet that the host is sent by others than floods: they are sent right before it. */
  readonly ratio: number;
  /** Payload of a packet in bytes. Default 64. */
  readonly payloadBytes?: number;
  /** Different senders that the packets claim to come from. Default 16. */
  readonly nrSenders?: number;
  /** Every packet is the first fragment of a datagram whose rest never comes. Default false. */
  readonly isFragment?: boolean;
}

/** Most foreign packets of a burst: what a line carries in between. */
const BURST_MAX = 4096;

/** An IPv4 network in virtual time, whose lines delay, lose, double and reorder packets. */
export class SimulatedPackets {
  readonly network: PacketNetwork;
  readonly #world: World;
  readonly #floods: Flood[] = [];

  constructor(world: World, line: Partial<LineOptions> = {}) {
    this.#world = world;
    this.network = new PacketNetwork(simulatedPhysics(world), line);
    this.network.onTransmit = (frame, from) => {
      if (!this.#floods.some(({ port }) => port === from)) for (const flood of this.#floods) flood.before(frame);
      return true;
    };
    world.onTrouble(() => (this.network.partitions.length === 0 ? null : `partitioned: ${this.network.partitions.join(', ')}`));
  }

  /** Makes a machine's kernel a host, by the machine's name. */
  hostOf(machine: Machine, options: Partial<PacketHostOptions> = {}): Plugin {
    const name = options.name ?? machine.name;
    machine.onKill(() => this.network.unplug(name));
    return packetTransport(this.network, { ...options, name });
  }

  /** Floods a host from now on. @returns what ends it. */
  flood(options: FloodOptions): { readonly nrSent: number; stop(): void } {
    const flood = new Flood(this.#world, this.network, options);
    this.#floods.push(flood);
    return {
      get nrSent() {
        return flood.nrSent;
      },
      stop: () => void this.#floods.splice(this.#floods.indexOf(flood), 1),
    };
  }
}

/** Packets from nowhere, sent by a host of its own, each time somebody else sends something to the flooded host. */
class Flood {
  nrSent = 0;
  readonly port: Port;
  readonly #frame: Uint8Array;
  readonly #to: number;

  constructor(
    world: World,
    network: PacketNetwork,
    private readonly options: FloodOptions,
  ) {
    const { payloadBytes = 64, ratio } = options;
    if (!(ratio >= 0 && ratio <= BURST_MAX)) throw new KernelError('EINVAL', `a flood of ${ratio} packets to one: want 0 to ${BURST_MAX}`);
    this.#to = network.addressOf(options.to);
    const name = `flood of ${options.to} ${world.random.nextUint32()}`;
    this.port = network.attach(name, { receive: () => {}, received: () => {} }, { line: { bytesPerMs: 1e9, queueBytes: 2 ** 30 } });
    this.#frame = new Uint8Array(ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES + payloadBytes);
  }

  before(frame: Uint8Array): void {
    const header = getIpv4(frame, ETHERNET_HEADER_BYTES, frame.length);
    if (header === null || header.destination !== this.#to) return;
    for (let n = 0; n < this.options.ratio; n++) this.#send();
  }

  #send(): void {
    const { port: udpPort, nrSenders = 16, isFragment = false } = this.options;
    const frame = this.#frame;
    const nr = this.nrSent++;
    const udp = new Uint8Array(UDP_HEADER_BYTES);
    putUdp(udp, 7, udpPort, frame.length - ETHERNET_HEADER_BYTES - IPV4_HEADER_BYTES); // no checksum: 0 says so
    putEthernet(frame, linkAddressOf(this.#to), this.port.link, EtherType.IPV4);
    putIpv4(frame, ETHERNET_HEADER_BYTES, {
      totalBytes: frame.length - ETHERNET_HEADER_BYTES,
      identification: nr & 0xffff,
      hasMore: isFragment,
      offsetBytes: 0,
      protocol: Protocol.UDP,
      source: (this.port.address & 0xff000000) + 0x00ff0000 + (nr % nrSenders),
      destination: this.#to,
    });
    frame.set(udp, ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES);
    this.port.transmit(frame);
  }
}
