/**
 * Runs the passes of an array, one at a time: puts spares into empty slots, recovers them, makes members equal after a crash, scrubs when it is
 * asked to. It keeps to a rate, and to a lower one while the array is in use.
 */
import { Errno, errorFrom, KernelError, type NegErrno, type TimerHandle } from '@tidemark/core';
import { SECTOR_BYTES } from '../format/fields.js';
import { WaiterList, waitOn } from '../waiters.js';
import type { ArrayCore } from './array-core.js';
import type { Member } from './member.js';
import { comparePass, copyPass, type PassControl, type SyncAction, type SyncProgress } from './sync-pass.js';

/** Bytes a second that a pass does: at most, and while others use the array. */
export interface SyncLimits {
  readonly maxBytesPerSecond: number;
  readonly busyBytesPerSecond: number;
}

/** Work after which others go first, where a step without I/O is 1: a pass over fast devices would let nobody else have a turn. */
const WORK_PER_TURN = 256;
const WORK_OF_A_COPY = 16;

export class SyncRunner {
  readonly #core: ArrayCore;
  readonly #limits: SyncLimits;
  readonly #ended = new WaiterList();
  #progress: SyncProgress | null = null;
  #isRunning = false;
  #isStopping = false;
  #isStarted = false;
  #timer: TimerHandle | null = null;
  #endPause: (() => void) | null = null;
  #workInTurn = 0;
  /** Members that were put into slots so far. */
  #nrActivated = 0;
  #dueMs = 0;
  /** What the last pass ended with, and found. */
  last: SyncProgress | null = null;
  lastStatus: 0 | NegErrno = 0;

  constructor(core: ArrayCore, limits: SyncLimits) {
    this.#core = core;
    this.#limits = limits;
  }

  /** The pass under way, or null. */
  get progress(): Readonly<SyncProgress> | null {
    return this.#progress;
  }

  /** From now on passes are run when they are needed. */
  start(): void {
    this.#isStarted = true;
    this.kick();
  }

  /** Looks whether a pass is needed. */
  kick(): void {
    if (this.#isRunning || this.#isStopping || !this.#isStarted || this.#core.readOnly || !this.#isNeeded) return;
    this.#isRunning = true;
    void this.#run();
  }

  get #isNeeded(): boolean {
    const { state } = this.#core;
    if (state.isBroken || state.nrInSync === 0) return false;
    const hasSpare = state.emptySlot >= 0 && state.members.some((member) => member.state === 'spare');
    return hasSpare || state.slots.some((member) => member?.state === 'recovering') || (state.resyncFrom !== null && state.nrInSync > 1);
  }

  async #run(): Promise<void> {
    let nrFruitless = 0;
    while (this.#isNeeded && !this.#isStopping && nrFruitless <= this.#core.state.members.length) {
      await this.#activateSpares();
      this.lastStatus = await this.#copy();
      nrFruitless = this.lastStatus === 0 || this.lastStatus === -Errno.EAGAIN ? 0 : nrFruitless + 1;
    }
    this.#end();
  }

  #end(): void {
    this.#isRunning = false;
    this.#ended.resumeAll();
  }

  /** Ends when no pass is under way or needed. */
  async wait(): Promise<void> {
    while (this.#isRunning) await waitOn(this.#ended);
  }

  /** Gives empty slots to spares. No write is under way that a spare in its slot would miss. */
  async #activateSpares(): Promise<void> {
    const { state } = this.#core;
    for (const member of state.members) {
      const slot = state.emptySlot;
      if (slot < 0) return;
      if (member.state === 'spare') await this.activate(member, slot, false);
    }
  }

  /** Puts a member into a slot, to be recovered from now on. */
  async activate(member: Member, slot: number, byBitmap: boolean): Promise<void> {
    const core = this.#core;
    if ((await core.gate.close(core.task, 0, core.state.sizeBytes)) !== 0) return;
    try {
      const { log } = core.bitmap ?? {};
      member.state = 'recovering';
      member.recoveryOffset = 0;
      member.storedOffset = 0;
      member.isRecoveryByBitmap = byBitmap && log !== undefined;
      if (member.isRecoveryByBitmap) log?.needWhatIsSet();
      core.state.place(member, slot);
      this.#nrActivated++;
    } finally {
      core.gate.open();
    }
    await core.rewriteBitmap();
    await core.superblocks.write();
  }

  async #copy(): Promise<0 | NegErrno> {
    const core = this.#core;
    const { state } = core;
    const recovering = state.slots.filter((member): member is Member => member?.state === 'recovering');
    const starts = recovering.map(({ recoveryOffset }) => recoveryOffset);
    if (state.resyncFrom !== null) starts.push(state.resyncFrom);
    if (starts.length === 0) return 0;
    const byBitmap = core.bitmap !== null && recovering.every(({ isRecoveryByBitmap }) => isRecoveryByBitmap);
    const fromBytes = Math.min(...starts) * SECTOR_BYTES;
    const status = await this.#pass(recovering.length > 0 ? 'recovery' : 'resync', (control) =>
      copyPass(core, control, fromBytes, byBitmap),
    );
    if (status !== 0) {
      if (status === -Errno.EIO) for (const member of recovering) core.memberFailed(member, status); // what they need cannot be read
      return status;
    }
    if (!(await core.flushMembers())) return -Errno.EIO;
    for (const member of recovering) {
      if (member.state !== 'recovering') continue;
      member.state = 'in-sync';
      core.tell('in-sync', member.name);
    }
    state.resyncFrom = null;
    await core.superblocks.write();
    core.bitmap?.wake();
    return 0;
  }

  /**
   * Compares the members, and makes them equal if told to.
   * @throws KernelError EBUSY while another pass runs; EROFS; EINTR if the array is stopped meanwhile.
   */
  async scrub(action: 'check' | 'repair'): Promise<SyncProgress> {
    const { state, readOnly } = this.#core;
    if (this.#isRunning || this.#isStopping)
      throw new KernelError('EBUSY', `${state.name} cannot ${action}: ${this.#progress?.action ?? 'another pass'} is under way`);
    if (readOnly) throw new KernelError('EROFS', `${state.name} is read-only: no ${action}`);
    this.#isRunning = true;
    try {
      this.lastStatus = await this.#pass(action, (control) => comparePass(this.#core, control, action === 'repair'));
      if (this.lastStatus !== 0) throw errorFrom(this.lastStatus, `${action} of ${state.name} did not get to the end`);
      return this.last as SyncProgress;
    } finally {
      this.#end();
      this.kick();
    }
  }

  async #pass(action: SyncAction, work: (control: PassControl) => Promise<0 | NegErrno>): Promise<0 | NegErrno> {
    const core = this.#core;
    const progress: SyncProgress = { action, positionBytes: 0, sizeBytes: core.state.sizeBytes, doneBytes: 0, nrMismatchSectors: 0 };
    this.#progress = progress;
    this.#dueMs = core.clock.nowMs();
    core.tell('sync-begins', action);
    const nrActivated = this.#nrActivated;
    const check = (): 0 | NegErrno => (this.#isStopping ? -Errno.EINTR : this.#nrActivated === nrActivated ? 0 : -Errno.EAGAIN);
    const pace = async (bytes: number): Promise<0 | NegErrno> => {
      await this.#pace(bytes);
      return check();
    };
    const status = await work({ progress, pace, check });
    this.#progress = null;
    this.last = progress;
    core.tell('sync-ends', action, progress.doneBytes / SECTOR_BYTES);
    return status;
  }

  /** Waits until the pass may do more. */
  async #pace(bytes: number): Promise<void> {
    const { clock, nrWrites } = this.#core;
    const rate = nrWrites > 0 ? this.#limits.busyBytesPerSecond : this.#limits.maxBytesPerSecond;
    this.#dueMs = Math.max(this.#dueMs, clock.nowMs() - 1000) + (bytes / rate) * 1000; // at most a second is caught up with
    const delayMs = this.#dueMs - clock.nowMs();
    this.#workInTurn += bytes === 0 ? 1 : WORK_OF_A_COPY;
    if (this.#isStopping || (delayMs < 1 && this.#workInTurn < WORK_PER_TURN)) return;
    this.#workInTurn = 0;
    await this.#pause(Math.max(delayMs, 0));
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#endPause = resolve;
      this.#timer = this.#core.clock.setTimer(delayMs, () => {
        this.#timer = null;
        resolve();
      });
    });
  }

  /** Ends the pass under way, and runs no more. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    if (this.#timer !== null) {
      this.#core.clock.clearTimer(this.#timer);
      this.#endPause?.();
    }
    await this.wait();
  }
}
