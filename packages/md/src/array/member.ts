/**
 * One member of an array: its device, what its superblock says, and what it is to the array now.
 *
 *     spare ──recovery begins──→ recovering ──all of it copied──→ in-sync
 *       any of them ──an error, or somebody says so──→ faulty       never read or written again, until it is added anew
 *
 * A recovering member is written, not read. Standing memory: a frame for the superblock, a window of frames for resync, four bios.
 */
import type { BlockDevice, Memory, StandingCharge, StandingMemory, TaskContext, WriteoutNode } from '@tidemark/core';
import { bioPoolFrames } from '@tidemark/core';
import type { SectorRange } from '../format/bad-blocks.js';
import { SECTOR_BYTES } from '../format/fields.js';
import { Role, type Superblock } from '../format/superblock.js';
import { SingleIo } from './single-io.js';

/** What a member of an array is: in use, being brought up to date, spare, or failed. */
export type MemberState = 'in-sync' | 'recovering' | 'spare' | 'faulty';

/** Bios of its own that a member has. */
const NR_BIOS = 4;

/** Standing frames of one member. */
export function memberFrames(windowPages: number): number {
  return 1 + windowPages + bioPoolFrames(NR_BIOS, 2);
}

/** What one of the members is made of. */
export interface MemberParts {
  readonly device: BlockDevice;
  readonly node: WriteoutNode;
  readonly superblock: Superblock;
  readonly badBlocks: readonly SectorRange[];
  /** The array opened the device, and closes it. */
  readonly isOwned: boolean;
}

export class Member {
  readonly device: BlockDevice;
  readonly node: WriteoutNode;
  readonly isOwned: boolean;
  /** As last read; what changes with the array is not looked up here. */
  readonly superblock: Superblock;
  readonly dataOffsetBytes: number;
  state: MemberState;
  /** Its slot, or −1. */
  slot = -1;
  /** Sectors that are recovered; of one that is recovering. */
  recoveryOffset = 0;
  /** Those of them that are durable: what its superblock says. */
  storedOffset = 0;
  isRecoveryByBitmap = false;
  nrCorrectedReads: number;
  /** For read balancing: bytes under way, and where the last read ended. */
  pendingBytes = 0;
  headBytes = 0;
  /** One for each user that may run at the same time. */
  readonly superblockIo: SingleIo;
  readonly bitmapIo: SingleIo;
  readonly syncIo: SingleIo;
  readonly flushIo: SingleIo;
  readonly #badBlocks: readonly SectorRange[];
  readonly #taken: (StandingMemory | StandingCharge)[] = [];

  private constructor(
    parts: MemberParts,
    task: TaskContext,
    /** Its superblock's frame, and its window. */
    readonly page: StandingMemory,
    readonly window: StandingMemory,
    charge: StandingCharge,
  ) {
    const { device, superblock } = parts;
    this.device = device;
    this.node = parts.node;
    this.isOwned = parts.isOwned;
    this.superblock = superblock;
    this.dataOffsetBytes = superblock.dataOffset * SECTOR_BYTES;
    this.nrCorrectedReads = superblock.nrCorrectedReads;
    this.state = 'spare';
    this.#badBlocks = parts.badBlocks;
    this.superblockIo = new SingleIo(device, task);
    this.bitmapIo = new SingleIo(device, task);
    this.syncIo = new SingleIo(device, task);
    this.flushIo = new SingleIo(device, task);
    this.#taken.push(page, window, charge);
  }

  /** @throws KernelError ENOMEM naming the member and the shortfall. */
  static async create(memory: Memory, task: TaskContext, parts: MemberParts, windowPages: number): Promise<Member> {
    const owner = `member ${parts.device.name}`;
    const taken: (StandingMemory | StandingCharge)[] = [];
    try {
      const page = await memory.allocStanding(task, `${owner}, superblock`, 1);
      taken.push(page);
      const window = await memory.allocStanding(task, `${owner}, window of resync`, windowPages);
      taken.push(window);
      const charge = memory.chargeStanding(`${owner}, bios`, bioPoolFrames(NR_BIOS, 2));
      return new Member(parts, task, page, window, charge);
    } catch (error) {
      for (const each of taken) each.free();
      throw error;
    }
  }

  get name(): string {
    return this.device.name;
  }

  get devNumber(): number {
    return this.superblock.devNumber;
  }

  /** True if data go to it. */
  get isWritten(): boolean {
    return this.state === 'in-sync' || this.state === 'recovering';
  }

  /** Its entry in the table of roles. */
  get role(): number {
    return this.isWritten ? this.slot : this.state === 'spare' ? Role.SPARE : Role.FAULTY;
  }

  /** True if the range of the array can be read from it. */
  canRead(offsetBytes: number, lengthBytes: number): boolean {
    if (this.state !== 'in-sync') return false;
    const from = offsetBytes / SECTOR_BYTES;
    const to = (offsetBytes + lengthBytes) / SECTOR_BYTES;
    for (const range of this.#badBlocks) if (range.from < to && from < range.to) return false;
    return true;
  }

  free(): void {
    for (const each of this.#taken.splice(0)) each.free();
  }
}
