/** `tidemark df`: the room of filesystems. */
import { formatSize } from '@tidemark/core';
import type { Command } from 'commander';
import { table } from '../plan-table.js';
import { parseTreeFile } from './file-word.js';
import { printable, printJson, printLine } from './printable.js';
import { withTrees } from './trees.js';
import { type FileVerbWords, fileVerb } from './verb.js';

const EXAMPLES = `
Examples:
  tidemark df ext3:disk.img
  tidemark df ext3:disk.img ext3:nbd://127.0.0.1:10809/disk --json

The keys of --json: filesystems [{ tree, blockBytes, totalBytes, usedBytes, freeBytes, availableBytes, totalInodes, usedInodes,
freeInodes }]. Free is what there is, available what others than the superuser may take.`;

/** Makes the verb. */
export function dfCommand(command: Command): void {
  fileVerb(command, EXAMPLES)
    .argument('<tree...>', 'filesystems, or files in them')
    .action(async (words: string[], { memory, json }: FileVerbWords) => {
      const reads = words.map(parseTreeFile);
      await withTrees({ memory, reads }, async ({ at }) => {
        const filesystems = [];
        for (const file of reads) {
          const { tree, path } = at(file);
          const { bsize, blocks, bfree, bavail, files, ffree } = await tree.room(path);
          filesystems.push({
            tree: file.tree as string,
            blockBytes: bsize,
            totalBytes: blocks * bsize,
            usedBytes: (blocks - bfree) * bsize,
            freeBytes: bfree * bsize,
            availableBytes: bavail * bsize,
            totalInodes: files,
            usedInodes: files - ffree,
            freeInodes: ffree,
          });
        }
        if (json) return printJson({ filesystems });
        const rows = filesystems.map((one) => [
          printable(one.tree),
          ...[one.totalBytes, one.usedBytes, one.availableBytes].map(formatSize),
          `${one.totalBytes === 0 ? 0 : Math.ceil((100 * one.usedBytes) / one.totalBytes)}%`,
          `${one.usedInodes} of ${one.totalInodes}`,
        ]);
        for (const line of table([['tree', 'size', 'used', 'available', 'use', 'inodes'], ...rows])) printLine(line);
      });
    });
}
