/**
 * A tree of 100,000 files on ext3, in an image on the host's memory filesystem: walked and read through a kernel of 4 MiB. What is judged is
 * the most frames that were ever in use, and that each byte came as it was written.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { ext3, mkfs, type MkfsTarget, planMkfs } from '@tidemark/fs-ext3';
import { type Row, round } from './harness.js';

const NR_DIRECTORIES = 1000;
const FILES_EACH = 100;
const IMAGE_BYTES = 256 * 2 ** 20;
const ARENA_BYTES = 4 * 2 ** 20;
/** What a frame holds. */
const FRAME_BYTES = 4096;

const directoryName = (i: number): string => `d${i}`;
const content = (directory: number, file: number): string => `file ${file} of directory ${directory}`;

/** Makes the image. */
async function makeImage(file: string): Promise<void> {
  fs.writeFileSync(file, '');
  fs.truncateSync(file, IMAGE_BYTES);
  const fd = fs.openSync(file, 'r+');
  const target: MkfsTarget = {
    name: file,
    sizeBytes: IMAGE_BYTES,
    write: async (offsetBytes, bytes) => void fs.writeSync(fd, bytes, 0, bytes.length, offsetBytes),
    zero: async () => {}, // the file is all zeroes
    flush: async () => {},
  };
  const same = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  await mkfs(target, planMkfs(file, IMAGE_BYTES, { ...same, blockSize: 1024, bytesPerInode: 2048, inodeSize: 128 }));
  fs.closeSync(fd);
}

async function fill({ promises }: NodeFs): Promise<void> {
  for (let d = 0; d < NR_DIRECTORIES; d++) {
    await promises.mkdir(`/${directoryName(d)}`);
    for (let f = 0; f < FILES_EACH; f++) await promises.writeFile(`/${directoryName(d)}/f${f}`, content(d, f));
  }
}

/** @returns files met, and how many of them were not as they were written. */
async function walk({ promises }: NodeFs): Promise<{ nrFiles: number; nrWrong: number }> {
  let nrFiles = 0;
  let nrWrong = 0;
  for await (const { name: directory } of await promises.opendir('/')) {
    if (directory === 'lost+found') continue;
    for (const name of await promises.readdir(`/${directory}`)) {
      const file = `/${directory}/${name}`;
      const expected = content(Number(directory.slice(1)), Number(name.slice(1)));
      const { size } = await promises.stat(file);
      const isRight = size === expected.length && (await promises.readFile(file, 'utf8')) === expected;
      nrFiles++;
      if (!isRight) nrWrong++;
    }
  }
  return { nrFiles, nrWrong };
}

async function mounted<T>(memory: number, image: string, work: (kernel: Kernel) => Promise<T>): Promise<T> {
  const kernel = await Kernel.boot({ memory, plugins: [host, ext3] });
  try {
    await kernel.mount(`ext3:${image}`, '/');
    return await work(kernel);
  } finally {
    await kernel.shutdown();
  }
}

/** Measures it, in a folder of the host. */
export async function walkedTree(bench: string, folder: string): Promise<Row> {
  const image = path.join(folder, 'tree.img');
  await makeImage(image);
  await mounted(64 * 2 ** 20, image, ({ fs: tree }) => fill(tree));
  return mounted(ARENA_BYTES, image, async (kernel) => {
    const beganMs = performance.now();
    const { nrFiles, nrWrong } = await walk(kernel.fs);
    const tookMs = performance.now() - beganMs;
    if (nrFiles !== NR_DIRECTORIES * FILES_EACH || nrWrong > 0)
      throw new Error(`of ${NR_DIRECTORIES * FILES_EACH} files ${nrFiles} were met, ${nrWrong} of them wrong`);
    return {
      bench,
      what: `frames in use at most while ${nrFiles} files of ext3 are walked and read in a 4 MiB arena`,
      unit: 'frames',
      target: { relation: '≤', limit: ARENA_BYTES / FRAME_BYTES },
      value: kernel.memory.peakFramesUsed,
      ours: `${round(tookMs / 1e3)} s, ${round((tookMs * 1e3) / nrFiles)} µs a file`,
    };
  });
}
