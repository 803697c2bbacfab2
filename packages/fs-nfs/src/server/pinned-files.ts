/**
 * Files that clients of this kernel have pinned (M14): the pin crosses the local edge, by the kernel's table of local connections, never on the
 * wire. The file behind the export is pinned for its client; calls of that client about it then go past the page cache and the journal, between
 * the connection's own memory and the device, and need nothing that is not there already:
 *
 *     WRITE     receive slot → device        READ     device → reply ring        COMMIT     flush, down to the lowest device
 *
 * Whole pages only: anything else goes the ordinary way, on which a pinned file cannot be changed (ETXTBSY). Nobody else may change it at all.
 */
import {
  errorFrom,
  type Inode,
  type Kernel,
  KernelError,
  type LocalClient,
  type MaybePromise,
  type NegErrno,
  OpenFile,
  OpenFlag,
  PAGE_SIZE,
  type PinnedFile,
  type PinSpec,
  run,
  type TaskContext,
} from '@tidemark/core';
import type { NfsService } from './call.js';

type Transfer = NonNullable<PinnedFile['transfer']>;

/** A file that is pinned for one client. */
export class ServedPin {
  readonly #transfer: Transfer;

  /** @param transfer of `pinned`. */
  constructor(
    private readonly kernel: Kernel,
    readonly pinned: PinnedFile,
    readonly user: string,
    transfer: Transfer,
  ) {
    this.#transfer = transfer.bind(pinned);
  }

  /** True if these bytes of the file are whole pages of it. */
  holds(offsetBytes: number, countBytes: number): boolean {
    const isWhole = offsetBytes % PAGE_SIZE === 0 && countBytes % PAGE_SIZE === 0 && countBytes > 0;
    return isWhole && offsetBytes + countBytes <= this.pinned.sizePages * PAGE_SIZE;
  }

  /** Writes arena memory, or reads into it. It stays as it is until this ends. */
  move(task: TaskContext, isWrite: boolean, offsetBytes: number, bytes: Uint8Array): MaybePromise<NegErrno> {
    const address = this.kernel.memory.arena.addressOf(bytes);
    return this.#transfer(task, isWrite, offsetBytes, Float64Array.of(address), Uint32Array.of(bytes.length), 1);
  }

  /** @returns 0, `WRITE_AGAIN`, or an errno: see `PinnedFile.flush`. */
  flush(task: TaskContext): MaybePromise<NegErrno> {
    return this.pinned.flush(task);
  }
}

export class PinnedFiles {
  readonly #pins = new Map<LocalClient, Map<Inode, ServedPin>>();

  constructor(
    private readonly kernel: Kernel,
    private readonly service: NfsService,
  ) {}

  /** What a client has pinned of an inode, or null. */
  of(client: LocalClient, inode: Inode): ServedPin | null {
    return this.#pins.get(client)?.get(inode) ?? null;
  }

  /** Frames that the pins take. */
  get nrFrames(): number {
    let frames = 0;
    for (const pins of this.#pins.values()) for (const { pinned } of pins.values()) frames += pinned.standingFrames;
    return frames;
  }

  /** The files that are pinned, and for whom. */
  get users(): string[] {
    return [...this.#pins.values()].flatMap((pins) => [...pins.values()].map(({ pinned, user }) => `${pinned.name} for ${user}`));
  }

  /**
   * Pins the file of a handle for a client.
   * @returns what undoes it; again is nothing.
   * @throws KernelError ESTALE for a handle of no file, EROFS for one that is exported read-only, EOPNOTSUPP for one that can be written by whole frames
   * only, and those of `SwapHooks.swapActivate`.
   */
  async pin(task: TaskContext, client: LocalClient, spec: PinSpec): Promise<() => Promise<void>> {
    const user = `${spec.user} by way of ${client.name}`;
    const file = await this.#open(task, user, spec.handle);
    try {
      const { inode } = file;
      const pinned = await this.kernel.swapHooksOf(file, user).swapActivate(task, file, { user, nrUnits: spec.nrUnits });
      const { transfer } = pinned;
      if (transfer === undefined) {
        await pinned.release();
        throw new KernelError('EOPNOTSUPP', `${pinned.name} cannot be pinned for ${user}: it is written by whole frames only`);
      }
      const pins = this.#pins.get(client) ?? new Map<Inode, ServedPin>();
      this.#pins.set(client, pins);
      const pin = new ServedPin(this.kernel, pinned, user, transfer);
      pins.set(inode, pin);
      return () => this.#undo(client, inode, pin);
    } finally {
      file.release(); // its pin keeps it
    }
  }

  async #open(task: TaskContext, user: string, handle: Uint8Array | undefined): Promise<OpenFile> {
    const { exports, handles, vfs } = this.service;
    const stale = new KernelError('ESTALE', `the file to be pinned for ${user} is not there any more`);
    const fields = handle === undefined ? null : handles.decode(handle);
    const target = fields === null ? null : exports.byId(fields.exportId);
    if (fields === null || target === null || target.fsid !== fields.fsid) throw stale;
    if (target.readOnly) throw new KernelError('EROFS', `a file that is exported read-only cannot be pinned for ${user}`);
    const { ino, generation } = fields;
    const inode = await run(vfs.byHandle(task, { fsid: target.superblock.fsid, ino, generation }));
    if (typeof inode === 'number') throw errorFrom(inode, `pin a file for ${user}`);
    return new OpenFile(inode, OpenFlag.READ_WRITE, vfs.openFiles); // the reference is the open file's from here on
  }

  async #undo(client: LocalClient, inode: Inode, pin: ServedPin): Promise<void> {
    const pins = this.#pins.get(client);
    if (pins?.get(inode) !== pin) return;
    await pin.pinned.release();
    pins.delete(inode);
    if (pins.size === 0) this.#pins.delete(client);
  }

  /** Undoes every pin: the server goes, whatever its clients want. */
  async undoAll(): Promise<void> {
    for (const [client, pins] of [...this.#pins]) for (const [inode, pin] of [...pins]) await this.#undo(client, inode, pin);
  }
}
