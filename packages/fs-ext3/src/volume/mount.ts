/**
 * Mounting and unmounting.
 *
 *     mount     the device, held → superblock, checked → descriptors → journal, replayed → RECOVER set, durably → orphans finished
 *     unmount   last commit → flush → log empty → RECOVER cleared, durably → everything given back
 *
 * Read-only: what was asked so, what has features that we only read, and devices that cannot be written. Then nothing is written but, where the
 * device allows it, what the journal holds.
 */
import {
  BlockDevice,
  Errno,
  type Kernel,
  KernelError,
  type MountOptions,
  type NegErrno,
  type NodeFootprint,
  PAGE_SIZE,
  run,
  Gfp,
  SlabCache,
  TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { BlockSpace } from '../alloc/block-space.js';
import { GroupTable } from '../alloc/group-table.js';
import { InodeSpace } from '../alloc/inode-space.js';
import { LiveSuperblock } from '../alloc/live-superblock.js';
import { BlockIo } from '../device/block-io.js';
import { FlushLosses } from '../device/flush-losses.js';
import { Compat, Incompat } from '../format/features.js';
import { type Geometry, geometryOf } from '../format/geometry.js';
import { JournalIncompat } from '../format/journal.js';
import { decodeSuperblock, FsState, readOnlyFeatures, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, type Superblock } from '../format/superblock.js';
import { AttributeStore } from '../inode/attribute-store.js';
import { BlockMap } from '../inode/block-map.js';
import { InodeTable } from '../inode/inode-table.js';
import { Node, NODE_BYTES, type PageMapping } from '../inode/node.js';
import { Orphans } from '../inode/orphans.js';
import { Committer } from '../journal/commit.js';
import { DeviceStore } from '../journal/device-store.js';
import { Journal } from '../journal/journal.js';
import { Log } from '../journal/log.js';
import { looking } from '../metadata/block-reader.js';
import { MetadataCache } from '../metadata/metadata-cache.js';
import { creditsOf } from './credits.js';
import { dataFootprint, journalFootprint, nrSpareBlocks, transactionBlocksOf, type VolumeSizes } from './footprint.js';
import { type OpenedJournal, openJournal } from './open-journal.js';
import { type Parts, wallMs } from './parts.js';
import { processOrphans } from './process-orphans.js';
import { type Mounting, Volume } from './volume.js';

/** Bytes that the blocks of a dirty page take on the JS heap. */
const MAPPING_BYTES = 160;

/** Who gives memory back when it is short. */
export type Caches = Set<MetadataCache>;

/** Mounts what is on a device. @param source `ext3:DEVICE`; or anything, with the device in the option `device`. */
export async function mountExt3(kernel: Kernel, caches: Caches, task: TaskContext, source: string, options: MountOptions): Promise<Volume> {
  const given = options.device;
  if (given !== undefined && !(given instanceof BlockDevice))
    throw new KernelError('EINVAL', `mount ${source}: the option device wants a block device`);
  const device = given ?? (await kernel.openBlockDevice(source.slice(source.indexOf(':') + 1), { readOnly: options.readOnly === true }));
  const mounter = new Mounter(kernel, caches, task, `ext3:${device.name}`, device, given === undefined);
  try {
    return await mounter.mount(options.readOnly === true);
  } catch (error) {
    await mounter.takeDown();
    await mounter.closeDevice();
    throw error;
  }
}

class Mounter {
  /** What gives everything back, in the order in which it was taken. */
  readonly undo: (() => void | Promise<void>)[] = [];
  readonly losses = new FlushLosses();
  #io!: BlockIo;

  constructor(
    readonly kernel: Kernel,
    readonly caches: Caches,
    readonly task: TaskContext,
    readonly name: string,
    readonly device: BlockDevice,
    /** It was opened for this mount, and is closed with it. */
    readonly isOwn: boolean,
  ) {}

  async closeDevice(): Promise<void> {
    if (this.isOwn) await this.device.close();
  }

  async takeDown(): Promise<void> {
    for (let back = this.undo.pop(); back !== undefined; back = this.undo.pop()) await back();
  }

  async mount(isAskedReadOnly: boolean): Promise<Volume> {
    const { kernel, device, task, name } = this;
    const { memory } = kernel;
    device.hold(name);
    this.undo.push(() => device.unhold());
    this.#io = new BlockIo(memory, device, name, this.losses);
    this.undo.push(() => this.#io.release());
    const frame = await memory.allocStanding(task, `mounting ${name}`, 1);
    try {
      const superblock = await this.#readSuperblock(frame);
      const geometry = geometryOf(superblock);
      const { blockSize, nrBlocks } = geometry;
      if (device.blockSizeBytes > blockSize)
        throw new KernelError(
          'EINVAL',
          `${name} has blocks of ${blockSize} bytes, and ${device.name} reads and writes no fewer than ${device.blockSizeBytes}`,
        );
      const cache = new MetadataCache(
        name,
        memory,
        this.#io,
        blockSize,
        nrBlocks,
        nrSpareBlocks(memory.nrFrames, blockSize, geometry.gdtBlocks),
      );
      this.undo.push(() => cache.dispose());
      this.caches.add(cache);
      this.undo.push(() => void this.caches.delete(cache));
      const groups = new GroupTable(name, geometry, memory);
      this.undo.push(() => groups.dispose());
      await run(looking(task, cache, (look) => groups.load(look)));
      let opened: OpenedJournal | null = null;
      if ((superblock.featureCompat & Compat.HAS_JOURNAL) !== 0) {
        const store = new DeviceStore(task, this.#io, frame, blockSize, nrBlocks);
        opened = await openJournal(task, cache, groups, superblock, store, !device.readOnly);
        if (opened.hasRecovered) {
          cache.dropClean();
          Object.assign(superblock, await this.#readSuperblock(frame));
          await run(looking(task, cache, (look) => groups.load(look)));
        }
      }
      const is64Bit = opened !== null && (opened.superblock.featureIncompat & JournalIncompat.BIT64) !== 0;
      const readOnly = isAskedReadOnly || device.readOnly || is64Bit || readOnlyFeatures(superblock).length > 0;
      return await this.#assemble(superblock, cache, groups, opened, readOnly);
    } finally {
      frame.free();
    }
  }

  async #readSuperblock(frame: { readonly pfn: number; readonly bytes: Uint8Array }): Promise<Superblock> {
    const { device, name, task } = this;
    if (device.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES)
      throw new KernelError('EINVAL', `${name} has ${device.sizeBytes} bytes: too small for an ext3`);
    const lengthBytes = Math.min(PAGE_SIZE, Math.floor(device.sizeBytes / device.blockSizeBytes) * device.blockSizeBytes);
    const transfer = this.#io.begin(task, 0);
    await transfer.add(0, frame.pfn * PAGE_SIZE, lengthBytes);
    const status = await transfer.end();
    if (status < 0) throw new KernelError('EIO', `could not read the superblock of ${name}`);
    const bytes = new Uint8Array(frame.bytes.subarray(SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES));
    return decodeSuperblock(name, bytes, device.sizeBytes);
  }

  async #assemble(
    fields: Superblock,
    cache: MetadataCache,
    groups: GroupTable,
    opened: OpenedJournal | null,
    readOnly: boolean,
  ): Promise<Volume> {
    const { kernel, task, name, device } = this;
    const { memory, clock, random } = kernel;
    const { geometry } = groups;
    const { blockSize } = geometry;
    const io = this.#io;
    const superblock = new LiveSuperblock(fields, cache, io);
    await superblock.open(task);
    this.undo.push(() => superblock.close());
    const credits = creditsOf(geometry);
    const sizes = sizesOf(geometry, opened);
    const blocksMax = transactionBlocksOf(memory.nrFrames, sizes);
    const node = (what: string, footprint: NodeFootprint): WriteoutNode => ({ name: `${name} ${what}`, kind: 'filesystem', footprint });
    const journalNode = node('journal', journalFootprint(memory.nrFrames, sizes));
    const dataNode = node('data', dataFootprint(memory.nrFrames, readOnly ? { ...sizes, logBlocks: 0 } : sizes));
    const log = opened === null || readOnly ? null : await this.#openLog(opened, blockSize);
    const work = TaskContext.root(`journal of ${name}`, null, kernel.waits).within(journalNode);
    const errorNotes: Promise<void>[] = [];
    const journal = new Journal({
      name,
      cache,
      committer: new Committer(cache, io, log),
      clock,
      blocksMax,
      firstId: opened?.nextTransaction ?? 1,
      task: work,
      node: journalNode,
      units: () => kernel.reserves.unitsOf(journalNode),
      onAbort: () => {
        fields.state |= FsState.ERROR;
        if (log !== null) errorNotes.push(log.noteError(work, journal.causeErrno));
      },
    });
    const blocks = new BlockSpace(groups, superblock, journal, cache);
    const table = new InodeTable(groups, fields.inodesCount);
    const base: Omit<Parts, 'attributes'> = {
      name,
      memory,
      clock,
      random,
      geometry,
      io,
      losses: this.losses,
      pinDevice: (asking, spec) => kernel.swapHooksOf(device, device.name).swapActivate(asking, device, spec),
      cache,
      superblock,
      groups,
      journal,
      blocks,
      inodes: new InodeSpace(groups, superblock),
      table,
      map: new BlockMap(blocks),
      orphans: new Orphans(superblock, table),
      credits,
      dataNode,
      nodes: this.#slab(
        'ext3 inode',
        NODE_BYTES,
        () => new Node(),
        (node) => node.reset(),
      ),
      mappings: this.#slab<PageMapping>(
        'blocks of a page',
        MAPPING_BYTES,
        () => ({ blocks: new Uint32Array(PAGE_SIZE / blockSize) }),
        (mapping) => void mapping.blocks.fill(0),
      ),
    };
    const parts: Parts = { ...base, attributes: new AttributeStore(base) };
    const { wasValid } = readOnly ? { wasValid: true } : await this.#begin(parts, opened);
    const close = async (closing: TaskContext, isForced: boolean): Promise<0 | NegErrno> => {
      let status: 0 | NegErrno = 0;
      if (isForced) {
        journal.abort(new KernelError('EIO', `${name} was unmounted by force`));
        if (device.holder === name) await device.abort();
      }
      await journal.close();
      await Promise.all(errorNotes);
      if (!readOnly && !isForced) status = journal.cause === null ? await this.#end(parts, log, closing, wasValid) : journal.causeErrno;
      await this.takeDown();
      if (kernel.reserves.unitsOf(dataNode) === null) await this.closeDevice(); // else when its nodes are released
      return status;
    };
    const mounting: Mounting = {
      readOnly,
      writeout: {
        nodes: [journalNode, dataNode],
        edges: [
          [journalNode, dataNode],
          [dataNode, await kernel.writeoutNodeOf(device)],
        ],
      },
      close,
      released: () => this.closeDevice(),
    };
    return new Volume(parts, mounting);
  }

  #slab<T extends object>(name: string, objectBytes: number, create: () => T, reset: (object: T) => void): SlabCache<T> {
    const slab = new SlabCache<T>(this.kernel.memory.frameSource(Gfp.SLAB), { name, objectBytes, create, reset });
    this.undo.push(() => slab.dispose());
    return slab;
  }

  async #openLog(opened: OpenedJournal, blockSize: number): Promise<Log> {
    const { kernel, task, name } = this;
    opened.map.charge(kernel.memory, name);
    this.undo.push(() => opened.map.dispose());
    const log = await Log.open(task, kernel.memory, this.#io, opened.map, opened.superblock, blockSize, () => wallMs(kernel.clock));
    this.undo.push(() => log.dispose());
    return log;
  }

  /** Says on disk that the filesystem is in use, and finishes what a crash left. */
  async #begin(parts: Parts, opened: OpenedJournal | null): Promise<{ wasValid: boolean }> {
    const { superblock, clock, journal } = parts;
    const { fields } = superblock;
    const wasValid = (fields.state & FsState.VALID) !== 0;
    const noted = opened?.superblock.errno ?? 0; // why the journal was aborted, if it was
    if (noted === -Errno.EUCLEAN) fields.state |= FsState.ERROR;
    await superblock.changeNow(this.task, {
      featureIncompat: opened === null ? fields.featureIncompat : fields.featureIncompat | Incompat.RECOVER,
      state: opened === null ? fields.state & ~FsState.VALID : fields.state,
      mountCount: (fields.mountCount + 1) & 0xffff,
      mountTime: Math.floor(wallMs(clock) / 1000) % 2 ** 32,
    });
    await processOrphans(parts, this.task);
    const status = await run(journal.commit(this.task));
    if (status < 0) throw journal.cause ?? new KernelError('EIO', `${this.name}: the first commit failed`);
    if (opened !== null && noted !== 0) {
      await superblock.changeNow(this.task, { state: fields.state | FsState.ERROR });
      opened.superblock.errno = 0;
    }
    return { wasValid };
  }

  /** Says on disk that it is not in use any more. */
  async #end(parts: Parts, log: Log | null, task: TaskContext, wasValid: boolean): Promise<0 | NegErrno> {
    const { superblock, journal, clock, io } = parts;
    const { fields } = superblock;
    const patient = task.withSignal(null);
    let status: 0 | NegErrno = await io.flush(patient); // images that went home with the last commit
    if (status === 0 && log !== null) status = await log.close(patient, journal.nextId);
    if (status < 0) return status;
    try {
      await superblock.changeNow(patient, {
        featureIncompat: fields.featureIncompat & ~Incompat.RECOVER,
        state: log === null && wasValid ? fields.state | FsState.VALID : fields.state,
        writeTime: Math.floor(wallMs(clock) / 1000) % 2 ** 32,
      });
      return 0;
    } catch (error) {
      return (error as KernelError).errno;
    }
  }
}

function sizesOf({ blockSize, nrGroups, gdtBlocks }: Geometry, opened: OpenedJournal | null): VolumeSizes {
  return { blockSize, nrGroups, gdtBlocks, logBlocks: opened?.superblock.maxlen ?? 0, logRuns: opened?.map.nrRuns ?? 0 };
}
