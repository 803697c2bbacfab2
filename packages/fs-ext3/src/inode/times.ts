/** Times of inodes: core has milliseconds with a fraction, the disk seconds and, where the inode has room, nanoseconds. */
import type { Timestamp } from '../format/inode.js';

const SECONDS_MIN = -(2 ** 31);
const SECONDS_MAX = 2 ** 31 - 1;
/** With two bits more for the seconds. */
const WIDE_SECONDS_MAX = SECONDS_MAX + 3 * 2 ** 32;

export function toMs({ seconds, nanoseconds }: Timestamp): number {
  return seconds * 1000 + nanoseconds / 1e6;
}

/** @param hasExtra the inode has room for the nanoseconds, and for seconds until 2446. A time it cannot hold is the nearest one it can. */
export function fromMs(ms: number, hasExtra: boolean): Timestamp {
  const whole = Math.floor(ms / 1000);
  const seconds = Math.min(Math.max(whole, SECONDS_MIN), hasExtra ? WIDE_SECONDS_MAX : SECONDS_MAX);
  if (!hasExtra || seconds !== whole) return { seconds, nanoseconds: 0 };
  return { seconds, nanoseconds: Math.min(Math.round((ms - whole * 1000) * 1e6), 999_999_999) };
}
