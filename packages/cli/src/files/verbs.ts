/** The verbs on files, each with what makes it. Loaded only for one of them: nobody else should hold the filesystems in memory. */
import type { Command } from 'commander';
import { catCommand } from './cat-command.js';
import { checkCommand } from './check-command.js';
import { cpCommand } from './cp-command.js';
import { dfCommand } from './df-command.js';
import { lnCommand } from './ln-command.js';
import { lsCommand } from './ls-command.js';
import { mkdirCommand } from './mkdir-command.js';
import { mkfsCommand } from './mkfs-command.js';
import { mvCommand } from './mv-command.js';
import type { FileVerb } from './names.js';
import { rmCommand } from './rm-command.js';
import { statCommand } from './stat-command.js';
import { treeCommand } from './tree-command.js';

export const MAKERS: Record<FileVerb, (command: Command) => void> = {
  ls: lsCommand,
  cat: catCommand,
  stat: statCommand,
  tree: treeCommand,
  cp: cpCommand,
  mkdir: mkdirCommand,
  rm: rmCommand,
  mv: mvCommand,
  ln: lnCommand,
  df: dfCommand,
  check: checkCommand,
  mkfs: mkfsCommand,
};
