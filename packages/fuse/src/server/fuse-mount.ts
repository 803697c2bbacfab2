/**
 * A tree of this kernel, mounted on a directory of the operating system.
 *
 *     const kernel = await Kernel.boot({ memory: '64MiB', plugins: [host, ext3, fuse] });
 *     await kernel.mount('ext3:disk.img', '/');
 *     const mount = await FuseMount.open(kernel, { at: '/mnt' });
 *     … programs use /mnt …
 *     await mount.unmount();
 *
 * In the writeout graph it is a node above every filesystem that can be seen through it: what the operating system has to write it writes
 * through here. Its memory stands from the mount on; sizes follow from the arena.
 *
 *     mounted ── unmount ── EBUSY? it stays ──► over: open files are closed, what was written is made durable, memory given back
 *        │ └──── somebody unmounts it ─────────► over
 *        └────── shutdown: unmount; if busy, it is detached and its users are given time, then they get ENOTCONN
 */
import {
  errorFrom,
  type Inode,
  type Kernel,
  KernelError,
  run,
  type StandingCharge,
  type Superblock,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import { type ChannelOptions, FUSE_HOST, type FuseChannel } from '../channel.js';
import type { FuseService } from './call.js';
import { Dispatcher } from './dispatcher.js';
import { Handles } from './handles.js';
import { Invalidations } from './invalidations.js';
import { Nodes } from './nodes.js';
import { callFrames, fuseFootprint, fuseSizes } from './sizes.js';
import { type Slot, Slots } from './slots.js';

/** For how long the operating system believes what it was told, in seconds; it is told what others change. */
const VALID_SECONDS = 60;
/** How long users of a busy mount are given at shutdown, in milliseconds. */
const DETACH_TIMEOUT_MS = 5_000;

export interface FuseMountOptions {
  /** The directory of the host. */
  readonly at: string;
  /** The directory of the kernel's tree that is seen there. Default `/`. */
  readonly tree?: string;
  /** Nothing may be changed. Default: as the filesystem is mounted. */
  readonly readOnly?: boolean;
  /** What `mount` and `df` show as its source. Default: the filesystem's. */
  readonly source?: string;
  /** Further options of mount(8): `allow_other`, `noatime`, … */
  readonly options?: readonly string[];
  /**
   * The operating system keeps what is written until it has much of it, and writes it out later. Faster for small writes; others see them later.
   * Default false; never for a filesystem that others change, too.
   */
  readonly writebackCache?: boolean;
  /** For how long names, and attributes, are believed. Default 60 s; 1 s at most for a filesystem that others change, too. */
  readonly entrySeconds?: number;
  readonly attributeSeconds?: number;
}

/** What a mount has done. */
export interface FuseCounts {
  readonly requests: number;
  readonly inProgress: number;
  /** Files the operating system knows, and those that are open. */
  readonly nodes: number;
  readonly handles: number;
  readonly notifications: number;
  readonly notificationsDropped: number;
  /** Requests that were none, and operations that threw. */
  readonly malformed: number;
  readonly bugs: number;
}

export class FuseMount {
  readonly at: string;
  /** Settles when the mount is over and everything is given back; rejects if what was written could not be made durable. */
  readonly closed: Promise<void>;
  readonly #kernel: Kernel;
  readonly #superblocks: readonly Superblock[];
  readonly #channel: FuseChannel;
  readonly #dispatcher: Dispatcher;
  readonly #nodes: Nodes;
  readonly #handles: Handles;
  readonly #invalidations: Invalidations;
  readonly #release: () => Promise<void>;
  #unregister: () => void = () => {};
  #unsubscribe: () => void = () => {};

  private constructor(kernel: Kernel, parts: Parts, channel: FuseChannel) {
    const { root, sizes, requestSlots, replySlots, options, node } = parts;
    const { vfs, memory } = kernel;
    this.#kernel = kernel;
    this.#channel = channel;
    this.#superblocks = parts.superblocks;
    this.#release = parts.release;
    this.at = options.at;
    root.nrRefs++;
    this.#nodes = new Nodes(vfs, memory, root);
    this.#handles = new Handles(this.#nodes, vfs.openFiles);
    const isShared = parts.superblocks.some((superblock) => superblock.isShared);
    const service: FuseService = {
      vfs,
      nodes: this.#nodes,
      handles: this.#handles,
      sizes,
      replySlots,
      task: kernel.task.named(`fuse ${options.at}`).within(node),
      options: {
        readOnly: options.readOnly === true,
        writebackCache: options.writebackCache === true && !isShared,
        validity: { entrySeconds: options.entrySeconds ?? VALID_SECONDS, attributeSeconds: options.attributeSeconds ?? VALID_SECONDS },
      },
      grantedFlags: 0,
      kernelMinor: 0,
      nrLockWaits: 0,
      interrupt: (low, high) => this.#dispatcher.interrupt(low, high),
    };
    const scratch = replySlots.get() as Slot;
    let over: (error: KernelError | null) => void = () => {};
    const ended = new Promise<KernelError | null>((resolve) => (over = resolve));
    this.#dispatcher = new Dispatcher(service, channel, requestSlots, scratch, (error) => over(error));
    this.#invalidations = new Invalidations(channel, this.#nodes, sizes.notifications);
    this.closed = ended.then(async (error) => {
      replySlots.put(scratch);
      await this.#takeDown(error);
    });
    this.closed.catch(() => {}); // whoever unmounts, or waits for it, is told
    const told = vfs.changes.subscribe((change) => {
      if (!this.#dispatcher.isOwnChange) this.#invalidations.changed(change, service.kernelMinor);
    });
    this.#unsubscribe = told ?? this.#unsubscribe;
  }

  /**
   * Mounts. The kernel unmounts it at shutdown.
   * @throws KernelError ENODEV (no plugin, or no /dev/fuse), EPERM (not root), EINVAL, ENOENT, ENOTDIR for either directory, ENOMEM and EDEADLK
   * from the plan, EIO with what mount(8) says.
   */
  static async open(kernel: Kernel, options: FuseMountOptions): Promise<FuseMount> {
    kernel.requireRunning(`mount on ${options.at}`);
    if (!kernel.container.isRegistered(FUSE_HOST))
      throw new KernelError('ENODEV', `mount on ${options.at}: no plugin brings /dev/fuse; @tidemark/fuse/host has one`);
    for (const seconds of [options.entrySeconds ?? 0, options.attributeSeconds ?? 0])
      if (!Number.isInteger(seconds) || seconds < 0)
        throw new KernelError('EINVAL', `mount on ${options.at}: ${seconds} are no whole seconds`);
    const undo: (() => unknown)[] = [];
    const release = async (): Promise<void> => {
      for (const back of undo.splice(0).reverse()) await back();
    };
    try {
      const parts = await takeParts(kernel, options, undo, release);
      const channelOptions: ChannelOptions = {
        readOnly: options.readOnly === true || parts.root.superblock.readOnly,
        readBytes: parts.sizes.transferBytes,
        source: options.source ?? parts.root.superblock.source,
        options: options.options ?? [],
      };
      const channel = await kernel.container.resolve(FUSE_HOST).mount(options.at, channelOptions);
      const mount = new FuseMount(kernel, parts, channel);
      mount.#unregister = kernel.onShutdown(`fuse mount ${options.at}`, (deadlineMs) => mount.#shutDown(deadlineMs));
      channel.start(mount.#dispatcher);
      return mount;
    } catch (error) {
      await release();
      throw error;
    }
  }

  get counts(): FuseCounts {
    const { nrRequests, nrInProgress, nrMalformed, nrBugs } = this.#dispatcher;
    return {
      requests: nrRequests,
      inProgress: nrInProgress,
      nodes: this.#nodes.size,
      handles: this.#handles.size,
      notifications: this.#invalidations.nrSent,
      notificationsDropped: this.#invalidations.nrDropped,
      malformed: nrMalformed,
      bugs: nrBugs,
    };
  }

  /**
   * Unmounts, and makes everything that was written durable.
   * @throws KernelError EBUSY if it is in use, and then it stays; EIO if something could not be written.
   */
  async unmount(): Promise<void> {
    await this.#channel.unmount();
    await this.closed;
  }

  /**
   * Ends the mount whether it is in use or not: it leaves the tree of names at once; who has files open in it goes on for `timeoutMs`
   * (default 5,000), and then gets ENOTCONN. What was written is made durable.
   * @returns true if nobody was cut off. @throws KernelError EIO if something could not be written.
   */
  async detach(options: { timeoutMs?: number } = {}): Promise<boolean> {
    await this.#channel.detach();
    let wasCut = false;
    const timer = this.#kernel.clock.setTimer(options.timeoutMs ?? DETACH_TIMEOUT_MS, () => {
      wasCut = true;
      this.#channel.abort();
    });
    try {
      await this.closed;
    } finally {
      this.#kernel.clock.clearTimer(timer);
    }
    return !wasCut;
  }

  async #shutDown(deadlineMs: number): Promise<void> {
    try {
      await this.unmount();
    } catch (error) {
      if (!(error instanceof KernelError) || error.code !== 'EBUSY') throw error;
      await this.detach({ timeoutMs: Math.min(Math.max((deadlineMs - this.#kernel.clock.nowMs()) / 2, 0), DETACH_TIMEOUT_MS) });
    }
  }

  async #takeDown(error: KernelError | null): Promise<void> {
    this.#unregister();
    this.#unsubscribe();
    await this.#invalidations.close();
    await this.#dispatcher.drain();
    this.#handles.dispose();
    this.#nodes.dispose();
    const { vfs, task } = this.#kernel;
    let status = 0;
    for (const superblock of this.#superblocks) {
      const synced = superblock.readOnly || superblock.isGone ? 0 : await run(vfs.mounts.sync(task, superblock));
      status ||= synced;
    }
    await this.#release();
    if (error !== null) throw error;
    if (status < 0) throw errorFrom(status, `writing out what was written through ${this.at}`);
  }
}

/** What a mount takes before it is one. */
interface Parts {
  readonly options: FuseMountOptions;
  readonly root: Inode;
  readonly sizes: ReturnType<typeof fuseSizes>;
  readonly requestSlots: Slots;
  readonly replySlots: Slots;
  readonly node: WriteoutNode;
  readonly superblocks: readonly Superblock[];
  readonly release: () => Promise<void>;
}

async function takeParts(kernel: Kernel, options: FuseMountOptions, undo: (() => unknown)[], release: () => Promise<void>): Promise<Parts> {
  const { vfs, memory, task, reserves } = kernel;
  const tree = options.tree ?? '/';
  const root = await run(vfs.resolve(vfs.caller(), tree, true));
  if (typeof root === 'number') throw errorFrom(root, `mount ${tree} on ${options.at}`);
  undo.push(() => root.superblock.put(root));
  if (!root.isDirectory) throw new KernelError('ENOTDIR', `mount ${tree} on ${options.at}: it is no directory`);
  const sizes = fuseSizes(memory.nrFrames);
  const requestSlots = await Slots.take(memory, task, `fuse ${options.at}, request slots`, sizes.requestSlots, sizes.slotFrames);
  undo.push(() => requestSlots.dispose());
  const replySlots = await Slots.take(memory, task, `fuse ${options.at}, reply slots`, sizes.replySlots, sizes.slotFrames);
  undo.push(() => replySlots.dispose());
  const calls: StandingCharge = memory.chargeStanding(`fuse ${options.at}, calls`, callFrames(sizes));
  undo.push(() => calls.free());
  const node: WriteoutNode = { name: `fuse:${options.at}`, kind: 'server', footprint: fuseFootprint(memory.nrFrames) };
  const superblocks = superblocksUnder(kernel, root);
  const edges = superblocks.flatMap((superblock): WriteoutEdge[] => (superblock.node === null ? [] : [[node, superblock.node]]));
  await reserves.admit(task, { candidates: [{ node }], edges });
  undo.push(() => reserves.withdraw(node));
  return { options, root, sizes, requestSlots, replySlots, node, superblocks, release };
}

/** Filesystems that can be seen from a directory on: its own, and, from the root, all. */
function superblocksUnder({ vfs }: Kernel, root: Inode): Superblock[] {
  const found = new Set([root.superblock]);
  if (root === vfs.mounts.root) {
    for (const { fsid } of vfs.mounts.list()) {
      const superblock = vfs.mounts.byFsid(fsid);
      if (superblock !== null) found.add(superblock);
    }
  }
  return [...found];
}
