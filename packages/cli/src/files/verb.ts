/** What every verb on files has: `--memory`, `--json`, and help with examples. */
import type { Command } from 'commander';
import { sizeOption } from '../grammar.js';

/** Words of every verb on files. */
export interface FileVerbWords {
  memory: number;
  json?: true;
}

const MEMORY_BYTES = 16 * 2 ** 20;

const FILE_HELP = `
FILE is TREE::/path, as in ext3:disk.img::/etc/passwd; a TREE alone is its root. TREE: ext3:DEVICE, memfs:SIZE,
nfs://HOST/EXPORT[?nfsport=N&mountport=M].`;

/** Adds the common options to a verb. */
export function fileVerb(command: Command, examples: string): Command {
  return command
    .addOption(sizeOption('--memory', 'page memory of the kernel of each tree', MEMORY_BYTES))
    .option('--json', 'print one JSON object')
    .addHelpText('after', `${examples}\n${FILE_HELP}`);
}
