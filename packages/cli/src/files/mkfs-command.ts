/** `tidemark mkfs ext3`: makes a filesystem on a device, or in a file of the host, which it makes if it is told how large. */
import fs from 'node:fs';
import { formatSize, KernelError, parseSize } from '@tidemark/core';
import { type MadeFilesystem, mkfs, type MkfsOptions, planMkfs } from '@tidemark/fs-ext3';
import type { Command } from 'commander';
import { countOption, sizeOption, textOption } from '../grammar.js';
import { onWayOut, UsageError } from '../outcome.js';
import { printable, printJson, printLine } from './printable.js';
import type { DeviceBytes } from './device-bytes.js';
import { whatIsOn } from './used.js';
import { formatUuid, uuidOption } from './uuid.js';
import { withDevice } from './with-device.js';

const EXAMPLES = `
Examples:
  tidemark mkfs ext3 disk.img --size 1GiB --label data          makes the file, too
  tidemark mkfs ext3 nbd://127.0.0.1:10809/disk --block-size 4096 --force
  tidemark mkfs ext3 small.img --size 8MiB --journal-size 0     without a journal: an ext2

What the device held is lost. Without --force one that holds a filesystem, a swap area or a member of an array is left alone. Zeroes are not written over zeroes.
The keys of --json: device, label, uuid, sizeBytes, blockSize, nrBlocks, nrFreeBlocks, nrGroups, inodeSize, nrInodes, journalBytes.`;

const MEMORY_BYTES = 8 * 2 ** 20;

interface Words {
  size?: number;
  blockSize?: number;
  inodeSize?: number;
  bytesPerInode?: number;
  journalSize?: number;
  reservedPercent?: number;
  label?: string;
  uuid?: Uint8Array;
  force?: true;
  memory: number;
  json?: true;
}

/** Makes the verb. */
export function mkfsCommand(group: Command): void {
  group
    .command('ext3')
    .description('Make an ext3, or an ext2')
    .argument('<device>', 'file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT')
    .addOption(sizeOption('--size', 'makes the file if it is missing, and at least so large'))
    .addOption(sizeOption('--block-size', '1024, 2048 or 4096 (default: 1024 below 512 MiB, else 4096)'))
    .addOption(sizeOption('--inode-size', '128, or 256 (default)'))
    .addOption(sizeOption('--bytes-per-inode', 'one inode for so much room (default: 4096 below 512 MiB, else 16384)'))
    .option('--journal-size <size>', 'size of the journal; 0 for none (default: by the size of the device)', journalSize)
    .option('--reserved-percent <n>', 'room that only root may fill (default: 5)', countOption('--reserved-percent', 50))
    .option('--label <text>', 'label, at most 16 bytes', textOption('--label'))
    .option('--uuid <uuid>', 'uuid (default: a random one)', uuidOption('--uuid'))
    .option('--force', 'make it over a filesystem or a swap area')
    .addOption(sizeOption('--memory', 'page memory of the kernel that does it', MEMORY_BYTES))
    .option('--json', 'print what was made as one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(async (device: string, words: Words) => {
      const made = await make(device, words);
      if (words.json) printJson(factsOf(device, made));
      else print(device, made);
    });
}

function journalSize(word: string): number {
  return word === '0' ? 0 : parseSize(word, '--journal-size');
}

/** Makes it; a file that was made for it is removed if that fails. */
async function make(device: string, words: Words): Promise<MadeFilesystem> {
  const path = pathOf(device);
  if (path === null && words.size !== undefined) throw new UsageError(`--size is for files; ${device} has a size of its own`);
  if (path === null || words.size === undefined || fs.existsSync(path)) return makeOn(device, words, {});
  const remove = (): void => fs.rmSync(path, { force: true });
  const disarm = onWayOut(remove);
  try {
    return await makeOn(device, words, { create: true });
  } catch (error) {
    remove();
    throw error;
  } finally {
    disarm();
  }
}

/** The file of the host that a device is, or null. */
function pathOf(device: string): string | null {
  if (!/^[a-z][a-z0-9+.-]*:/i.test(device)) return device;
  return /^file:([^?]*)/i.exec(device)?.[1].replace(/^\/\/(?=\/)/, '') ?? null;
}

function makeOn(device: string, words: Words, options: { create?: true }): Promise<MadeFilesystem> {
  return withDevice(device, words.memory, { ...options, sizeBytes: words.size }, async ({ kernel, bytes }) => {
    if (!words.force) await refuseUsed(bytes);
    const random = (): Uint8Array => {
      const drawn = new Uint8Array(16);
      kernel.random.fill(drawn);
      return drawn;
    };
    const { clock } = kernel;
    const options: MkfsOptions & { uuid: Uint8Array } = {
      ...words,
      uuid: words.uuid ?? formRandomUuid(random()),
      hashSeed: random(),
      nowSeconds: Math.floor((clock.wallMs?.() ?? clock.nowMs()) / 1000),
    };
    return mkfs(bytes, planMkfs(device, bytes.sizeBytes, options));
  });
}

/** Bits that say "version 4, random". */
function formRandomUuid(bytes: Uint8Array): Uint8Array {
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes;
}

/** @throws KernelError EEXIST for a device that somebody may want to keep. */
async function refuseUsed(bytes: DeviceBytes): Promise<void> {
  const what = await whatIsOn(bytes);
  if (what !== null) throw new KernelError('EEXIST', `${bytes.name} holds ${what}; --force makes a new one`);
}

function factsOf(device: string, { superblock, geometry, journalBlocks }: MadeFilesystem) {
  return {
    device,
    label: superblock.label,
    uuid: formatUuid(superblock.uuid),
    sizeBytes: superblock.blocksCount * geometry.blockSize,
    blockSize: geometry.blockSize,
    nrBlocks: superblock.blocksCount,
    nrFreeBlocks: superblock.freeBlocksCount,
    nrGroups: geometry.nrGroups,
    inodeSize: superblock.inodeSize,
    nrInodes: superblock.inodesCount,
    journalBytes: journalBlocks * geometry.blockSize,
  };
}

function print(device: string, made: MadeFilesystem): void {
  const facts = factsOf(device, made);
  const rows = [
    ['device', printable(device)],
    ['label', facts.label === '' ? '(none)' : facts.label],
    ['uuid', facts.uuid],
    ['size', `${formatSize(facts.sizeBytes)}, ${facts.nrBlocks} blocks of ${facts.blockSize} bytes in ${facts.nrGroups} groups`],
    ['free', formatSize(facts.nrFreeBlocks * facts.blockSize)],
    ['inodes', `${facts.nrInodes} of ${facts.inodeSize} bytes`],
    ['journal', facts.journalBytes === 0 ? 'none: an ext2' : formatSize(facts.journalBytes)],
  ];
  printLine(rows.map(([name, value]) => `${name.padEnd(10)}${value}`).join('\n'));
}
