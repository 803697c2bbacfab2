/**
 * fs-log: a small log-structured filesystem, as a third party would write one: nothing but published entry points.
 *
 *     await kernel.mount('log:disk.img', '/', { format: true });      a device by its URL, or open already in the option `device`
 *
 * `docs/writing-a-filesystem.md` builds it step by step.
 */
import {
  BlockDevice,
  DeviceIo,
  definePlugin,
  FILE_SYSTEM,
  FileType,
  type FileSystemType,
  KERNEL,
  type Kernel,
  KernelError,
  type MountOptions,
  PAGE_SIZE,
  type Plugin,
  type SuperblockOps,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { cleanSegment, mayReclaimWhileMoving } from './cleaner.js';
import { LogFileSystem } from './file-system.js';
import { BYTES_PER_BLOCK, blocksOfHalf, Kind, TRANSACTION_BLOCKS } from './format.js';
import { Log } from './log.js';
import { LogNode, NODE_BYTES, Room } from './node.js';
import { SEGMENT, Space } from './space.js';
import type { Volume } from './volume.js';

/** What a variant says of its transactions. */
export interface FsLogOptions {
  /** False: a unit of the log declares no bound, as a filesystem must whose transactions take whoever comes. Default true. */
  readonly isBounded?: boolean;
}

/** Makes the plugin; `fsLog` is the one that anybody wants. */
export function createFsLog({ isBounded = true }: FsLogOptions = {}): Plugin {
  return definePlugin({
    name: 'fs-log',
    register(container) {
      container.register(FILE_SYSTEM, {
        useFactory: (c): FileSystemType => ({
          schemes: ['log'],
          mount: (task, source, options) => mountLog(c.resolve(KERNEL), task, source, options, isBounded),
        }),
      });
    },
  });
}

/** Registers `log:DEVICE`. Options: `device`, a block device of the kernel, already open; `format`, to make an empty filesystem. */
export const fsLog = createFsLog();

async function mountLog(
  kernel: Kernel,
  task: TaskContext,
  source: string,
  options: MountOptions,
  isBounded: boolean,
): Promise<SuperblockOps> {
  if (options.readOnly === true) throw new KernelError('EOPNOTSUPP', `${source}: a log is mounted for writing`);
  const given = options.device instanceof BlockDevice ? options.device : null;
  const device = given ?? (await kernel.openBlockDevice(source.slice('log:'.length)));
  const name = `log:${device.name}`;
  const undo: (() => void)[] = [];
  const takeDown = (): void => {
    for (let back = undo.pop(); back !== undefined; back = undo.pop()) back();
  };
  try {
    device.hold(name);
    undo.push(() => device.unhold());
    const volume = await makeVolume(kernel, task, device, name, undo, takeDown, isBounded);
    if (options.format === true) await format(volume.log, kernel, task);
    else await volume.log.load(task);
    await dropOrphans(volume, task);
    const { logNode } = volume;
    const edges = [[logNode, volume.dataNode] as const, [volume.dataNode, await kernel.writeoutNodeOf(device)] as const];
    const ops = new LogFileSystem(volume, { nodes: [logNode, volume.dataNode], edges });
    return given === null ? Object.assign(ops, { released: () => device.close() }) : ops;
  } catch (error) {
    takeDown();
    if (given === null) await device.close();
    throw error;
  }
}

async function makeVolume(
  kernel: Kernel,
  task: TaskContext,
  device: BlockDevice,
  name: string,
  undo: (() => void)[],
  takeDown: () => void,
  isBounded: boolean,
): Promise<Volume & { readonly logNode: WriteoutNode }> {
  const { memory } = kernel;
  const nrBlocks = Math.floor(device.sizeBytes / PAGE_SIZE);
  const nrRecordBlocks = 2 * blocksOfHalf(nrBlocks);
  if (nrBlocks < nrRecordBlocks + 4 * SEGMENT) throw new KernelError('EINVAL', `${name} has ${nrBlocks} blocks: too few for a log`);
  const nrUnits = memory.sizes.clientUnits;
  const metadataFrames = Math.ceil((nrBlocks * BYTES_PER_BLOCK) / PAGE_SIZE);
  await memory.makeRoom(task, metadataFrames + Math.ceil((3 * nrBlocks * 4) / PAGE_SIZE) + 2 * TRANSACTION_BLOCKS);
  const io = new DeviceIo(memory, device, nrUnits);
  undo.push(() => io.release());
  const charge = memory.chargeStanding(`metadata of ${name}`, metadataFrames);
  undo.push(() => charge.free());
  const buffers = [await memory.allocStanding(task, `transactions of ${name}`, TRANSACTION_BLOCKS)];
  undo.push(() => buffers.forEach((buffer) => void buffer.free()));
  buffers.push(await memory.allocStanding(task, `transactions of ${name}`, TRANSACTION_BLOCKS));
  const space = new Space(memory, name, nrBlocks, nrRecordBlocks);
  undo.push(() => space.free());
  const tables = space.owner.nrFrames + space.page.nrFrames + space.previous.nrFrames;
  const logNode: WriteoutNode = {
    name: `${name} transactions`,
    kind: 'filesystem',
    footprint: {
      standing: [
        { what: 'transactions, running and committing', frames: 2 * TRANSACTION_BLOCKS },
        { what: 'metadata', frames: metadataFrames + tables },
      ],
      unit: isBounded ? [] : [{ what: 'blocks of a transaction without bound', frames: Number.POSITIVE_INFINITY }],
      nrUnits: 1,
    },
  };
  const dataNode: WriteoutNode = {
    name: `${name} data`,
    kind: 'filesystem',
    footprint: { standing: [{ what: 'bios', frames: io.standingFrames }], unit: [], nrUnits },
    mayReclaim: (pfn, moving) => mayReclaimWhileMoving((page) => memory.frames.space[page], pfn, moving),
  };
  const room = new Room(metadataFrames * PAGE_SIZE);
  const inside = kernel.task.named(`transactions of ${name}`).within(logNode);
  const log = new Log({ name, io, space, room, buffers, units: () => kernel.reserves.unitsOf(logNode), task: inside });
  let cleaning: Promise<void> | null = null;
  const volume = { name, kernel, memory, device, io, space, room, log, dataNode, logNode, takeDown };
  const clean = (asking: TaskContext): Promise<void> => {
    cleaning ??= cleanSegment({ ...volume, clean }, asking).finally(() => {
      cleaning = null;
    });
    return cleaning;
  };
  return { ...volume, clean };
}

/** Makes the log of an empty filesystem: a root and a first checkpoint. What the other half holds is not its own. */
async function format(log: Log, kernel: Kernel, task: TaskContext): Promise<void> {
  const id = new Uint8Array(4);
  kernel.random.fill(id);
  log.fsid = new DataView(id.buffer).getUint32(0, true);
  const root = new LogNode(1);
  const now = kernel.clock.wallMs?.() ?? kernel.clock.nowMs();
  root.attributes = [FileType.DIRECTORY | 0o755, 0, 0, 2, 0, 0, now, now, now, now];
  root.parent = 1;
  log.nodes.set(1, root);
  log.parts.room.take(NODE_BYTES);
  for (let half = 0; half < 2; half++) {
    if (half === 1) log.fillHalf(); // both halves: nothing of what was there before is the newest
    if ((await log.commit(task)) < 0) throw new KernelError('EIO', `${log.parts.name} could not be formatted`);
  }
}

/** Files that had no name when the power went. */
async function dropOrphans({ log, room, name }: Volume, task: TaskContext): Promise<void> {
  for (const node of [...log.nodes.values()]) {
    if (node.attributes[3] > 0) continue;
    if ((await log.begin(task)) < 0) throw new KernelError('EIO', `${name}: what a crash has left could not be removed`);
    for (const page of [...node.map.keys()]) log.unmap(node, page);
    log.add(Kind.CUT, [node.ino, -1]);
    log.nodes.delete(node.ino);
    room.take(-NODE_BYTES - 2 * node.linkTarget.length);
  }
}
