/**
 * One direction of a simulated connection.
 *
 *     queued (sender's memory) ──taken, copied──▶ on the way ──arrived──▶ waiting ──read──▶ the receiver's slot
 *                                └────────────── at most windowBytes ──────────────┘
 *
 * Bytes are copied when they are taken, so whoever touches them between `send` and `onSent` is found out. They are taken in pieces of random
 * length at the link's bandwidth, and arrive in order: a piece that is lost comes later, with everything behind it. The end (FIN) travels as
 * a piece of no length behind the last byte. What arrives while the two machines are partitioned waits for the partition to heal.
 */
import type { Machine } from '../simulation/machine.js';
import type { EventSource, SimulatedEvent } from '../time/event-queue.js';
import type { SimulatedNetwork } from './network.js';

/** Who sends into a pipe. */
export interface PipeSender {
  readonly machine: Machine;
  /** Everything that was queued has been taken. */
  onDrained(): void;
}

/** Who reads from a pipe. */
export interface PipeReceiver {
  readonly machine: Machine;
  /** Bytes, or the end, may be waiting. */
  onArrival(): void;
}

interface Queued {
  readonly bytes: Uint8Array;
  readonly onSent: (() => void) | null;
  nrTaken: number;
}

/** Longest piece taken at once. */
const PIECE_MAX_BYTES = 65_536;
/** Times a lost piece is sent again before it arrives. */
const LOSSES_MAX = 4;
const RETRANSMIT_MS = 200;

export class Pipe {
  readonly #network: SimulatedNetwork;
  readonly #source: EventSource;
  readonly #queue: Queued[] = [];
  /** On the way, first to arrive first; null is the end. */
  readonly #onTheWay: (Uint8Array | null)[] = [];
  readonly #waiting: (Uint8Array | null)[] = [];
  #nrQueuedBytes = 0;
  /** Taken and not read. */
  #nrHeldBytes = 0;
  #nrTakenBytes = 0;
  #taking: SimulatedEvent | null = null;
  #arriving: SimulatedEvent | null = null;
  #isPartitioned = false;
  #isEnding = false;
  #isBroken = false;
  #cutAtBytes = Number.POSITIVE_INFINITY;

  constructor(
    network: SimulatedNetwork,
    name: string,
    readonly from: PipeSender,
    readonly to: PipeReceiver,
    private readonly onCut: () => void,
  ) {
    this.#network = network;
    this.#source = network.world.events.source(name);
  }

  /** Bytes that were given to it and not taken. */
  get nrQueuedBytes(): number {
    return this.#nrQueuedBytes;
  }

  /** Bytes taken so far. */
  get nrTakenBytes(): number {
    return this.#nrTakenBytes;
  }

  /** True if something is on the way or waits to be read. */
  get holdsBytes(): boolean {
    return this.#nrHeldBytes > 0;
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    this.#queue.push({ bytes, onSent, nrTaken: 0 });
    this.#nrQueuedBytes += bytes.length;
    this.#pump();
  }

  /** Nothing comes behind what was given to it. */
  end(): void {
    this.#isEnding = true;
    this.#pump();
  }

  /** Forgets what was not taken; whoever sent it is told nothing. */
  dropQueue(): void {
    this.#queue.length = 0;
    this.#nrQueuedBytes = 0;
  }

  /** Nothing moves any more, and everything in it is gone. */
  break(): void {
    this.#isBroken = true;
    this.dropQueue();
    this.#onTheWay.length = this.#waiting.length = 0;
    const { events } = this.#network.world;
    if (this.#taking !== null) events.cancel(this.#taking);
    if (this.#arriving !== null) events.cancel(this.#arriving);
  }

  /** Cuts the connection when this many more bytes have been taken; they still arrive. */
  cutAfter(nrBytes: number): void {
    this.#cutAtBytes = this.#nrTakenBytes + nrBytes;
  }

  #pump(): void {
    const { world, link } = this.#network;
    if (this.#isBroken || this.#taking !== null) return;
    const room = Math.min(
      this.#nrQueuedBytes,
      link.windowBytes - this.#nrHeldBytes,
      this.#cutAtBytes - this.#nrTakenBytes,
      PIECE_MAX_BYTES,
    );
    if (room <= 0 && !(this.#isEnding && this.#nrQueuedBytes === 0)) return;
    const { random } = this.#network;
    const length = room <= 0 ? 0 : random.chance(0.75) ? room : 1 + random.below(room);
    const take = (): void => {
      this.#taking = null;
      this.#take(length);
    };
    this.#taking = world.events.add(this.#source, length / link.bytesPerMs, take, this.from.machine);
  }

  #take(wanted: number): void {
    const { world } = this.#network;
    const length = Math.min(wanted, this.#nrQueuedBytes); // the queue may have been dropped meanwhile
    const isEnd = this.#isEnding && this.#nrQueuedBytes === 0;
    if (length === 0 && !isEnd) {
      this.#pump();
      return;
    }
    const piece = new Uint8Array(length);
    const sent: (() => void)[] = [];
    for (let done = 0; done < length; ) {
      const first = this.#queue[0];
      const count = Math.min(first.bytes.length - first.nrTaken, length - done);
      piece.set(first.bytes.subarray(first.nrTaken, first.nrTaken + count), done);
      first.nrTaken += count;
      done += count;
      if (first.nrTaken < first.bytes.length) break;
      this.#queue.shift();
      if (first.onSent !== null) sent.push(first.onSent);
    }
    this.#nrQueuedBytes -= length;
    this.#nrHeldBytes += length;
    this.#nrTakenBytes += length;
    world.trace.add(length);
    if (isEnd) this.#isEnding = false;
    this.#onTheWay.push(isEnd ? null : piece);
    if (this.#arriving === null) this.#sendOff();
    for (const each of sent) each();
    if (this.#nrTakenBytes === this.#cutAtBytes) this.#scheduleCut();
    if (this.#nrQueuedBytes === 0 && !this.#isBroken) this.from.onDrained();
    this.#pump();
  }

  #scheduleCut(): void {
    const { world, link } = this.#network;
    world.events.add(this.#source, 2 * link.latencyMs, this.onCut);
  }

  /** The first piece on the way is due to arrive. */
  #sendOff(): void {
    if (this.#onTheWay.length === 0 || this.#isBroken) return;
    const { world, link, random } = this.#network;
    let delayMs = link.latencyMs * (1 + link.jitter * random.next());
    for (let n = 0; n < LOSSES_MAX && random.chance(link.lossRate); n++) delayMs += RETRANSMIT_MS * 2 ** n;
    const arrive = (): void => {
      this.#arriving = null;
      this.#arrived();
    };
    this.#arriving = world.events.add(this.#source, delayMs, arrive, this.to.machine);
  }

  #arrived(): void {
    if (this.#network.isPartitioned(this.from.machine.name, this.to.machine.name)) {
      this.#isPartitioned = true;
      return;
    }
    // Whatever was sent meanwhile is right behind it.
    this.#waiting.push(this.#onTheWay.shift() as Uint8Array | null);
    this.#sendOff();
    this.to.onArrival();
  }

  /** The partition is over: what waited for it is sent again. */
  heal(): void {
    if (!this.#isPartitioned) return;
    this.#isPartitioned = false;
    this.#sendOff();
  }

  /** Copies what waits to be read. @returns bytes copied; -1 for the end, once; 0 if nothing waits. */
  read(target: Uint8Array): number {
    const first = this.#waiting[0];
    if (first === undefined) return 0;
    if (first === null) {
      this.#waiting.shift();
      return -1;
    }
    const count = Math.min(first.length, target.length);
    target.set(count === first.length ? first : first.subarray(0, count));
    if (count === first.length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(count);
    this.#nrHeldBytes -= count;
    this.#pump();
    return count;
  }

  /** True if a read would return something. */
  get isReadable(): boolean {
    return this.#waiting.length > 0;
  }
}
