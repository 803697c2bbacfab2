/**
 * Mounting an export.
 *
 *     memory → portmapper (unless the ports are given) → MNT → two connections → NULL → FSINFO, PATHCONF, GETATTR → core admits the three nodes
 *
 * Whatever fails gives back what was taken. Unmounting says UMNT, if the mount daemon listens.
 */
import {
  errorFrom,
  FILE_SIZE_MAX_BYTES,
  FileType,
  type Kernel,
  KernelError,
  type NegErrno,
  PAGE_SIZE,
  RANDOM,
  Semaphore,
  type SuperblockOps,
  type TaskContext,
  type WaitParty,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import { findTransport, formatAddress } from '@tidemark/net';
import { AttributeCache } from './attribute-cache.js';
import { Committer } from './committer.js';
import { NfsConnections } from './connections.js';
import { DirectoryReader } from './directory-reader.js';
import { InodeTable } from './inode-table.js';
import { addressOf, askForMount, type CallOnce, sayUnmounted } from './mount-protocol.js';
import { NameChanges } from './name-changes.js';
import { NfsCalls, type NfsReply } from './nfs-calls.js';
import type { NfsParts } from './nfs-parts.js';
import { type NfsClientSizes, nfsClientFootprints, nfsClientSizes, nodeNames } from './sizes.js';
import { type NfsMountOptions, type NfsTarget, parseNfsUrl } from './url.js';
import { NfsVolume } from './volume.js';

/** Pages of one writeback run at most: what the page cache gives. */
const RUN_PAGES = 32;
const LOCAL_JUKEBOX_MS = 10;

interface ServerSays {
  readonly rootFileid: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly directoryBytes: number;
  readonly blockSizeBytes: number;
  readonly maxFileSizeBytes: number;
  readonly maxLinks: number;
}

/** @throws KernelError EINVAL (the source), ENOMEM, and what server, mount daemon, portmapper and transport say. */
export async function mountNfs(kernel: Kernel, task: TaskContext, source: string, options: NfsMountOptions): Promise<NfsVolume> {
  const target = parseNfsUrl(source, options);
  const { memory, clock, trace, localConnections, reserves, container } = kernel;
  const transport = findTransport(container, addressOf(target, 1));
  const random = container.resolve(RANDOM);
  const sizes = nfsClientSizes(memory.nrFrames);
  const isServerLocal = (): boolean =>
    reserves.graph.has(nodes.rpc) && reserves.graph.successorsOf(nodes.rpc).some(({ kind }) => kind === 'server');
  const replies: WaitParty = { kind: 'server', name: `at ${target.host}` };
  const heldBy = (): Iterable<WaitParty> => (isServerLocal() ? reserves.graph.successorsOf(nodes.rpc) : [replies]);
  // A server of this kernel answers when there is room again: its answer is the wake-up, not a clock (M15).
  const jukeboxMs = (): number => (isServerLocal() ? Math.min(LOCAL_JUKEBOX_MS, target.jukeboxMs) : target.jukeboxMs);
  const footprints = nfsClientFootprints(memory.nrFrames);
  const names = nodeNames(target.name);
  const node = (name: string, footprint: WriteoutNode['footprint']): WriteoutNode => ({ name, kind: 'filesystem', footprint });
  const nodes = {
    write: node(names.write, footprints.write),
    commit: node(names.commit, footprints.commit),
    rpc: {
      ...node(names.rpc, footprints.rpc),
      heldBy: () => (connections.isLost ? [{ kind: 'connection', name: `to ${target.name}, which is lost` }] : []),
    },
  };
  const inside = task.named(`mount ${target.name}`);
  const connections = await NfsConnections.take(inside, { target, transport, memory, clock, trace, random, sizes, heldBy });
  const undo: (() => unknown)[] = [() => connections.free()];
  try {
    const once: CallOnce = (who, port, spec, timeoutMs) => connections.once(who, port, spec, timeoutMs);
    const { handle, nfsPort, mountPort } = await askForMount(inside, target, once);
    const client = localConnections.client({
      name: target.name,
      address: formatAddress(addressOf(target, nfsPort)),
      resource: target.exportPath,
      nrUnits: sizes.units,
    });
    undo.push(() => client.close());
    undo.push(() => connections.close());
    const lanes = await connections.open(inside, nfsPort, client);
    const calls = new NfsCalls({ name: target.name, clock, jukeboxMs, ...lanes });
    const says = await askServer(inside, target, sizes, calls, handle);
    const cache = new AttributeCache(clock, target, () => calls.serial);
    const committer = new Committer(target.name, { calls, cache, units: sizes.units, commitUnits: () => reserves.unitsOf(nodes.commit) });
    const parts: NfsParts = {
      name: target.name,
      arena: memory.arena,
      calls,
      cache,
      committer,
      device: {},
      nodes,
      readBytes: says.readBytes,
      writeBytes: says.writeBytes,
      pagesPerWrite: Math.max(Math.min(RUN_PAGES, sizes.units, Math.floor(says.writeBytes / PAGE_SIZE)), 1),
      unitTurn: new Semaphore(1, { kind: 'units', name: `of ${target.name}, being gathered` }),
      writeUnits: () => reserves.unitsOf(nodes.write),
      pinnedUnits: sizes.units,
      pinBehind: (who, spec) => client.pin(who, spec),
      cutOff: () => connections.close(),
      defer: (work) => kernel.scheduler.defer(work),
    };
    const table = new InodeTable(memory, target.name);
    const server = client.server;
    const needs = [...(server === null ? [] : [server.node]), ...(transport.node === undefined ? [] : [transport.node])];
    const edges: WriteoutEdge[] = [
      [nodes.write, nodes.commit],
      [nodes.commit, nodes.rpc],
      ...needs.map((each) => [nodes.rpc, each] as const),
    ];
    const changes: NameChanges = new NameChanges(parts, target, table, random, () => reader);
    const reader = new DirectoryReader({
      calls,
      cache,
      directoryBytes: says.directoryBytes,
      primedMax: sizes.primedEntries,
      usesPlus: target.usesPlus,
      nowMs: () => clock.nowMs(),
      isHidden: (dir, name) => changes.isHidden(dir, name),
      find: (fileid, wanted) => table.find(fileid, wanted),
    });
    const close = async (who: TaskContext, isForced: boolean): Promise<void> => {
      committer.close();
      const closing = connections.close();
      calls.wake();
      await closing;
      client.close();
      if (!isForced) await sayUnmounted(who, target, once, mountPort);
      table.dispose();
      connections.free();
    };
    const writeout: SuperblockOps['writeout'] = { nodes: [nodes.write, nodes.commit, nodes.rpc], edges };
    const mounting = {
      rootHandle: handle,
      readOnly: options.readOnly === true,
      primedMs: target.fileMinMs,
      writeout,
      admitted: () => client.admitted(nodes.rpc),
      close,
      ...says,
    };
    return new NfsVolume(parts, mounting, table, reader, changes);
  } catch (error) {
    for (const back of undo.reverse()) await back();
    throw error;
  }
}

/** What a server says of the export; sizes are the smaller of its and ours. */
async function askServer(
  task: TaskContext,
  target: NfsTarget,
  sizes: NfsClientSizes,
  calls: NfsCalls,
  handle: Uint8Array,
): Promise<ServerSays> {
  const doing = (what: string): string => `${target.name}: ${what}`;
  const ping = await calls.ping(task);
  if (ping < 0) throw errorFrom(ping, doing('the server does not answer NULL of NFS 3'));
  const info = must(await calls.info(task, handle), doing('FSINFO'));
  const limits = must(await calls.limits(task, handle), doing('PATHCONF'));
  const root = must(await calls.getAttributes(task, handle), doing('GETATTR of the root'));
  if ((root.mode & FileType.MASK) !== FileType.DIRECTORY) throw new KernelError('ENOTDIR', doing('the export is no directory'));
  if (info.readMax < 512 || info.writeMax < 512)
    throw new KernelError('EPROTO', doing(`the server takes READs of ${info.readMax} and WRITEs of ${info.writeMax} bytes at most`));
  return {
    rootFileid: root.fileid,
    readBytes: wholePages(Math.min(sizes.transferBytes, target.readBytesMax, info.readMax)),
    writeBytes: wholePages(Math.min(sizes.transferBytes, target.writeBytesMax, info.writeMax)),
    directoryBytes: Math.min(sizes.directoryBytes, target.directoryBytesMax),
    blockSizeBytes: PAGE_SIZE,
    maxFileSizeBytes: Math.min(info.fileSizeMax, FILE_SIZE_MAX_BYTES),
    maxLinks: Math.max(limits.linkMax, 1),
  };
}

function must<T>(reply: NfsReply<T> | NegErrno, doing: string): T {
  if (typeof reply === 'number') throw errorFrom(reply, doing);
  if (reply.ok === null) throw errorFrom(reply.status, doing);
  return reply.ok;
}

function wholePages(bytes: number): number {
  return bytes < PAGE_SIZE ? bytes : Math.floor(bytes / PAGE_SIZE) * PAGE_SIZE;
}
