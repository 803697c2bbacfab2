/** What a swap area lies on, before it is pinned: a block device, or an open file of a filesystem. */
import {
  Bio,
  BioOp,
  BlockDevice,
  errorFrom,
  type Kernel,
  KernelError,
  nameOfFile,
  type OpenFile,
  PAGE_SIZE,
  run,
  type StandingMemory,
  type WaitParty,
  type WriteoutNode,
} from '@tidemark/core';

/** A device or a file. */
export interface SwapBacking {
  readonly name: string;
  /** What its hooks claim. */
  readonly object: BlockDevice | OpenFile;
  readonly sizePages: number;
  readonly readOnly: boolean;
  /** Who has it to itself, or null. */
  readonly holder: string | null;
  /** Longest run of pages that goes in one piece. */
  readonly transferPages: number;
  /** Whom those wait for who wait for its I/O. */
  worksFor(): Iterable<WaitParty>;
  /** @throws KernelError ENODEV, ESHUTDOWN, EBADF if it cannot be used (any more). */
  require(doing: string): void;
  /** @throws KernelError ENOMEM, EDEADLK, EOPNOTSUPP. */
  node(): Promise<WriteoutNode>;
  /** Has it to oneself while `work` runs. */
  holding<T>(holder: string, work: () => Promise<T>): Promise<T>;
  /** Reads its first page. @throws KernelError. */
  readHeader(page: StandingMemory): Promise<void>;
  /** Writes its first page durably. @throws KernelError. */
  writeHeader(page: StandingMemory): Promise<void>;
}

export function swapBackingOf(kernel: Kernel, object: BlockDevice | OpenFile): SwapBacking {
  return object instanceof BlockDevice ? new DeviceBacking(kernel, object) : new FileBacking(kernel, object);
}

class DeviceBacking implements SwapBacking {
  readonly name: string;
  readonly sizePages: number;
  readonly readOnly: boolean;
  readonly transferPages: number;

  constructor(
    private readonly kernel: Kernel,
    readonly object: BlockDevice,
  ) {
    this.name = object.name;
    this.sizePages = Math.floor(object.sizeBytes / PAGE_SIZE);
    this.readOnly = object.readOnly;
    this.transferPages = Math.max(1, Math.floor(object.maxTransferBytes / PAGE_SIZE));
  }

  get holder(): string | null {
    return this.object.holder;
  }

  worksFor(): Iterable<WaitParty> {
    return [this.object];
  }

  require(doing: string): void {
    this.kernel.requireOwn(this.object, doing);
  }

  node(): Promise<WriteoutNode> {
    return this.kernel.writeoutNodeOf(this.object);
  }

  async holding<T>(holder: string, work: () => Promise<T>): Promise<T> {
    this.object.hold(holder);
    try {
      return await work();
    } finally {
      this.object.unhold();
    }
  }

  readHeader(page: StandingMemory): Promise<void> {
    return this.#transfer(page, BioOp.READ);
  }

  async writeHeader(page: StandingMemory): Promise<void> {
    const { object, kernel } = this;
    await this.#transfer(page, BioOp.WRITE);
    const status = object.can.flush ? await object.submitAndWait(kernel.task, new Bio(0).start(BioOp.FLUSH, 0, kernel.task)) : 0;
    if (status !== 0) throw errorFrom(status, `flush the swap header of ${this.name}`);
  }

  async #transfer(page: StandingMemory, op: BioOp): Promise<void> {
    const { task } = this.kernel;
    const bio = new Bio(1).start(op, 0, task);
    bio.addSegment(page.address, PAGE_SIZE);
    const status = await this.object.submitAndWait(task, bio);
    if (status !== 0) throw errorFrom(status, `${op === BioOp.READ ? 'read' : 'write'} the swap header of ${this.name}`);
  }
}

/** Its header is read and written through the page cache: whoever pins it has that written out, and dropped. */
class FileBacking implements SwapBacking {
  readonly name: string;
  readonly transferPages = Number.MAX_SAFE_INTEGER;

  constructor(
    private readonly kernel: Kernel,
    readonly object: OpenFile,
  ) {
    this.name = nameOfFile(object.inode);
  }

  get sizePages(): number {
    return Math.floor(this.object.inode.sizeBytes / PAGE_SIZE);
  }

  get readOnly(): boolean {
    return this.object.inode.superblock.readOnly;
  }

  get holder(): string | null {
    return this.object.inode.pinnedBy;
  }

  worksFor(): Iterable<WaitParty> {
    const { pinNode } = this.object.inode.superblock;
    return pinNode === null ? [] : [pinNode];
  }

  require(doing: string): void {
    this.kernel.requireRunning(`${doing} ${this.name}`);
    const { isOpen, mayRead, mayWrite, inode } = this.object;
    if (!isOpen || !mayRead || !mayWrite)
      throw new KernelError('EBADF', `cannot ${doing} ${this.name}: it is not open for reading and writing`);
    if (!inode.isRegular) throw new KernelError('EINVAL', `cannot ${doing} ${this.name}: it is no regular file`);
  }

  node(): Promise<WriteoutNode> {
    return this.kernel.writeoutNodeOf(this.object);
  }

  holding<T>(_holder: string, work: () => Promise<T>): Promise<T> {
    return work();
  }

  async readHeader(page: StandingMemory): Promise<void> {
    const { vfs } = this.kernel;
    const got = await vfs.data.read(vfs.caller(), this.object, page.bytes.subarray(0, PAGE_SIZE), 0);
    if (got < 0) throw errorFrom(got, `read the swap header of ${this.name}`);
  }

  async writeHeader(page: StandingMemory): Promise<void> {
    const { vfs, task } = this.kernel;
    let status = await run(vfs.data.write(vfs.caller(), this.object, page.bytes.subarray(0, PAGE_SIZE), 0));
    if (status >= 0) status = await run(vfs.data.sync(task, this.object, false));
    if (status < 0) throw errorFrom(status, `write the swap header of ${this.name}`);
  }
}
