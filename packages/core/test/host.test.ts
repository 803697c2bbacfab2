import { sleep } from '@tidemark/core';
import { HostClock, HostRandom, HostScheduler } from '@tidemark/core/host';
import { afterEach, describe, expect, it, vi } from 'vitest';

afterEach(() => {
  vi.useRealTimers();
});

describe('HostClock', () => {
  it('fires once, when it is time, and counts what is pending', async () => {
    vi.useFakeTimers();
    const clock = new HostClock();
    let nrFired = 0;
    clock.setTimer(100, () => nrFired++);
    const cleared = clock.setTimer(50, () => nrFired++);
    expect(clock.nrPendingTimers).toBe(2);
    clock.clearTimer(cleared);
    clock.clearTimer(cleared);
    expect(clock.nrPendingTimers).toBe(1);
    vi.advanceTimersByTime(99);
    expect(nrFired).toBe(0);
    vi.advanceTimersByTime(1);
    expect([nrFired, clock.nrPendingTimers]).toEqual([1, 0]);
    vi.advanceTimersByTime(1000);
    expect(nrFired).toBe(1);
  });

  it('takes delays longer than Node does, and can clear them on the way', () => {
    vi.useFakeTimers();
    const clock = new HostClock();
    const day = 24 * 3600 * 1000;
    let nrFired = 0;
    clock.setTimer(40 * day, () => nrFired++);
    const cleared = clock.setTimer(40 * day, () => nrFired++);
    vi.advanceTimersByTime(30 * day);
    expect([nrFired, clock.nrPendingTimers]).toEqual([0, 2]);
    clock.clearTimer(cleared);
    vi.advanceTimersByTime(10 * day);
    expect([nrFired, clock.nrPendingTimers]).toEqual([1, 0]);
  });

  it('never goes back, and sleeps at least as long as asked', async () => {
    const clock = new HostClock();
    const before = clock.nowMs();
    await sleep(clock, 20);
    expect(clock.nowMs() - before).toBeGreaterThanOrEqual(19);
  });
});

describe('HostScheduler', () => {
  it('defers behind what is ready now, in order', async () => {
    const order: string[] = [];
    const scheduler = new HostScheduler();
    await new Promise<void>((resolve) => {
      scheduler.defer(() => order.push('first'));
      scheduler.defer(() => {
        order.push('second');
        resolve();
      });
      queueMicrotask(() => order.push('microtask'));
      order.push('now');
    });
    expect(order).toEqual(['now', 'microtask', 'first', 'second']);
  });
});

describe('HostRandom', () => {
  it('fills, also beyond the 64 KiB that web crypto takes', () => {
    const target = new Uint8Array(2 ** 17);
    new HostRandom().fill(target);
    for (const part of [target.subarray(0, 4096), target.subarray(-4096)]) expect(new Set(part).size).toBeGreaterThan(200);
  });
});
