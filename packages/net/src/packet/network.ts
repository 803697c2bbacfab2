/**
 * The in-memory network: one segment with a switch, to which hosts are plugged, in virtual or real time.
 *
 *     transmit ── copied ──▶ sender's line (bandwidth, queue) ── loss, duplication, reordering ──▶ switch ── latency ──▶ receive
 *
 * Frames are copied when they are transmitted, so the sender's memory is free at once, and what is on the way is no kernel's memory.
 * Everything that is due at a port at one moment is delivered in one event; `momentMs` rounds due times up so that a burst stays one.
 * What waits for a line is bounded by its queue; what is beyond that is dropped and counted.
 */
import { KernelError } from '@tidemark/core';
import { ETHERNET_HEADER_BYTES, getLinkAddress } from './wire/ethernet.js';
import { BROADCAST_LINK, formatIpv4, type Ipv4Address, ipv4, type LinkAddress, linkAddressOf, parseIpv4 } from './wire/ipv4-address.js';
import type { Physics } from './physics.js';

/** How a host's line behaves. */
export interface LineOptions {
  /** Longest payload of a frame in bytes: 68 to 4,082, so that a frame fits into a page. Default 1500. */
  readonly mtuBytes: number;
  /** One way. Default 0.1. */
  readonly latencyMs: number;
  /** Default 100,000: 100 MB a second. */
  readonly bytesPerMs: number;
  /** Bytes that wait for the line; what comes beyond them is lost. Default 1 MiB. */
  readonly queueBytes: number;
  /** Probability that a frame is lost. Default 0. */
  readonly lossRate: number;
  /** Probability that it arrives twice. Default 0. */
  readonly duplicationRate: number;
  /** Probability that it is overtaken: it comes later by up to `reorderMs`. Default 0. */
  readonly reorderRate: number;
  /** Default 1. */
  readonly reorderMs: number;
  /** Due times are multiples of it. Default 0.05. */
  readonly momentMs: number;
}

const STANDARD: LineOptions = {
  mtuBytes: 1500,
  latencyMs: 0.1,
  bytesPerMs: 100_000,
  queueBytes: 2 ** 20,
  lossRate: 0,
  duplicationRate: 0,
  reorderRate: 0,
  reorderMs: 1,
  momentMs: 0.05,
};
export const MTU_MIN_BYTES = 68;
export const MTU_MAX_BYTES = 4096 - ETHERNET_HEADER_BYTES;
/** Addresses are given out from 10.0.0.1. */
const FIRST_ADDRESS = ipv4('10.0.0.1');

/** What is plugged to a port. */
export interface NetworkInterface {
  /** A frame has arrived; its bytes are the network's and are to be copied. */
  receive(frame: Uint8Array): void;
  /** Everything that arrived at this moment has been given. */
  received(): void;
}

/** One host's plug. */
export interface Port {
  readonly name: string;
  readonly address: Ipv4Address;
  readonly link: LinkAddress;
  readonly line: LineOptions;
  /** Sends a frame; its bytes are free again at once. */
  transmit(frame: Uint8Array): void;
  /** Pulls the plug: what is on the way is lost. Safe to call twice. */
  detach(): void;
}

interface OnTheWay {
  readonly dueMs: number;
  readonly frame: Uint8Array;
}

/** What a network has counted. Frames. */
export interface NetworkCounters {
  transmitted: number;
  delivered: number;
  lost: number;
  duplicated: number;
  reordered: number;
  overflowed: number;
  /** For an address that nobody has. */
  unknown: number;
  partitioned: number;
}

export class PacketNetwork {
  readonly line: LineOptions;
  readonly counters: NetworkCounters = {
    transmitted: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    overflowed: 0,
    unknown: 0,
    partitioned: 0,
  };
  readonly #ports = new Map<LinkAddress, NetworkPort>();
  readonly #addresses = new Map<string, Ipv4Address>();
  readonly #partitions = new Set<string>();
  #nextAddress = FIRST_ADDRESS;
  /** Told of every frame that is transmitted: for captures, and for faults that a probability does not express. @returns false to lose it. */
  onTransmit: (frame: Uint8Array, from: Port) => boolean = () => true;

  /** @throws KernelError EINVAL for a line that cannot be. */
  constructor(
    readonly physics: Physics,
    line: Partial<LineOptions> = {},
  ) {
    this.line = checkLine({ ...STANDARD, ...line });
  }

  /**
   * Plugs a host in. A host that was there under that name, and is gone, leaves its address to the new one.
   * @throws KernelError EADDRINUSE if the name or the address is plugged in already, EINVAL for a line that cannot be.
   */
  attach(name: string, plugged: NetworkInterface, options: { readonly address?: string; readonly line?: Partial<LineOptions> } = {}): Port {
    const line = checkLine({ ...this.line, ...options.line });
    const address = options.address === undefined ? this.addressOf(name) : ipv4(options.address);
    const link = linkAddressOf(address);
    if (this.#ports.has(link)) throw new KernelError('EADDRINUSE', `${formatIpv4(address)} of host ${name} is taken`);
    this.#addresses.set(name, address);
    const port = new NetworkPort(this, name, address, line, plugged);
    this.#ports.set(link, port);
    return port;
  }

  /** The address of a host by name; one is set aside for a host that is not there yet. */
  addressOf(name: string): Ipv4Address {
    let address = this.#addresses.get(name);
    if (address === undefined) {
      address = this.#nextAddress++;
      this.#addresses.set(name, address);
    }
    return address;
  }

  /** The address of a known name, or of an address as text; null for anything else. */
  resolve(host: string): Ipv4Address | null {
    return this.#addresses.get(host) ?? parseIpv4(host);
  }

  /** Pulls a host's plug from outside: the host dies, or its cable is out. */
  unplug(name: string): void {
    for (const port of [...this.#ports.values()]) if (port.name === name) port.detach();
  }

  /** Nothing passes between two hosts, either way, until `heal`. */
  partition(a: string, b: string): void {
    this.#partitions.add(pairOf(a, b));
  }

  heal(a: string, b: string): void {
    this.#partitions.delete(pairOf(a, b));
  }

  get partitions(): readonly string[] {
    return [...this.#partitions];
  }

  /** For ports: one was pulled. */
  forget(port: NetworkPort): void {
    if (this.#ports.get(port.link) === port) this.#ports.delete(port.link);
  }

  /** For ports: a frame has left its line after `delayMs`. */
  carry(from: NetworkPort, frame: Uint8Array, delayMs: number): void {
    const destination = getLinkAddress(frame, 0);
    if (destination === BROADCAST_LINK) {
      for (const port of this.#ports.values()) if (port !== from) this.#carryTo(port, from, frame, delayMs);
      return;
    }
    const port = this.#ports.get(destination);
    if (port === undefined) this.counters.unknown++;
    else this.#carryTo(port, from, frame, delayMs);
  }

  #carryTo(port: NetworkPort, from: NetworkPort, frame: Uint8Array, delayMs: number): void {
    const { counters, physics } = this;
    const { lossRate, duplicationRate, reorderRate, reorderMs, latencyMs } = from.line;
    if (this.#partitions.size > 0 && this.#partitions.has(pairOf(from.name, port.name))) {
      counters.partitioned++;
      return;
    }
    if (lossRate > 0 && physics.chance() < lossRate) {
      counters.lost++;
      return;
    }
    let totalMs = delayMs + latencyMs;
    if (reorderRate > 0 && physics.chance() < reorderRate) {
      counters.reordered++;
      totalMs += physics.chance() * reorderMs;
    }
    port.arriveIn(totalMs, frame);
    if (duplicationRate > 0 && physics.chance() < duplicationRate) {
      counters.duplicated++;
      port.arriveIn(totalMs + physics.chance() * reorderMs, frame);
    }
  }
}

class NetworkPort implements Port {
  readonly link: LinkAddress;
  /** When the line has sent all it was given. */
  #lineFreeMs = 0;
  /** By due time; equal ones in the order in which they were sent. */
  readonly #arriving: OnTheWay[] = [];
  #nextWakeMs = Number.POSITIVE_INFINITY;
  #isAttached = true;

  constructor(
    private readonly network: PacketNetwork,
    readonly name: string,
    readonly address: Ipv4Address,
    readonly line: LineOptions,
    private readonly plugged: NetworkInterface,
  ) {
    this.link = linkAddressOf(address);
  }

  transmit(frame: Uint8Array): void {
    const { network, line } = this;
    if (!this.#isAttached) return;
    network.counters.transmitted++;
    const nowMs = network.physics.nowMs();
    const queuedMs = Math.max(this.#lineFreeMs - nowMs, 0);
    if (queuedMs * line.bytesPerMs > line.queueBytes) {
      network.counters.overflowed++;
      return;
    }
    this.#lineFreeMs = nowMs + queuedMs + frame.length / line.bytesPerMs;
    if (network.onTransmit(frame, this)) network.carry(this, frame.slice(), this.#lineFreeMs - nowMs);
    else network.counters.lost++;
  }

  /** For the network. */
  arriveIn(delayMs: number, frame: Uint8Array): void {
    const { momentMs } = this.line;
    const dueAtMs = this.network.physics.nowMs() + delayMs;
    const dueMs = momentMs > 0 ? Math.ceil(dueAtMs / momentMs) * momentMs : dueAtMs;
    const arriving = this.#arriving;
    let at = arriving.length;
    while (at > 0 && arriving[at - 1].dueMs > dueMs) at--;
    arriving.splice(at, 0, { dueMs, frame });
    this.#wakeAt(dueMs);
  }

  #wakeAt(dueMs: number): void {
    if (dueMs >= this.#nextWakeMs) return;
    this.#nextWakeMs = dueMs;
    const { physics } = this.network;
    physics.after(dueMs - physics.nowMs(), () => this.#deliver(dueMs));
  }

  #deliver(dueMs: number): void {
    if (dueMs === this.#nextWakeMs) this.#nextWakeMs = Number.POSITIVE_INFINITY;
    const arriving = this.#arriving;
    let count = 0;
    while (count < arriving.length && arriving[count].dueMs <= dueMs) count++;
    if (!this.#isAttached) return;
    const batch = arriving.splice(0, count);
    if (arriving.length > 0) this.#wakeAt(arriving[0].dueMs);
    if (count === 0) return;
    this.network.counters.delivered += count;
    for (const { frame } of batch) this.plugged.receive(frame);
    this.plugged.received();
  }

  detach(): void {
    if (!this.#isAttached) return;
    this.#isAttached = false;
    this.#arriving.length = 0;
    this.network.forget(this);
  }
}

function checkLine(line: LineOptions): LineOptions {
  const want = (holds: boolean, what: string): void => {
    if (!holds) throw new KernelError('EINVAL', `a line of the in-memory network: ${what}`);
  };
  const isRate = (rate: number): boolean => rate >= 0 && rate <= 1;
  want(
    Number.isInteger(line.mtuBytes) && line.mtuBytes >= MTU_MIN_BYTES && line.mtuBytes <= MTU_MAX_BYTES,
    `mtuBytes is ${line.mtuBytes}; want ${MTU_MIN_BYTES} to ${MTU_MAX_BYTES}`,
  );
  want(line.latencyMs >= 0 && line.reorderMs >= 0 && line.momentMs >= 0, 'a time is below 0');
  want(line.bytesPerMs > 0 && line.queueBytes > 0, 'it carries nothing');
  want(isRate(line.lossRate) && isRate(line.duplicationRate) && isRate(line.reorderRate), 'a rate is not from 0 to 1');
  return line;
}

function pairOf(a: string, b: string): string {
  return [a, b].sort().join(' and ');
}
