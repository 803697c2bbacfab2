/**
 * The two connections of a mount, with all the memory they take, and the short ones before and after it.
 *
 * | connection | carries | memalloc (M12) |
 * |---|---|---|
 * | writeout | WRITE, COMMIT, READs of pinned files | yes, for all of its lives |
 * | general | everything else; before the mount and after it the portmapper's and the mount daemon's calls | no |
 */
import {
  type Clock,
  encodeUtf8,
  type LocalClient,
  type Memory,
  type NegErrno,
  type RandomSource,
  type StandingCharge,
  type StandingMemory,
  type TaskContext,
  type TracePoints,
  type WaitParty,
} from '@tidemark/core';
import { ReceiveSlot, type SocketHandler, type Transport } from '@tidemark/net';
import type { CallSpec, RpcLane } from '../rpc/rpc-call.js';
import { RpcConnection } from '../rpc/rpc-connection.js';
import { AuthFlavor, type Credentials } from '../rpc/rpc-message.js';
import { addressOf } from './mount-protocol.js';
import { headFrames, headRoom, type NfsClientSizes, objectFrames } from './sizes.js';
import type { NfsTarget } from './url.js';

const CONNECT_TIMEOUT_MS = 10_000;

export interface ConnectionsParts {
  readonly target: NfsTarget;
  readonly transport: Transport;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly trace: TracePoints;
  readonly random: RandomSource;
  readonly sizes: NfsClientSizes;
  /** What waits for replies waits for. */
  heldBy(): Iterable<WaitParty>;
}

/** The calls of both connections. */
export interface NfsLanes {
  readonly writes: RpcLane;
  readonly commits: RpcLane;
  readonly pinnedWrites: RpcLane;
  readonly pinnedReads: RpcLane;
  readonly pinnedCommits: RpcLane;
  readonly others: RpcLane;
  readonly long: RpcLane;
}

export class NfsConnections {
  readonly #parts: ConnectionsParts;
  readonly #memory: readonly (StandingMemory | StandingCharge)[];
  readonly #slots: readonly [writeout: ReceiveSlot, general: ReceiveSlot];
  readonly #heads: Uint8Array;
  readonly #commitHead: Uint8Array;
  readonly #credentials: Credentials;
  #port = 0;
  #client: LocalClient | null = null;
  #main: { readonly writeout: RpcConnection; readonly general: RpcConnection } | null = null;

  private constructor(parts: ConnectionsParts, memory: readonly (StandingMemory | StandingCharge)[]) {
    this.#parts = parts;
    this.#memory = memory;
    const [first, second, heads, commitHead] = memory as StandingMemory[];
    this.#slots = [new ReceiveSlot(first), new ReceiveSlot(second)];
    this.#heads = heads.bytes;
    this.#commitHead = commitHead.bytes;
    const { uid, gid, groups } = parts.target;
    this.#credentials = { flavor: AuthFlavor.SYS, uid, gid, groups };
  }

  /** Takes the memory. @throws KernelError ENOMEM saying what for. */
  static async take(task: TaskContext, parts: ConnectionsParts): Promise<NfsConnections> {
    const { memory, sizes, target } = parts;
    const taken: (StandingMemory | StandingCharge)[] = [];
    try {
      taken.push(await memory.allocStanding(task, `${target.name}, receive slot for writeout`, sizes.slotFrames));
      taken.push(await memory.allocStanding(task, `${target.name}, receive slot`, sizes.slotFrames));
      taken.push(await memory.allocStanding(task, `${target.name}, heads of calls`, headFrames(sizes)));
      taken.push(await memory.allocStanding(task, `${target.name}, the call of a COMMIT`, 1));
      taken.push(memory.chargeStanding(`${target.name}, calls`, objectFrames(sizes)));
      return new NfsConnections(parts, taken);
    } catch (error) {
      for (const each of taken) each.free();
      throw error;
    }
  }

  #connection(what: string, slot: ReceiveSlot, port: () => number, isWriteout: boolean, isSoft: boolean): RpcConnection {
    const { target, transport, memory, clock, trace, random, sizes } = this.#parts;
    const xid = new Uint8Array(4);
    random.fill(xid);
    return new RpcConnection({
      name: `${target.name}${what}`,
      arena: memory.arena,
      clock,
      trace,
      slot,
      credentials: this.#credentials,
      machineName: encodeUtf8('tidemark'),
      firstXid: new DataView(xid.buffer).getUint32(0),
      times: { timeoMs: target.timeoMs, retrans: target.retrans, isSoft },
      recordBytesMax: sizes.recordBytes,
      connect: (handler: SocketHandler, timeoutMs, signal) =>
        transport.connect(addressOf(target, port()), { slot, handler, timeoutMs, signal, client: this.#client, memalloc: isWriteout }),
      heldBy: () => this.#parts.heldBy(),
    });
  }

  /** One call over a connection of its own, in the memory of the general connection, which must not be there. */
  async once<T extends object>(task: TaskContext, port: number, spec: CallSpec<T>, timeoutMs: number): Promise<T | NegErrno> {
    const { clock } = this.#parts;
    const connection = this.#connection(`, port ${port}`, this.#slots[1], () => port, false, true);
    const lane = connection.lane('calls', 1, this.#heads.subarray(0, 2048));
    const timer = clock.setTimer(timeoutMs, () => void connection.close());
    try {
      await connection.open(task, timeoutMs);
      return await connection.call(task, lane, spec);
    } finally {
      clock.clearTimer(timer);
      await connection.close();
    }
  }

  /**
   * Makes both connections.
   * @param client what they are known by in this kernel.
   * @throws KernelError as `Transport.connect`.
   */
  async open(
    task: TaskContext,
    port: number,
    client: LocalClient,
  ): Promise<NfsLanes & { writeout: RpcConnection; general: RpcConnection }> {
    const { target, sizes } = this.#parts;
    this.#port = port;
    this.#client = client;
    const writeout = this.#connection(', writeout', this.#slots[0], () => this.#port, true, target.isSoft);
    const general = this.#connection('', this.#slots[1], () => this.#port, false, target.isSoft);
    this.#main = { writeout, general };
    const room = headRoom(sizes);
    let at = 0;
    const heads = (bytes: number): Uint8Array => {
      at += bytes;
      return this.#heads.subarray(at - bytes, at);
    };
    const lanes = {
      writes: writeout.lane('WRITE', sizes.units, heads(room.writes)),
      pinnedWrites: writeout.lane('WRITE of pinned files', sizes.units, heads(room.writes)),
      pinnedCommits: writeout.lane('COMMIT of pinned files', 1, heads(room.commit)),
      pinnedReads: writeout.lane('READ of pinned files', sizes.units, heads(room.pinnedReads)),
      commits: writeout.lane('COMMIT', 1, this.#commitHead),
      others: general.lane('calls', sizes.calls, heads(room.others)),
      long: general.lane('SYMLINK', 1, heads(room.long)),
    };
    await general.open(task, CONNECT_TIMEOUT_MS);
    await writeout.open(task, CONNECT_TIMEOUT_MS);
    return { ...lanes, writeout, general };
  }

  /** The connection that writeout goes over is not there, and calls wait for it. */
  get isLost(): boolean {
    return this.#main?.writeout.isLost === true;
  }

  /** Closes both; what is in flight ends with EIO. */
  async close(): Promise<void> {
    const main = this.#main;
    this.#main = null;
    if (main === null) return;
    await Promise.all([main.writeout.close(), main.general.close()]);
    this.#client = null;
  }

  /** Gives the memory back. */
  free(): void {
    for (const each of this.#memory) each.free();
  }
}
