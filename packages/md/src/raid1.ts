/**
 * An array in the hands of who looks after it: what it is, and what can be done to it while it runs. One change at a time.
 *
 *     const raid = raid1Of(device);
 *     await raid.fail(old); await raid.remove(old); await raid.add(fresh); await raid.waitForSync();
 */
import { type BlockDevice, type Kernel, KernelError, Semaphore, errorFrom } from '@tidemark/core';
import type { ArrayCore } from './array/array-core.js';
import { Member, type MemberState } from './array/member.js';
import type { SyncAction, SyncProgress } from './array/sync-pass.js';
import { newMember, type NewMember } from './add-member.js';
import { type Assembled, assembledOf, factsOf, letGoOf, type RefusedDevice } from './assemble.js';
import { BitmapPlace, type BitmapWhere, checkWhere } from './bitmap-place.js';
import type { BitmapOptions } from './bitmap/load.js';
import { BITMAP_OFFSET_SECTORS } from './create.js';
import { formatUuid, SECTOR_BYTES } from './format/fields.js';
import { windowPages } from './footprint.js';
import { Role } from './format/superblock.js';

/** One member as seen from outside. */
export interface MemberInfo {
  readonly name: string;
  readonly state: MemberState;
  /** Its slot, or −1. */
  readonly slot: number;
  /** Bytes that are recovered, of one that is recovering. */
  readonly recoveredBytes: number;
  readonly nrCorrectedReads: number;
}

/** The bitmap as seen from outside. */
export interface BitmapInfo {
  /** What it lies on. */
  readonly where: string;
  readonly chunkBytes: number;
  readonly nrChunks: number;
  /** Bits that are set; chunks that are known to need resync; groups of chunks counted coarsely for want of memory. */
  readonly nrDirty: number;
  readonly nrNeeded: number;
  readonly nrCoarse: number;
  /** It could not be written, and was given up. */
  readonly isFailed: boolean;
}

/** An array as seen from outside. */
export interface Raid1Info {
  readonly name: string;
  readonly uuid: string;
  readonly sizeBytes: number;
  readonly raidDisks: number;
  readonly events: bigint;
  /** `active`: data may be under way. `broken`: no superblock can be written, and nothing is. */
  readonly state: 'clean' | 'active' | 'broken';
  readonly isDegraded: boolean;
  /** Bytes from which on members may differ; null: nowhere. */
  readonly resyncFromBytes: number | null;
  readonly members: readonly MemberInfo[];
  readonly refused: readonly RefusedDevice[];
  readonly bitmap: BitmapInfo | null;
  /** The pass under way; the last one. */
  readonly sync: Readonly<SyncProgress> | null;
  readonly lastSync: Readonly<SyncProgress> | null;
}

const turns = new WeakMap<ArrayCore, Semaphore>();

/** The array that a device is. @throws KernelError EINVAL if it is none. */
export function raid1Of(kernel: Kernel, device: BlockDevice): Raid1 {
  return new Raid1(kernel, device, assembledOf(device));
}

/** An array that is running: what it is at, and what can be done to its members. */
export class Raid1 {
  readonly #core: ArrayCore;
  readonly #turn: Semaphore;

  /** For `raid1Of`. @internal */
  constructor(
    private readonly kernel: Kernel,
    readonly device: BlockDevice,
    private readonly assembled: Assembled,
  ) {
    this.#core = assembled.device.core;
    const turn = turns.get(this.#core) ?? new Semaphore(1, { kind: 'change', name: `of ${this.#core.state.name}` });
    turns.set(this.#core, turn);
    this.#turn = turn;
  }

  info(): Raid1Info {
    const { state, sync } = this.#core;
    return {
      name: state.name,
      uuid: formatUuid(state.setUuid),
      sizeBytes: state.sizeBytes,
      raidDisks: state.raidDisks,
      events: state.events,
      state: state.isBroken ? 'broken' : state.isActive ? 'active' : 'clean',
      isDegraded: state.isDegraded,
      resyncFromBytes: state.resyncFrom === null ? null : state.resyncFrom * SECTOR_BYTES,
      members: state.members.map((member) => ({
        name: member.name,
        state: member.state,
        slot: member.isWritten ? member.slot : -1,
        recoveredBytes: member.state === 'recovering' ? member.recoveryOffset * SECTOR_BYTES : 0,
        nrCorrectedReads: member.nrCorrectedReads,
      })),
      refused: this.assembled.refused,
      bitmap: this.#bitmapInfo(),
      sync: sync.progress,
      lastSync: sync.last,
    };
  }

  #bitmapInfo(): BitmapInfo | null {
    const { bitmap } = this.#core;
    if (bitmap === null) return null;
    const { log, store, chunkBytes, isFailed } = bitmap;
    const { nrChunks, nrNeeded, bits, counters } = log;
    return { where: store.name, chunkBytes, nrChunks, nrDirty: bits.nrSet, nrNeeded, nrCoarse: counters.nrCoarse, isFailed };
  }

  /** Declares a member faulty. Ends when the others' superblocks say so. @throws KernelError ENODEV; EBUSY for the last one in sync. */
  fail(device: BlockDevice | string): Promise<void> {
    return this.#change(async () => {
      const member = this.#core.state.memberOn(device);
      if (!this.#core.memberFailed(member, 0))
        throw new KernelError('EBUSY', `${member.name} is the last member of ${this.#core.state.name} that is in sync`);
      await this.#core.superblocks.write();
    });
  }

  /** Lets go of a faulty or spare member. @throws KernelError ENODEV; EBUSY while it is in use. */
  remove(device: BlockDevice | string): Promise<void> {
    return this.#change(async () => {
      const core = this.#core;
      const { state } = core;
      const member = state.memberOn(device);
      if (member.isWritten) throw new KernelError('EBUSY', `${member.name} is in use in ${state.name}: fail it first`);
      await this.#quiesce(async () => {
        state.members.splice(state.members.indexOf(member), 1);
        state.absentRoles[member.devNumber] = Role.FAULTY;
      });
      // What may still be under way to it ends before its memory goes: each of these takes its turn behind that.
      await core.flushMembers();
      await core.superblocks.write();
      await this.assembled.device.pins.removed(member);
      await letGoOf(this.kernel, member);
      core.tell('removed', member.name);
    });
  }

  /**
   * Adds a device: one that was a member comes back, by the bitmap if it can; any other is recovered as a whole, or is a spare if no slot is
   * empty. Ends when it is part of the array; `waitForSync` for more. `isOwned`: the array closes the device when it lets go of it.
   * @throws KernelError EBUSY (in use, or a member of another array), ENOSPC, EROFS, EOPNOTSUPP, ENOMEM, EDEADLK, EIO.
   */
  add(
    device: BlockDevice,
    options: { readonly force?: boolean; readonly isOwned?: boolean } = {},
  ): Promise<'re-added' | 'recovering' | 'spare'> {
    return this.#change(async () => {
      const { kernel } = this;
      const core = this.#core;
      if (core.readOnly) throw new KernelError('EROFS', `${core.state.name} is read-only`);
      kernel.requireOwn(device, 'add');
      device.hold('md');
      const undo: (() => void | Promise<void>)[] = [() => device.unhold()];
      try {
        const node = await kernel.writeoutNodeOf(device);
        const own = await kernel.writeoutNodeOf(this.device);
        const users = this.assembled.place?.isInternal === true ? [own, this.assembled.place.node] : [own];
        await kernel.reserves.admit(kernel.task, { candidates: [], edges: users.map((user) => [user, node] as const) });
        undo.push(() => {
          for (const user of users) kernel.reserves.graph.removeEdge(user, node);
        });
        const found = await newMember(kernel, core, device, options.force ?? false);
        const parts = { device, node, superblock: found.superblock, badBlocks: [], isOwned: options.isOwned ?? false };
        const member = await Member.create(kernel.memory, core.task, parts, windowPages(kernel.memory.nrFrames));
        undo.push(() => member.free());
        await this.assembled.device.pins.added(member);
        this.assembled.device.limitPieces(device.maxTransferBytes);
        return await this.#take(member, found);
      } catch (error) {
        for (const back of undo.reverse()) await back();
        throw error;
      }
    });
  }

  async #take(member: Member, found: NewMember): Promise<'re-added' | 'recovering' | 'spare'> {
    const core = this.#core;
    const { state } = core;
    state.members.push(member);
    const slot = state.emptySlot;
    if (slot < 0) await core.superblocks.write();
    else await core.sync.activate(member, slot, found.canUseBitmap);
    core.tell('added', member.name);
    core.sync.kick();
    if (slot < 0) return 'spare';
    return found.canUseBitmap ? 're-added' : 'recovering';
  }

  /** Ends when no pass is under way. @returns what the last one did. @throws KernelError if it did not get to the end. */
  async waitForSync(): Promise<Readonly<SyncProgress> | null> {
    const { sync, state } = this.#core;
    await sync.wait();
    if (sync.lastStatus !== 0) throw errorFrom(sync.lastStatus, `the last pass over ${state.name} did not get to the end`);
    return sync.last;
  }

  /** Compares the members (`check`), and makes them equal where they differ (`repair`). @throws KernelError EBUSY, EROFS, EINTR. */
  scrub(action: Extract<SyncAction, 'check' | 'repair'>): Promise<Readonly<SyncProgress>> {
    return this.#core.sync.scrub(action);
  }

  /**
   * Gives the array a bitmap; it had none.
   * @throws KernelError EEXIST; EDEADLK for a file that lies on the array, naming the way; EINVAL, ENOMEM, EIO.
   */
  addBitmap(where: BitmapWhere, options: BitmapOptions = {}): Promise<void> {
    return this.#change(async () => {
      checkWhere(where);
      const core = this.#core;
      const { state } = core;
      if (core.readOnly) throw new KernelError('EROFS', `${state.name} is read-only`);
      if (core.bitmap !== null) throw new KernelError('EEXIST', `${state.name} has a bitmap on ${core.bitmap.store.name}`);
      const place = await BitmapPlace.open(this.kernel, core, where, await this.kernel.writeoutNodeOf(this.device));
      try {
        await this.#quiesce(async () => {
          const areEqual = state.resyncFrom === null && !state.isDegraded;
          const bitmap = await place.create(factsOf(core), options, areEqual, BITMAP_OFFSET_SECTORS);
          core.bitmap = bitmap;
          if (place.isInternal) state.bitmapOffset = BITMAP_OFFSET_SECTORS;
        });
      } catch (error) {
        await place.close();
        throw error;
      }
      this.assembled.place = place;
      await core.superblocks.write();
    });
  }

  /** Takes the bitmap away. @throws KernelError ENOENT if there is none. */
  removeBitmap(): Promise<void> {
    return this.#change(async () => {
      const core = this.#core;
      const { bitmap, state } = core;
      if (bitmap === null) throw new KernelError('ENOENT', `${state.name} has no bitmap`);
      await this.#quiesce(async () => {
        await core.superblocks.settle();
        await bitmap.stop();
        core.bitmap = null;
        state.bitmapOffset = null;
        for (const member of state.members) member.isRecoveryByBitmap = false;
      });
      await core.superblocks.write();
      await this.assembled.place?.close();
      this.assembled.place = null;
      bitmap.log.free();
    });
  }

  /** Does something while no write and no pass is under way. */
  async #quiesce(work: () => Promise<void>): Promise<void> {
    const { gate, task, state } = this.#core;
    const closed = await gate.close(task, 0, state.sizeBytes);
    if (closed !== 0) throw errorFrom(closed, `${state.name} could not be held still`);
    try {
      await work();
    } finally {
      gate.open();
    }
  }

  async #change<T>(work: () => Promise<T>): Promise<T> {
    const { name } = this.#core.state;
    this.kernel.requireOwn(this.device, `change ${name} on`);
    const turn = await this.#turn.acquire(this.kernel.task);
    if (turn !== 0) throw errorFrom(turn, `${name} could not be changed`);
    try {
      return await work();
    } finally {
      this.#turn.release();
    }
  }
}
