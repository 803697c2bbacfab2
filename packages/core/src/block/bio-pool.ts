/**
 * BioPool: n bios, made and paid for when something is admitted, so that its I/O never waits for memory (M19).
 *
 * A bio lives on the JS heap; n of them are charged as the frames they would fill: 160 bytes and 12 for each segment.
 */
import { invariant, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { StandingCharge } from '../mm/memory.js';
import { Mempool } from '../mm/mempool.js';
import type { ReserveTree } from '../mm/reserve.js';
import { TaskContext } from '../task/task-context.js';
import type { WaitParty } from '../task/wait-queue.js';
import { Bio } from './bio.js';

const BIO_BYTES = 160;
const SEGMENT_BYTES = 12;

/** What a pool needs of `Memory`. */
export interface ChargingMemory {
  /** @throws KernelError ENOMEM naming the owner and the shortfall. */
  chargeStanding(owner: string, nrFrames: number): StandingCharge;
  /** Where a second bio under one ticket is reported (M19). */
  readonly reserve?: Pick<ReserveTree, 'violations'>;
}

/** Frames that `nrBios` bios of `maxSegments` segments are charged. */
export function bioPoolFrames(nrBios: number, maxSegments: number): number {
  return Math.ceil((nrBios * (BIO_BYTES + SEGMENT_BYTES * maxSegments)) / PAGE_SIZE);
}

/** A pool of bios with `maxSegments` segments each. */
export class BioPool {
  readonly #pool: Mempool<Bio>;
  readonly #charge: StandingCharge;
  readonly #task: TaskContext;

  /**
   * @param device where its bios go, for stall reports.
   * @throws KernelError ENOMEM naming `owner` if the bios do not fit, EINVAL for a pool of none.
   */
  constructor(memory: ChargingMemory, owner: string, nrBios: number, maxSegments: number, device: WaitParty | null = null) {
    this.#task = TaskContext.root(owner);
    this.#charge = memory.chargeStanding(owner, bioPoolFrames(nrBios, maxSegments));
    try {
      this.#pool = new Mempool({
        name: owner,
        nrElements: nrBios,
        create: () => new Bio(maxSegments),
        violations: memory.reserve?.violations,
        heldBy: () => (device === null ? [] : [device]),
      });
    } catch (cause) {
      this.#charge.free();
      throw cause;
    }
  }

  /** Bios taken and not put back. */
  get nrOut(): number {
    return this.#pool.nrOut;
  }

  /** A bio, or null if all are out. */
  tryGet(): Bio | null {
    return this.#pool.tryGet(this.#task);
  }

  /** A bio, waiting for one if all are out. @returns it, or the errno of the task's signal. */
  get(task: TaskContext): MaybePromise<Bio | NegErrno> {
    return this.#pool.get(task);
  }

  /** Gives a bio back that is not in flight; once. */
  put(bio: Bio): void {
    invariant(!bio.isInFlight, 'a bio was put back while in flight');
    bio.forget();
    this.#pool.put(bio);
  }

  /** Gives the memory back. Safe to call twice. @throws KernelError EBUSY while bios are out. */
  dispose(): void {
    this.#pool.dispose();
    this.#charge.free();
  }
}
