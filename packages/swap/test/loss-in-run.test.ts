/**
 * A server that loses what it had acknowledged says so in one flush, which may end while a run of pages is half acknowledged: the half
 * that was is lost too, although no later flush will say so.
 */
import { type Bio, BioOp, type BlockDeviceOps, Kernel, PAGE_SIZE, WRITE_AGAIN } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { expect, it } from 'vitest';

const MIB = 2 ** 20;
/** Pages acknowledged between the start of a flush and the loss that ends it. */
const ACKNOWLEDGED_BEFORE_LOSS = 10;
const NR_LOSSES = 8;

/** Takes a page a request, acknowledges one a turn, and loses what is not flushed in the middle of its first flushes. */
class LossyDevice implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name = 'lossy';
  readonly sizeBytes = 24 * MIB;
  readonly blockSizeBytes = 512;
  readonly maxTransferBytes = PAGE_SIZE;
  readonly readOnly = false;
  readonly trusted = false;
  readonly viaSocket = false;
  readonly can = { flush: true, fua: false, discard: false, writeZeroes: false };
  nrLosses = 0;
  isLosing = false;
  readonly #durable = new Map<number, Uint8Array>();
  readonly #acknowledged = new Map<number, Uint8Array>();
  readonly #writes: Bio[] = [];
  #flush: Bio | null = null;
  #nrSinceFlush = 0;

  constructor(private readonly view: (address: number, lengthBytes: number) => Uint8Array) {}

  submit(bio: Bio): void {
    if (bio.op === BioOp.READ) {
      const stored = this.#acknowledged.get(bio.offsetBytes) ?? this.#durable.get(bio.offsetBytes);
      this.view(bio.addresses[0], PAGE_SIZE).set(stored ?? new Uint8Array(PAGE_SIZE));
      bio.end(0);
      return;
    }
    if (bio.op === BioOp.FLUSH) {
      this.#flush = bio;
      this.#nrSinceFlush = 0;
    } else this.#writes.push(bio);
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    const write = this.#writes.shift();
    if (write !== undefined) {
      this.#acknowledged.set(write.offsetBytes, this.view(write.addresses[0], PAGE_SIZE).slice());
      this.#nrSinceFlush++;
      write.end(0);
    }
    const flush = this.#flush;
    if (flush === null || (this.#writes.length > 0 && this.#nrSinceFlush < ACKNOWLEDGED_BEFORE_LOSS)) return;
    this.#flush = null;
    if (this.isLosing && this.#nrSinceFlush >= ACKNOWLEDGED_BEFORE_LOSS && this.nrLosses < NR_LOSSES) {
      this.nrLosses++;
      this.#acknowledged.clear();
      flush.end(WRITE_AGAIN);
      return;
    }
    for (const [offset, bytes] of this.#acknowledged) this.#durable.set(offset, bytes);
    this.#acknowledged.clear();
    flush.end(0);
  }

  async close(): Promise<void> {}
}

it('a run that was half acknowledged before a loss is written again', async () => {
  const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, swap] });
  const device = new LossyDevice((address, lengthBytes) => kernel.memory.arena.view(address, lengthBytes));
  await kernel.swapOn(kernel.attach(device), { format: true });
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: 16 * MIB });
  device.isLosing = true;
  const page = new Uint8Array(PAGE_SIZE);
  const wanted = (index: number): number => 1 + (index % 251);
  for (let index = 0; index < buffer.sizeBytes / PAGE_SIZE; index++) await buffer.write(index * PAGE_SIZE, page.fill(wanted(index)));
  expect(device.nrLosses).toBe(NR_LOSSES);
  const wrong: number[] = [];
  for (let index = 0; index < buffer.sizeBytes / PAGE_SIZE; index++) {
    await buffer.read(index * PAGE_SIZE, page);
    if (page.some((byte) => byte !== wanted(index))) wrong.push(index);
  }
  expect(wrong).toEqual([]);
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});
