/**
 * One export of a server: a block device under a name, and what the server says about it.
 *
 * It can be pinned by a client of this kernel that is a way to write pages out (M14): the pin is one on what is behind the export, made by the
 * hooks of whatever package that belongs to, and so goes on from there if that is a client itself. The server holds its devices from first
 * to last, and does not close while one is pinned; what a device needs for a request, the bios of a connection, is there already, so
 * requests go the same way pinned or not.
 */
import { type BlockDevice, type Kernel, KernelError, type PinnedFile, type PinSpec, type TaskContext } from '@tidemark/core';
import { TransmissionFlag } from '../protocol/constants.js';

export class Export {
  readonly readOnly: boolean;
  /** Transmission flags, as sent. */
  readonly flags: number;
  /**
   * A flush has failed once. The device below may have dropped what it could not write, so every later flush of any connection fails
   * too: an error is never followed by a success that would hide it.
   */
  hasFailedFlush = false;
  /** The pins that hold, and for whom. */
  readonly #pins = new Map<PinnedFile, string>();

  constructor(
    readonly name: string,
    readonly device: BlockDevice,
    readOnly: boolean,
  ) {
    this.readOnly = readOnly || device.readOnly;
    const { can } = device;
    // Connections share the device, so a flush on one covers what was acknowledged on the others: CAN_MULTI_CONN is true.
    this.flags = TransmissionFlag.HAS_FLAGS | TransmissionFlag.CAN_MULTI_CONN | TransmissionFlag.SEND_CACHE;
    if (this.readOnly) this.flags |= TransmissionFlag.READ_ONLY;
    if (can.flush) this.flags |= TransmissionFlag.SEND_FLUSH;
    if (can.flush || can.fua) this.flags |= TransmissionFlag.SEND_FUA;
    if (can.discard && !this.readOnly) this.flags |= TransmissionFlag.SEND_TRIM;
    if (can.writeZeroes && !this.readOnly) this.flags |= TransmissionFlag.SEND_WRITE_ZEROES;
  }

  /** Frames that its pins take. */
  get pinFrames(): number {
    let frames = 0;
    for (const pinned of this.#pins.keys()) frames += pinned.standingFrames;
    return frames;
  }

  /** Who has it pinned. */
  get pinnedBy(): string[] {
    return [...this.#pins.values()];
  }

  /**
   * Pins what is behind it for `user`.
   * @returns what undoes it; again is nothing.
   * @throws KernelError as `SwapHooks.swapActivate`; EROFS if it is exported read-only.
   */
  async pin(kernel: Kernel, task: TaskContext, user: string, spec: PinSpec): Promise<() => Promise<void>> {
    if (this.readOnly) throw new KernelError('EROFS', `export ${JSON.stringify(this.name)} is read-only and cannot be pinned for ${user}`);
    const { device } = this;
    const hooks = kernel.swapHooksOf(device, device.name);
    const pinned = await hooks.swapActivate(task, device, { user, nrUnits: spec.nrUnits, isHeld: true });
    this.#pins.set(pinned, user);
    return async () => {
      if (this.#pins.delete(pinned)) await pinned.release();
    };
  }

  /** Undoes every pin: the server goes, whatever its clients want. */
  async unpin(): Promise<void> {
    for (const pinned of [...this.#pins.keys()]) if (this.#pins.delete(pinned)) await pinned.release();
  }
}
