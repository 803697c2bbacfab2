/**
 * Bio: one request to a block device, and the pool it comes from.
 *
 * A bio names a range of the device and a list of segments of arena memory. It is made once, pooled, and reused: submitting one
 * allocates nothing. Life of a bio:
 *
 *     pool.tryGet() / await pool.get(task) → bio.start(op, offsetBytes) → bio.addSegment(…)* → device.submit(bio)
 *       → … bio.end(status), exactly once, by the device, before or after submit() returns …
 *       → bio.onEnd(bio)   the submitter looks at bio.status, and puts the bio back
 *
 * Segments are arena addresses: frame number × 4096 + offset, as one number below 2^53. A segment never crosses the end of the
 * contiguous block it was made from; neighbours that touch are merged, so a device sees long runs.
 */
import { invariant, type NegErrno } from '../base/errno.js';
import { CHUNK_BYTES } from '../mm/arena.js';
import { TaskContext } from '../task/task-context.js';

/** What a bio asks for. Discard and write-zeroes have a length but no segments; flush has neither. */
export const BioOp = { READ: 0, WRITE: 1, FLUSH: 2, DISCARD: 3, WRITE_ZEROES: 4 } as const;
export type BioOp = (typeof BioOp)[keyof typeof BioOp];

/** Names of the operations, for messages. */
export const BIO_OP_NAMES = ['read', 'write', 'flush', 'discard', 'write-zeroes'] as const;

const KERNEL_TASK = TaskContext.root('kernel');

/** One request to a block device. */
export class Bio {
  op: BioOp = BioOp.READ;
  /** First byte on the device. */
  offsetBytes = 0;
  /** Length of the range: the sum of the segments for reads and writes. */
  lengthBytes = 0;
  /** Write only: the data must be stable when the bio ends (force unit access). */
  fua = false;
  /** Write-zeroes only: the range must stay allocated. */
  noUnmap = false;
  task: TaskContext = KERNEL_TASK;
  /** Segments in use of the two arrays below. */
  nrSegments = 0;
  /** Arena address of each segment. */
  readonly addresses: Float64Array;
  /** Bytes of each segment. */
  readonly lengths: Uint32Array;
  /** 0 or `-Errno.X`; meaningful once ended. */
  status: 0 | NegErrno = 0;
  /** Called once by `end`; set by the submitter. It may reuse or put back the bio at once. */
  onEnd: (bio: Bio) => void = ignore;
  /** For the submitter. */
  owner: unknown = null;
  ownerIndex = 0;
  /** For the device that holds the bio. */
  devicePrivate: unknown = null;
  #inFlight = false;

  constructor(readonly maxSegments: number) {
    this.addresses = new Float64Array(maxSegments);
    this.lengths = new Uint32Array(maxSegments);
  }

  /** True from submit until the device ended it. */
  get isInFlight(): boolean {
    return this.#inFlight;
  }

  /** Makes the bio a fresh request. */
  start(op: BioOp, offsetBytes: number, task: TaskContext = KERNEL_TASK): this {
    invariant(!this.#inFlight, 'a bio was reused while in flight');
    this.op = op;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = 0;
    this.fua = false;
    this.noUnmap = false;
    this.task = task;
    this.nrSegments = 0;
    this.status = 0;
    return this;
  }

  /** Adds arena memory at `address`. @returns false if the bio is full. */
  addSegment(address: number, lengthBytes: number): boolean {
    const last = this.nrSegments - 1;
    if (last >= 0 && this.addresses[last] + this.lengths[last] === address && address % CHUNK_BYTES !== 0) {
      this.lengths[last] += lengthBytes;
    } else {
      if (this.nrSegments === this.maxSegments) return false;
      this.addresses[this.nrSegments] = address;
      this.lengths[this.nrSegments++] = lengthBytes;
    }
    this.lengthBytes += lengthBytes;
    return true;
  }

  /** For pools: drops what the last request referred to, so that an idle bio keeps nothing alive. */
  forget(): void {
    this.task = KERNEL_TASK;
    this.onEnd = ignore;
    this.owner = null;
    this.devicePrivate = null;
  }

  /** For the block layer: the device has it now. */
  markSubmitted(): void {
    invariant(!this.#inFlight, 'a bio was submitted twice');
    this.#inFlight = true;
  }

  /** For devices: the request is over. Exactly once for each submit. */
  end(status: 0 | NegErrno): void {
    invariant(this.#inFlight, 'a bio ended that was not in flight');
    this.#inFlight = false;
    this.status = status;
    this.onEnd(this);
  }
}

function ignore(): void {}
