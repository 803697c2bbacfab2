/**
 * Delay: a slow device over a fast one.
 *
 *     wire      one request at a time, length / bandwidth
 *     then      latency, and up to `jitterMs` more; requests overlap
 *     then      the request is passed on
 *
 * So a write has not happened before its time. Flush, discard and write-zeroes take no wire. At most as many requests as the filter has units
 * wait at a time, as in a disk's queue; the next one begins when one has ended. One timer runs, for the one that is due first.
 */
import { Errno } from '../../base/errno.js';
import { parseSize, type Size } from '../../base/size.js';
import type { TimerHandle } from '../../task/clock.js';
import { BioOp } from '../bio.js';
import { Filter, type FilterParts } from './filter.js';
import type { FilterKind } from './filter-kind.js';
import type { FilterRequest } from './filter-request.js';
import { Fractions } from './fractions.js';
import { type Settings, settingNumber } from './settings.js';

/** What is due within this is due: clocks round. */
const CLOSE_ENOUGH_MS = 0.001;
const DELAY_MAX_MS = 2 ** 31 - 1;

export interface DelayOptions {
  /** Default 0. */
  readonly latencyMs?: number;
  /** Of reads, of everything else. Default: `latencyMs`. */
  readonly readLatencyMs?: number;
  readonly writeLatencyMs?: number;
  /** Default 0. From the kernel's source of randomness. */
  readonly jitterMs?: number;
  /** Of the wire that reads and writes share. Default: no limit. */
  readonly bytesPerSecond?: Size;
}

export class DelayFilter extends Filter {
  readonly #readLatencyMs: number;
  readonly #writeLatencyMs: number;
  readonly #jitterMs: number;
  readonly #msPerByte: number;
  readonly #fractions: Fractions;
  readonly #fire = (): void => this.#fired();
  /** Held back, the one that is due first first; linked by `next`. */
  #held: FilterRequest | null = null;
  #wireFreeMs = 0;
  #timer: TimerHandle | null = null;

  /** @throws KernelError EINVAL for times and rates that are none, ENOMEM. */
  constructor(parts: FilterParts, options: DelayOptions) {
    const latencyMs = settingNumber(parts.name, 'latencyMs', options.latencyMs ?? 0, 0, DELAY_MAX_MS);
    const readLatencyMs = settingNumber(parts.name, 'readLatencyMs', options.readLatencyMs ?? latencyMs, 0, DELAY_MAX_MS);
    const writeLatencyMs = settingNumber(parts.name, 'writeLatencyMs', options.writeLatencyMs ?? latencyMs, 0, DELAY_MAX_MS);
    const jitterMs = settingNumber(parts.name, 'jitterMs', options.jitterMs ?? 0, 0, DELAY_MAX_MS);
    const { bytesPerSecond } = options;
    const msPerByte = bytesPerSecond === undefined ? 0 : 1000 / parseSize(bytesPerSecond, `${parts.name}: bytesPerSecond`);
    super(parts, parts.below[0]);
    this.#readLatencyMs = readLatencyMs;
    this.#writeLatencyMs = writeLatencyMs;
    this.#jitterMs = jitterMs;
    this.#msPerByte = msPerByte;
    this.#fractions = new Fractions(parts.random);
  }

  protected override admitted(request: FilterRequest): void {
    const { clock } = this.parts;
    const { op, lengthBytes } = request.parent;
    const nowMs = clock.nowMs();
    if (op <= BioOp.WRITE) this.#wireFreeMs = Math.max(this.#wireFreeMs, nowMs) + lengthBytes * this.#msPerByte;
    const startMs = op <= BioOp.WRITE ? this.#wireFreeMs : nowMs;
    const latencyMs = op === BioOp.READ ? this.#readLatencyMs : this.#writeLatencyMs;
    request.timeMs = startMs + latencyMs + (this.#jitterMs > 0 ? this.#fractions.next() * this.#jitterMs : 0);
    if (request.timeMs <= nowMs) {
      this.pass(request);
      return;
    }
    this.#hold(request);
    if (this.#held === request) this.#setTimer();
  }

  #hold(request: FilterRequest): void {
    let before: FilterRequest | null = null;
    let after = this.#held;
    while (after !== null && after.timeMs <= request.timeMs) {
      before = after;
      after = after.next;
    }
    request.next = after;
    if (before === null) this.#held = request;
    else before.next = request;
  }

  #shiftHeld(): FilterRequest | null {
    const request = this.#held;
    if (request === null) return null;
    this.#held = request.next;
    request.next = null;
    return request;
  }

  #setTimer(): void {
    const { clock } = this.parts;
    if (this.#timer !== null) clock.clearTimer(this.#timer);
    this.#timer = this.#held === null ? null : clock.setTimer(Math.max(this.#held.timeMs - clock.nowMs(), 0), this.#fire);
  }

  #fired(): void {
    this.#timer = null;
    const dueMs = this.parts.clock.nowMs() + CLOSE_ENOUGH_MS;
    while (this.#held !== null && this.#held.timeMs <= dueMs) this.pass(this.#shiftHeld() as FilterRequest);
    if (this.#timer === null) this.#setTimer();
  }

  protected override dropHeld(): void {
    for (let request = this.#shiftHeld(); request !== null; request = this.#shiftHeld()) this.end(request, -Errno.EIO);
    this.#setTimer();
  }
}

/** `delay:latencyMs=5,bytesPerSecond=10MiB:LOWER`. */
export const delay: FilterKind<DelayOptions> = {
  scheme: 'delay',
  settings: ['latencyMs', 'readLatencyMs', 'writeLatencyMs', 'jitterMs', 'bytesPerSecond'],
  parse: (settings: Settings) => ({
    latencyMs: settings.number('latencyMs'),
    readLatencyMs: settings.number('readLatencyMs'),
    writeLatencyMs: settings.number('writeLatencyMs'),
    jitterMs: settings.number('jitterMs'),
    bytesPerSecond: settings.text('bytesPerSecond'),
  }),
  create: (parts, options) => new DelayFilter(parts, options),
};
