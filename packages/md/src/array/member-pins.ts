/**
 * A pin of the array pins its members (M14): whatever is behind them, a server of this kernel for one, has to hold still too, and to have
 * its memory set aside. Members that come while there are pins are pinned as well.
 */
import type { Kernel, PinnedFile, PinSpec, TaskContext } from '@tidemark/core';
import type { Member } from './member.js';

interface Pin {
  readonly task: TaskContext;
  readonly spec: PinSpec;
  readonly files: Map<Member, PinnedFile>;
}

export class MemberPins {
  readonly #pins = new Set<Pin>();

  constructor(
    private readonly kernel: Kernel,
    private readonly members: () => readonly Member[],
  ) {}

  /** Pins every member. @returns what undoes it. @throws what pinning a member throws; then none is pinned. */
  async pin(task: TaskContext, spec: PinSpec): Promise<() => Promise<void>> {
    const pin: Pin = { task, spec, files: new Map() };
    const undo = async (): Promise<void> => {
      this.#pins.delete(pin);
      for (const file of pin.files.values()) await file.release();
      pin.files.clear();
    };
    try {
      for (const member of this.members()) await this.#pinMember(pin, member);
      this.#pins.add(pin);
      return undo;
    } catch (error) {
      await undo();
      throw error;
    }
  }

  async #pinMember(pin: Pin, member: Member): Promise<void> {
    const { device } = member;
    const hooks = this.kernel.swapHooksOf(device, device.name);
    pin.files.set(member, await hooks.swapActivate(pin.task, device, { ...pin.spec, isHeld: true }));
  }

  /** A member comes. @throws what pinning it throws. */
  async added(member: Member): Promise<void> {
    try {
      for (const pin of this.#pins) await this.#pinMember(pin, member);
    } catch (error) {
      await this.removed(member);
      throw error;
    }
  }

  /** A member goes. */
  async removed(member: Member): Promise<void> {
    for (const { files } of this.#pins) {
      const file = files.get(member);
      files.delete(member);
      await file?.release();
    }
  }
}
