/**
 * One bio on its way through a filter: how much of it has been passed on, and the bio that passes the next piece on. Made once, used again.
 *
 * A bio that is longer, or in more pieces of memory, than one bio below takes is passed on piece after piece; a piece is whole blocks.
 */
import type { NegErrno } from '../../base/errno.js';
import { Bio, BioOp } from '../bio.js';
import type { BlockDevice } from '../block-device.js';

/** Segments of a bio that a filter passes on. */
export const FILTER_SEGMENTS = 64;
const NO_BIO = new Bio(1);

export class FilterRequest {
  /** For lists of requests: the filter's free ones, and those it holds back. */
  next: FilterRequest | null = null;
  parent: Bio = NO_BIO;
  /** What goes to the device below. */
  readonly child = new Bio(FILTER_SEGMENTS);
  /** Bytes of the parent that are done. */
  doneBytes = 0;
  /** Bytes under way below, or stepped over; 1 for a flush. */
  pieceBytes = 0;
  /** A time of the filter's own. */
  timeMs = 0;
  /** A count of the filter's own. */
  nrBlocks = 0;
  /** What it ends with if all goes well below. */
  verdict: 0 | NegErrno = 0;
  /** The filter's loop has it now; whoever else wants to go on with it leaves that to the loop. */
  isRunning = false;
  goesOn = false;
  isOver = false;
  status: 0 | NegErrno = 0;
  #segment = 0;
  #inSegment = 0;

  begin(parent: Bio): void {
    this.parent = parent;
    this.doneBytes = 0;
    this.pieceBytes = 0;
    this.verdict = 0;
    this.#segment = 0;
    this.#inSegment = 0;
  }

  forget(): void {
    this.parent = NO_BIO;
    this.child.forget();
  }

  /** Where the next piece begins, in bytes of the device. */
  get offsetBytes(): number {
    return this.parent.offsetBytes + this.doneBytes;
  }

  get leftBytes(): number {
    return this.parent.lengthBytes - this.doneBytes;
  }

  get isDone(): boolean {
    return this.parent.op === BioOp.FLUSH ? this.pieceBytes > 0 : this.leftBytes === 0;
  }

  /** The piece is done. */
  pieceDone(): void {
    if (this.parent.op !== BioOp.FLUSH) this.doneBytes += this.pieceBytes;
  }

  /**
   * Makes the child the next piece, of at most `pieceBytes`, a multiple of the block.
   * @returns false if no whole block fits into a bio: it is in more segments than one takes.
   */
  fill(target: BlockDevice, blockBytes: number): boolean {
    const { parent, child } = this;
    this.#startChild();
    if (parent.op === BioOp.FLUSH) this.pieceBytes = 1;
    else if (parent.op > BioOp.WRITE) child.lengthBytes = this.pieceBytes;
    else return this.#fillSegments(Math.min(this.pieceBytes, target.maxTransferBytes), blockBytes);
    return true;
  }

  #startChild(): void {
    const { parent, child } = this;
    child.start(parent.op, this.offsetBytes, parent.task);
    child.fua = parent.fua;
    child.noUnmap = parent.noUnmap;
  }

  #fillSegments(maxBytes: number, blockBytes: number): boolean {
    const { parent, child } = this;
    let segment = this.#segment;
    let inSegment = this.#inSegment;
    for (let left = maxBytes; left > 0; ) {
      const take = Math.min(parent.lengths[segment] - inSegment, left);
      if (!child.addSegment(parent.addresses[segment] + inSegment, take)) {
        const whole = child.lengthBytes - (child.lengthBytes % blockBytes);
        if (whole === child.lengthBytes) break;
        this.#startChild();
        return whole > 0 && this.#fillSegments(whole, blockBytes);
      }
      left -= take;
      inSegment += take;
      if (inSegment < parent.lengths[segment]) continue;
      segment++;
      inSegment = 0;
    }
    this.#segment = segment;
    this.#inSegment = inSegment;
    this.pieceBytes = child.lengthBytes;
    return true;
  }
}
