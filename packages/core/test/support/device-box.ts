/** A kernel in virtual time, memory for a test's bios, and devices to send them to. */
import { type Bio, type BlockDevice, Kernel, PAGE_SIZE } from '@tidemark/core';
import { expect } from 'vitest';
import { checkNothingHeld } from './check-kernel.js';
import { MemoryDevice, type MemoryDeviceOptions } from './memory-device.js';
import { seeded, VirtualTime, virtualHost } from './virtual-time.js';

export interface Box {
  readonly time: VirtualTime;
  readonly kernel: Kernel;
  /** Arena address of 64 pages for the test's own use. */
  readonly address: number;
  memory(offsetBytes: number, lengthBytes: number): Uint8Array;
  /** Ends the test: nothing may be left. */
  end(): Promise<void>;
}

export async function box(memory: string | number = '8MiB', seed = 1): Promise<Box> {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory, plugins: [virtualHost(time, seed)] });
  const standing = await kernel.memory.allocStanding(kernel.task, 'test', 64);
  return {
    time,
    kernel,
    address: standing.address,
    memory: (offset, length) => standing.bytes.subarray(offset, offset + length),
    end: async () => {
      standing.free();
      const report = await time.run(kernel.shutdown());
      expect(report).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
      checkNothingHeld(kernel);
    },
  };
}

export function lateDevice({ kernel, time }: Box, seed: number, options: Partial<MemoryDeviceOptions> = {}): MemoryDevice {
  const random = seeded(seed);
  return new MemoryDevice({ arena: kernel.memory.arena, sizeBytes: 64 * PAGE_SIZE, time, delayMs: () => random() * 5, ...options });
}

/** Submits a bio; the status it ends with. @throws Error if it ends twice. */
export function submit(device: BlockDevice, bio: Bio): Promise<number> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    bio.onEnd = ({ status }) => {
      if (isOver) reject(new Error('ended twice'));
      isOver = true;
      resolve(status);
    };
    device.submit(bio);
  });
}

/** Pieces of memory of a bio: `total` bytes at `address`, cut at random into pieces that do not touch. */
export function pieces(address: number, totalBytes: number, cuts: readonly number[]): [number, number][] {
  const out: [number, number][] = [];
  let at = address;
  for (let left = totalBytes, i = 0; left > 0; i++) {
    const length = Math.min(left, cuts.length === 0 ? totalBytes : cuts[i % cuts.length]);
    out.push([at, length]);
    at += length + 4; // a gap
    left -= length;
  }
  return out;
}
