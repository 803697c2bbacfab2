/** The verbs on files, by name, with what each does. */
export const FILE_VERBS = {
  ls: 'List directories in an image or on a server',
  cat: 'Print files',
  stat: 'Tell everything about files',
  tree: 'Draw a directory and what is below it',
  cp: 'Copy files and directories: from the host, to the host, between trees',
  mkdir: 'Make directories',
  rm: 'Remove files and directories',
  mv: 'Move and rename',
  ln: 'Make links',
  df: 'Show the room of filesystems',
  check: 'Check a filesystem without changing it',
  mkfs: 'Make filesystems',
} as const;

export type FileVerb = keyof typeof FILE_VERBS;
