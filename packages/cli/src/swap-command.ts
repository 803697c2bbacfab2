/**
 * `tidemark swap init|info`: makes and reads the header of a swap area, on any device; Linux's own format, as of mkswap and swaplabel.
 */
import { type BlockDevice, formatSize, Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nbd } from '@tidemark/nbd/host';
import { formatSwap, readSwapHeader, type SwapHeader, swap } from '@tidemark/swap';
import type { Command } from 'commander';
import { sizeOption, textOption } from './grammar.js';

const INIT_EXAMPLES = `
Examples:
  truncate -s 1G swap.img && tidemark swap init swap.img --label scratch
  tidemark swap init nbd://127.0.0.1:10809/disk --force

What the device held is lost. Without --force an area that holds a suspended system is left alone.`;

const INFO_EXAMPLES = `
Examples:
  tidemark swap info swap.img
  tidemark swap info nbd://127.0.0.1:10809/disk --json

The keys of --json, also of swap init: device, version, uuid, label, sizeBytes, nrPages, usableBytes, badPages, otherByteOrder.`;

interface Words {
  memory: number;
  json?: true;
}

interface InitWords extends Words {
  label?: string;
  uuid?: string;
  force?: true;
}

/** Adds the verbs. */
export function swapCommand(program: Command): void {
  const verbs = program.command('swap').description('Make and read swap areas');
  const verb = (name: string, description: string, examples: string): Command =>
    verbs
      .command(name)
      .description(description)
      .argument('<device>', 'mem:SIZE, file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT')
      .addOption(sizeOption('--memory', 'page memory of the kernel that does it', 8 * 2 ** 20))
      .option('--json', 'print the header as one JSON object')
      .addHelpText('after', examples);
  verb('init', 'Write a fresh swap header', INIT_EXAMPLES)
    .option('--label <text>', 'label, at most 15 bytes', textOption('--label'))
    .option('--uuid <uuid>', 'uuid (default: a random one)')
    .option('--force', 'overwrite the image of a suspended machine')
    .action((device: string, words: InitWords) =>
      withDevice(device, words, false, async (kernel, opened) => {
        const { label, uuid, force } = words;
        return formatSwap(kernel, opened, { label, uuid, force });
      }),
    );
  verb('info', 'Show the header of a swap area', INFO_EXAMPLES).action((device: string, words: Words) =>
    withDevice(device, words, true, (kernel, opened) => readSwapHeader(kernel, opened)),
  );
}

type Work = (kernel: Kernel, device: BlockDevice) => Promise<SwapHeader>;

async function withDevice(url: string, words: Words, readOnly: boolean, work: Work): Promise<void> {
  const kernel = await Kernel.boot({ memory: words.memory, plugins: [host, swap, nbd], name: 'swap' });
  try {
    const device = await kernel.openBlockDevice(url, { readOnly });
    print(url, await work(kernel, device), words.json ?? false);
  } finally {
    await kernel.shutdown();
  }
}

function print(device: string, header: SwapHeader, json: boolean): void {
  const nrPages = header.lastPage + 1;
  const facts = {
    device,
    version: 1,
    uuid: header.uuid,
    label: header.label,
    sizeBytes: nrPages * PAGE_SIZE,
    nrPages,
    usableBytes: (header.lastPage - header.badPages.length) * PAGE_SIZE,
    badPages: header.badPages,
    otherByteOrder: header.isSwapped,
  };
  if (json) {
    process.stdout.write(`${JSON.stringify(facts)}\n`);
    return;
  }
  const rows = [
    ['device', device],
    ['version', '1'],
    ['label', header.label === '' ? '(none)' : header.label],
    ['uuid', /^[0-]*$/.test(header.uuid) ? '(none)' : header.uuid],
    ['size', `${formatSize(facts.sizeBytes)}, ${nrPages} pages`],
    ['usable', formatSize(facts.usableBytes)],
    ['bad pages', header.badPages.length === 0 ? 'none' : header.badPages.join(' ')],
    ...(header.isSwapped ? [['byte order', 'the other one']] : []),
  ];
  process.stdout.write(`${rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n')}\n`);
}
