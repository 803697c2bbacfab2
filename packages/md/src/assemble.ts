/**
 * Assembling an array: from devices to a block device that writes to all of them.
 *
 *     hold each device → read its superblock → select (select.ts) → members → bitmap → superblocks, events + 1 → attached → passes begin
 *
 * Whatever fails undoes what was done, last first, and leaves every device as it was.
 */
import {
  type BlockDevice,
  type Kernel,
  KernelError,
  type PinTarget,
  type StandingCharge,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { ArrayCore } from './array/array-core.js';
import { ArrayState } from './array/array-state.js';
import { Member } from './array/member.js';
import { MemberPins } from './array/member-pins.js';
import { Raid1Device } from './array/raid1-device.js';
import { type FoundMember, readMember } from './array/read-member.js';
import { Request } from './array/request.js';
import { type Selection, selectMembers } from './array/select.js';
import { BitmapPlace } from './bitmap-place.js';
import type { ArrayFacts } from './bitmap/load.js';
import { raid1Footprint, requestFrames, windowPages } from './footprint.js';
import { SECTOR_BYTES } from './format/fields.js';
import { Role, SUPERBLOCK_OFFSET_BYTES } from './format/superblock.js';

/** Most members in slots: one bit each. */
export const RAID_DISKS_MAX = 16;

/** How an array is started. */
export interface AssembleOptions {
  /** For people and the writeout graph. Default: `md:` and the array's own name. */
  readonly name?: string;
  /** Starts it with members missing that were there before. Default false. */
  readonly degraded?: boolean;
  readonly readOnly?: boolean;
  /** The file that its bitmap is in: a device, a path, an open file. Without it an array whose bitmap is in a file is one without a bitmap. */
  readonly bitmapFile?: PinTarget;
  /** What a pass (resync, recovery, check) does at most, in bytes a second. Default 200,000,000. */
  readonly syncBytesPerSecond?: number;
  /** The same while the array is written to. Default 1,000,000. */
  readonly busySyncBytesPerSecond?: number;
}

/** A device for an array. */
export interface OfferedDevice {
  readonly device: BlockDevice;
  /** The array closes it when it lets go of it. */
  readonly isOwned: boolean;
}

/** A device that was not taken, and why. */
export interface RefusedDevice {
  readonly name: string;
  readonly why: string;
}

/** What an array keeps for its administration. */
export interface Assembled {
  readonly device: Raid1Device;
  place: BitmapPlace | null;
  readonly refused: readonly RefusedDevice[];
}

const assembled = new WeakMap<Raid1Device, Assembled>();

/** The administrative half of an array's device. @throws KernelError EINVAL for a device that is no array. */
export function assembledOf(device: BlockDevice): Assembled {
  const found = device.ops instanceof Raid1Device ? assembled.get(device.ops) : undefined;
  if (found === undefined) throw new KernelError('EINVAL', `${device.name} is no array`);
  return found;
}

/**
 * Assembles an array; it is not attached yet.
 * @throws KernelError EINVAL, EUCLEAN, EOPNOTSUPP (superblocks, bitmap), ENXIO (members missing), EBUSY, ENOMEM, EDEADLK, EIO.
 */
export async function assemble(kernel: Kernel, offered: readonly OfferedDevice[], options: AssembleOptions): Promise<Raid1Device> {
  const undo: (() => void | Promise<void>)[] = [];
  try {
    return await new Assembly(kernel, options, undo).run(offered);
  } catch (error) {
    for (const back of undo.reverse()) await back();
    throw error;
  }
}

class Assembly {
  constructor(
    private readonly kernel: Kernel,
    private readonly options: AssembleOptions,
    private readonly undo: (() => void | Promise<void>)[],
  ) {}

  async run(offered: readonly OfferedDevice[]): Promise<Raid1Device> {
    const { kernel, options, undo } = this;
    for (const { device } of offered) {
      kernel.requireOwn(device, 'assemble an array of');
      device.hold('md');
      undo.push(() => device.unhold());
    }
    const found: FoundMember[] = [];
    for (const { device } of offered) found.push(await readMember(kernel.memory, kernel.task, device));
    const selection = selectMembers(found.map(({ superblock }, i) => ({ name: offered[i].device.name, superblock })));
    const name = options.name ?? `md:${selection.freshest.name}`;
    const state = new ArrayState(name, selection.freshest);
    const node: { name: string } = { name }; // its tasks are inside it; the graph's own node comes with the device
    const task = kernel.task.within(node).named(name);
    const window = windowPages(kernel.memory.nrFrames);
    const refused: RefusedDevice[] = [];
    for (const [i, { device, isOwned }] of offered.entries()) {
      const verdict = selection.verdicts[i];
      if (verdict.as === 'refused') {
        refused.push({ name: device.name, why: verdict.why });
        device.unhold();
        if (isOwned) await device.close();
        continue;
      }
      const { superblock, badBlocks } = found[i];
      const parts = { device, node: await kernel.writeoutNodeOf(device), superblock, badBlocks, isOwned };
      const member = await Member.create(kernel.memory, task, parts, window);
      undo.push(() => member.free());
      state.members.push(member);
      if (verdict.as === 'spare') continue;
      member.state = verdict.as;
      member.recoveryOffset = state.resyncFrom === null ? (superblock.recoveryOffset ?? 0) : 0;
      member.storedOffset = member.recoveryOffset;
      member.isRecoveryByBitmap = superblock.isRecoveryByBitmap;
      state.place(member, verdict.slot);
    }
    this.#check(state, selection, refused);
    if (state.nrInSync === 1) state.resyncFrom = null;
    return this.#build(state, task, window, refused);
  }

  #check(state: ArrayState, { freshest }: Selection, refused: readonly RefusedDevice[]): void {
    const { name, raidDisks } = state;
    const why = refused.map((each) => `; ${each.name} was refused: ${each.why}`).join('');
    if (raidDisks > RAID_DISKS_MAX)
      throw new KernelError('EOPNOTSUPP', `${name} has ${raidDisks} members; at most ${RAID_DISKS_MAX} are supported`);
    if (state.nrInSync === 0) throw new KernelError('ENXIO', `${name} has no member that is in sync${why}`);
    const nrThere = state.slots.filter((member) => member !== null).length;
    const nrBefore = freshest.roles.filter((role) => role < Role.JOURNAL).length;
    if (nrThere < nrBefore && this.options.degraded !== true)
      throw new KernelError(
        'ENXIO',
        `${name} has ${nrThere} of the ${nrBefore} members it had${why}; say degraded to start it without the others`,
      );
    for (const { device, superblock } of state.members) {
      const block = device.blockSizeBytes;
      const starts = [
        superblock.dataOffset * SECTOR_BYTES,
        SUPERBLOCK_OFFSET_BYTES + (superblock.bitmapOffset ?? 0) * SECTOR_BYTES,
        state.sizeBytes,
      ];
      if (starts.some((start) => start % block !== 0))
        throw new KernelError('EOPNOTSUPP', `${device.name} has blocks of ${block} bytes, and ${name} is not laid out for them`);
      if (device.readOnly && this.options.readOnly !== true)
        throw new KernelError('EROFS', `${device.name} is read-only, and ${name} is to be written`);
    }
  }

  async #build(state: ArrayState, task: TaskContext, window: number, refused: RefusedDevice[]): Promise<Raid1Device> {
    const { kernel, options, undo } = this;
    const { memory } = kernel;
    const charge = memory.chargeStanding(`requests of ${state.name}`, requestFrames(memory.nrFrames, state.raidDisks));
    undo.push(() => charge.free());
    const requests = Array.from({ length: memory.sizes.clientUnits }, () => new Request(state.raidDisks));
    const core = new ArrayCore({
      state,
      memory,
      clock: kernel.clock,
      trace: kernel.trace,
      task,
      writes: requests,
      windowPages: window,
      readOnly: options.readOnly ?? false,
      limits: {
        maxBytesPerSecond: rate(options.syncBytesPerSecond, 200e6),
        busyBytesPerSecond: rate(options.busySyncBytesPerSecond, 1e6),
      },
    });
    const place = await this.#openBitmap(core);
    const device = this.#device(core, requests, charge, place);
    assembled.set(device, { device, place, refused });
    if (!core.readOnly) {
      await core.superblocks.write();
      if (state.isBroken) throw new KernelError('EIO', `${state.name} cannot be started: no superblock could be written`);
      core.bitmap?.wake();
      core.sync.start();
    }
    return device;
  }

  async #openBitmap(core: ArrayCore): Promise<BitmapPlace | null> {
    const { kernel, options, undo } = this;
    const { state } = core;
    const file = options.bitmapFile;
    if (file === undefined && state.bitmapOffset === null) return null;
    if (file !== undefined && state.bitmapOffset !== null)
      throw new KernelError('EINVAL', `${state.name} has its bitmap on its members, not in a file`);
    const place = await BitmapPlace.open(kernel, core, file === undefined ? 'internal' : { file }, null);
    undo.push(() => place.close());
    const bitmap = await place.load(factsOf(core), state.bitmapOffset ?? 0);
    undo.push(() => bitmap.log.free());
    core.bitmap = bitmap;
    return place;
  }

  #device(core: ArrayCore, requests: Request[], charge: StandingCharge, place: BitmapPlace | null): Raid1Device {
    const { kernel } = this;
    const { state } = core;
    const needs: WriteoutNode[] = state.members.map((member) => member.node);
    if (place !== null) needs.push(place.node);
    const device: Raid1Device = new Raid1Device({
      name: state.name,
      core,
      requests,
      charge,
      footprint: raid1Footprint(kernel.memory.nrFrames, state.raidDisks, state.members.length),
      pins: new MemberPins(kernel, () => state.members.filter((member) => member.state !== 'faulty')),
      needs,
      letGo: async () => {
        await assembled.get(device)?.place?.close();
        core.bitmap?.log.free();
        for (const member of state.members) await letGoOf(kernel, member);
      },
    });
    return device;
  }
}

/** What a bitmap is to know. */
export function factsOf({ state }: ArrayCore): ArrayFacts {
  return {
    name: state.name,
    uuid: state.setUuid,
    sizeSectors: state.sizeSectors,
    events: state.events,
    resyncOffset: state.resyncFrom,
    isDegraded: state.isDegraded,
  };
}

/** Gives a member's device back. */
export async function letGoOf(kernel: Kernel, member: Member): Promise<void> {
  const { graph } = kernel.reserves;
  if (graph.has(member.node)) for (const user of graph.predecessorsOf(member.node)) graph.removeEdge(user, member.node);
  member.free();
  member.device.unhold();
  if (member.isOwned) await member.device.close();
}

function rate(given: number | undefined, standard: number): number {
  const bytesPerSecond = given ?? standard;
  if (!(bytesPerSecond > 0)) throw new KernelError('EINVAL', `a rate of ${bytesPerSecond} bytes a second is none`);
  return bytesPerSecond;
}
