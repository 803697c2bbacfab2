/**
 * RAID1: what a write-intent bitmap costs random writes, what a second member brings to reads, and what a bitmap saves after a crash.
 *
 * Writes to RAM disks show what the bitmap's bookkeeping costs, in CPU time, bits being set for seconds as they are under load. Writes to
 * simulated disks show what waiting for bits costs, beginning with none set; as all that is simulated, they are the same in every run.
 */
import { Bio, BioOp, type BlockDevice, Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { createArray, type CreateOptions, md } from '@tidemark/md';
import { type Bench, compare, type Row, round } from './harness.js';
import { readSpeed, resyncedBytes, writeSpeed } from './raid1-simulated.js';

const MEMORY = '32MiB';
const DISK_BYTES = 256 * 2 ** 20;
const DEPTH = 32;
const NR_WRITES = 60_000;
const NR_PAIRS = 15;

export const raid1: Bench = {
  name: 'md',
  async *run(): AsyncGenerator<Row> {
    const kernel = await Kernel.boot({ memory: MEMORY, plugins: [host, md] });
    try {
      yield await writeRow(this.name, kernel);
    } finally {
      await kernel.shutdown();
    }
    yield* simulatedRows(this.name);
  },
};

/** Random 4 KiB writes with an internal bitmap, and without. */
async function writeRow(bench: string, kernel: Kernel): Promise<Row> {
  const marked = await RandomWriter.on(kernel, await arrayOf(kernel, 'with', { bitmap: true }));
  const plain = await RandomWriter.on(kernel, await arrayOf(kernel, 'without', {}));
  const result = await compare(
    () => marked.run(),
    () => plain.run(),
    NR_PAIRS,
  );
  marked.free();
  plain.free();
  return {
    bench,
    what: `random 4 KiB writes × ${DEPTH} to RAID1 on RAM disks, internal bitmap ÷ none`,
    unit: '×',
    target: { relation: '≥', limit: 0.85 },
    ...result,
    ours: `${round(result.ours / 1e3)} k/s`,
    peer: `${round(result.peer / 1e3)} k/s`,
    note: 'CPU time',
  };
}

async function arrayOf(kernel: Kernel, name: string, options: CreateOptions): Promise<BlockDevice> {
  const disks = [await kernel.openBlockDevice(`mem:${DISK_BYTES}`), await kernel.openBlockDevice(`mem:${DISK_BYTES}`)];
  return createArray(kernel, disks, { name, assumeEqual: true, ...options });
}

/** Keeps so many writes under way on a device, each to a page chosen at random. */
class RandomWriter {
  readonly #bios: Bio[] = [];
  #nrStarted = 0;
  #nrEnded = 0;
  #seed = 1;
  #done: () => void = () => {};

  private constructor(
    private readonly device: BlockDevice,
    private readonly memory: { readonly address: number; readonly bytes: Uint8Array; free(): void },
  ) {
    memory.bytes.fill(7);
    for (let i = 0; i < DEPTH; i++) {
      const bio = new Bio(1);
      bio.ownerIndex = i;
      bio.onEnd = (ended) => this.#ended(ended);
      this.#bios.push(bio);
    }
  }

  static async on(kernel: Kernel, device: BlockDevice): Promise<RandomWriter> {
    return new RandomWriter(device, await kernel.memory.allocStanding(kernel.task, 'random writes', DEPTH));
  }

  /** @returns writes for a second of CPU time. */
  async run(): Promise<number> {
    this.#nrStarted = 0;
    this.#nrEnded = 0;
    const begun = process.cpuUsage();
    await new Promise<void>((resolve) => {
      this.#done = resolve;
      for (const bio of this.#bios) this.#write(bio);
    });
    const { user, system } = process.cpuUsage(begun);
    return (NR_WRITES / (user + system)) * 1e6;
  }

  #write(bio: Bio): void {
    if (this.#nrStarted === NR_WRITES) return;
    this.#nrStarted++;
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
    const nrPages = Math.floor(this.device.sizeBytes / PAGE_SIZE);
    bio.start(BioOp.WRITE, Math.floor((this.#seed / 2 ** 32) * nrPages) * PAGE_SIZE);
    bio.addSegment(this.memory.address + bio.ownerIndex * PAGE_SIZE, PAGE_SIZE);
    this.device.submit(bio);
  }

  #ended(bio: Bio): void {
    if (bio.status !== 0) throw new Error(`a write ended with ${bio.status}`);
    if (++this.#nrEnded === NR_WRITES) this.#done();
    else this.#write(bio);
  }

  free(): void {
    this.memory.free();
  }
}

async function* simulatedRows(bench: string): AsyncGenerator<Row> {
  const plain = await writeSpeed('none');
  for (const [bitmap, what, limit] of [
    ['internal', 'internal bitmap', 0.85],
    ['on ext3', 'bitmap in a file on ext3', 0.7],
  ] as const) {
    const marked = await writeSpeed(bitmap);
    yield {
      bench,
      what: `random 4 KiB writes × ${DEPTH} to RAID1 on simulated disks, ${what}, 64 KiB chunks ÷ none`,
      unit: '×',
      target: { relation: '≥', limit },
      value: marked / plain,
      ours: `${round(marked)} k/s`,
      peer: `${round(plain)} k/s`,
      note: 'virtual time',
    };
  }
  for (const order of ['sequential', 'random'] as const) {
    const [two, one] = [await readSpeed(order, 2), await readSpeed(order, 1)];
    yield {
      bench,
      what: `${order} 64 KiB reads × 8 from members of 100 MB/s, two ÷ one`,
      unit: '×',
      target: { relation: '≥', limit: 1.5 },
      value: two / one,
      ours: `${round(two)} MB/s`,
      peer: `${round(one)} MB/s`,
      note: 'virtual time',
    };
  }
  const [dirty, full] = [await resyncedBytes(true), await resyncedBytes(false)];
  yield {
    bench,
    what: 'resync after a crash with 1 % of the chunks dirty ÷ without a bitmap, bytes',
    unit: '×',
    target: { relation: '≤', limit: 0.02 },
    value: dirty / full,
    ours: `${round(dirty / 2 ** 20)} MiB`,
    peer: `${round(full / 2 ** 20)} MiB`,
    note: 'simulated crash',
  };
}
