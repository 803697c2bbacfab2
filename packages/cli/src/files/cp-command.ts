/** `tidemark cp`: copies files and directories, between the host and trees and between trees. */
import { formatSize } from '@tidemark/core';
import type { Command } from 'commander';
import { JobFailed, UsageError } from '../outcome.js';
import { createProgress } from '../progress.js';
import { Copier } from './copier.js';
import { pairUp } from './destination.js';
import { parseFile } from './file-word.js';
import { printJson } from './printable.js';
import { withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark cp notes.txt ext3:disk.img::/home/notes.txt
  tidemark cp -r ext3:disk.img::/etc ./etc-of-disk
  tidemark cp -rp ext3:old.img::/ ext3:nbd://127.0.0.1:10809/disk::/

A FILE without a scheme is a path of the host. Blocks of zeroes are left as holes. Devices, FIFOs and sockets are left out: exit code 1.
The keys of --json: files, directories, links, leftOut, bytes, writtenBytes (without the holes), seconds.`;

interface Words extends FileVerbWords {
  recursive?: boolean;
  preserve?: boolean;
}

/** Makes the verb. */
export function cpCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<file...>', 'what to copy, and last where to: a directory that is there, or a new name')
    .usage('[options] <source...> <target>')
    .option('-r, --recursive', 'directories and what is below them; links as links')
    .option('-p, --preserve', 'keep mode, owner and times')
    .action(async (words: string[], { memory, json, recursive = false, preserve = false }: Words) => {
      if (words.length < 2) throw new UsageError('cp wants at least one source, and a target');
      const files = words.map(parseFile);
      const [sources, target] = [files.slice(0, -1), files[files.length - 1]];
      const progress = createProgress(json ?? false);
      try {
        await withTrees({ memory, reads: sources, writes: [target] }, async ({ at, interrupts }) => {
          const beganMs = performance.now();
          const copier = new Copier({ recursive, preserve }, progress, interrupts);
          const pairs = await pairUp(sources.map(at), at(target));
          let totalBytes = 0;
          for (const [from] of pairs) totalBytes += await copier.measure(from);
          progress.begin(`copying ${formatSize(totalBytes)}`, totalBytes);
          for (const [from, to] of pairs) await copier.copy(from, to);
          progress.end();
          const { copied } = copier;
          if (json) printJson({ ...copied, seconds: (performance.now() - beganMs) / 1000 });
          if (copied.leftOut > 0) throw new JobFailed(`${copied.leftOut} left out: neither files nor directories nor links`);
        });
      } finally {
        progress.stop();
      }
    });
}
