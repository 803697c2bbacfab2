/**
 * What a member could not read is written to it from another that can, read back, and compared, page by page. One range at a time, behind
 * the gate, through the members' windows: nothing is allocated. A member that cannot be written is faulty.
 */
import { PAGE_SIZE, type TaskContext } from '@tidemark/core';
import { WaiterList } from '../waiters.js';
import type { ArrayCore } from './array-core.js';
import type { Member } from './member.js';
import type { Request } from './request.js';
import { equalBytes } from '../format/fields.js';

export class ReadRepair {
  readonly #queue = new WaiterList();
  #isRunning = false;

  constructor(
    private readonly core: ArrayCore,
    private readonly task: TaskContext,
  ) {}

  /** Repairs the request's range on `bad`; resumes the request when it is done, or could not be. */
  repair(request: Request, bad: Member): void {
    request.failedSlots = 1 << bad.slot;
    this.#queue.push(request);
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    for (let next = this.#queue.shift(); next !== null; next = this.#queue.shift()) {
      const request = next as Request;
      const bad = request.targets.find((member) => member !== null && request.failedSlots === 1 << member.slot) ?? null;
      if (
        bad !== null &&
        (await this.#repairRange(bad, request.fromBytes, request.toBytes)) &&
        request.nrRepairs++ < request.targets.length
      )
        request.triedSlots &= ~(1 << bad.slot);
      request.failedSlots = 0;
      request.resume();
    }
    this.#isRunning = false;
  }

  /** @returns whether all of it can be read from `bad` now. */
  async #repairRange(bad: Member, fromBytes: number, toBytes: number): Promise<boolean> {
    let isWhole = true;
    for (let at = fromBytes; at < toBytes && this.core.mayRepair(bad); at += PAGE_SIZE) {
      const length = Math.min(PAGE_SIZE, toBytes - at);
      if ((await this.core.gate.close(this.task, at, at + length)) !== 0) return false;
      try {
        if (!(await this.#repairPiece(bad, at, length))) isWhole = false;
      } finally {
        this.core.gate.open();
      }
    }
    return isWhole && bad.state === 'in-sync';
  }

  async #repairPiece(bad: Member, offsetBytes: number, length: number): Promise<boolean> {
    const at = bad.dataOffsetBytes + offsetBytes;
    if ((await bad.syncIo.read(at, bad.window.address, length)) === 0) return true;
    const { slots } = this.core.state;
    const good = slots.find((member) => member !== bad && member?.canRead(offsetBytes, length)) ?? null;
    if (good === null || (await good.syncIo.read(good.dataOffsetBytes + offsetBytes, good.window.address, length)) !== 0) return false;
    const status = await bad.syncIo.write(at, good.window.address, length, true);
    if (status !== 0) {
      this.core.memberFailed(bad, status);
      return false;
    }
    const isBack =
      (await bad.syncIo.read(at, bad.window.address, length)) === 0 &&
      equalBytes(bad.window.bytes.subarray(0, length), good.window.bytes.subarray(0, length));
    if (isBack) bad.nrCorrectedReads++;
    return isBack;
  }
}
