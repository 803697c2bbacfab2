/** What several tests need: frames without a page allocator, a clock that is moved by hand, settled microtasks. */
import { Bio, type Clock, type FrameSource, type TimerHandle } from '@tidemark/core';

/** Hands out frames 0 … nrFrames − 1, and nothing when `isOpen` is false. */
export class TestFrames implements FrameSource {
  readonly out = new Set<number>();
  readonly #free: number[];
  isOpen = true;

  constructor(nrFrames: number) {
    this.#free = Array.from({ length: nrFrames }, (_, i) => nrFrames - 1 - i);
  }

  allocFrame(): number {
    const pfn = this.isOpen ? (this.#free.pop() ?? -12) : -12;
    if (pfn >= 0) this.out.add(pfn);
    return pfn;
  }

  freeFrame(pfn: number): void {
    if (!this.out.delete(pfn)) throw new Error(`frame ${pfn} freed twice`);
    this.#free.push(pfn);
  }
}

/** Time that moves when told to. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ due: number; fire: () => void }>();

  get nrPendingTimers(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#now;
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = { due: this.#now + delayMs, fire };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: TimerHandle): void {
    this.#timers.delete(timer as { due: number; fire: () => void });
  }

  advance(byMs: number): void {
    this.#now += byMs;
    for (const timer of [...this.#timers].sort((a, b) => a.due - b.due)) {
      if (timer.due <= this.#now && this.#timers.delete(timer)) timer.fire();
    }
  }
}

/** Lets every promise that is settled run its reactions. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** A bio ready to be submitted: `segments` are [address, length]. */
export function makeBio(op: Bio['op'], offsetBytes: number, segments: readonly (readonly [number, number])[] = [], lengthBytes = 0): Bio {
  const bio = new Bio(Math.max(segments.length, 1)).start(op, offsetBytes);
  for (const [address, length] of segments) bio.addSegment(address, length);
  if (segments.length === 0) bio.lengthBytes = lengthBytes;
  return bio;
}
