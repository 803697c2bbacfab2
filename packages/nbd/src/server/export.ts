/** One export of a server: a block device under a name, and what the server says about it. */
import type { BlockDevice } from '@tidemark/core';
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

  constructor(
    readonly name: string,
    readonly device: BlockDevice,
    readOnly: boolean,
  ) {
    this.readOnly = readOnly || device.readOnly;
    const { can } = device;
    // Connections share the device, so a flush on one covers what was acknowledged on the others: CAN_MULTI_CONN is true.
    this.flags = TransmissionFlag.HAS_FLAGS | TransmissionFlag.CAN_MULTI_CONN;
    if (this.readOnly) this.flags |= TransmissionFlag.READ_ONLY;
    if (can.flush) this.flags |= TransmissionFlag.SEND_FLUSH;
    if (can.flush || can.fua) this.flags |= TransmissionFlag.SEND_FUA;
    if (can.discard && !this.readOnly) this.flags |= TransmissionFlag.SEND_TRIM;
    if (can.writeZeroes && !this.readOnly) this.flags |= TransmissionFlag.SEND_WRITE_ZEROES;
  }
}
